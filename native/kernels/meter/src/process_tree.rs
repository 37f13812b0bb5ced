//! CPU time and memory of the processes that this one started, and of theirs: for metering a command as a whole.

use std::collections::HashMap;
use std::fs;

/// New processes are looked for this often; what one of them used before it is found is counted then.
const SCAN_PERIOD_NS: u64 = 200_000_000;

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProcessStat {
    parent: u32,
    /// Own ticks and those of its children that have ended and were waited for.
    ticks: u64,
    resident_pages: u64,
}

/// The name in field 2 may hold spaces and parentheses, so fields are counted from the last one.
fn parse_stat(text: &str) -> Option<ProcessStat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(ProcessStat {
        parent: u32::try_from(number(1)?).ok()?,
        // utime, stime, cutime, cstime: fields 14 to 17 of proc(5).
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        resident_pages: number(21).unwrap_or(0),
    })
}

/// Processes below `root`, parents before their children: a process that ends between two reads is then missed for
/// one reading instead of counted twice.
fn descendants(root: u32, processes: &HashMap<u32, ProcessStat>) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in processes {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = Vec::new();
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            queue.push(child);
        }
    }
    found.sort_by_key(|pid| (depth(*pid, root, processes), *pid));
    found
}

fn depth(mut pid: u32, root: u32, processes: &HashMap<u32, ProcessStat>) -> usize {
    let mut steps = 0;
    while pid != root && steps < processes.len() {
        let Some(stat) = processes.get(&pid) else { break };
        pid = stat.parent;
        steps += 1;
    }
    steps
}

fn read_process(pid: u32) -> Option<ProcessStat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn read_all() -> HashMap<u32, ProcessStat> {
    let Ok(folder) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, read_process(pid)?))).collect()
}

/// CPU time of children of this process that have ended and were waited for, with their children.
fn ended_children_ns() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable memory of the right type, and the zeroed value is a valid rusage.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) != 0 {
            return 0;
        }
        usage.assume_init()
    };
    let nanoseconds = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime)
}

/// Follows the processes below this one.
pub struct ProcessTree {
    tick_ns: u64,
    page_bytes: u64,
    known: Vec<u32>,
    scanned_ns: Option<u64>,
    /// Largest sum so far: a process that ends between two reads must not make time go back.
    cpu_ns: u64,
}

impl ProcessTree {
    /// Begin to follow. Children whose parent ends become this process's (Linux), so that they stay in view.
    pub fn open(tick_ns: u64, page_bytes: u64) -> Self {
        #[cfg(target_os = "linux")]
        // SAFETY: sets a flag of this process; no memory is passed.
        unsafe {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64);
        }
        Self { tick_ns, page_bytes, known: Vec::new(), scanned_ns: None, cpu_ns: 0 }
    }

    /// CPU time of all of them so far, running and ended, in nanoseconds; and their resident memory in bytes.
    pub fn read(&mut self, monotonic_ns: u64) -> (u64, u64) {
        let mut total_ns = ended_children_ns();
        if self.scanned_ns.is_none_or(|scanned| monotonic_ns.saturating_sub(scanned) >= SCAN_PERIOD_NS) {
            self.known = descendants(std::process::id(), &read_all());
            self.scanned_ns = Some(monotonic_ns);
        }
        let mut pages = 0;
        for stat in self.known.iter().filter_map(|pid| read_process(*pid)) {
            total_ns += stat.ticks * self.tick_ns;
            pages += stat.resident_pages;
        }
        self.cpu_ns = self.cpu_ns.max(total_ns);
        (self.cpu_ns, pages * self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_process_whose_name_is_hostile() {
        let text = "42 (a) b) 1 (c) S 7 42 42 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 99 123 55 184";
        assert_eq!(parse_stat(text), Some(ProcessStat { parent: 7, ticks: 100, resident_pages: 55 }));
        assert_eq!(parse_stat("42 no name"), None);
    }

    #[test]
    fn parents_come_before_children_and_strangers_not_at_all() {
        let process = |parent| ProcessStat { parent, ticks: 0, resident_pages: 0 };
        let processes =
            HashMap::from([(1, process(0)), (9, process(5)), (5, process(3)), (3, process(1)), (4, process(1))]);
        assert_eq!(descendants(3, &processes), [5, 9]);
        assert_eq!(descendants(1, &processes), [3, 4, 5, 9]);
        assert!(descendants(9, &processes).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn counts_a_child_while_it_runs_and_after() {
        let mut tree = ProcessTree::open(10_000_000, 4096);
        let (before, _) = tree.read(0);
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read line";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh exists");
        let mut now = SCAN_PERIOD_NS;
        let during = loop {
            let (during, resident) = tree.read(now);
            if during >= before + 20_000_000 {
                assert!(resident > 0);
                break during;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
            now += SCAN_PERIOD_NS;
        };
        drop(child.stdin.take());
        child.wait().expect("the child ends");
        let (after, _) = tree.read(now + SCAN_PERIOD_NS);
        assert!(after >= during);
        assert!(after >= before + 20_000_000);
    }
}
