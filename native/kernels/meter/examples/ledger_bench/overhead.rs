//! What metering adds to the time of a step: one process, one fixed step on all processors, and the sampler at its own pace.
//!
//! A machine's speed drifts by more within a second than a sample costs, so blocks with and without a sampler cannot show a
//! thousandth. The sampler itself is the coin: it wakes at times that nobody chose, ten times a second and jittered, and its
//! CPU clock tells in which steps it ran. The time of these steps beyond the median of the four undisturbed ones on either
//! side is what a sample costs the program, caches and waiting for each other included; steps in which it did not run,
//! held against their neighbours in the same way, are the control and are subtracted. Samples with a commit and without
//! are two populations; their means are trimmed by a tenth at each end, intervals are bootstraps.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swift_meter::busy::BusyReader;
use swift_meter::clock::process_cpu_nanoseconds;
use swift_meter::simulate::Numbers;
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

use crate::{Figure, support};

/// Length of a step, which is one phase: 100 a second, as a trainer of four phases marks them in steps of 40 ms.
const STEP: Duration = Duration::from_millis(10);

/// Longer than a window of the regression at ten samples a second.
const SETTLING: Duration = Duration::from_secs(30);

/// Undisturbed steps on either side that a step is held against.
const BESIDE: usize = 4;

/// More phases than a ledger remembers.
const REMEMBERED: usize = 25_000;

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

/// CPU clock of a thread of this process, by its name.
fn thread_clock(name: &str) -> Option<libc::clockid_t> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    let task = tasks.flatten().find(named)?;
    let number: libc::pid_t = task.file_name().to_str()?.parse().ok()?;
    // As the kernel numbers them: the complement of the thread, CPU time as scheduled (2), per thread (4).
    Some((!number << 3) | 6)
}

fn clock_nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn step_marks(meter: &Meter, path: u32) {
    let token = meter.declare(path, 0).expect("the ledger is open");
    mark_now(token, Edge::Begin);
    mark_now(token, Edge::End);
}

/// Nanoseconds of one phase: its declaration and both marks.
fn phase_nanoseconds(meter: &Meter, path: u32) -> f64 {
    let count = 2000;
    let start = Instant::now();
    for _ in 0..count {
        step_marks(meter, path);
    }
    start.elapsed().as_nanos() as f64 / f64::from(count)
}

/// One step: its seconds, and the CPU time that sampler and journal took in it.
#[derive(Clone, Copy, Default)]
struct Step {
    seconds: f64,
    sampler_ns: u64,
    journal_ns: u64,
}

impl Step {
    fn is_free(&self) -> bool {
        self.sampler_ns + self.journal_ns == 0
    }
}

fn step(crew: &Crew, meter: &Meter, path: u32) -> f64 {
    let start = Instant::now();
    let token = meter.declare(path, 0).expect("the ledger is open");
    mark_now(token, Edge::Begin);
    crew.part();
    mark_now(token, Edge::End);
    start.elapsed().as_secs_f64()
}

/// Seconds by which steps `first..=last` together are longer than as many undisturbed ones beside them.
fn beyond(steps: &[Step], first: usize, last: usize) -> Option<f64> {
    let before = steps[..first].iter().rev().take(3 * BESIDE).filter(|step| step.is_free()).take(BESIDE);
    let after = steps[last + 1..].iter().take(3 * BESIDE).filter(|step| step.is_free()).take(BESIDE);
    let mut beside: Vec<f64> = before.chain(after).map(|step| step.seconds).collect();
    if beside.len() < 2 * BESIDE {
        return None;
    }
    beside.sort_unstable_by(f64::total_cmp);
    let usual = f64::midpoint(beside[BESIDE - 1], beside[BESIDE]);
    Some(steps[first..=last].iter().map(|step| step.seconds - usual).sum())
}

/// What was seen: extra seconds of samples without and with a commit, and of steps without either.
#[derive(Default)]
struct Seen {
    plain: Vec<f64>,
    commits: Vec<f64>,
    control: Vec<f64>,
    /// Steps in which sampler or journal ran.
    touched: usize,
}

fn look(steps: &[Step]) -> Seen {
    let mut seen = Seen::default();
    let mut at = 0;
    while at < steps.len() {
        if steps[at].is_free() {
            at += 1;
            continue;
        }
        // A sample and the commit it leads to are one event, even with a free step between them.
        let mut last = at;
        while (last + 1..(last + 3).min(steps.len())).any(|next| !steps[next].is_free()) {
            last += 1;
        }
        let with_commit = steps[at..=last].iter().any(|step| step.journal_ns > 0);
        if let Some(extra) = beyond(steps, at, last) {
            seen.touched += last - at + 1;
            if with_commit { seen.commits.push(extra) } else { seen.plain.push(extra) }
        }
        let free = last + 2 + BESIDE;
        if free < steps.len() && steps[free].is_free() {
            seen.control.extend(beyond(steps, free, free));
        }
        at = last + 1;
    }
    seen
}

/// Mean without the lowest and the highest tenth.
fn trimmed(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 10;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// `of` drawn again with repetition.
fn drawn(numbers: &mut Numbers, of: &[f64]) -> Vec<f64> {
    (0..of.len()).map(|_| of[numbers.below(of.len() as u64) as usize]).collect()
}

impl Seen {
    /// Extra seconds in all, the control's subtracted.
    fn total(&mut self) -> f64 {
        let sum = |values: &mut Vec<f64>| if values.is_empty() { 0.0 } else { values.len() as f64 * trimmed(values) };
        sum(&mut self.plain) + sum(&mut self.commits) - self.touched as f64 * trimmed(&mut self.control)
    }

    fn again(&self, numbers: &mut Numbers) -> Self {
        Self {
            plain: drawn(numbers, &self.plain),
            commits: drawn(numbers, &self.commits),
            control: drawn(numbers, &self.control),
            touched: self.touched,
        }
    }
}

/// The middle 95 % of 2,000 values.
fn interval(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[values.len() / 40], values[values.len() - 1 - values.len() / 40])
}

/// Run steps for so many seconds.
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
    // As after two minutes of training: as many phases are remembered as ever will be, and their memory is reused.
    for round in 0..REMEMBERED / 500 {
        for _ in 0..500 {
            step_marks(&meter, paths[round % paths.len()]);
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    let phase_ns = phase_nanoseconds(&meter, paths[0]);
    let (Some(sampler), Some(journal)) = (thread_clock("swift-meter"), thread_clock("swift-journal")) else {
        let detail = "this system does not tell the CPU time of single threads".to_owned();
        return vec![Figure::new("step time with metering", "% more", f64::NAN, Some(0.1), detail)];
    };
    // The window of the regression holds nothing but such steps from here on.
    let settle = Instant::now();
    while settle.elapsed() < SETTLING {
        step(&crew, &meter, paths[0]);
        tree.zones[0].total += 2_000_000_000;
        tree.zones[0].show();
    }
    let mut steps: Vec<Step> = Vec::with_capacity(1000 * seconds as usize);
    let busy = BusyReader::open();
    let outside = || (busy.read().unwrap_or(0), process_cpu_nanoseconds());
    let (busy_before, own_before) = outside();
    let (mut sampler_ns, mut journal_ns) = (clock_nanoseconds(sampler), clock_nanoseconds(journal));
    let start = Instant::now();
    while start.elapsed().as_secs() < seconds {
        let at = steps.len();
        if at.is_multiple_of(10) {
            tree.zones[0].total += 20_000_000_000;
            tree.zones[0].show();
            // Settle again after the file.
            step(&crew, &meter, paths[0]);
            (sampler_ns, journal_ns) = (clock_nanoseconds(sampler), clock_nanoseconds(journal));
        }
        let seconds = step(&crew, &meter, paths[at % paths.len()]);
        let (sampler_now, journal_now) = (clock_nanoseconds(sampler), clock_nanoseconds(journal));
        steps.push(Step { seconds, sampler_ns: sampler_now - sampler_ns, journal_ns: journal_now - journal_ns });
        (sampler_ns, journal_ns) = (sampler_now, journal_now);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let (busy_after, own_after) = outside();
    drop(crew);
    meter.close().expect("the ledger closes");
    let others = busy_after.saturating_sub(busy_before).saturating_sub(own_after - own_before);
    let measured: f64 = steps.iter().map(|step| step.seconds).sum();
    let step_seconds = measured / steps.len() as f64;
    let metering: u64 = steps.iter().map(|step| step.sampler_ns + step.journal_ns).sum();
    let marks = 100.0 * phase_ns * 1e-9 / step_seconds;
    let threads = 100.0 * metering as f64 / (1e9 * measured * processors);
    let detail = format!(
        "of all processors: {threads:.4} % in the threads of sampler and journal at 10 Hz, commits included, {marks:.4} % in the marks, {phase_ns:.0} ns a phase"
    );
    let mut figures = vec![Figure::new("CPU time added to a step", "%", threads + marks, Some(0.1), detail)];
    let mut seen = look(&steps);
    if seen.plain.len().min(seen.control.len()) < 20 {
        let detail = "too few samples in steps whose neighbours were undisturbed".to_owned();
        figures.push(Figure::new("step time with metering", "% more", f64::NAN, Some(0.1), detail));
        return figures;
    }
    let mut numbers = Numbers::new(11);
    let percent = |extra: f64| 100.0 * extra / measured;
    let (low, high) = interval((0..2000).map(|_| percent(seen.again(&mut numbers).total())).collect());
    let control = trimmed(&mut seen.control);
    let detail = format!(
        "95 % interval {:.4} to {:.4} %, half-width {:.4} %: {:.0} µs a sample ({} of them), {:.0} µs one with a commit ({}), beside {} steps without, and the marks' {marks:.4} %; {seconds} s of {} steps of {:.1} ms, each a phase, on {processors} processors; others took {:.2} % of the machine",
        low + marks,
        high + marks,
        (high - low) / 2.0,
        1e6 * (trimmed(&mut seen.plain) - control),
        seen.plain.len(),
        1e6 * (if seen.commits.is_empty() { f64::NAN } else { trimmed(&mut seen.commits) } - control),
        seen.commits.len(),
        seen.control.len(),
        steps.len(),
        1000.0 * step_seconds,
        100.0 * others as f64 / (1e9 * elapsed * processors)
    );
    figures.push(Figure::new("step time with metering", "% more", percent(seen.total()) + marks, Some(0.1), detail));
    // Every other one against the rest, because samples, too, are held against steps of the same moments.
    let halves = |control: &[f64]| {
        let part = |odd: usize| control.iter().skip(odd).step_by(2).copied().collect::<Vec<f64>>();
        1000.0 * (trimmed(&mut part(0)) - trimmed(&mut part(1)))
    };
    let (low, high) = interval((0..2000).map(|_| halves(&drawn(&mut numbers, &seen.control))).collect());
    let detail = format!(
        "ten steps a second without a sample, every other one against the rest: spread of such differences {low:.4} to {high:.4} %, which must hold 0"
    );
    figures.push(Figure::new("step time, control without", "% more", halves(&seen.control), None, detail));
    figures
}
