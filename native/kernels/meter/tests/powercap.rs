//! Powercap trees as machines show them: moduli, silent zones, zones that go away, clocks that jump, sleep.

mod support;

use support::{FakeTree, INTEL_UNIT, JOULE, SECOND, VirtualMeter, discover_in};
use swift_meter::source::{Scope, SourceState};

/// 2⁻¹⁶ J, as the kernel truncates it.
const AMD_UNIT: u128 = 15_258;

/// Whole microjoules are all that powercap shows.
const MICROJOULE: u128 = 1000;

#[test]
fn every_modulus_wraps_exactly() {
    for (name, unit) in [("intel", INTEL_UNIT), ("amd", AMD_UNIT), ("dram", 15_300), ("one-joule", JOULE)] {
        let mut tree = FakeTree::new(&format!("modulus-{name}"));
        tree.zone("intel-rapl:0", "package-0", unit, (unit << 32) - 7 * JOULE);
        let mut meter = VirtualMeter::new(tree);
        for _ in 0..4 {
            meter.run(SECOND, &[5]);
        }
        assert!(meter.total().abs_diff(20 * JOULE) <= MICROJOULE, "{name}: {}", meter.total());
    }
}

#[test]
fn a_platform_zone_of_one_joule_a_count_is_shown_and_never_added() {
    let mut tree = FakeTree::new("psys-unit");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    tree.zone("intel-rapl:1", "psys", JOULE, 0);
    let found = discover_in(&tree.root);
    let psys = found.descriptors.iter().find(|source| source.scope == Scope::Platform).unwrap();
    assert_eq!(psys.state, SourceState::ShownOnly);
    assert_eq!(psys.modulus_nanojoules, Some(JOULE << 32));
    let mut meter = VirtualMeter::new(tree);
    for _ in 0..10 {
        meter.run(SECOND, &[20, 35]);
    }
    assert_eq!(meter.total(), 200 * JOULE);
}

#[test]
fn an_amd_package_at_400_watts_wraps_in_164_seconds_and_ten_seconds_are_always_enough() {
    let mut tree = FakeTree::new("amd-bound");
    tree.zone("intel-rapl:0", "package-0", AMD_UNIT, 0);
    let mut meter = VirtualMeter::new(tree);
    for _ in 0..100 {
        meter.run(10 * SECOND, &[400]);
    }
    assert!(meter.total().abs_diff(400_000 * JOULE) <= 8 * MICROJOULE, "{}", meter.total());
    assert!(meter.book.events.is_empty());
    // Silent for longer than a turn: an interval that holds the truth, not a number.
    meter.run(170 * SECOND, &[400]);
    assert_eq!(meter.book.events.last().unwrap().code, "WARN_ENERGY_IMPUTED_GAP");
    let gap = meter.credited("gap");
    assert!(gap < 170 * 400 * JOULE && gap > 0);
}

#[test]
fn a_zone_that_goes_away_takes_nothing_from_the_others() {
    let mut tree = FakeTree::new("vanish");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    tree.zone("intel-rapl:1", "package-1", INTEL_UNIT, 0);
    let mut meter = VirtualMeter::new(tree);
    meter.run(SECOND, &[10, 10]);
    for _ in 0..12 {
        meter.pass(SECOND, &[10, 10]);
        meter.tree.zones[1].break_once();
        meter.sample();
    }
    assert_eq!(meter.total(), 140 * JOULE);
    assert_eq!(meter.book.events[0].code, "ERR_ENERGY_SOURCE_LOST");
    assert!(meter.book.events[0].message.contains("intel-rapl:1"));
}

#[test]
fn an_unreadable_zone_is_unavailable_with_what_would_help() {
    let mut tree = FakeTree::new("unreadable");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let energy = tree.root.join("intel-rapl:0/energy_uj");
    std::fs::remove_file(&energy).unwrap();
    let found = discover_in(&tree.root);
    assert_eq!(found.descriptors[0].state, SourceState::Unavailable);
    assert!(found.descriptors[0].reason.contains("energy_uj"));
    assert!(found.open.iter().all(|source| !source.descriptor.is_measured()), "a model stands in, and says so");
    // A superuser reads everything, so only others can see the permission's text.
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(&energy, "1\n").unwrap();
    std::fs::set_permissions(&energy, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&energy).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    assert!(discover_in(&tree.root).descriptors[0].reason.contains("sudo chmod a+r"));
}

#[test]
fn a_wall_clock_that_is_set_changes_no_joule() {
    let mut tree = FakeTree::new("clock-step");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let mut meter = VirtualMeter::new(tree);
    let phase = meter.begin("train", 0, 0);
    meter.run(SECOND, &[50]);
    meter.wall_ms = 3_600_000;
    meter.run(SECOND, &[50]);
    meter.wall_ms = 0;
    meter.run(SECOND, &[50]);
    meter.end(phase, 3 * SECOND);
    meter.run(SECOND, &[50]);
    assert_eq!(meter.energy(phase), 150 * JOULE);
    let codes: Vec<_> = meter.book.events.iter().map(|event| event.code.as_str()).collect();
    assert_eq!(codes, ["WARN_ENERGY_CLOCK_STEP"; 2]);
    assert!(meter.book.gaps.is_empty());
}

#[test]
fn what_counters_did_while_the_machine_slept_is_no_phases_energy() {
    let mut tree = FakeTree::new("sleep");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let mut meter = VirtualMeter::new(tree);
    let phase = meter.begin("train", 0, 0);
    meter.run(SECOND, &[50]);
    meter.sleep(3600 * SECOND, 1);
    meter.run(SECOND, &[50]);
    meter.run(SECOND, &[50]);
    meter.end(phase, 3 * SECOND);
    meter.run(SECOND, &[50]);
    assert_eq!(meter.energy(phase), 100 * JOULE);
    assert_eq!(meter.book.gaps.len(), 1);
    assert_eq!(meter.book.events.iter().filter(|event| event.code == "WARN_ENERGY_SUSPENDED").count(), 1);
}
