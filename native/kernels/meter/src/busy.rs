//! Busy time of the whole machine, from the cheapest place that means it: user, nice, system and interrupt time of all
//! processors; neither idle time, nor waiting for disks, nor what a hypervisor gave to other guests.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::usage::tick_nanoseconds;

/// Where control groups may be mounted.
const GROUP_ROOT: &str = "/sys/fs/cgroup";

/// Which file, and so which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `cpu.stat` of the root group: microseconds of user and system time. Unlike `/proc/stat` the kernel adds up no
    /// interrupt counters for it, which on a large machine cost a thousand times more than the times.
    GroupMicroseconds,
    /// `cpuacct.usage` of the older hierarchy's root: nanoseconds that tasks ran.
    GroupNanoseconds,
    /// `/proc/stat` in clock ticks.
    Ticks,
}

/// See the module's description.
pub struct BusyReader {
    file: Option<(File, Format)>,
    tick_ns: u64,
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// Sum of the fields that mean work: user, nice, system, irq, softirq. Guest time is in user already; steal is others'.
fn parse_ticks(stat: &[u8]) -> Option<u64> {
    let line = stat.split(|byte| *byte == b'\n').next()?.strip_prefix(b"cpu ")?;
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).map(number);
    let mut next = || fields.next().flatten();
    let (user, nice, system, _idle, _wait) = (next()?, next()?, next()?, next()?, next()?);
    Some(user + nice + system + next()? + next()?)
}

/// `user_usec` and `system_usec`; `usage_usec` of the root holds stolen time too.
fn parse_group(stat: &[u8]) -> Option<u64> {
    let field = |name: &[u8]| {
        let line = stat.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
        number(line)
    };
    Some(field(b"user_usec ")? + field(b"system_usec ")?)
}

/// Only the root group holds all of the machine. A container is shown its own group in the root's place; the kernel
/// gives the files named here to the root alone, or to all but the root.
fn open_group(root: &Path) -> Option<(File, Format)> {
    for place in [root.to_owned(), root.join("unified")] {
        if !place.join("cgroup.events").exists()
            && place.join("cgroup.controllers").exists()
            && let Ok(file) = File::open(place.join("cpu.stat"))
        {
            return Some((file, Format::GroupMicroseconds));
        }
    }
    let older = ["cpuacct", "cpu,cpuacct"].map(|name| root.join(name));
    let place = older.into_iter().find(|place| place.join("release_agent").exists())?;
    Some((File::open(place.join("cpuacct.usage")).ok()?, Format::GroupNanoseconds))
}

impl BusyReader {
    /// The first source that answers; none is kept where nothing does.
    pub fn open() -> Self {
        Self::open_in(Path::new(GROUP_ROOT), Path::new("/proc/stat"))
    }

    fn open_in(groups: &Path, stat: &Path) -> Self {
        let mut reader = Self { file: open_group(groups), tick_ns: tick_nanoseconds() };
        if reader.read().is_none() {
            reader.file = File::open(stat).ok().map(|file| (file, Format::Ticks));
        }
        if reader.read().is_none() {
            reader.file = None;
        }
        reader
    }

    /// Whether there is a source.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Nanoseconds since the machine started.
    pub fn read(&self) -> Option<u64> {
        let (file, format) = self.file.as_ref()?;
        let mut buffer = [0_u8; 512];
        let length = file.read_at(&mut buffer, 0).ok()?;
        let text = &buffer[..length];
        match format {
            Format::GroupMicroseconds => parse_group(text).map(|microseconds| microseconds * 1000),
            Format::GroupNanoseconds => number(text),
            Format::Ticks => parse_ticks(text).map(|ticks| ticks * self.tick_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_work_only() {
        assert_eq!(parse_ticks(b"cpu  10 20 30 4000 500 6 7 80 9 0\ncpu0 1"), Some(73));
        assert_eq!(parse_ticks(b"intr 1"), None);
        assert_eq!(parse_group(b"usage_usec 99\nuser_usec 40\nsystem_usec 20\nnice_usec 3\n"), Some(60));
        assert_eq!(parse_group(b"usage_usec 99\n"), None);
    }

    #[test]
    fn a_containers_group_is_not_the_machine() {
        let root = crate::test_folder("busy");
        let stat = root.join("stat");
        std::fs::write(&stat, "cpu  1 1 1 4000 500 1 1 80 9 0\n").unwrap();
        let ticks = BusyReader::open_in(&root, &stat).read();
        assert_eq!(ticks, Some(5 * tick_nanoseconds()));
        std::fs::write(root.join("cgroup.controllers"), "cpu\n").unwrap();
        std::fs::write(root.join("cpu.stat"), "usage_usec 9\nuser_usec 4\nsystem_usec 3\n").unwrap();
        assert_eq!(BusyReader::open_in(&root, &stat).read(), Some(7000));
        std::fs::write(root.join("cgroup.events"), "populated 1\n").unwrap();
        assert_eq!(BusyReader::open_in(&root, &stat).read(), ticks);
        std::fs::create_dir_all(root.join("cpuacct")).unwrap();
        std::fs::write(root.join("cpuacct/cpuacct.usage"), "123\n").unwrap();
        assert_eq!(BusyReader::open_in(&root, &stat).read(), ticks);
        std::fs::write(root.join("cpuacct/release_agent"), "\n").unwrap();
        assert_eq!(BusyReader::open_in(&root, &stat).read(), Some(123));
        assert!(!BusyReader::open_in(&root.join("none"), &root.join("none")).is_open());
    }
}
