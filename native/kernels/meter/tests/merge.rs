//! Ledgers of ranks and hosts as one: a set union, whatever the order and the copies.

mod support;

use std::path::{Path, PathBuf};

use support::{FakeTree, INTEL_UNIT, folder, wait_for};
use swift_meter::journal::folder::segments;
use swift_meter::journal::verify::read_state;
use swift_meter::merge::{Merged, merge};
use swift_meter::simulate::Numbers;
use swift_meter::simulate::segment::{SegmentOptions, segment, write_segment};
use swift_meter::{Edge, Meter, MeterOptions, Resume, mark_now};

fn total(merged: &Merged) -> u128 {
    merged.state.entries.iter().map(|entry| entry.nanojoules).sum()
}

fn codes(merged: &Merged) -> Vec<&str> {
    merged.notes.iter().map(|note| note.code.as_str()).collect()
}

fn shuffled(paths: &[PathBuf], seed: u64) -> Vec<PathBuf> {
    let mut numbers = Numbers::new(seed);
    let mut paths = paths.to_vec();
    for last in (1..paths.len()).rev() {
        paths.swap(last, numbers.below(last as u64 + 1) as usize);
    }
    paths
}

#[test]
fn shuffled_and_duplicated_segments_merge_to_the_same_bytes() {
    let root = folder("merge-shuffle");
    let mut sum = 0;
    let mut folders = Vec::new();
    for number in 0..60_u64 {
        let place = root.join(format!("part-{number}"));
        std::fs::create_dir_all(&place).unwrap();
        let options = SegmentOptions {
            host: format!("host{}", number / 4),
            rank: number as u32,
            source: format!("gpu-{number}"),
            samples: 37,
            seed: number,
            ..SegmentOptions::default()
        };
        let (path, nanojoules) = write_segment(&place, &options).unwrap();
        sum += nanojoules;
        // A copy, and for some a copy that a crash cut short.
        let copy = root.join(format!("copy-{number}"));
        std::fs::create_dir_all(&copy).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let cut = if number % 3 == 0 { bytes.len() * 2 / 3 } else { bytes.len() };
        std::fs::write(copy.join(path.file_name().unwrap()), &bytes[..cut]).unwrap();
        folders.extend([place, copy]);
    }
    let first = merge(&folders).unwrap();
    assert_eq!(total(&first), sum);
    assert_eq!(first.ranks.len(), 60);
    let text = serde_json::to_string(&first).unwrap();
    for seed in 0..5 {
        assert_eq!(serde_json::to_string(&merge(&shuffled(&folders, seed)).unwrap()).unwrap(), text);
    }
    // Without the copies it is the same ledger.
    let once: Vec<PathBuf> = folders.iter().step_by(2).cloned().collect();
    assert_eq!(serde_json::to_string(&merge(&once).unwrap()).unwrap(), text);
}

#[test]
fn two_values_for_one_record_are_an_error_that_shows_both() {
    let root = folder("merge-conflict");
    let place = |name: &str| {
        let place = root.join(name);
        std::fs::create_dir_all(&place).unwrap();
        place
    };
    let (one, other) = (place("one"), place("other"));
    write_segment(&one, &SegmentOptions::default()).unwrap();
    write_segment(&other, &SegmentOptions { seed: 9, ..SegmentOptions::default() }).unwrap();
    let messages: Vec<String> = [[&one, &other], [&other, &one]]
        .map(|folders| {
            let error = merge(&folders.map(Clone::clone)).unwrap_err();
            assert_eq!(error.code, "ERR_LEDGER_MERGE_CONFLICT");
            error.message
        })
        .into();
    assert_eq!(messages[0], messages[1]);
    assert_eq!(messages[0].matches("samples of").count(), 2, "{}", messages[0]);
    assert_eq!(merge(&[root.join("nowhere")]).unwrap_err().code, "ERR_LEDGER_EMPTY");
}

#[test]
fn a_damaged_copy_does_not_win_over_a_shorter_good_one() {
    let root = folder("merge-damage");
    let (good, bad) = (root.join("good"), root.join("bad"));
    for place in [&good, &bad] {
        std::fs::create_dir_all(place).unwrap();
    }
    let (bytes, sum) = segment(&SegmentOptions { samples: 100, ..SegmentOptions::default() });
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    damaged.extend_from_slice(b"torn tail of another write");
    let name = "joules-host-boot-0-000001.swj";
    std::fs::write(good.join(name), &bytes).unwrap();
    std::fs::write(bad.join(name), &damaged).unwrap();
    assert_eq!(total(&merge(&[bad.clone(), good.clone()]).unwrap()), sum);
    let alone = merge(&[bad]).unwrap();
    assert!(total(&alone) < sum);
    assert_eq!(codes(&alone), ["ERR_LEDGER_DAMAGED"]);
}

#[test]
fn one_device_read_by_eight_ranks_counts_once_and_says_so() {
    let root = folder("merge-shared");
    let mut sums = Vec::new();
    for rank in 0..8 {
        let options = SegmentOptions { rank, source: "package".to_owned(), seed: 3, ..SegmentOptions::default() };
        sums.push(write_segment(&root, &options).unwrap().1);
    }
    let merged = merge(&[root.to_path_buf()]).unwrap();
    assert_eq!(total(&merged), sums[0]);
    assert_eq!(codes(&merged), ["WARN_LEDGER_MERGE_SHARED_SOURCE"; 7]);
    // On two hosts it is two devices.
    let options =
        SegmentOptions { rank: 8, host: "other".to_owned(), source: "package".to_owned(), ..SegmentOptions::default() };
    let more = write_segment(&root, &options).unwrap().1;
    let merged = merge(&[root.to_path_buf()]).unwrap();
    assert_eq!(total(&merged), sums[0] + more);
    assert_eq!(
        merged.state.sources.iter().map(|source| source.id.as_str()).collect::<Vec<_>>(),
        ["host/package", "other/package"]
    );
}

#[test]
fn clocks_apart_are_noted_and_refused_for_aligned_plots() {
    let root = folder("merge-clocks");
    for (rank, offset) in [(0, 0), (1, 500), (2, 900)] {
        let options = SegmentOptions {
            host: format!("host{rank}"),
            rank,
            clock_offset_ms: Some(offset),
            ..SegmentOptions::default()
        };
        write_segment(&root, &options).unwrap();
        let merged = merge(&[root.to_path_buf()]).unwrap();
        assert_eq!(merged.phase_aligned, offset <= 800);
        assert_eq!(codes(&merged).contains(&"WARN_LEDGER_CLOCK_OFFSET"), offset > 400);
    }
}

fn open(directory: &Path, tree: &FakeTree, rank: u32, resume: Resume) -> Meter {
    Meter::open(&MeterOptions {
        directory: directory.to_owned(),
        run_id: "run".to_owned(),
        rank,
        resume,
        sample_period_ms: 10,
        idle_seconds: 0.0,
        exclusive: true,
        powercap_root: Some(tree.root.to_path_buf()),
        sync: false,
        ..MeterOptions::default()
    })
    .unwrap()
}

fn work(meter: &mut Meter, tree: &mut FakeTree, watts: u128) {
    let path = meter.intern("train").unwrap();
    let opened = swift_meter::monotonic_nanoseconds();
    wait_for("a first reading", || meter.is_settled(opened));
    let token = meter.declare(path, 0).unwrap();
    mark_now(token, Edge::Begin);
    std::thread::sleep(std::time::Duration::from_millis(40));
    tree.zones[0].total += watts * 40_000_000;
    tree.zones[0].show();
    mark_now(token, Edge::End);
}

#[test]
fn eight_ranks_on_one_host_count_its_processor_once() {
    let (directory, mut tree) = (folder("merge-host"), FakeTree::new("merge-host-tree"));
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let mut meters: Vec<Meter> = (0..8).map(|rank| open(&directory, &tree, rank, Resume::Auto)).collect();
    let elsewhere = meters[5].state();
    assert!(elsewhere.sources.iter().all(|source| source.reason.contains("another rank")), "{:?}", elsewhere.sources);
    for meter in &mut meters {
        work(meter, &mut tree, 100);
    }
    meters.iter_mut().for_each(|meter| meter.close().unwrap());
    let merged = merge(&[directory.to_path_buf()]).unwrap();
    let package: u128 = merged
        .state
        .entries
        .iter()
        .filter(|entry| entry.source.starts_with("rapl"))
        .map(|entry| entry.nanojoules)
        .sum();
    assert_eq!(package, 8 * 4_000_000_000, "8 x 100 W for 40 ms, once");
    assert!(codes(&merged).is_empty(), "{:?}", merged.notes);
    assert_eq!(merged.ranks.len(), 8);
}

#[test]
fn parts_and_forks_of_a_run_are_not_counted_twice() {
    let (directory, mut tree) = (folder("merge-parts"), FakeTree::new("merge-parts-tree"));
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let part = |directory: &Path, tree: &mut FakeTree, resume| {
        let mut meter = open(directory, tree, 0, resume);
        work(&mut meter, tree, 50);
        meter.close().unwrap();
        meter.state()
    };
    let measured = |entries: &[swift_meter::journal::state::StoredEntry]| -> u128 {
        entries.iter().filter(|entry| entry.source.starts_with("rapl")).map(|entry| entry.nanojoules).sum()
    };
    let first = part(&directory, &mut tree, Resume::Auto);
    let snapshot = swift_meter::journal::state::Snapshot::from(&first);
    part(&directory, &mut tree, Resume::Auto);
    part(&directory, &mut tree, Resume::Checkpoint(snapshot.clone()));
    let merged = merge(&[directory.to_path_buf()]).unwrap();
    let read = read_state(&directory, 0).unwrap();
    let amounts = |entries: &[swift_meter::journal::state::StoredEntry]| -> Vec<(String, String, u128)> {
        entries.iter().map(|entry| (entry.source.clone(), entry.account.clone(), entry.nanojoules)).collect()
    };
    assert_eq!(amounts(&merged.state.entries), amounts(&read.entries), "merging one ledger is reading it");
    assert!(read.entries.iter().any(|entry| entry.account == "rework/train"));
    // The checkpoint continued in a folder of its own: four parts of work, four times the energy.
    let fork = folder("merge-fork");
    part(&fork, &mut tree, Resume::Checkpoint(snapshot));
    let merged = merge(&[fork.to_path_buf(), directory.to_path_buf()]).unwrap();
    assert_eq!(measured(&merged.state.entries), 4 * 2_000_000_000);
    assert!(codes(&merged).is_empty(), "{:?}", merged.notes);
    // Without the part it continues, the fork's header vouches for it.
    let alone = merge(&[fork.to_path_buf()]).unwrap();
    assert_eq!(measured(&alone.state.entries), 2 * 2_000_000_000);
    assert_eq!(codes(&alone), ["WARN_LEDGER_MERGE_PART_MISSING"]);
    assert_eq!(segments(&fork).unwrap().len(), 1);
}
