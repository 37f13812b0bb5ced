//! The failure vectors as functions that panic where a vector fails: for the test and for the benchmark.
#![allow(dead_code, reason = "the benchmark runs the numbered ones only")]

use crate::support::{FakeTree, INTEL_UNIT, JOULE, MILLISECOND, SECOND, VirtualMeter, discover_in};
use swift_meter::source::{Scope, SourceState};

fn one_package(name: &str, start: u128) -> VirtualMeter {
    let mut tree = FakeTree::new(name);
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, start);
    VirtualMeter::new(tree)
}

/// Whole microjoules are all that powercap shows.
const MICROJOULE: u128 = 1000;

pub fn v1_a_failed_read_is_no_sample() {
    let mut meter = one_package("v1", 0);
    for second in 0..45 {
        if second == 20 {
            meter.pass(SECOND, &[100]);
            meter.tree.zones[0].break_once();
            meter.sample();
        } else {
            meter.run(SECOND, &[100]);
        }
    }
    assert_eq!(meter.total(), 4500 * JOULE);
    assert!(meter.book.events.is_empty());
}

pub fn v2_memory_stands_beside_the_package_and_cores_are_inside_it() {
    let mut tree = FakeTree::new("v2");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    tree.zone("intel-rapl:0:0", "core", INTEL_UNIT, 0);
    tree.zone("intel-rapl:0:1", "dram", 15_300, 0);
    tree.zone("intel-rapl:1", "psys", INTEL_UNIT, 0);
    tree.zone("intel-rapl-mmio:0", "package-0", INTEL_UNIT, 0);
    let states: Vec<_> = discover_in(&tree.root)
        .descriptors
        .into_iter()
        .map(|source| (source.label, source.scope, source.state))
        .collect();
    assert_eq!(
        states,
        [
            ("package-0".to_owned(), Scope::Package, SourceState::Alias),
            ("package-0".to_owned(), Scope::Package, SourceState::Included),
            ("core".to_owned(), Scope::Core, SourceState::Covered),
            ("dram".to_owned(), Scope::Dram, SourceState::Included),
            ("psys".to_owned(), Scope::Platform, SourceState::ShownOnly),
        ]
    );
    let mut meter = VirtualMeter::new(tree);
    for _ in 0..10 {
        meter.run(SECOND, &[10, 7, 5, 40, 10]);
    }
    assert_eq!(meter.total(), 150 * JOULE);
}

pub fn v3_three_wraps_read_often_enough_are_exact() {
    let mut meter = one_package("v3", 0);
    for _ in 0..7874 {
        meter.run(SECOND, &[100]);
    }
    meter.run(SECOND * 3 / 10, &[100]);
    // The register shows whole microjoules and its modulus is not one: each wrap may hide a microjoule.
    assert!(meter.total().abs_diff(787_430 * JOULE) <= MICROJOULE, "{}", meter.total());
}

pub fn v3_three_wraps_in_one_silence_are_an_interval_that_holds_the_truth() {
    let mut meter = one_package("v3-gap", 0);
    meter.run(7_874_300 * MILLISECOND, &[100]);
    let gap = meter.credited("gap");
    assert_eq!(gap, meter.total());
    let account = meter.book.accounts.balance(0, 0);
    let truth = 787_430 * JOULE;
    assert!(account.nanojoules <= truth && truth <= account.nanojoules + account.above + MICROJOULE);
    assert_eq!(meter.book.events[0].code, "WARN_ENERGY_IMPUTED_GAP");
}

pub fn v4_two_tasks_at_constant_power_get_their_time() {
    let mut meter = one_package("v4", 123 * JOULE);
    let first = meter.begin("task/a", 0, 1_234 * MILLISECOND);
    meter.end(first, 4_321 * MILLISECOND);
    let second = meter.begin("task/b", 0, 4_400 * MILLISECOND);
    meter.end(second, 6_999 * MILLISECOND);
    for _ in 0..70 {
        meter.run(100 * MILLISECOND, &[100]);
    }
    assert_eq!(meter.total(), 700 * JOULE);
    assert_eq!(meter.energy(first), (4_321 - 1_234) * JOULE / 10);
    assert_eq!(meter.energy(second), (6_999 - 4_400) * JOULE / 10);
    assert_eq!(meter.credited("phase/task"), meter.energy(first) + meter.energy(second));
}

pub fn v5_a_cold_first_task_pays_for_itself_only() {
    let mut meter = one_package("v5", 0);
    // Start-up at full power before the task.
    for _ in 0..12 {
        meter.run(100 * MILLISECOND, &[180]);
    }
    let task = meter.begin("task", 0, 1_200 * MILLISECOND);
    for _ in 0..10 {
        meter.run(100 * MILLISECOND, &[100]);
    }
    meter.end(task, 2_200 * MILLISECOND);
    meter.run(100 * MILLISECOND, &[20]);
    assert_eq!(meter.energy(task), 100 * JOULE);
}

pub fn v6_devices_add_up() {
    let mut tree = FakeTree::new("v6");
    for index in 0..8 {
        tree.zone(&format!("intel-rapl:{index}"), &format!("package-{index}"), INTEL_UNIT, index * 7 * JOULE);
    }
    let mut meter = VirtualMeter::new(tree);
    for _ in 0..3600 {
        meter.run(SECOND, &[100; 8]);
    }
    // 0.8 kWh; one microjoule of rounding for each of the eight wraps at most.
    assert!(meter.total().abs_diff(8 * 360_000 * JOULE) <= 16 * MICROJOULE, "{}", meter.total());
}

pub fn v7_one_socket_wraps_and_the_others_do_not_notice() {
    let mut tree = FakeTree::new("v7");
    tree.zone("intel-rapl:0", "package-0-die-0", INTEL_UNIT, 0);
    tree.zone("intel-rapl:1", "package-1-die-0", INTEL_UNIT, (INTEL_UNIT << 32) - 30 * JOULE);
    let mut meter = VirtualMeter::new(tree);
    for _ in 0..10 {
        meter.run(SECOND, &[50, 50]);
    }
    assert!(meter.total().abs_diff(1000 * JOULE) <= MICROJOULE, "{}", meter.total());
    assert_eq!(meter.book.accounts.source_total(0), 500 * JOULE);
}

pub fn v8_five_joules_across_a_wrap_are_five_joules() {
    let mut meter = one_package("v8", (INTEL_UNIT << 32) - 2 * JOULE);
    let task = meter.begin("task", 0, 0);
    meter.run(100 * MILLISECOND, &[50]);
    meter.end(task, 100 * MILLISECOND);
    meter.run(100 * MILLISECOND, &[0]);
    assert!(meter.energy(task).abs_diff(5 * JOULE) <= MICROJOULE, "{}", meter.energy(task));
}

pub fn a_reset_and_a_spike_are_gaps_not_joules() {
    let mut tree = FakeTree::new("spike");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 1000 * JOULE);
    // No maximum: a decrease cannot be a wrap.
    std::fs::remove_file(tree.root.join("intel-rapl:0/max_energy_range_uj")).unwrap();
    let mut meter = VirtualMeter::new(tree);
    meter.run(SECOND, &[100]);
    meter.tree.zones[0].total = 5 * JOULE;
    meter.run(SECOND, &[100]);
    meter.run(SECOND, &[100]);
    meter.tree.zones[0].total += 900_000 * JOULE;
    meter.run(SECOND, &[100]);
    meter.run(SECOND, &[100]);
    assert_eq!(meter.total(), 300 * JOULE);
    let codes: Vec<_> = meter.book.events.iter().map(|event| event.code.as_str()).collect();
    assert_eq!(codes, ["WARN_ENERGY_COUNTER_RESET", "WARN_ENERGY_QUARANTINED"]);
    assert_eq!(meter.book.gaps[0].duration_nanoseconds, u128::from(2 * SECOND));
}

pub fn a_source_that_stays_silent_is_reported_lost_and_its_energy_comes_back_with_it() {
    let mut meter = one_package("lost", 0);
    for _ in 0..12 {
        meter.pass(SECOND, &[10]);
        meter.tree.zones[0].break_once();
        meter.sample();
    }
    assert_eq!(meter.book.events[0].code, "ERR_ENERGY_SOURCE_LOST");
    assert!(meter.book.is_settled(meter.now_ns), "nothing waits for a lost source");
    meter.run(SECOND, &[10]);
    assert_eq!(meter.total(), 130 * JOULE);
}

pub fn the_truth_lies_in_the_interval_when_power_jumps_at_an_edge() {
    let mut meter = one_package("edge", 0);
    meter.run(100 * MILLISECOND, &[50]);
    // 550 W from 130 ms to 330 ms, read every 100 ms: time alone would smear the neighbour's 50 W into the phase.
    let phase = meter.begin("hot", 0, 130 * MILLISECOND);
    let child = meter.begin("hot/inner", 0, 210 * MILLISECOND);
    meter.end(child, 290 * MILLISECOND);
    meter.end(phase, 330 * MILLISECOND);
    meter.pass(30 * MILLISECOND, &[50]);
    meter.pass(70 * MILLISECOND, &[550]);
    meter.sample();
    meter.run(100 * MILLISECOND, &[550]);
    meter.pass(30 * MILLISECOND, &[550]);
    meter.pass(70 * MILLISECOND, &[50]);
    meter.sample();
    meter.run(100 * MILLISECOND, &[50]);
    let truth = 110 * JOULE;
    let instance = meter.book.timeline.instance(phase).unwrap();
    let (energy, edge) = (instance.amounts[0].active, instance.amounts[0].edge);
    assert!(energy.abs_diff(truth) <= edge, "{energy} +- {edge}, truth {truth}");
    assert!(edge > 0 && edge < truth / 4);
}
