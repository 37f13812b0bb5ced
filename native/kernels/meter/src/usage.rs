//! What the machine and this process did: cumulative CPU time and resident memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::busy::BusyReader;
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
    /// CPU time of everyone else; exact where the machine's busy time was read, by time in between (see [`crate::others`]).
    pub others_cpu_ns: u64,
    /// Processors online.
    pub cpu_count: u64,
    /// Resident memory of this process, bytes, read as often as the machine's busy time; 0 where unknown.
    pub resident_bytes: u64,
    /// Memory of the machine, bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// Time the machine has slept since it started; the monotonic clock stands still meanwhile, counters may not.
    pub asleep_ns: u64,
}

/// One reading, before the share of the others is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct UsageReading {
    /// Everything but [`MachineUsage::others_cpu_ns`].
    pub usage: MachineUsage,
    /// Busy time of the machine, where it was read at the same instant.
    pub busy_ns: Option<u64>,
}

/// The machine's busy time is not read more often than this: the kernel counts it in ticks of up to 10 ms, which over
/// this time are 2 % of one processor, and adding it up costs the kernel more than all other readings together.
pub const MACHINE_WINDOW_NS: u64 = 500_000_000;

/// Takes [`UsageReading`]s.
pub struct UsageReader {
    busy: BusyReader,
    /// Open once: finding it anew costs more than reading it.
    statm: Option<File>,
    cpu_count: u64,
    memory_bytes: u64,
    page_bytes: u64,
    resident_bytes: u64,
    machine_read_ns: Option<u64>,
    children: Option<ProcessTree>,
}

fn system_configuration(name: libc::c_int) -> u64 {
    // SAFETY: sysconf takes any integer and has no memory effects.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).unwrap_or(0)
}

/// Length of a kernel clock tick.
pub(crate) fn tick_nanoseconds() -> u64 {
    1_000_000_000 / system_configuration(libc::_SC_CLK_TCK).max(1)
}

/// The second number of `/proc/self/statm`: resident pages.
fn parse_resident_pages(statm: &[u8]) -> Option<u64> {
    let field = statm.split(|byte| *byte == b' ').nth(1)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

impl UsageReader {
    /// Open what is readable. Without the machine's busy time other tenants cannot be seen and all work counts as this
    /// process's.
    pub fn open() -> Self {
        Self {
            busy: BusyReader::open(),
            statm: File::open("/proc/self/statm").ok(),
            cpu_count: system_configuration(libc::_SC_NPROCESSORS_ONLN).max(1),
            memory_bytes: system_configuration(libc::_SC_PHYS_PAGES) * system_configuration(libc::_SC_PAGESIZE),
            page_bytes: system_configuration(libc::_SC_PAGESIZE),
            resident_bytes: 0,
            machine_read_ns: None,
            children: None,
        }
    }

    /// Count the processes below this one, running and ended, as this process from now on.
    pub fn follow_children(&mut self) {
        self.children = Some(ProcessTree::open(tick_nanoseconds(), self.page_bytes));
    }

    /// Whether other tenants are visible.
    pub fn sees_others(&self) -> bool {
        self.busy.is_open()
    }

    /// Processors online, and memory of the machine in bytes.
    pub fn machine(&self) -> (u64, u64) {
        (self.cpu_count, self.memory_bytes)
    }

    /// Read now; what the whole machine did only where `with_machine` and [`MACHINE_WINDOW_NS`] have passed since it was
    /// last read. Call from the sampler thread: its own CPU time is part of the answer.
    pub fn read(&mut self, with_machine: bool) -> UsageReading {
        let monotonic_ns = monotonic_nanoseconds();
        let (children_cpu_ns, children_bytes) =
            self.children.as_mut().map_or((0, 0), |children| children.read(monotonic_ns));
        let due = |read: u64| with_machine && monotonic_ns.saturating_sub(read) >= MACHINE_WINDOW_NS;
        let mut busy_ns = None;
        if self.machine_read_ns.is_none_or(due) {
            self.machine_read_ns = Some(monotonic_ns);
            busy_ns = self.busy.read();
            self.resident_bytes = self.read_resident_bytes();
        }
        let usage = MachineUsage {
            monotonic_ns,
            process_cpu_ns: process_cpu_nanoseconds() + children_cpu_ns,
            sampler_cpu_ns: thread_cpu_nanoseconds(),
            others_cpu_ns: 0,
            cpu_count: self.cpu_count,
            // Shared pages are counted by each process that maps them; memory cannot be more than there is.
            resident_bytes: (self.resident_bytes + children_bytes).min(self.memory_bytes),
            memory_bytes: self.memory_bytes,
            asleep_ns: asleep_nanoseconds(),
        };
        UsageReading { usage, busy_ns }
    }

    fn read_resident_bytes(&self) -> u64 {
        let mut buffer = [0_u8; 128];
        let Some(length) = self.statm.as_ref().and_then(|file| file.read_at(&mut buffer, 0).ok()) else {
            return 0;
        };
        parse_resident_pages(&buffer[..length]).unwrap_or(0) * self.page_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_resident_pages() {
        assert_eq!(parse_resident_pages(b"100 42 7 1 0 3 0\n"), Some(42));
        assert_eq!(parse_resident_pages(b""), None);
    }

    #[test]
    fn usage_never_goes_back_and_the_machine_is_asked_rarely() {
        let mut reader = UsageReader::open();
        let first = reader.read(false);
        assert_eq!(first.busy_ns.is_some(), reader.sees_others(), "the first reading has it, asked for or not");
        let mut waste = 0_u64;
        while reader.read(true).usage.process_cpu_ns < first.usage.process_cpu_ns + 20_000_000 {
            waste = std::hint::black_box(waste + 1);
        }
        let second = reader.read(true);
        assert!(second.usage.monotonic_ns > first.usage.monotonic_ns);
        assert!(second.usage.process_cpu_ns >= first.usage.process_cpu_ns + 20_000_000);
        let soon = second.usage.monotonic_ns - first.usage.monotonic_ns < MACHINE_WINDOW_NS;
        assert!(!soon || second.busy_ns.is_none());
    }
}
