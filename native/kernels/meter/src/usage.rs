//! What the machine and this process did: cumulative CPU time and resident memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::clock::{asleep_nanoseconds, monotonic_nanoseconds, process_cpu_nanoseconds, thread_cpu_nanoseconds};
use crate::process_tree::ProcessTree;

/// Cumulative use at one instant. Differences of two of these divide a source's energy between tenants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineUsage {
    /// When.
    pub monotonic_ns: u64,
    /// CPU time of this process, the sampler thread included; with that of the processes below it where they are followed.
    pub process_cpu_ns: u64,
    /// CPU time of the sampler thread alone.
    pub sampler_cpu_ns: u64,
    /// CPU time of everyone else; exact at each reading of `/proc/stat`, extrapolated in between.
    pub others_cpu_ns: u64,
    /// Processors online.
    pub cpu_count: u64,
    /// Resident memory of this process, bytes; 0 where unknown.
    pub resident_bytes: u64,
    /// Memory of the machine, bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// Time the machine has slept since it started; the monotonic clock stands still meanwhile, counters may not.
    pub asleep_ns: u64,
}

/// `/proc/stat` counts in ticks of 10 ms: over this window one tick is 2 % of one processor.
const STAT_WINDOW_NS: u64 = 500_000_000;

/// Reads [`MachineUsage`].
pub struct UsageReader {
    stat: Option<File>,
    /// Open once: finding it anew costs more than reading it.
    statm: Option<File>,
    cpu_count: u64,
    memory_bytes: u64,
    page_bytes: u64,
    tick_ns: u64,
    window: Option<(u64, u64, u64)>,
    others_per_second_ns: u64,
    others_cpu_ns: u64,
    last_ns: u64,
    children: Option<ProcessTree>,
}

fn system_configuration(name: libc::c_int) -> u64 {
    // SAFETY: sysconf takes any integer and has no memory effects.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(0)
}

/// Sum of the fields that mean work: user, nice, system, irq, softirq. Guest time is in user already; steal is others'.
fn parse_busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, interrupts, soft_interrupts, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + interrupts + soft_interrupts)
}

impl UsageReader {
    /// Open what is readable. Without `/proc/stat` other tenants cannot be seen and all work counts as this process's.
    pub fn open() -> Self {
        Self {
            stat: File::open("/proc/stat").ok(),
            statm: File::open("/proc/self/statm").ok(),
            cpu_count: system_configuration(libc::_SC_NPROCESSORS_ONLN).max(1),
            memory_bytes: system_configuration(libc::_SC_PHYS_PAGES) * system_configuration(libc::_SC_PAGESIZE),
            page_bytes: system_configuration(libc::_SC_PAGESIZE),
            tick_ns: 1_000_000_000 / system_configuration(libc::_SC_CLK_TCK).max(1),
            window: None,
            others_per_second_ns: 0,
            others_cpu_ns: 0,
            last_ns: monotonic_nanoseconds(),
            children: None,
        }
    }

    /// Count the processes below this one, running and ended, as this process from now on.
    pub fn follow_children(&mut self) {
        self.children = Some(ProcessTree::open(self.tick_ns, self.page_bytes));
    }

    /// Whether other tenants are visible.
    pub fn sees_others(&self) -> bool {
        self.stat.is_some()
    }

    fn busy_ns(&mut self) -> Option<u64> {
        let mut buffer = [0_u8; 512];
        let length = self.stat.as_mut()?.read_at(&mut buffer, 0).ok()?;
        Some(parse_busy_ticks(&String::from_utf8_lossy(&buffer[..length]))? * self.tick_ns)
    }

    /// Read now. Call from the sampler thread: its own CPU time is part of the answer.
    pub fn read(&mut self) -> MachineUsage {
        let monotonic_ns = monotonic_nanoseconds();
        let (children_cpu_ns, children_bytes) =
            self.children.as_mut().map_or((0, 0), |children| children.read(monotonic_ns));
        let process_cpu_ns = process_cpu_nanoseconds() + children_cpu_ns;
        let elapsed = monotonic_ns.saturating_sub(self.last_ns);
        self.last_ns = monotonic_ns;
        let window_over = self.window.is_none_or(|(start, ..)| monotonic_ns.saturating_sub(start) >= STAT_WINDOW_NS);
        if window_over && let Some(busy) = self.busy_ns() {
            if let Some((start, busy_before, process_before)) = self.window {
                let others =
                    busy.saturating_sub(busy_before).saturating_sub(process_cpu_ns.saturating_sub(process_before));
                let duration = (monotonic_ns - start).max(1);
                let rate = u128::from(others) * 1_000_000_000 / u128::from(duration);
                self.others_per_second_ns = rate as u64;
            }
            self.window = Some((monotonic_ns, busy, process_cpu_ns));
        }
        let added = u128::from(self.others_per_second_ns) * u128::from(elapsed) / 1_000_000_000;
        self.others_cpu_ns += added as u64;
        MachineUsage {
            monotonic_ns,
            process_cpu_ns,
            sampler_cpu_ns: thread_cpu_nanoseconds(),
            others_cpu_ns: self.others_cpu_ns,
            cpu_count: self.cpu_count,
            // Shared pages are counted by each process that maps them; memory cannot be more than there is.
            resident_bytes: (self.resident_bytes() + children_bytes).min(self.memory_bytes),
            memory_bytes: self.memory_bytes,
            asleep_ns: asleep_nanoseconds(),
        }
    }

    fn resident_bytes(&self) -> u64 {
        let mut buffer = [0_u8; 128];
        let Some(length) = self.statm.as_ref().and_then(|file| file.read_at(&mut buffer, 0).ok()) else {
            return 0;
        };
        let text = std::str::from_utf8(&buffer[..length]).unwrap_or_default();
        text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * self.page_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_working_ticks_only() {
        assert_eq!(parse_busy_ticks("cpu  10 20 30 4000 500 6 7 80 9 0\ncpu0 1"), Some(73));
        assert_eq!(parse_busy_ticks("intr 1"), None);
    }

    #[test]
    fn usage_never_goes_back() {
        let mut reader = UsageReader::open();
        let first = reader.read();
        let mut waste = 0_u64;
        while reader.read().process_cpu_ns < first.process_cpu_ns + 20_000_000 {
            waste = std::hint::black_box(waste + 1);
        }
        let second = reader.read();
        assert!(second.monotonic_ns > first.monotonic_ns);
        assert!(second.process_cpu_ns >= first.process_cpu_ns + 20_000_000);
        assert!(second.others_cpu_ns >= first.others_cpu_ns);
    }
}
