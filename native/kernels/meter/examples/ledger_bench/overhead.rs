//! What metering adds to the time of a step: one process, one fixed step on all processors, and samples that are taken or not
//! by chance.
//!
//! A machine's speed drifts by more within a second than a sample costs, so whole blocks with and without a sampler cannot
//! show a thousandth. Time is cut into windows of ten steps and 50 ms. At the start of each a coin decides whether the
//! sampler is woken, so that it samples ten times a second as it does on its own, and commits as often; the first four
//! steps of the window are then held against the other six, between which no machine drifts far. The difference of the two kinds of windows is what a sample costs the program in time, caches
//! and waiting for each other included; windows without one are the control. Windows in which a hypervisor or another
//! process took time are left out, and counted. Means are trimmed by a tenth at each end, intervals are bootstraps.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swift_meter::busy::BusyReader;
use swift_meter::clock::{process_cpu_nanoseconds, thread_cpu_nanoseconds};
use swift_meter::simulate::Numbers;
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

use crate::measure::cpu_by_thread;
use crate::{Figure, support};

/// Length of a step, which is one phase.
const STEP: Duration = Duration::from_millis(5);

/// Steps of a window, and those of them in which a sample that its start asks for shows.
const WINDOW: usize = 10;
const TOUCHED: usize = 4;

/// Others and the hypervisor may take so much of a window: kernel threads always do a little, metered or not.
const OTHERS_ALLOWED: f64 = 0.02;

/// The same arithmetic on every processor, begun and ended together as a training step is.
struct Crew {
    turn: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    rounds: usize,
}

fn work(rounds: usize) {
    let mut lanes = [1.0_f32; 64];
    for _ in 0..rounds {
        lanes.iter_mut().for_each(|lane| *lane = lane.mul_add(0.999_999, 1e-6));
    }
    black_box(lanes);
}

impl Crew {
    fn new(rounds: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (turn, done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::default());
        let threads = (1..processors)
            .map(|_| {
                let (turn, done, stop) = (Arc::clone(&turn), Arc::clone(&done), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut seen = 0;
                    loop {
                        while turn.load(Ordering::Acquire) == seen {
                            if AtomicBool::load(&stop, Ordering::Relaxed) {
                                return;
                            }
                            spin_loop();
                        }
                        seen += 1;
                        work(rounds);
                        done.fetch_add(1, Ordering::Release);
                    }
                })
            })
            .collect();
        Self { turn, done, stop, threads, rounds }
    }

    fn part(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Release);
        work(self.rounds);
        while self.done.load(Ordering::Acquire) < self.threads.len() {
            spin_loop();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("the crew only computes"));
    }
}

/// Clock ticks that other guests of the hypervisor took.
fn stolen_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

/// CPU time of the threads that metering needs.
fn metering_nanoseconds() -> u64 {
    let threads = cpu_by_thread();
    ["swift-meter", "swift-journal"].iter().filter_map(|name| threads.get(*name)).sum()
}

/// Nanoseconds of one phase: its declaration and both marks.
fn phase_nanoseconds(meter: &Meter, path: u32) -> f64 {
    let count = 2000;
    let start = Instant::now();
    for _ in 0..count {
        let token = meter.declare(path, 0).expect("the ledger is open");
        mark_now(token, Edge::Begin);
        mark_now(token, Edge::End);
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// One window: seconds by which its first steps together were longer than so many others, and what others took of the
/// machine.
struct Seen {
    longer: f64,
    elapsed: f64,
    taken: f64,
}

fn step(crew: &Crew, marked: Option<(&Meter, u32)>) -> f64 {
    let start = Instant::now();
    let token = marked.map(|(meter, path)| meter.declare(path, 0).expect("the ledger is open"));
    token.into_iter().for_each(|token| mark_now(token, Edge::Begin));
    crew.part();
    token.into_iter().for_each(|token| mark_now(token, Edge::End));
    start.elapsed().as_secs_f64()
}

fn window(crew: &Crew, meter: &Meter, paths: &[u32], busy: &BusyReader, sampled: bool) -> Seen {
    let taken = || (busy.read().unwrap_or(0), process_cpu_nanoseconds(), stolen_ticks());
    let (busy_before, own_before, stolen_before) = taken();
    // Settle again after the readings above.
    step(crew, None);
    let start = Instant::now();
    if sampled {
        meter.hold_sampling(false);
    }
    // Waking the sampler is part of the first step: a sampler of its own time wakes by a timer instead.
    let woken = start.elapsed().as_secs_f64();
    let mut times = [0.0; WINDOW];
    for (at, time) in times.iter_mut().enumerate() {
        *time = step(crew, Some((meter, paths[at % paths.len()])));
        if at + 1 == TOUCHED && sampled {
            meter.hold_sampling(true);
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let (busy_after, own_after, stolen_after) = taken();
    let others = busy_after.saturating_sub(busy_before).saturating_sub(own_after.saturating_sub(own_before));
    let (touched, rest) = times.split_at(TOUCHED);
    let rest = rest.iter().sum::<f64>() / rest.len() as f64;
    let all = elapsed * (crew.threads.len() as f64 + 1.0);
    Seen {
        longer: woken + touched.iter().sum::<f64>() - rest * TOUCHED as f64,
        elapsed,
        taken: (others as f64 / 1e9 + (stolen_after - stolen_before) as f64 / 100.0) / all,
    }
}

/// Mean without the lowest and the highest tenth.
fn trimmed(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 10;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// Difference of the trimmed means of two samples (of one, where the other is empty), with its 95 % interval.
fn difference(values: &[f64], control: &[f64]) -> (f64, f64, f64) {
    let mut numbers = Numbers::new(11);
    let mut resampled = |of: &[f64]| {
        let mut draw: Vec<f64> = (0..of.len()).map(|_| of[numbers.below(of.len() as u64) as usize]).collect();
        trimmed(&mut draw)
    };
    let mut differences: Vec<f64> = (0..2000).map(|_| resampled(values) - resampled(control)).collect();
    differences.sort_unstable_by(f64::total_cmp);
    (trimmed(&mut values.to_vec()) - trimmed(&mut control.to_vec()), differences[50], differences[1949])
}

/// Run windows for so many seconds.
pub fn overhead(seconds: u64) -> Vec<Figure> {
    let once = |rounds: usize| {
        let start = Instant::now();
        work(rounds);
        start.elapsed()
    };
    let rounds = (1_000_000.0 * STEP.as_secs_f64() / once(1_000_000).as_secs_f64()) as usize;
    let crew = Crew::new(rounds.max(1));
    let processors = crew.threads.len() as f64 + 1.0;
    let mut tree = support::FakeTree::new("bench-overhead");
    tree.zone("intel-rapl:0", "package-0", support::INTEL_UNIT, 0);
    let directory = support::folder("bench-overhead-ledger");
    let mut meter = Meter::open(&MeterOptions {
        directory: directory.to_path_buf(),
        run_id: "bench".to_owned(),
        idle_seconds: 0.0,
        powercap_root: Some(tree.root.to_path_buf()),
        ..MeterOptions::default()
    })
    .expect("the ledger opens");
    let paths = ["train/data", "train/forward", "train/backward"].map(|path| meter.intern(path).expect("a good path"));
    let busy = BusyReader::open();
    let mut numbers = Numbers::new(thread_cpu_nanoseconds());
    meter.hold_sampling(true);
    let phase_ns = phase_nanoseconds(&meter, paths[0]);
    let (mut sampled, mut control, mut shares, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let (mut samples, mut length) = (0_u32, 0.0);
    let metering_before = metering_nanoseconds();
    let start = Instant::now();
    while start.elapsed().as_secs() < seconds {
        let is_sampled = numbers.below(2) == 0;
        tree.zones[0].total += 20_000_000_000;
        tree.zones[0].show();
        let seen = window(&crew, &meter, &paths, &busy, is_sampled);
        samples += u32::from(is_sampled);
        length += seen.elapsed;
        shares.push(seen.taken);
        if seen.taken > OTHERS_ALLOWED {
            left_out += 1;
        } else if is_sampled {
            sampled.push(seen.longer);
        } else {
            control.push(seen.longer);
        }
    }
    let metering = (metering_nanoseconds() - metering_before) as f64;
    drop(crew);
    meter.hold_sampling(false);
    meter.close().expect("the ledger closes");
    let windows = shares.len();
    shares.sort_unstable_by(f64::total_cmp);
    let usual = 100.0 * shares[windows / 2];
    let step_seconds = length / (windows * WINDOW) as f64;
    let what = format!(
        "{seconds} s of steps of {:.1} ms, each a phase, on {processors} processors; others and the hypervisor took {usual:.2} % of the machine in the middle window; {left_out} of {windows} windows left out because they took more than {:.0} %",
        1000.0 * step_seconds,
        100.0 * OTHERS_ALLOWED
    );
    let marks = 100.0 * phase_ns * 1e-9 / step_seconds;
    let threads = 100.0 * metering / f64::from(samples.max(1)) / (1e8 * processors);
    let detail = format!(
        "what the step's time should grow by: {threads:.4} % of the CPU time in the threads of sampler and journal at 10 Hz ({:.0} µs a sample, commits included), {marks:.4} % in the marks, {phase_ns:.0} ns a phase",
        metering / 1000.0 / f64::from(samples.max(1))
    );
    let mut figures = vec![Figure::new("CPU time added to a step", "%", threads + marks, Some(0.1), detail)];
    if sampled.len().min(control.len()) < 20 {
        let detail = format!("too few undisturbed windows; {what}");
        figures.push(Figure::new("step time with metering", "% more", f64::NAN, Some(0.1), detail));
        return figures;
    }
    // Ten samples in a second of steps, and the marks, whose cost is too small to show.
    let percent = |value: f64| 1000.0 * value;
    let (mean, low, high) = difference(&sampled, &control);
    let detail = format!(
        "95 % interval {:.4} to {:.4} %, half-width {:.4} %: {:.0} µs a sample by {} windows with one and {} without, ten a second, and the marks' {marks:.4} %; {what}",
        percent(low) + marks,
        percent(high) + marks,
        percent(high - low) / 2.0,
        1e6 * mean,
        sampled.len(),
        control.len()
    );
    figures.push(Figure::new("step time with metering", "% more", percent(mean) + marks, Some(0.1), detail));
    let half = control.len() / 2;
    let (mean, low, high) = difference(&control[..half], &control[half..]);
    let detail = format!(
        "windows without a sample, the first half against the second: 95 % interval {:.4} to {:.4} %, which must hold 0",
        percent(low),
        percent(high)
    );
    figures.push(Figure::new("step time, control without", "% more", percent(mean), None, detail));
    figures
}
