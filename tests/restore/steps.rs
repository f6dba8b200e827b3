//! Power goes at each step of a restore, and what it reads is damaged: all is restored, and what is
//! in doubt is as was asked; or the directory opens as no log, and says why.

use crate::archive::Entry;
use crate::check::{Backup, expected, reopened};
use crate::driver::{archived, carried_out};
use crate::oracle::{Doubts, Pages, change, oracle};
use crate::support::recover;
use crate::world::{File, World};
use siding::archive::{Plan, Target};
use siding::disk::MemoryDisk;
use siding::sink::{DirectorySink, Sink as _, put_whole, read_whole};
use siding::{Error, ErrorKind, InDoubtPolicy, Kind, Lsn, RestoreOptions, Result, plan_restore};
use siding_sim::disk::{Crash, Fault, Lasts};
use siding_sim::{Rng, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An archived history that ends with units in doubt, and the plan of a restore to its end.
fn doubtful(from: u64, repeats: bool) -> Result<(World, Backup, Plan)> {
    for seed in (from..).filter(|seed| (seed % 2 == 1) == repeats) {
        let (world, backup) = archived(seed)?;
        let plan = plan_restore(&backup.sink, &Target::End.into())?;
        if expected(&world, plan.target)?.1.len() >= 2 {
            return Ok((world, backup, plan));
        }
    }
    unreachable!("seeds do not end");
}

/// What is expected if every unit in doubt was decided.
fn decided(world: &World, to: Lsn, kind: Kind) -> Result<(Pages, Doubts)> {
    let mut records: Vec<Entry> =
        world.records()?.0.into_iter().filter(|it| it.end <= to).collect();
    let doubts = oracle(&records, to, world.repeats).1;
    let prepared = records.iter().filter(|it| it.kind == Kind::Prepare);
    let units: Vec<u64> = prepared
        .filter(|it| {
            let prepare = siding_wal::format::PreparePayload::decode(&it.payload).unwrap();
            doubts.contains_key(&prepare.gid)
        })
        .map(|it| it.unit)
        .collect();
    assert_eq!(units.len(), doubts.len());
    records.extend(units.into_iter().map(|unit| Entry {
        lsn: to,
        end: to,
        kind,
        unit,
        // What was backed out is undone by its program, under repeat history.
        ends: kind == Kind::Commit || !world.repeats,
        undo_next: Lsn::ZERO,
        payload: Vec::new(),
    }));
    Ok(oracle(&records, to, world.repeats))
}

/// What was exported: of each unit, by gid, what it would have changed.
fn exported(sink: &DirectorySink, name: &str) -> Doubts {
    let text = String::from_utf8(read_whole(&*sink.open(name).unwrap(), 1 << 30).unwrap()).unwrap();
    let bytes = |hex: &str| -> Vec<u8> {
        let pairs = (0..hex.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (mut doubts, mut gids) = (Doubts::new(), BTreeMap::new());
    for line in text.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        let unit = field(line, "unit");
        if field(line, "type") == "unit" {
            let gid = bytes(&field(line, "gid_hex"));
            doubts.insert(gid.clone(), Vec::new());
            gids.insert(unit, gid);
        } else {
            assert!(line.contains("\"resource\":7"), "{line}");
            let (page, value, _) = change(&bytes(&field(line, "payload_hex")));
            doubts.get_mut(&gids[&unit]).unwrap().push((page, value));
        }
    }
    doubts
}

/// How units in doubt are decided, whether their effects are exported, and what must come of it.
type Case = (Option<Kind>, bool, (Pages, Doubts));

fn policies(world: &World, to: Lsn) -> Result<Vec<Case>> {
    Ok(vec![
        (None, false, expected(world, to)?),
        (Some(Kind::Commit), false, decided(world, to, Kind::Commit)?),
        (Some(Kind::Abort), false, decided(world, to, Kind::Abort)?),
        (Some(Kind::Abort), true, decided(world, to, Kind::Abort)?),
    ])
}

/// What is wrong with what a power cut left of a restore.
fn look(
    (world, due): (&World, &(Pages, Doubts)),
    left: &SimDisk,
    file: &File,
    done: bool,
) -> Result<()> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Corrupt, what));
    if siding::disk::Disk::list(left).unwrap().is_empty() {
        return if done { wrong("nothing is there".into()) } else { Ok(()) };
    }
    match crate::world::options(world.repeats, file).open_on(Arc::new(left.fork())) {
        Ok(recovery) => recovery.abandon(),
        Err(error) if !done && error.to_string().contains("broken off") => return Ok(()),
        Err(error) => return wrong(format!("done {done}: {error}")),
    }
    reopened(world.repeats, left.clone(), file.clone(), 1, world.incarnation, due).map(drop)
}

/// Each step of a restore whose power goes; then it is done again.
pub(crate) fn at_each_step(repeats: bool) -> Result<()> {
    let (world, backup, plan) = doubtful(if repeats { 1 } else { 0 }, repeats)?;
    for (kind, exports, due) in policies(&world, plan.target)? {
        let out = DirectorySink::new(Arc::new(MemoryDisk::new()));
        let policy = match (kind, exports) {
            (None, _) => InDoubtPolicy::Keep,
            (Some(Kind::Commit), _) => InDoubtPolicy::Commit,
            (_, true) => InDoubtPolicy::Export(&out, "in-doubt.jsonl"),
            _ => InDoubtPolicy::BackOut,
        };
        let options = RestoreOptions::new().in_doubt(policy);
        for cut in 0.. {
            let disk = SimDisk::new(cut);
            disk.cut_at(cut);
            let done = carried_out(&backup.sink, &plan, &disk, &options);
            let mut crashes = vec![Crash::DropAll, Crash::KeepAll];
            crashes.extend((0..3).map(|seed| Crash::Random(cut + seed)));
            for crash in crashes {
                let left = disk.crash(crash);
                // Objects go elsewhere, and are there when the log is.
                look((&world, &due), &left, &backup.pages(), done.is_ok()).map_err(|error| {
                    let what = format!("{policy:?}, call {cut}, {crash:?}: {error}");
                    Error::new(ErrorKind::Corrupt, what)
                })?;
            }
            if let Ok((_, restored)) = &done {
                assert!(cut > 15, "{cut}");
                let outcomes = restored.in_doubt.iter().filter(|it| it.outcome.is_some());
                assert_eq!(outcomes.count() > 0, kind.is_some());
                break;
            }
            // Once more, over what is left.
            let left = disk.crash(Crash::Random(cut));
            let broken_off = left.contents("restoring").is_some();
            if cut % 5 == 3 && broken_off {
                let (file, _) = carried_out(&backup.sink, &plan, &left, &options)?;
                look((&world, &due), &left, &file, true)?;
            }
        }
        if exports {
            assert_eq!(exported(&out, "in-doubt.jsonl"), expected(&world, plan.target)?.1);
        }
    }
    Ok(())
}

#[test]
fn a_power_cut_leaves_a_whole_restore_or_none_that_says_why() -> Result<()> {
    at_each_step(false)?;
    at_each_step(true)
}

/// A call that fails leaves what a power cut there would; the restore can be done again.
#[test]
fn a_failing_call_leaves_a_whole_restore_or_none_that_says_why() -> Result<()> {
    let (world, backup, plan) = doubtful(0, false)?;
    let due = decided(&world, plan.target, Kind::Commit)?;
    let options = RestoreOptions::new().in_doubt(InDoubtPolicy::Commit);
    for (fault, lasts) in [(Fault::Eio, Lasts::Once), (Fault::Enospc, Lasts::ForEver)] {
        let mut failed = 0;
        for call in 0.. {
            let disk = SimDisk::new(call);
            disk.fail(call, fault, lasts);
            let done = carried_out(&backup.sink, &plan, &disk, &options);
            if disk.calls() <= call {
                break;
            }
            failed += u64::from(done.is_err());
            let left = disk.crash(Crash::KeepAll);
            look((&world, &due), &left, &backup.pages(), done.is_ok()).map_err(|error| {
                let what = format!("{fault:?}, call {call}: {error}");
                Error::new(ErrorKind::Corrupt, what)
            })?;
            if left.contents("restoring").is_some() {
                let (file, _) = carried_out(&backup.sink, &plan, &left, &options)?;
                look((&world, &due), &left, &file, true)?;
            }
        }
        assert!(failed > 15, "{fault:?}: {failed}");
    }
    Ok(())
}

#[test]
fn what_is_damaged_is_named_and_restores_nothing() -> Result<()> {
    let (world, backup, plan) = doubtful(0, false)?;
    let mut needed: Vec<String> =
        plan.log.iter().map(|part| part.piece.index.segment_name()).collect();
    needed.extend(plan.objects.iter().chain(&plan.extents).map(|file| file.stored.clone()));
    let mut rng = Rng::new(5);
    for name in &needed {
        let whole = read_whole(&*backup.sink.open(name).unwrap(), 1 << 30).unwrap();
        for round in 0..4 {
            let mut bytes = whole.clone();
            match round {
                0 => bytes.truncate(bytes.len() / 2),
                _ => bytes[usize::try_from(rng.below(whole.len() as u64)).unwrap()] ^= 1,
            }
            put_whole(&backup.sink, name, &bytes).unwrap();
            let disk = SimDisk::new(1);
            let done = carried_out(&backup.sink, &plan, &disk, &RestoreOptions::new());
            let Some(error) = done.err() else {
                // Not every bit of a frame is in what comes out of it, and that is right here.
                assert!(name.ends_with(".zst"), "{name}, round {round}");
                let seen = siding::archive::verify_archive(&backup.sink, &|_| {})?;
                assert!(seen.findings.iter().any(|it| it.0 == *name), "{name}: {seen:?}");
                continue;
            };
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(name.as_str()), "{name}: {error}");
            let refused = recover(&disk).unwrap_err();
            assert!(refused.to_string().contains("broken off"), "{refused}");
        }
        backup.sink.remove(name).unwrap();
        let disk = SimDisk::new(1);
        let error = carried_out(&backup.sink, &plan, &disk, &RestoreOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
        put_whole(&backup.sink, name, &whole).unwrap();
    }
    // Something else in the directory is not touched.
    let disk = SimDisk::new(1);
    siding::disk::Disk::create(&disk, "diary").unwrap();
    let error = carried_out(&backup.sink, &plan, &disk, &RestoreOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let (file, _) = carried_out(&backup.sink, &plan, &SimDisk::new(2), &RestoreOptions::new())?;
    assert_eq!(file.pages().len(), world.file.pages().len());
    Ok(())
}
