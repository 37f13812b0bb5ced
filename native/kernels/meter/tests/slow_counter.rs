//! A counter that moves more rarely than it is read.

mod support;

use support::{JOULE, MILLISECOND, VirtualMeter, one_package_tree};
use swift_meter::simulate::Numbers;

/// Let `from` to `to` pass with a reading every 10 ms, whatever happens meanwhile.
fn read_until(meter: &mut VirtualMeter, to: u64) {
    while meter.now_ns < to {
        let next = (meter.now_ns / (10 * MILLISECOND) + 1) * 10 * MILLISECOND;
        let step = next.min(to) - meter.now_ns;
        meter.pass(step, &[0]);
        if meter.now_ns == next {
            meter.sample();
        }
    }
}

#[test]
fn a_leap_at_the_end_of_each_phase_is_that_phases_energy() {
    let mut meter = VirtualMeter::new(one_package_tree("leap"));
    let mut numbers = Numbers::new(3);
    for _ in 0..120 {
        // Nobody for up to 60 ms, then a phase of 30 ms, whose joule the counter shows at its end.
        let start = meter.now_ns + numbers.below(60 * MILLISECOND);
        read_until(&mut meter, start);
        let phase = meter.begin("hot", 0, start);
        read_until(&mut meter, start + 30 * MILLISECOND);
        meter.tree.zones[0].total += JOULE;
        meter.tree.zones[0].show();
        meter.end(phase, meter.now_ns);
    }
    let end = meter.now_ns + 700 * MILLISECOND;
    read_until(&mut meter, end);
    meter.book.refit_all(&meter.paths);
    let (total, hot) = (meter.total(), meter.credited("phase/hot"));
    assert_eq!(total, 120 * JOULE);
    assert!(hot > total * 9 / 10, "{hot} of {total}: the rest went to time in which nothing ran");
}

#[test]
fn readings_between_two_moves_are_no_samples() {
    let mut meter = VirtualMeter::new(one_package_tree("rest"));
    let phase = meter.begin("steady", 0, 0);
    for _ in 0..50 {
        for _ in 0..4 {
            meter.run(5 * MILLISECOND, &[0]);
        }
        meter.pass(5 * MILLISECOND, &[0]);
        meter.tree.zones[0].total += JOULE;
        meter.tree.zones[0].show();
        meter.sample();
    }
    meter.end(phase, 50 * 25 * MILLISECOND);
    let intervals = meter.book.samples.len();
    assert!((50..=53).contains(&intervals), "{intervals} intervals of 50 moves");
    // Nothing more comes: the rest becomes an interval without energy, and the phase is settled.
    assert!(!meter.book.is_settled(meter.now_ns));
    meter.run(600 * MILLISECOND, &[0]);
    assert!(meter.book.is_settled(50 * 25 * MILLISECOND));
    assert_eq!(meter.energy(phase), 50 * JOULE);
    assert_eq!(meter.total(), 50 * JOULE);
}
