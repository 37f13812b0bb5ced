//! Random phase trees over wrapping, failing and silent counters: what must never happen to a nanojoule.

use super::Numbers;
use super::replay::simulated_source;
use crate::accounts::Balance;
use crate::book::{Book, Tick};
use crate::counter::WrappingCounter;
use crate::mark_ring::{Edge, MarkRecord};
use crate::path_table::{PathId, PathTable};
use crate::source::RawReading;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// What was tried, and the worst that came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConservationResult {
    /// Phase trees.
    pub trees: u64,
    /// Counter intervals.
    pub intervals: u64,
    /// Times a counter turned.
    pub wraps: u64,
    /// Failed reads.
    pub failures: u64,
    /// Silences in which a counter may have turned unseen.
    pub gaps: u64,
    /// Phases of which several were open at once.
    pub overlaps: u64,
    /// Largest |accounts − counter|, nanojoules.
    pub largest_error: u128,
    /// Trees in which an invariant did not hold, or a truth lay outside its interval.
    pub broken: u64,
}

/// Phases of the random trees.
pub const PATHS: [&str; 7] = [
    "load",
    "train",
    "train/epoch:0",
    "train/epoch:0/forward",
    "train/epoch:0/backward",
    "train/epoch:1/forward",
    "eval",
];

struct Counter {
    /// Counts since the machine was built, and at the first good reading.
    total: u128,
    first: Option<u128>,
    modulus: u128,
    most_per_second: u128,
}

/// Run `trees` random trees.
pub fn conserve(trees: u64, seed: u64) -> ConservationResult {
    let mut result = ConservationResult::default();
    let mut paths = PathTable::new();
    let ids: Vec<PathId> = PATHS.iter().filter_map(|path| paths.intern(path).ok()).collect();
    for tree in 0..trees {
        let mut numbers = Numbers::new(seed.wrapping_mul(1_000_003).wrapping_add(tree));
        one_tree(&mut numbers, &ids, &paths, &mut result);
    }
    result
}

fn one_tree(numbers: &mut Numbers, ids: &[PathId], paths: &PathTable, result: &mut ConservationResult) {
    // Watts at most 400: counts of 1 nJ, of 2⁻¹⁴ J, and of 2⁻³² J that never turn.
    let kinds = [
        (EnergyUnit::NANOJOULE, Some(65_532_610_987_000_u128 / 512), 400_000_000_000_u128),
        (EnergyUnit { numerator: 61_035, denominator: 1 }, Some(1 << 24), 6_600_000),
        (EnergyUnit::PERF_RAPL, None, 1_800_000_000_000),
    ];
    let mut counters = Vec::new();
    let mut open = Vec::new();
    for (index, (unit, modulus, most)) in kinds.into_iter().enumerate() {
        open.push(simulated_source(&format!("counter-{index}"), unit, WrappingCounter::new(modulus, Some(most))));
        let total = u128::from(numbers.below(1 << 30));
        counters.push(Counter { total, first: None, modulus: modulus.unwrap_or(u128::MAX), most_per_second: most });
    }
    let (mut book, _) = Book::new(open, numbers.below(2) == 0, 0);
    let mut usage = MachineUsage { cpu_count: 4, ..MachineUsage::default() };
    let (mut now, mut token, mut running) = (0_u64, 0_u64, Vec::<u64>::new());
    let ticks = if numbers.below(40) == 0 { 60 } else { 10 };
    for tick in 0..=ticks {
        // Once in a while nobody reads for minutes.
        let silence = if numbers.below(30) == 0 { 400_000_000_000 } else { 0 };
        let elapsed = 1 + numbers.below(200_000_000) + silence;
        let mut marks = Vec::new();
        for _ in 0..numbers.below(4) {
            let at = now + numbers.below(elapsed);
            if running.is_empty() || numbers.below(2) == 0 {
                token += 1;
                let path = ids[numbers.below(ids.len() as u64) as usize];
                marks.push(MarkRecord::Declare { token, path, track: numbers.below(3) as u32 });
                marks.push(MarkRecord::Mark { token, edge: Edge::Begin, monotonic_ns: at });
                result.overlaps += u64::from(!running.is_empty());
                running.push(token);
            } else {
                let token = running.swap_remove(numbers.below(running.len() as u64) as usize);
                marks.push(MarkRecord::Mark { token, edge: Edge::End, monotonic_ns: at });
            }
        }
        now += elapsed;
        usage.monotonic_ns = now;
        usage.process_cpu_ns += numbers.below(elapsed);
        usage.others_cpu_ns += numbers.below(elapsed);
        let mut readings = Vec::new();
        for (index, counter) in counters.iter_mut().enumerate() {
            let turns = counter.total / counter.modulus;
            counter.total +=
                counter.most_per_second * u128::from(elapsed) / 1_000_000_000 * u128::from(numbers.below(100)) / 100;
            result.wraps += (counter.total / counter.modulus - turns) as u64;
            if tick > 0 && numbers.below(12) == 0 && tick < ticks {
                result.failures += 1;
                readings.push((index, Err("scripted failure".to_owned())));
                continue;
            }
            counter.first.get_or_insert(counter.total);
            readings.push((index, Ok(RawReading::new(now, counter.total % counter.modulus))));
            result.intervals += 1;
        }
        book.ingest(Tick { usage, readings: &readings, marks: &marks, unix_ms: now / 1_000_000, paths });
    }
    if numbers.below(2) == 0 {
        book.refit_all(paths);
    }
    result.trees += 1;
    let gaps = book.events.iter().filter(|event| event.code == "WARN_ENERGY_IMPUTED_GAP").count() as u64;
    result.gaps += gaps;
    let mut broken = book.find_imbalance(paths).is_some();
    for (index, counter) in counters.iter().enumerate() {
        let source = &book.sources[index];
        let credited = book.accounts.source_total(index);
        result.largest_error = result.largest_error.max(credited.abs_diff(source.run_total()));
        let truth = source.unit.cumulative_nanojoules(counter.total - counter.first.unwrap_or(counter.total));
        let above: u128 = book
            .accounts
            .keys()
            .iter()
            .enumerate()
            .filter(|(_, (kind, _))| kind.name() == "gap")
            .map(|(account, _)| book.accounts.balance(index, account as u32))
            .map(|Balance { above, .. }| above)
            .sum();
        if above == 0 {
            result.largest_error = result.largest_error.max(credited.abs_diff(truth));
        }
        broken |= truth < credited || truth > credited + above;
    }
    result.broken += u64::from(broken);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thousand_trees_lose_nothing() {
        let result = conserve(2000, 7);
        assert_eq!((result.largest_error, result.broken), (0, 0), "{result:?}");
        assert!(
            result.wraps > 100 && result.failures > 100 && result.gaps > 100 && result.overlaps > 100,
            "{result:?}"
        );
    }
}
