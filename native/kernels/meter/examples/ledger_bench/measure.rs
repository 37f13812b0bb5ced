//! The measurements.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use swift_meter::clock::{process_cpu_nanoseconds, thread_cpu_nanoseconds};
use swift_meter::mark_ring::Edge;
use swift_meter::merge::merge;
use swift_meter::registry::{Seat, mark_now};
use swift_meter::simulate::conservation::conserve;
use swift_meter::simulate::replay::{CounterOptions, ReplayResult, replay};
use swift_meter::simulate::segment::{SegmentOptions, segment, write_segment};
use swift_meter::simulate::trace::{TRAINING_STEP, TraceOptions};
use swift_meter::{Meter, MeterOptions};

use crate::{Figure, gpu, overhead, support, vectors};

/// The layout with the slowest ramps, counted with the first.
const SLOW_RAMPS: usize = 4;

/// What makes a layout different from the first.
type Change = dyn Fn(&mut TraceOptions, &mut CounterOptions);

/// What can be measured alone.
pub const PARTS: [&str; 8] = ["conservation", "vectors", "classes", "marks", "bytes", "load", "overhead", "merge"];

/// The named parts; `quick` for a look.
pub fn all(quick: bool, parts: &[&str]) -> Vec<Figure> {
    let one = |part: &&str| match *part {
        "conservation" => vec![conservation(if quick { 2000 } else { 100_000 })],
        "vectors" => vec![conformance()],
        "classes" => class_sums(if quick { 3 } else { 12 }),
        "marks" => marks(if quick { 20_000 } else { 500_000 }),
        "bytes" => vec![bytes_per_sample()],
        "load" => sampler_load(if quick { 2 } else { 20 }),
        "overhead" => overhead::overhead(if quick { 10 } else { 85 }),
        "merge" => merging(if quick { 100 } else { 1000 }),
        other => unreachable!("{other} is not a part"),
    };
    parts.iter().flat_map(one).collect()
}

fn conservation(trees: u64) -> Figure {
    let result = conserve(trees, 1);
    let detail = format!(
        "{trees} random phase trees, {} intervals, {} wraps, {} failed reads, {} silences, {} overlaps; {} broken invariants",
        result.intervals, result.wraps, result.failures, result.gaps, result.overlaps, result.broken
    );
    let error = result.largest_error as f64 + result.broken as f64;
    Figure::new("conservation error", "nJ", error, Some(0.0), detail)
}

fn conformance() -> Figure {
    let cases: [(&str, fn()); 10] = [
        ("V1", vectors::v1_a_failed_read_is_no_sample),
        ("V2", vectors::v2_memory_stands_beside_the_package_and_cores_are_inside_it),
        ("V3", || {
            vectors::v3_three_wraps_read_often_enough_are_exact();
            vectors::v3_three_wraps_in_one_silence_are_an_interval_that_holds_the_truth();
        }),
        ("V4", vectors::v4_two_tasks_at_constant_power_get_their_time),
        ("V5", vectors::v5_a_cold_first_task_pays_for_itself_only),
        ("V6", vectors::v6_devices_add_up),
        ("V7", vectors::v7_one_socket_wraps_and_the_others_do_not_notice),
        ("V8", vectors::v8_five_joules_across_a_wrap_are_five_joules),
        ("V9", gpu::v9_mig_instances_share_one_counter_that_counts_once),
        ("V10", gpu::v10_the_mask_decides_whose_energy_it_is),
    ];
    let failed: Vec<&str> =
        cases.iter().filter(|(_, case)| catch_unwind(AssertUnwindSafe(case)).is_err()).map(|(name, _)| *name).collect();
    let detail = if failed.is_empty() { "V1 to V10".to_owned() } else { format!("failed: {}", failed.join(", ")) };
    Figure::floor("failure vectors passed", "of 10", 10.0 - failed.len() as f64, 10.0, detail)
}

fn class_sums(seeds: u64) -> Vec<Figure> {
    let run = |change: &Change| -> Vec<ReplayResult> {
        let one = |seed| {
            let (mut trace, mut counter) =
                (TraceOptions { seed, ..TraceOptions::default() }, CounterOptions::default());
            change(&mut trace, &mut counter);
            replay(&TRAINING_STEP, &trace, &counter)
        };
        (0..seeds).map(one).collect()
    };
    let main = run(&|_, _| {});
    let mean = |class: usize, of: &dyn Fn(&swift_meter::simulate::replay::ClassResult) -> f64| {
        main.iter().map(|result| of(&result.classes[class])).sum::<f64>() * 100.0 / seeds as f64
    };
    let names =
        ["class sum, 50 ms phases", "class sum, 280 ms phases", "class sum, 550 ms phases", "class sum, 120 ms phases"];
    let limits = [4.0, 0.5, 0.5, 1.0];
    let mut figures: Vec<Figure> = (0..4)
        .map(|class| {
            let plain = mean(class, &|result| result.plain_error());
            let detail =
                format!("mean of {seeds} seeds, counter every 100 ms, steps of 1 s, 120 s; plain reads {plain:.1} %");
            Figure::new(names[class], "%", mean(class, &|result| result.error()), Some(limits[class]), detail)
        })
        .collect();
    let layouts: [&Change; 7] = [
        &|trace, _| trace.step_ms = 5000.0,
        &|trace, _| trace.step_ms = 200.0,
        &|trace, _| trace.noise_every_ms = 10.0,
        &|trace, _| trace.ramp_ms = 50.0,
        &|trace, _| trace.length_jitter = 0.0,
        &|trace, counter| (trace.step_ms, counter.period_ms) = (200.0, 20.0),
        &|trace, _| trace.ramp_ms = 1.0,
    ];
    let mut by_layout = vec![main.clone()];
    by_layout.extend(layouts.iter().map(|layout| run(layout)));
    let inside = |results: &[ReplayResult], class: usize| {
        let inside = results.iter().filter(|result| result.classes[class].is_covered()).count();
        inside as f64 * 100.0 / results.len() as f64
    };
    let width = |results: &[ReplayResult], class: usize| {
        let widths = results.iter().map(|result| result.classes[class].half_width / result.classes[class].truth);
        widths.sum::<f64>() * 100.0 / results.len() as f64
    };
    let all: Vec<ReplayResult> = by_layout.iter().flatten().cloned().collect();
    for (name, results) in [
        ("truth in interval, worst class of all", &all),
        ("truth in interval, worst at ramps of 50 ms", &by_layout[SLOW_RAMPS]),
    ] {
        let worst = (0..4).map(|class| inside(results, class)).fold(100.0, f64::min);
        let widths = [0, 3, 1, 2].map(|class| {
            let length = ["50", "280", "550", "120"][class];
            format!("{length} ms ± {:.2} %", width(results, class))
        });
        let detail = format!("{} replays; mean half-widths {}", results.len(), widths.join(", "));
        figures.push(Figure::floor(name, "%", worst, 90.0, detail));
    }
    for (class, name) in
        [(0, "half-width, 50 ms phases"), (3, "half-width, 120 ms phases"), (1, "half-width, 280 ms phases")]
    {
        let detail = "95 % interval of the class sum, counter every 100 ms, steps of 1 s, ramps of 10 ms".to_owned();
        figures.push(Figure::new(name, "%", width(&main, class), None, detail));
    }
    let results: Vec<ReplayResult> = by_layout.into_iter().flatten().collect();
    let (asked, inside) = results.iter().fold((0, 0), |(a, b), result| (a + result.spans.0, b + result.spans.1));
    let classes = results.iter().flat_map(|result| &result.classes);
    let covered = classes.clone().filter(|class| class.is_covered()).count();
    let detail =
        format!("{asked} single phases on 8 layouts, ramps of 1 to 50 ms, steps locked to the counter among them");
    figures.push(Figure::floor(
        "truth in interval, single phases",
        "%",
        inside as f64 * 100.0 / asked as f64,
        95.0,
        detail,
    ));
    let detail = format!("{} class sums on the same layouts", classes.clone().count());
    let share = covered as f64 * 100.0 / classes.count() as f64;
    figures.push(Figure::floor("truth in interval, class sums", "%", share, 95.0, detail));
    let worst = results.iter().map(|result| result.conservation_error).max().unwrap_or(0);
    figures.push(Figure::new("conservation on replay", "nJ", worst as f64, Some(0.0), "the same replays".to_owned()));
    figures
}

fn marks(count: usize) -> Vec<Figure> {
    let seat = Seat::take().expect("a seat is free");
    let mut drained = Vec::new();
    let mut times: Vec<u64> = (0..count)
        .map(|index| {
            let token = seat.token();
            let start = Instant::now();
            mark_now(token, if index % 2 == 0 { Edge::Begin } else { Edge::End });
            let elapsed = start.elapsed().as_nanos() as u64;
            // As the sampler does ten times in a second.
            if index % 1000 == 0 {
                drained.clear();
                seat.ring().drain(&mut drained);
            }
            elapsed
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64;
    let detail = || format!("{count} marks one by one, two clock readings of the measurement included");
    vec![
        Figure::new("phase mark p50", "ns", at(0.5), Some(500.0), detail()),
        Figure::new("phase mark p99", "ns", at(0.99), Some(2000.0), detail()),
    ]
}

fn bytes_per_sample() -> Figure {
    let samples = 10_000;
    let (bytes, _) = segment(&SegmentOptions { samples, ..SegmentOptions::default() });
    let detail = "one source at 10 Hz, three accounts, a commit with its hash every second, header included".to_owned();
    Figure::new("bytes per sample", "B", bytes.len() as f64 / samples as f64, Some(32.0), detail)
}

/// CPU time of every thread of this process by its name, from the scheduler's own sum in nanoseconds.
pub fn cpu_by_thread() -> std::collections::BTreeMap<String, u64> {
    let mut found = std::collections::BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return found };
    for task in tasks.filter_map(|task| Some(task.ok()?.path())) {
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        let sched = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let nanoseconds = sched.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        *found.entry(name.trim().to_owned()).or_default() += nanoseconds;
    }
    found
}

/// Processor time of the sampler's and the journal's threads while a program marks 200 phases a second: once a program that
/// computes between its marks, as training does, and once one that sleeps, where each sample also wakes the processor.
fn sampler_load(seconds: u64) -> Vec<Figure> {
    vec![
        one_load("sampler's load, program computing", seconds, |until| {
            let mut waste = 0_u64;
            while Instant::now() < until {
                waste = std::hint::black_box(waste.wrapping_mul(3) + 1);
            }
        }),
        one_load("sampler's load, program asleep", seconds, |until| {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }),
    ]
}

fn one_load(name: &'static str, seconds: u64, spend_until: impl Fn(Instant)) -> Figure {
    let mut tree = support::FakeTree::new("bench-load");
    tree.zone("intel-rapl:0", "package-0", support::INTEL_UNIT, 0);
    let directory = support::folder("bench-load-ledger");
    let mut meter = Meter::open(&MeterOptions {
        directory: directory.to_path_buf(),
        run_id: "bench".to_owned(),
        idle_seconds: 0.0,
        powercap_root: Some(tree.root.to_path_buf()),
        ..MeterOptions::default()
    })
    .expect("the ledger opens");
    let paths = ["train/data", "train/forward", "train/backward"].map(|path| meter.intern(path).expect("a good path"));
    let others = || process_cpu_nanoseconds() - thread_cpu_nanoseconds();
    let (start, before, threads_before) = (Instant::now(), others(), cpu_by_thread());
    let mut step = 0;
    while start.elapsed().as_secs() < seconds {
        let token = meter.declare(paths[step % 3], 0).expect("the ledger is open");
        mark_now(token, Edge::Begin);
        spend_until(start + std::time::Duration::from_millis(5) * (step as u32 + 1));
        mark_now(token, Edge::End);
        tree.zones[0].total += 200_000_000 * (1 + step as u128 % 3);
        tree.zones[0].show();
        step += 1;
    }
    let elapsed = start.elapsed().as_nanos() as f64;
    let (after, threads_after) = (others(), cpu_by_thread());
    let share = |nanoseconds: u64| nanoseconds as f64 * 100.0 / elapsed;
    let of_thread = |name: &str| {
        let at = |threads: &std::collections::BTreeMap<String, u64>| threads.get(name).copied().unwrap_or(0);
        share(at(&threads_after).saturating_sub(at(&threads_before)))
    };
    meter.close().expect("the ledger closes");
    let detail = format!(
        "{seconds} s at 10 Hz, a commit on disk every second, {step} phases of three classes; the sampler's thread {:.3} %, the journal's {:.3} %",
        of_thread("swift-meter"),
        of_thread("swift-journal")
    );
    Figure::new(name, "% of a core", share(after - before), Some(0.5), detail)
}

fn merging(segments: u64) -> Vec<Figure> {
    let root = support::folder("bench-merge");
    let mut folders = Vec::new();
    let mut expected = 0;
    for number in 0..segments {
        for copy in ["a", "b"] {
            let place = root.join(format!("{copy}{number}"));
            std::fs::create_dir_all(&place).expect("the temporary folder is writable");
            let options = SegmentOptions {
                host: format!("host{}", number / 8),
                rank: number as u32,
                source: format!("gpu-{}", number % 8),
                seed: number,
                ..SegmentOptions::default()
            };
            let (_, total) = write_segment(&place, &options).expect("the segment is written");
            expected += if copy == "a" { total } else { 0 };
            folders.push(place);
        }
    }
    let mut texts = Vec::new();
    let mut best = f64::INFINITY;
    let mut numbers = swift_meter::simulate::Numbers::new(5);
    for _ in 0..3 {
        for last in (1..folders.len()).rev() {
            folders.swap(last, numbers.below(last as u64 + 1) as usize);
        }
        let start = Instant::now();
        let merged = merge(&folders).expect("the segments merge");
        best = best.min(start.elapsed().as_secs_f64());
        let total: u128 = merged.state.entries.iter().map(|entry| entry.nanojoules).sum();
        assert_eq!(total, expected, "a merge made or lost energy");
        texts.push(serde_json::to_string(&merged).expect("a merge is text"));
    }
    let entries = segments as f64 * 1000.0;
    let identical = texts.iter().all(|text| *text == texts[0]);
    let detail = format!("{segments} segments of 1,000 samples, each twice, shuffled; best of three");
    vec![
        Figure::new("merge of a million entries", "s", best * 1e6 / entries, Some(1.0), detail.clone()),
        Figure::floor("merge byte-identical", "", f64::from(u8::from(identical)), 1.0, detail),
    ]
}
