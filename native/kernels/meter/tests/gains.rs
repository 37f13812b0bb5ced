//! Energy over time as the journal has it: sums that hold over resumes, rework and cuts.

mod support;

use std::collections::BTreeMap;

use support::{folder, one_package_tree, record};
use swift_meter::Resume;
use swift_meter::journal::folder::segments;
use swift_meter::journal::gains::{GainSeries, gains};
use swift_meter::journal::state::{LedgerState, Snapshot};
use swift_meter::journal::verify::read_state;

#[test]
fn gains_add_up_to_the_balances_also_over_rework_and_a_cut() {
    let sums = |series: &GainSeries| {
        let mut sums: BTreeMap<(String, String), i128> = BTreeMap::new();
        let moved = series.parts.iter().flat_map(|part| &part.moved);
        for gain in moved.chain(series.points.iter().flat_map(|point| &point.gains)) {
            let key = (series.sources[gain.source].clone(), series.accounts[gain.account].clone());
            *sums.entry(key).or_default() += gain.nanojoules.parse::<i128>().unwrap();
        }
        sums.retain(|_, nanojoules| *nanojoules != 0);
        sums
    };
    let balances = |state: &LedgerState| -> BTreeMap<(String, String), i128> {
        let entries = state.entries.iter().filter(|entry| entry.nanojoules != 0);
        entries.map(|entry| ((entry.source.clone(), entry.account.clone()), entry.nanojoules as i128)).collect()
    };

    let directory = folder("gains");
    let mut tree = one_package_tree("gains-tree");
    let checkpoint = Snapshot::from(&record(&directory, &mut tree, Resume::Auto, 100));
    record(&directory, &mut tree, Resume::Auto, 50);
    record(&directory, &mut tree, Resume::Checkpoint(checkpoint), 70);
    let state = read_state(&directory, 0).unwrap();
    for limit in [1, 3, 1000] {
        let read = gains(&directory, 0, limit).unwrap();
        assert_eq!(sums(&read), balances(&state), "limit {limit}");
        assert_eq!((read.run_id.as_str(), read.parts.len()), ("run", 3));
        assert!(read.points.len() <= limit + 3, "{} stretches", read.points.len());
        assert!(read.parts.iter().all(|part| part.closed));
        assert!(read.points.iter().all(|point| point.start_unix_ms <= point.end_unix_ms));
    }
    let rework: i128 = sums(&gains(&directory, 0, 10).unwrap())
        .iter()
        .filter(|((_, account), _)| account.starts_with("rework"))
        .map(|(_, nanojoules)| nanojoules)
        .sum();
    assert!(rework > 0, "the second part's phases were lost and done again");

    // A last segment cut anywhere gives the series of what is still committed.
    let path = segments(&directory).unwrap().last().unwrap().path.clone();
    let bytes = std::fs::read(&path).unwrap();
    for cut in (bytes.len() / 2..bytes.len()).step_by(7) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let read = gains(&directory, 0, 1000).unwrap();
        assert!(read.parts.get(2).is_none_or(|part| !part.closed), "cut at {cut}");
        if read.points.iter().any(|point| point.part == 2) {
            assert_eq!(sums(&read), balances(&read_state(&directory, 0).unwrap()), "cut at {cut}");
        }
    }
    let empty = folder("gains-empty");
    assert_eq!(gains(&empty, 0, 10).unwrap_err().code, "ERR_LEDGER_EMPTY");
}
