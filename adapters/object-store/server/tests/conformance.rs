//! The suite against a real S3 server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::cast_possible_truncation, reason = "a test")]

mod support;

use siding::sink::conformance;
use siding_object_store::open_sink_with;
use std::cell::Cell;
use support::{options, place};

#[test]
fn a_bucket_is_a_sink() {
    let place = place();
    let options = options(place.server.address());
    let made = Cell::new(0);
    let passed = conformance::check(&|| {
        made.set(made.get() + 1);
        let url = format!("s3://bucket/folder/{}", made.get());
        Ok([open_sink_with(&url, &options)?, open_sink_with(&url, &options)?])
    });
    passed.unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn a_bucket_without_a_folder_is_a_sink_too() {
    let place = place();
    let options = options(place.server.address());
    let made = Cell::new(0);
    let passed = conformance::check(&|| {
        made.set(made.get() + 1);
        let bucket = format!("bucket-{}", made.get());
        std::fs::create_dir(place.root.path().join(&bucket))?;
        let url = format!("s3://{bucket}");
        Ok([open_sink_with(&url, &options)?, open_sink_with(&url, &options)?])
    });
    passed.unwrap_or_else(|broken| panic!("{broken}"));
}
