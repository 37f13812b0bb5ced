//! The ledger over time adds up to the ledger.

mod support;

use support::{FakeTree, INTEL_UNIT, folder};
use swift_meter::journal::verify::read_state;
use swift_meter::series::{SeriesOptions, series};
use swift_meter::simulate::segment::{SegmentOptions, write_segment};
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

#[test]
fn buckets_and_samples_add_up_to_the_totals() {
    let root = folder("series");
    let (_, total) = write_segment(&root, &SegmentOptions { samples: 900, ..SegmentOptions::default() }).unwrap();
    let shown = series(&root, &SeriesOptions { buckets: 30, ..SeriesOptions::default() }).unwrap();
    assert!(shown.bucket_ms >= 2900 && shown.bucket_ms <= 3200, "{}", shown.bucket_ms);
    assert_eq!(shown.sources.len(), 1);
    assert_eq!(shown.sources[0].samples.last().unwrap().1, total.to_string());
    assert!(shown.sources[0].samples.is_sorted());
    let sum: u128 =
        shown.accounts.iter().flat_map(|class| &class.nanojoules).map(|text| text.parse::<u128>().unwrap()).sum();
    assert_eq!(sum, total);
    assert_eq!(shown.accounts.len(), 3);
    assert_eq!(shown.accounts[0].account, "idle/train/epoch:*/forward");
    // 90 s at an even rate: no bucket is empty, none holds it all.
    for bucket in 0..29 {
        let energy: u128 = shown.accounts.iter().map(|class| class.nanojoules[bucket].parse::<u128>().unwrap()).sum();
        assert!(energy > total / 60 && energy < total / 15, "{bucket}: {energy} of {total}");
    }
    let refused = series(&root, &SeriesOptions { buckets: 0, ..SeriesOptions::default() });
    assert_eq!(refused.unwrap_err().code, "ERR_LEDGER_OPTION");
    let refused = series(&root, &SeriesOptions { rank: 7, ..SeriesOptions::default() });
    assert_eq!(refused.unwrap_err().code, "ERR_LEDGER_EMPTY");
}

#[test]
fn a_resumed_run_goes_on_where_it_was() {
    let (directory, mut tree) = (folder("series-resume"), FakeTree::new("series-tree"));
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    for epoch in 0..3 {
        let mut meter = Meter::open(&MeterOptions {
            directory: directory.to_path_buf(),
            run_id: "run".to_owned(),
            sample_period_ms: 10,
            commit_ms: 20,
            idle_seconds: 0.0,
            exclusive: true,
            powercap_root: Some(tree.root.to_path_buf()),
            sync: false,
            ..MeterOptions::default()
        })
        .unwrap();
        let path = meter.intern(&format!("train/epoch:{epoch}")).unwrap();
        let token = meter.declare(path, 0).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        mark_now(token, Edge::Begin);
        std::thread::sleep(std::time::Duration::from_millis(60));
        tree.zones[0].total += 6_000_000_000;
        tree.zones[0].show();
        mark_now(token, Edge::End);
        meter.close().unwrap();
    }
    let shown = series(&directory, &SeriesOptions::default()).unwrap();
    let state = read_state(&directory, 0).unwrap();
    let package = shown.sources.iter().find(|source| source.source.starts_with("rapl")).unwrap();
    assert_eq!(package.samples.last().unwrap().1, "18000000000");
    let classes: Vec<&str> = shown.accounts.iter().map(|class| class.account.as_str()).collect();
    assert!(classes.contains(&"phase/train/epoch:*") && !classes.contains(&"phase/train/epoch:0"), "{classes:?}");
    let sum: u128 =
        shown.accounts.iter().flat_map(|class| &class.nanojoules).map(|text| text.parse::<u128>().unwrap()).sum();
    assert_eq!(sum, state.entries.iter().map(|entry| entry.nanojoules).sum::<u128>());
    assert!(shown.accounts.iter().any(|class| class.measured) && shown.accounts.iter().any(|class| !class.measured));
}
