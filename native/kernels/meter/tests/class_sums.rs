//! Class sums and single phases against the exact integral of simulated power, through a counter that moves rarely.

use swift_meter::simulate::replay::{CounterOptions, ReplayResult, replay};
use swift_meter::simulate::trace::{TRAINING_STEP, TraceOptions};

const SEEDS: u64 = 6;

fn run(step_ms: f64, period_ms: f64, change: impl Fn(&mut TraceOptions)) -> Vec<ReplayResult> {
    let one = |seed| {
        let mut options = TraceOptions { step_ms, seed, ..TraceOptions::default() };
        change(&mut options);
        replay(&TRAINING_STEP, &options, &CounterOptions { period_ms, ..CounterOptions::default() })
    };
    let results: Vec<ReplayResult> = (0..SEEDS).map(one).collect();
    for result in &results {
        assert_eq!(result.conservation_error, 0);
        let stated = result.fit.as_ref().unwrap();
        assert!(stated.condition >= 1.0 && stated.residual_joules > 0.0 && stated.intervals > 100, "{stated:?}");
    }
    results
}

/// Mean error by class in percent.
fn errors(results: &[ReplayResult]) -> [f64; 4] {
    std::array::from_fn(|class| {
        results.iter().map(|result| result.classes[class].error()).sum::<f64>() * 100.0 / results.len() as f64
    })
}

fn covered(results: &[ReplayResult]) -> (f64, f64) {
    let classes = results.iter().flat_map(|result| &result.classes);
    let inside = classes.clone().filter(|class| class.is_covered()).count();
    let (asked, hit) = results.iter().fold((0, 0), |(a, b), result| (a + result.spans.0, b + result.spans.1));
    (inside as f64 / classes.count() as f64, hit as f64 / asked as f64)
}

#[test]
fn a_second_of_steps_through_a_counter_of_100_ms() {
    let results = run(1000.0, 100.0, |_| {});
    let [data, forward, backward, optimizer] = errors(&results);
    // Phases of 280 and 550 ms, of 120 ms, of 50 ms.
    assert!(forward <= 0.5 && backward <= 0.5, "{forward} {backward}");
    assert!(optimizer <= 1.0, "{optimizer}");
    assert!(data <= 4.0, "{data}");
    let plain: f64 = results.iter().map(|result| result.classes[0].plain_error()).sum::<f64>() / SEEDS as f64;
    assert!(plain > 0.3, "plain reads are off by {plain}: the replay is too easy");
    let (_, spans) = covered(&results);
    assert!(spans >= 0.95, "{spans}");
    let width = results.iter().map(|result| result.span_width).sum::<f64>() / SEEDS as f64;
    assert!(width < 0.15, "intervals of {width} say nothing");
}

#[test]
fn the_stated_interval_holds_the_truth_on_every_layout() {
    let mut results = Vec::new();
    results.extend(run(5000.0, 100.0, |options| options.seconds = 240.0));
    results.extend(run(1000.0, 100.0, |options| options.noise_every_ms = 10.0));
    results.extend(run(1000.0, 100.0, |options| options.ramp_ms = 50.0));
    results.extend(run(200.0, 100.0, |_| {}));
    results.extend(run(200.0, 20.0, |_| {}));
    let (classes, spans) = covered(&results);
    assert!(classes >= 0.95, "classes {classes}");
    assert!(spans >= 0.95, "spans {spans}");
}

#[test]
fn slow_ramps_widen_the_interval_of_every_class_until_it_holds_the_truth() {
    let results: Vec<ReplayResult> = (0..2)
        .flat_map(|part| {
            run(1000.0, 100.0, move |options| {
                options.ramp_ms = 50.0;
                options.seed += part * SEEDS;
            })
        })
        .collect();
    for class in 0..4 {
        let of = || results.iter().map(|result| &result.classes[class]);
        let inside = of().filter(|class| class.is_covered()).count();
        let width = of().map(|class| class.half_width / class.truth).sum::<f64>() / results.len() as f64;
        assert!(inside * 10 >= results.len() * 9, "class {class}: {inside} of {}, ± {width}", results.len());
        // Phases of 50, 280, 550 and 120 ms.
        assert!(width < [0.15, 0.02, 0.01, 0.03][class], "class {class}: ± {width} says nothing");
    }
}

#[test]
fn steps_locked_to_the_counter_are_told_apart_by_nobody_and_it_says_so() {
    let results = run(1000.0, 100.0, |options| options.length_jitter = 0.0);
    assert!(results.iter().any(|result| result.fit.as_ref().unwrap().condition > 150.0));
    for fit in results.iter().filter_map(|result| result.fit.as_ref()) {
        assert_eq!(fit.condition > 150.0, !fit.merged.is_empty(), "{fit:?}");
    }
    let (classes, spans) = covered(&results);
    assert!(classes >= 0.95 && spans >= 0.95, "{classes} {spans}");
    let free = run(1013.0, 100.0, |options| options.length_jitter = 0.0);
    assert!(free.iter().all(|result| result.fit.as_ref().unwrap().merged.is_empty()));
}
