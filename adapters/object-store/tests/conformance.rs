//! The suite over stores that need no server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use siding::sink::{Sink, conformance};
use siding_object_store::{ObjectSink, Transfer, open_sink};
use std::cell::Cell;
use std::io;
use std::sync::Arc;

fn pair(
    store: impl ObjectStore,
    prefix: &str,
    transfer: Transfer,
) -> io::Result<conformance::Pair> {
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    let other = Arc::clone(&store);
    let sink = |store| ObjectSink::new(store, prefix, "here", transfer);
    Ok([Arc::new(sink(store)?), Arc::new(sink(other)?)])
}

/// Short parts, so that there are many.
const SHORT: Transfer = Transfer { part: 1 << 20, at_once: 3 };

#[test]
fn a_store_in_memory_is_a_sink() {
    for (prefix, transfer) in [("", Transfer::default()), ("some/folder", SHORT)] {
        let passed = conformance::check(&|| pair(InMemory::new(), prefix, transfer));
        passed.unwrap_or_else(|broken| panic!("`{prefix}`: {broken}"));
    }
}

#[test]
fn a_local_store_is_a_sink() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = Cell::new(0);
    let passed = conformance::check(&|| {
        made.set(made.get() + 1);
        let path = temp.path().join(made.get().to_string());
        std::fs::create_dir(&path)?;
        pair(LocalFileSystem::new_with_prefix(path)?.with_fsync(true), "folder", SHORT)
    });
    passed.unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn a_directory_is_found_by_its_url_and_by_its_path() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = Cell::new(0);
    let passed = conformance::check(&|| {
        made.set(made.get() + 1);
        let path = temp.path().join(format!("a b/{}", made.get()));
        let plain = path.to_str().unwrap().to_owned();
        let url = format!("file://{}", plain.replace(' ', "%20"));
        Ok([open_sink(&url)?, open_sink(&plain)?] as [Arc<dyn Sink>; 2])
    });
    passed.unwrap_or_else(|broken| panic!("{broken}"));
}
