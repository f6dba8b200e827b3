//! The pieces of the write and read path, each alone. `siding bench` has the whole, beside the
//! floor of the machine.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use siding::disk::MemoryDisk;
use siding::{Log, Options};
use siding_wal::format::{Kind, RecordHeader, Seed, decode_record};
use siding_wal::{Lsn, Result};
use std::hint::black_box;
use std::sync::Arc;

const RECORD: usize = 256;

/// A log in memory: what is measured is the code, and no disk.
fn in_memory() -> (MemoryDisk, Log) {
    let disk = MemoryDisk::new();
    let log = open(&disk).unwrap();
    (disk, log)
}

fn open(disk: &MemoryDisk) -> Result<Log> {
    Options::new().segment_size(16 << 20).open_on(Arc::new(disk.clone()))?.finish()
}

fn records(c: &mut Criterion) {
    let (id, payload) = ([7; 16], [5; RECORD]);
    let seed = Seed::new(&id, 1);
    let lsn = Lsn::new(4096);
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Bytes(RECORD as u64));
    group.bench_function("encode", |b| {
        b.iter(|| RecordHeader::of_log(Kind::Data, black_box(&payload)).encode(seed, lsn));
    });
    let mut bytes = RecordHeader::of_log(Kind::Data, &payload).encode(seed, lsn).to_vec();
    bytes.extend_from_slice(&payload);
    group.bench_function("decode", |b| {
        b.iter(|| decode_record(black_box(&bytes), seed, lsn).unwrap());
    });
    group.finish();
}

fn appends(c: &mut Criterion) {
    let (_disk, log) = in_memory();
    let payload = [5; RECORD];
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    let mut unit = log.begin().unwrap();
    let mut count = 0_u32;
    group.bench_function("256", |b| {
        b.iter(|| {
            unit.append(black_box(&payload)).unwrap();
            count += 1;
            // So that the log, which lives in memory here, stays small.
            if count.is_multiple_of(10_000) {
                std::mem::replace(&mut unit, log.begin().unwrap()).commit().unwrap();
                log.redo_from(log.positions().durable).unwrap();
                log.keypoint().unwrap();
            }
        });
    });
    group.bench_function("commit in memory", |b| {
        b.iter(|| log.write(black_box(&payload)).unwrap());
        log.redo_from(log.positions().durable).unwrap();
        log.keypoint().unwrap();
    });
    drop(unit);
    group.finish();
}

fn keypoints(c: &mut Criterion) {
    let (_disk, log) = in_memory();
    let mut units = Vec::new();
    for _ in 0..1_000 {
        let mut unit = log.begin().unwrap();
        unit.append(&[1; 16]).unwrap();
        units.push(unit);
    }
    c.bench_function("keypoint of 1000 units", |b| b.iter(|| log.keypoint().unwrap()));
}

fn restart(c: &mut Criterion) {
    let (disk, log) = in_memory();
    let mut unit = log.begin().unwrap();
    for _ in 0..50_000 {
        unit.append(&[5; RECORD]).unwrap();
    }
    unit.commit().unwrap();
    log.abandon();
    let mut group = c.benchmark_group("restart");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(50_000 * (RECORD as u64 + 32)));
    group.bench_function("open and redo", |b| {
        b.iter_batched(
            || disk.clone(),
            |disk| {
                let recovery = Options::new().open_on(Arc::new(disk)).unwrap();
                let mut seen = 0_u64;
                let mut committed = recovery.committed().unwrap();
                while committed.next().unwrap().is_some() {
                    seen += 1;
                }
                assert_eq!(seen, 50_000);
                recovery.abandon();
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, records, appends, keypoints, restart);
criterion_main!(benches);
