//! The journal against cuts, flipped bits and lies.

mod support;

use std::path::{Path, PathBuf};

use support::{folder, one_package_tree as tree, options, record, wait_for};
use swift_meter::journal::folder::segments;
use swift_meter::journal::replay::replay;
use swift_meter::journal::state::LedgerState;
use swift_meter::journal::verify::{read_state, verify};
use swift_meter::{Edge, Meter, MeterOptions, Resume, mark_now};

fn only_segment(directory: &Path) -> (PathBuf, Vec<u8>) {
    let names = segments(directory).unwrap();
    let path = names.last().unwrap().path.clone();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn a_closed_ledger_reads_back_as_it_was() {
    let (directory, mut tree) = (folder("read-back"), tree("read-back-tree"));
    let closed = record(&directory, &mut tree, Resume::Auto, 100);
    let read = read_state(&directory, 0).unwrap();
    let sorted = |state: &LedgerState| {
        let mut entries = state.entries.clone();
        entries.sort_by_key(|entry| (entry.source.clone(), entry.account.clone()));
        entries
    };
    assert_eq!(sorted(&read), sorted(&closed));
    assert_eq!((read.sequence, &read.chain_hash), (closed.sequence, &closed.chain_hash));
    let measured: u128 =
        read.entries.iter().filter(|entry| entry.source.starts_with("rapl")).map(|entry| entry.nanojoules).sum();
    assert_eq!(measured, 10_000_000_000, "100 W for 4 x 25 ms");
    let check = verify(&directory).unwrap();
    assert!(check.ok && check.commits >= 3 && check.torn_bytes == 0, "{check:?}");
}

#[test]
fn every_cut_falls_back_to_a_commit() {
    let (directory, mut tree) = (folder("cuts"), tree("cuts-tree"));
    record(&directory, &mut tree, Resume::Auto, 80);
    let (_, bytes) = only_segment(&directory);
    let whole = replay(&bytes, "whole").unwrap();
    let mut sequences = Vec::new();
    for cut in 0..bytes.len() {
        let Ok(part) = replay(&bytes[..cut], "cut") else {
            assert!(sequences.is_empty(), "a readable header stays readable");
            continue;
        };
        assert!(part.findings.is_empty(), "a cut at {cut} is a torn tail, not damage: {:?}", part.findings);
        assert!(part.state.sequence <= whole.state.sequence);
        sequences.push(part.state.sequence);
        if part.commits > 0 {
            let total: u128 = part.state.entries.iter().map(|entry| entry.nanojoules).sum();
            assert!(total <= whole.state.entries.iter().map(|entry| entry.nanojoules).sum());
        }
    }
    assert!(sequences.is_sorted());
}

#[test]
fn every_flipped_bit_is_detected_or_harmless() {
    let (directory, mut tree) = (folder("flips"), tree("flips-tree"));
    record(&directory, &mut tree, Resume::Auto, 80);
    let (_, bytes) = only_segment(&directory);
    // States that are true: those at each commit.
    let mut states: Vec<LedgerState> = Vec::new();
    for cut in 0..=bytes.len() {
        if let Ok(part) = replay(&bytes[..cut], "cut")
            && states.last() != Some(&part.state)
        {
            states.push(part.state);
        }
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(read) = replay(&damaged, "flipped") else { continue };
        assert!(states.contains(&read.state), "bit {bit} changed what the ledger says without being noticed");
        let noticed = !read.findings.is_empty() || read.torn_bytes > 0;
        assert!(noticed, "bit {bit} went unnoticed");
    }
}

#[test]
fn a_resumed_run_continues_its_account_and_its_chain() {
    let (directory, mut tree) = (folder("resume"), tree("resume-tree"));
    let first = record(&directory, &mut tree, Resume::Auto, 100);
    let second = record(&directory, &mut tree, Resume::Auto, 100);
    assert_eq!(second.run_id, first.run_id);
    assert_eq!(second.segment, 2);
    let phase = |state: &LedgerState| state.nanojoules("rapl_powercap:intel-rapl:0", "phase/train/forward");
    assert!(phase(&second) > phase(&first));
    assert_eq!(second.gaps.len(), 1, "the time between the parts is a gap");
    assert!(verify(&directory).unwrap().ok);
    let refused = Meter::open(&MeterOptions { resume: Resume::Never, ..options(&directory, &tree) });
    assert_eq!(refused.err().map(|error| error.code), Some("ERR_LEDGER_EXISTS"));
}

#[test]
fn going_back_to_a_checkpoint_books_the_lost_work_as_rework() {
    let (directory, mut tree) = (folder("rework"), tree("rework-tree"));
    let first = record(&directory, &mut tree, Resume::Auto, 100);
    let snapshot = swift_meter::journal::state::Snapshot::from(&first);
    let lost = record(&directory, &mut tree, Resume::Auto, 60);
    let source = "rapl_powercap:intel-rapl:0";
    let resumed = record(&directory, &mut tree, Resume::Checkpoint(snapshot.clone()), 10);
    let at = |state: &LedgerState, account: &str| state.nanojoules(source, account);
    let lost_work = at(&lost, "phase/train/forward") - at(&first, "phase/train/forward");
    assert!(lost_work > 0);
    assert_eq!(at(&resumed, "rework/train/forward"), lost_work);
    assert!(at(&resumed, "phase/train/forward") > at(&first, "phase/train/forward"));
    assert!(verify(&directory).unwrap().ok, "{:?}", verify(&directory));
    let other = swift_meter::journal::state::Snapshot { run_id: "another".to_owned(), ..snapshot };
    let refused = Meter::open(&MeterOptions { resume: Resume::Checkpoint(other), ..options(&directory, &tree) });
    assert_eq!(refused.err().map(|error| error.code), Some("ERR_LEDGER_SNAPSHOT"));
}

#[test]
fn a_missing_or_exchanged_segment_breaks_the_chain() {
    let (directory, mut tree) = (folder("missing"), tree("missing-tree"));
    for _ in 0..3 {
        record(&directory, &mut tree, Resume::Auto, 50);
    }
    let names = segments(&directory).unwrap();
    let middle = std::fs::read(&names[1].path).unwrap();
    std::fs::remove_file(&names[1].path).unwrap();
    let check = verify(&directory).unwrap();
    assert!(check.findings.iter().any(|finding| finding.invariant == "chain"), "{check:?}");
    let other = folder("missing-other");
    record(&other, &mut tree, Resume::Auto, 50);
    let stranger = std::fs::read(&segments(&other).unwrap()[0].path).unwrap();
    std::fs::write(&names[1].path, stranger).unwrap();
    assert!(!verify(&directory).unwrap().ok);
    std::fs::write(&names[1].path, middle).unwrap();
    assert!(verify(&directory).unwrap().ok);
}

#[test]
fn two_writers_in_one_folder_are_refused() {
    let (directory, tree) = (folder("two"), tree("two-tree"));
    let _first = Meter::open(&options(&directory, &tree)).unwrap();
    let second = Meter::open(&options(&directory, &tree));
    assert_eq!(second.err().map(|error| error.code), Some("ERR_LEDGER_LOCKED"));
}

#[test]
fn a_long_run_goes_on_in_new_segments() {
    let (directory, mut tree) = (folder("rotate"), tree("rotate-tree"));
    let small = MeterOptions { segment_bytes: 4096, ..options(&directory, &tree) };
    let mut meter = Meter::open(&small).unwrap();
    let path = meter.intern("train/forward").unwrap();
    let opened = swift_meter::monotonic_nanoseconds();
    wait_for("a first reading", || meter.is_settled(opened));
    // A busy machine's sampler commits more rarely: as many phases as three segments take, and at least forty.
    let mut phases = 0;
    while phases < 40 || (phases < 2000 && segments(&directory).unwrap().len() < 3) {
        phases += 1;
        let token = meter.declare(path, 0).unwrap();
        mark_now(token, Edge::Begin);
        std::thread::sleep(std::time::Duration::from_millis(12));
        tree.zones[0].total += 1_200_000_000;
        tree.zones[0].show();
        mark_now(token, Edge::End);
    }
    meter.close().unwrap();
    let closed = meter.state();
    assert!(segments(&directory).unwrap().len() >= 3, "{:?}", segments(&directory));
    let check = verify(&directory).unwrap();
    assert!(check.ok && check.torn_bytes == 0, "{check:?}");
    let read = read_state(&directory, 0).unwrap();
    assert_eq!(read.segment, closed.segment);
    let measured: u128 =
        read.entries.iter().filter(|entry| entry.source.starts_with("rapl")).map(|entry| entry.nanojoules).sum();
    assert_eq!(measured, phases * 1_200_000_000, "1.2 J for each phase, once");
    let merged = swift_meter::merge::merge(&[directory.to_path_buf()]).unwrap();
    assert_eq!(
        merged.state.entries.iter().map(|entry| entry.nanojoules).sum::<u128>(),
        read.entries.iter().map(|entry| entry.nanojoules).sum::<u128>()
    );
    assert!(merged.notes.is_empty(), "{:?}", merged.notes);
    record(&directory, &mut tree, Resume::Auto, 10);
    assert!(verify(&directory).unwrap().ok);
}

#[test]
fn a_disk_that_refuses_is_an_error_and_a_commit_that_counts_later() {
    let directory = folder("refuse");
    let path = directory.join("gone").join("segment.swj");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = swift_meter::journal::writer::JournalWriter::create(&path, true).unwrap();
    // The next segment's folder is missing: neither its bytes nor those behind them are durable.
    let next = directory.join("missing").join("next.swj");
    writer.append(vec![1; 100], 1);
    writer.rotate(next.clone());
    writer.append(vec![2; 50], 2);
    let until = |done: &dyn Fn(&swift_meter::journal::writer::DiskState) -> bool| {
        wait_for("that state of the disk", || done(&writer.state()));
    };
    until(&|disk| disk.failure.as_ref().is_some_and(|failure| failure.contains("next.swj")) && disk.durable == 1);
    std::fs::create_dir_all(next.parent().unwrap()).unwrap();
    writer.append(vec![3; 25], 3);
    until(&|disk| disk.failure.is_none() && disk.durable == 3);
    writer.finish();
    assert_eq!(std::fs::read(&next).unwrap().len(), 75);
    assert_eq!(std::fs::read(&path).unwrap().len(), 100);
}
