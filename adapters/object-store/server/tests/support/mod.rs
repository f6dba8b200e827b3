//! A bucket on a server of its own, and sinks in it.
#![allow(dead_code, reason = "not every test needs all of it")]

use siding::sink::{Sink, read_whole};
use siding_object_store::{Options, Transfer, open_sink_with};
use siding_object_store_server::{KEY, Proxy, SECRET, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A server with one empty bucket, and a proxy before it.
pub(crate) struct Place {
    pub(crate) root: TempDir,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
}

pub(crate) fn place() -> Place {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let server = Server::start(root.path()).unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    Place { root, server, proxy }
}

/// Who gives up soon, with parts as short as S3 has them.
pub(crate) fn options(address: SocketAddr) -> Options {
    let variables = [
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_TIMEOUT", "20 seconds".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let transfer = Transfer { part: 5 << 20, at_once: 3 };
    Options { variables, retries: 3, retry_for: Duration::from_secs(20), transfer }
}

pub(crate) fn set(options: &mut Options, name: &str, value: &str) {
    options.variables.retain(|(it, _)| it != name);
    options.variables.push((name.to_owned(), value.to_owned()));
}

impl Place {
    /// Past the proxy.
    pub(crate) fn sink(&self) -> Arc<dyn Sink> {
        open_sink_with("s3://bucket/logs", &options(self.server.address())).unwrap()
    }

    /// Through the proxy.
    pub(crate) fn through_proxy(&self) -> Arc<dyn Sink> {
        open_sink_with("s3://bucket/logs", &options(self.proxy.address())).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.sink().list("").unwrap().into_iter().map(|(name, _)| name).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        read_whole(&*self.sink().open(name).unwrap(), 1 << 30).unwrap()
    }

    /// The parts of unfinished uploads that lie at the server.
    pub(crate) fn parts(&self) -> usize {
        let names = std::fs::read_dir(self.root.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".part-")).count()
    }
}

pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let byte = |at: usize| (at % 251) as u8 ^ seed ^ (at >> 16) as u8;
    (0..len).map(byte).collect()
}
