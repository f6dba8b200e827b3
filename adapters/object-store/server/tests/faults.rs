//! What fails between a sink and its store: said clearly, nothing half visible.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::cast_possible_truncation, reason = "a test")]

mod support;

use siding::sink::{put_whole, read_whole};
use siding_object_store::open_sink_with;
use siding_object_store_server::{Fault, Server};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use support::{Place, bytes, options, place, set};

const FOR_EVER: usize = usize::MAX;

/// The error of something that must fail; it says what, where, and has the words.
fn refused<T>(result: io::Result<T>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("it went through") };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for word in words.iter().chain(&["cannot ", "s3://bucket/logs"]) {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

/// The length of what is put by one request, and of what is put in parts.
const LENGTHS: [usize; 2] = [300_000, (12 << 20) + 5];

fn old(place: &Place) -> Vec<u8> {
    let old = bytes(1, 1_000);
    put_whole(&*place.sink(), "a", &old).unwrap();
    old
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_put_is_asked_again() {
    for len in LENGTHS {
        let place = place();
        let new = bytes(2, len);
        for cut in [0, 1, 70_000] {
            place.proxy.spoil(&["PUT"], Fault::CutRequest(cut), 1);
            put_whole(&*place.through_proxy(), "a", &new).unwrap();
            assert!(place.bytes("a") == new, "cut at {cut} of {len}");
        }
        assert!(place.proxy.seen(&["PUT"]).len() >= 6);
    }
}

#[test]
fn a_server_that_dies_in_every_put_leaves_what_was_there() {
    for len in LENGTHS {
        let place = place();
        let old = old(&place);
        place.proxy.spoil(&["PUT"], Fault::CutRequest(100_000), FOR_EVER);
        for name in ["a", "b"] {
            let put = put_whole(&*place.through_proxy(), name, &bytes(2, len));
            refused(put, ErrorKind::ConnectionAborted, &["put `", "in the middle"]);
        }
        assert_eq!(place.names(), ["a"]);
        assert!(place.bytes("a") == old);
        assert_eq!(place.parts(), 0, "the server was told to forget");
        place.proxy.heal();
        put_whole(&*place.through_proxy(), "a", &bytes(3, len)).unwrap();
        assert!(place.bytes("a") == bytes(3, len));
    }
}

#[test]
fn a_later_part_that_fails_takes_the_earlier_ones_with_it() {
    let place = place();
    place.proxy.spoil(&["PUT", "partNumber=3"], Fault::Answer(500, ""), FOR_EVER);
    let sink = place.through_proxy();
    let mut put = sink.put("a").unwrap();
    let written = bytes(4, 30 << 20).chunks(1 << 20).try_for_each(|piece| put.write(piece));
    assert!(place.parts() >= 1, "some came through");
    refused(written, ErrorKind::Other, &["put `a`", "500"]);
    // What failed once cannot be finished.
    refused(put.write(&[1]), ErrorKind::Other, &["a write failed before"]);
    refused(put.finish(), ErrorKind::Other, &["a write failed before"]);
    assert_eq!(place.names(), [""; 0]);
    assert_eq!(place.parts(), 0);
}

#[test]
fn a_busy_server_is_asked_again_with_pauses() {
    let place = place();
    let sink = place.through_proxy();
    for (status, words) in [(503, "<Error><Code>SlowDown</Code></Error>"), (500, "")] {
        let busy = Fault::Answer(status, words);
        let new = bytes(5, 12 << 20);
        for method in ["PUT", "POST", "GET", "HEAD", "DELETE"] {
            place.proxy.spoil(&[method], busy, 2);
        }
        put_whole(&*sink, "a", &new).unwrap();
        assert!(read_whole(&*sink.open("a").unwrap(), 1 << 30).unwrap() == new);
        assert_eq!(sink.list("").unwrap(), [("a".to_owned(), 12 << 20)]);
        sink.remove("a").unwrap();
        place.proxy.heal();
        place.proxy.spoil(&[""], busy, FOR_EVER);
        let begun = Instant::now();
        let status = status.to_string();
        refused(put_whole(&*sink, "b", &[1]), ErrorKind::Other, &["put `b`", "3 retries", &status]);
        refused(sink.list(""), ErrorKind::Other, &["list", &status]);
        let pauses = begun.elapsed();
        assert!(pauses > Duration::from_millis(200) && pauses < Duration::from_secs(60));
        place.proxy.heal();
        assert_eq!(place.names(), [""; 0]);
    }
}

#[test]
fn a_body_that_ends_early_is_never_taken_for_the_whole() {
    let place = place();
    let due = bytes(6, 11 << 20);
    put_whole(&*place.sink(), "a", &due).unwrap();
    let stored = place.through_proxy().open("a").unwrap();
    // Once: what is missing is asked for again.
    place.proxy.spoil(&["GET"], Fault::CutAnswer(200_000), 1);
    assert!(read_whole(&*stored, 1 << 30).unwrap() == due);
    assert!(place.proxy.seen(&["GET"]).len() > 3);
    // Always in the head of the answer, or just behind it: no bytes are made up.
    for cut in [0, 10, 600] {
        place.proxy.spoil(&["GET"], Fault::CutAnswer(cut), FOR_EVER);
        let mut buf = vec![0; 100_000];
        let read = stored.read_at(5, &mut buf);
        let error = read.expect_err("a piece is missing");
        assert!(error.to_string().starts_with("cannot read `a` in s3://bucket/logs"), "{error}");
        place.proxy.heal();
    }
    assert!(read_whole(&*stored, 1 << 30).unwrap() == due);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let place = place();
    let old = old(&place);
    let mut options = options(place.proxy.address());
    options.retries = 1;
    set(&mut options, "AWS_TIMEOUT", "700ms");
    let sink = open_sink_with("s3://bucket/logs", &options).unwrap();
    let stored = sink.open("a").unwrap();
    place.proxy.spoil(&[""], Fault::Stall(Duration::from_secs(30)), FOR_EVER);
    let begun = Instant::now();
    let late = &["took too long"];
    refused(put_whole(&*sink, "a", &bytes(7, 100)), ErrorKind::TimedOut, late);
    refused(put_whole(&*sink, "b", &bytes(7, 12 << 20)), ErrorKind::TimedOut, late);
    refused(stored.read_at(0, &mut [0; 10]), ErrorKind::TimedOut, late);
    refused(sink.list(""), ErrorKind::TimedOut, late);
    refused(sink.remove("a"), ErrorKind::TimedOut, late);
    refused(sink.open("a").map(drop), ErrorKind::TimedOut, late);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert_eq!(place.names(), ["a"]);
    assert!(place.bytes("a") == old);
}

#[test]
fn wrong_credentials_are_named() {
    let place = place();
    let old = old(&place);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let mut options = options(place.server.address());
        set(&mut options, name, "another");
        let sink = open_sink_with("s3://bucket/logs", &options).unwrap();
        let words = &["credentials"];
        refused(put_whole(&*sink, "b", &[1]), ErrorKind::PermissionDenied, words);
        refused(put_whole(&*sink, "b", &bytes(1, 12 << 20)), ErrorKind::PermissionDenied, words);
        refused(sink.list(""), ErrorKind::PermissionDenied, words);
        refused(sink.open("a").map(drop), ErrorKind::PermissionDenied, words);
        refused(sink.remove("a"), ErrorKind::PermissionDenied, words);
    }
    assert_eq!(place.names(), ["a"]);
    assert!(place.bytes("a") == old);
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let place = place();
    let sink = open_sink_with("s3://bucket-of-nobody", &options(place.proxy.address())).unwrap();
    // The server makes a bucket for what is put; as the others have it:
    let words = "<Error><Code>NoSuchBucket</Code></Error>";
    place.proxy.spoil(&["PUT"], Fault::Answer(404, words), FOR_EVER);
    place.proxy.spoil(&["POST", "uploads"], Fault::Answer(404, words), FOR_EVER);
    let long = put_whole(&*sink, "a", &bytes(1, 12 << 20));
    for error in [sink.list("").unwrap_err(), put_whole(&*sink, "a", &[1]).unwrap_err()]
        .into_iter()
        .chain(long.err())
    {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let text = error.to_string();
        assert!(text.contains("in s3://bucket-of-nobody: there is no such bucket"), "{text}");
    }
    assert_eq!(sink.open("a").err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn what_the_client_is_told_is_looked_at() {
    let place = place();
    let mut wrong = options(place.server.address());
    set(&mut wrong, "AWS_TIMEOUT", "soon");
    let error = open_sink_with("s3://bucket", &wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("look at the variables"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let place = place();
    let sink = place.sink();
    let address = place.server.address();
    drop(place.server);
    // Until the port is closed, what comes is cut off.
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let words = &["cannot be reached"];
    refused(put_whole(&*sink, "a", &[1]), ErrorKind::NotConnected, words);
    refused(sink.list(""), ErrorKind::NotConnected, words);
}

#[test]
fn a_server_that_restarts_in_the_middle_is_gone_on_with() {
    let Place { root, server, proxy } = place();
    let new = bytes(8, 30 << 20);
    let sink = open_sink_with("s3://bucket/logs", &options(proxy.address())).unwrap();
    let mut put = sink.put("a").unwrap();
    let (head, tail) = new.split_at(17 << 20);
    put.write(head).unwrap();
    drop(server);
    let server = Server::start(root.path()).unwrap();
    proxy.lead_to(server.address());
    put.write(tail).unwrap();
    put.finish().unwrap();
    let place = Place { root, server, proxy };
    assert!(place.bytes("a") == new);
}

#[test]
fn when_the_answer_to_the_last_request_is_lost_it_is_whole_or_not_there() {
    let place = place();
    let old = old(&place);
    let new = bytes(9, 12 << 20);
    for times in [1, FOR_EVER] {
        place.proxy.spoil(&["POST", "uploadId"], Fault::LoseAnswer, times);
        let finished = put_whole(&*place.through_proxy(), "a", &new);
        let came = place.bytes("a");
        assert!(came == new || (finished.is_err() && came == old), "{finished:?}");
        assert!(finished.is_ok() || finished.is_err_and(|it| it.to_string().contains("put `a`")));
        place.proxy.heal();
    }
}

#[test]
fn a_good_status_with_an_error_in_it_is_an_error() {
    let place = place();
    let old = old(&place);
    let words = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
    place.proxy.spoil(&["POST", "uploadId"], Fault::Answer(200, words), FOR_EVER);
    let put = put_whole(&*place.through_proxy(), "a", &bytes(10, 12 << 20));
    refused(put, ErrorKind::Other, &["put `a`", "InternalError"]);
    assert!(place.bytes("a") == old);
    assert_eq!(place.parts(), 0);
}

#[test]
fn who_drops_a_put_leaves_no_parts() {
    let place = place();
    let sink = place.sink();
    let mut put = sink.put("a").unwrap();
    put.write(&bytes(11, 22 << 20)).unwrap();
    assert!(place.parts() >= 1);
    drop(put);
    assert_eq!(place.parts(), 0);
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn it_may_be_called_and_dropped_inside_another_runtime() {
    let place = place();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let sink = place.sink();
        put_whole(&*sink, "a", &bytes(12, 12 << 20)).unwrap();
        assert!(read_whole(&*sink.open("a").unwrap(), 1 << 30).unwrap() == bytes(12, 12 << 20));
        let mut put = sink.put("b").unwrap();
        put.write(&bytes(13, 12 << 20)).unwrap();
        drop(sink);
        drop(put);
    });
    assert_eq!(place.names(), ["a"]);
}
