//! The server: s3s over a directory, with signatures checked.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;
use tokio::runtime::{Builder as Threads, Runtime};

/// The one who may use the server.
pub const KEY: &str = "siding";

/// What requests are signed with.
pub const SECRET: &str = "a secret of no worth";

/// An S3 server. Dropped, it is gone, in the middle of whatever it does.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    /// Serves the directories right under `root` as buckets, on a free port.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(root: &Path) -> io::Result<Self> {
        let files =
            FileSystem::new(root).map_err(|cause| io::Error::other(format!("{cause:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let runtime = Threads::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener, service.build()));
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let connections = Builder::new(TokioExecutor::new());
            // Who hangs up has no use for an answer.
            let _ = connections.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
