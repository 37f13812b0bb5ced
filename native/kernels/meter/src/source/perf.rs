//! RAPL through perf events of the `power` PMU: exact 2⁻³² J counts, no root-only file. Linux only.

use std::path::{Path, PathBuf};

use super::OpenSource;
use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};

/// Where the kernel lists PMUs.
pub const DEFAULT_ROOT: &str = "/sys/bus/event_source/devices";

/// One energy event on one package, as found.
pub struct Event {
    /// What it is.
    pub descriptor: SourceDescriptor,
    pmu_type: u32,
    config: u64,
    cpu: i32,
}

fn read_text(path: PathBuf) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// `event=0x02` gives 2.
fn parse_config(text: &str) -> Option<u64> {
    let value = text.split(',').find_map(|part| part.strip_prefix("event="))?;
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

/// `0,28` or `0-1`: one cpu per package.
fn parse_cpus(text: &str) -> Vec<i32> {
    text.split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => part.parse().ok().map(|cpu| (cpu, cpu)),
        })
        .flat_map(|(first, last): (i32, i32)| first..=last)
        .collect()
}

/// All energy events of the `power` PMU under `root`; empty where there is none. Events whose scale is not 2⁻³² J are
/// left out: their unit would be a guess.
pub fn events(root: &Path) -> Vec<Event> {
    let pmu = root.join("power");
    let Some(pmu_type) = read_text(pmu.join("type")).and_then(|text| text.parse().ok()) else {
        return Vec::new();
    };
    let cpus = read_text(pmu.join("cpumask")).map(|text| parse_cpus(&text)).unwrap_or_default();
    let kinds = [
        ("energy-pkg", Scope::Package, "package"),
        ("energy-ram", Scope::Dram, "dram"),
        ("energy-cores", Scope::Core, "core"),
        ("energy-psys", Scope::Platform, "psys"),
    ];
    let mut found = Vec::new();
    for (event, scope, name) in kinds {
        let Some(config) = read_text(pmu.join("events").join(event)).and_then(|text| parse_config(&text)) else {
            continue;
        };
        let scale = read_text(pmu.join("events").join(format!("{event}.scale")));
        if !scale.is_some_and(|text| text.starts_with("2.3283064365386962890625e-10")) {
            continue;
        }
        for (package, cpu) in cpus.iter().enumerate() {
            let parent = (scope == Scope::Core).then(|| format!("rapl_perf:energy-pkg:{package}"));
            found.push(Event {
                descriptor: SourceDescriptor {
                    id: format!("rapl_perf:{event}:{package}"),
                    kind: if scope == Scope::Platform { SourceKind::Psys } else { SourceKind::RaplPerf },
                    scope,
                    label: format!("{name}-{package}"),
                    parent,
                    provenance: Provenance::MeasuredCounter,
                    state: SourceState::Included,
                    reason: String::new(),
                    method: format!("perf event power/{event}/ on cpu {cpu}, 2^-32 J per count"),
                    uncertainty_permille: 20,
                    modulus_nanojoules: None,
                },
                pmu_type,
                config,
                cpu: *cpu,
            });
        }
    }
    found
}

/// Open an event for sampling.
///
/// # Errors
/// The reason as text, with the permission that is missing.
#[cfg(target_os = "linux")]
pub fn open(event: Event) -> Result<OpenSource, String> {
    linux::open(event)
}

/// perf events exist on Linux only.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn open(_event: Event) -> Result<OpenSource, String> {
    Err("perf events exist on Linux only".to_owned())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::FromRawFd;

    use super::super::{Attribution, OpenSource, RawReading, SourceReader};
    use super::Event;
    use crate::clock::monotonic_nanoseconds;
    use crate::counter::WrappingCounter;
    use crate::unit::EnergyUnit;
    use crate::usage::MachineUsage;

    /// `struct perf_event_attr` up to its first published size (PERF_ATTR_SIZE_VER0, 64 bytes); all we set is in it.
    #[repr(C)]
    #[derive(Default)]
    struct EventAttributes {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        sample_type: u64,
        read_format: u64,
        flags: u64,
        wakeup_events: u32,
        breakpoint_type: u32,
        breakpoint_address: u64,
    }

    struct PerfReader {
        file: File,
        name: String,
    }

    impl SourceReader for PerfReader {
        fn read(&mut self, _usage: &MachineUsage) -> Result<RawReading, String> {
            let mut bytes = [0_u8; 8];
            self.file.read_exact(&mut bytes).map_err(|error| format!("{}: {error}", self.name))?;
            Ok(RawReading::new(monotonic_nanoseconds(), u128::from(u64::from_ne_bytes(bytes))))
        }
    }

    pub fn open(event: Event) -> Result<OpenSource, String> {
        let attributes = EventAttributes {
            kind: event.pmu_type,
            size: size_of::<EventAttributes>() as u32,
            config: event.config,
            ..EventAttributes::default()
        };
        // SAFETY: `attributes` is a valid perf_event_attr of the size it states and outlives the call; pid −1 with a
        // cpu, no group and PERF_FLAG_FD_CLOEXEC (8) is a documented combination.
        let descriptor =
            unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, event.cpu, -1, 8) };
        if descriptor < 0 {
            let error = std::io::Error::last_os_error();
            return Err(format!(
                "perf_event_open for {}: {error}; needs kernel.perf_event_paranoid <= 0 or CAP_PERFMON",
                event.descriptor.id
            ));
        }
        // SAFETY: the syscall returned a fresh descriptor that nothing else owns.
        let file = unsafe { File::from_raw_fd(descriptor as i32) };
        Ok(OpenSource {
            unit: EnergyUnit::PERF_RAPL,
            // The kernel extends the register to 64 bits. 1 kW in counts of 2⁻³² J bounds what is plausible.
            counter: WrappingCounter::new(None, Some(1000 << 32)),
            attribution: Attribution::CpuTime,
            idle_nanowatts: None,
            reader: Box::new(PerfReader { file, name: event.descriptor.id.clone() }),
            descriptor: event.descriptor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_writes() {
        assert_eq!(parse_config("event=0x02"), Some(2));
        assert_eq!(parse_config("umask=0x1,event=4"), Some(4));
        assert_eq!(parse_cpus("0,28"), vec![0, 28]);
        assert_eq!(parse_cpus("0-2"), vec![0, 1, 2]);
        assert_eq!(parse_config("nothing"), None);
    }

    #[test]
    fn lists_events_of_a_tree() {
        let root = crate::test_folder("perf");
        let events_folder = root.join("power/events");
        std::fs::create_dir_all(&events_folder).unwrap();
        std::fs::write(root.join("power/type"), "9\n").unwrap();
        std::fs::write(root.join("power/cpumask"), "0,16\n").unwrap();
        for event in ["energy-pkg", "energy-ram", "energy-cores"] {
            std::fs::write(events_folder.join(event), "event=0x02\n").unwrap();
            std::fs::write(events_folder.join(format!("{event}.scale")), "2.3283064365386962890625e-10\n").unwrap();
        }
        std::fs::write(events_folder.join("energy-ram.scale"), "6.103515625e-05\n").unwrap();
        let ids: Vec<String> = events(&root).into_iter().map(|event| event.descriptor.id).collect();
        assert_eq!(
            ids,
            [
                "rapl_perf:energy-pkg:0",
                "rapl_perf:energy-pkg:1",
                "rapl_perf:energy-cores:0",
                "rapl_perf:energy-cores:1"
            ]
        );
    }
}
