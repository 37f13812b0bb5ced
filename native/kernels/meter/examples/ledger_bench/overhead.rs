//! What metering adds to the time of a step: one process, one fixed step on all processors, sampling and marks switched on
//! and off in blocks of a quarter second.
//!
//! Four blocks make a quad, ABBA or BAAB by chance, so that a drift cancels; its value is how much longer the steps of the B
//! blocks took on average. Half of the quads, by chance, are controls in which B is metered no more than A: what they show is
//! the machine. A quad in which a hypervisor or another process took time is left out, and counted. The mean is trimmed
//! by a tenth at each end, its interval a bootstrap over quads.

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use swift_meter::busy::BusyReader;
use swift_meter::clock::{process_cpu_nanoseconds, thread_cpu_nanoseconds};
use swift_meter::simulate::Numbers;
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

use crate::Figure;
use crate::support;

/// Length of a block, of a step, and marked phases in a step.
const BLOCK: Duration = Duration::from_millis(250);
const STEP: Duration = Duration::from_millis(5);
const PHASES: usize = 3;

/// Others and the hypervisor may take so much of a quad: kernel threads always do a little, metered or not.
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

struct Block {
    step_seconds: f64,
    /// Share of all processors that others and the hypervisor took.
    taken: f64,
}

fn block(crew: &Crew, metered: Option<(&Meter, &[u32])>, busy: &BusyReader, processors: f64) -> Block {
    let taken = || (busy.read().unwrap_or(0), process_cpu_nanoseconds(), stolen_ticks());
    crew.part();
    let (busy_before, own_before, stolen_before) = taken();
    let start = Instant::now();
    // Inside the time that counts: a sample at once, and the commit where one is due, come with it.
    if let Some((meter, _)) = metered {
        meter.hold_sampling(false);
    }
    let mut steps = 0_u32;
    while start.elapsed() < BLOCK {
        for phase in 0..PHASES {
            let token = metered.map(|(meter, paths)| meter.declare(paths[phase], 0).expect("the ledger is open"));
            if let Some(token) = token {
                mark_now(token, Edge::Begin);
            }
            crew.part();
            if let Some(token) = token {
                mark_now(token, Edge::End);
            }
        }
        steps += 1;
    }
    let elapsed = start.elapsed().as_secs_f64();
    let (busy_after, own_after, stolen_after) = taken();
    if let Some((meter, _)) = metered {
        meter.hold_sampling(true);
    }
    let own = own_after.saturating_sub(own_before);
    let others = busy_after.saturating_sub(busy_before).saturating_sub(own) as f64 / 1e9;
    Block {
        step_seconds: elapsed / f64::from(steps),
        taken: (others + (stolen_after - stolen_before) as f64 / 100.0) / (elapsed * processors),
    }
}

/// Mean without the lowest and the highest tenth.
fn trimmed(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 10;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// Trimmed mean with the 95 % interval of a percentile bootstrap.
fn interval(values: &[f64]) -> Option<(f64, f64, f64)> {
    if values.len() < 8 {
        return None;
    }
    let mut numbers = Numbers::new(11);
    let mut draw = vec![0.0; values.len()];
    let mut means: Vec<f64> = (0..2000)
        .map(|_| {
            draw.iter_mut().for_each(|value| *value = values[numbers.below(values.len() as u64) as usize]);
            trimmed(&mut draw)
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    Some((trimmed(&mut values.to_vec()), means[50], means[1949]))
}

/// Run quads for so many seconds.
pub fn overhead(seconds: u64) -> Vec<Figure> {
    let once = |rounds: usize| {
        let start = Instant::now();
        work(rounds);
        start.elapsed()
    };
    let rounds = (1_000_000.0 * (STEP / PHASES as u32).as_secs_f64() / once(1_000_000).as_secs_f64()) as usize;
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
    let (mut real, mut control, mut left_out, mut quads) = (Vec::new(), Vec::new(), 0, 0);
    let (mut plain_steps, mut shares) = (Vec::new(), Vec::new());
    meter.hold_sampling(true);
    let start = Instant::now();
    while start.elapsed().as_secs() < seconds {
        let is_control = numbers.below(2) == 0;
        let b_first = numbers.below(2) == 0;
        let mut sums = [0.0, 0.0];
        let mut taken = 0.0;
        for place in 0..4 {
            let is_b = (place == 1 || place == 2) != b_first;
            let metered = (is_b && !is_control).then_some((&meter, &paths[..]));
            tree.zones[0].total += 20_000_000_000;
            tree.zones[0].show();
            let block = block(&crew, metered, &busy, processors);
            sums[usize::from(is_b)] += block.step_seconds / 2.0;
            taken += block.taken / 4.0;
        }
        quads += 1;
        shares.push(taken);
        if taken > OTHERS_ALLOWED {
            left_out += 1;
            continue;
        }
        plain_steps.push(sums[0]);
        let value = 100.0 * (sums[1] / sums[0] - 1.0);
        if is_control { control.push(value) } else { real.push(value) }
    }
    drop(crew);
    meter.hold_sampling(false);
    meter.close().expect("the ledger closes");
    shares.sort_unstable_by(f64::total_cmp);
    let usual = 100.0 * shares.get(shares.len() / 2).copied().unwrap_or(0.0);
    let step_ms = 1000.0 * plain_steps.iter().sum::<f64>() / plain_steps.len().max(1) as f64;
    let what = format!(
        "{seconds} s of steps of {step_ms:.1} ms with {PHASES} phases on {processors} processors in blocks of 250 ms; others and the hypervisor took {usual:.2} % of the machine in the middle quad; {left_out} of {quads} quads left out because they took more than {:.0} %",
        100.0 * OTHERS_ALLOWED
    );
    let row = |name, values: &[f64], limit| match interval(values) {
        Some((mean, low, high)) => Figure::new(
            name,
            "% more",
            mean,
            limit,
            format!(
                "95 % interval {low:.3} to {high:.3} %, half-width {:.3} %, over {} quads; {what}",
                (high - low) / 2.0,
                values.len()
            ),
        ),
        None => Figure::new(name, "% more", f64::NAN, limit, format!("too few undisturbed quads; {what}")),
    };
    vec![row("step time with metering", &real, Some(0.1)), row("step time, control without", &control, None)]
}
