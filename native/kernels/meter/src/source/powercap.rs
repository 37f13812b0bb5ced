//! RAPL through the Linux powercap tree (`/sys/class/powercap/<control type>:<n>[:<m>]`), and guest trees laid out alike.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::{Attribution, OpenSource, RawReading, SourceReader};
use crate::clock::monotonic_nanoseconds;
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// Where the kernel shows the tree.
pub const DEFAULT_ROOT: &str = "/sys/class/powercap";

/// A package that states no limit is assumed to draw no more than this (the largest sockets of 2026 are at 500 W).
const DEFAULT_MAXIMUM_MICROWATTS: u128 = 1_000_000_000;

/// RAPL registers have 32 bits.
const REGISTER_TURN: u128 = 1 << 32;

/// One zone as found, readable or not.
pub struct Zone {
    /// What it is.
    pub descriptor: SourceDescriptor,
    energy_path: PathBuf,
    modulus_nanojoules: Option<u128>,
    maximum_microwatts: u128,
}

fn read_text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn read_number(path: &Path) -> Option<u128> {
    read_text(path)?.parse().ok()
}

/// The true modulus in nanojoules. The kernel shows ⌊(2³²−1)·unit/1000⌋ µJ for a unit in whole nanojoules, so the
/// unit can be recovered and the modulus is 2³² of it: one unit more than the maximum. A maximum no such unit explains
/// (a guest's tree) is taken literally, as the last value before the counter returns to zero.
pub fn modulus_nanojoules(max_energy_range_microjoules: u128) -> u128 {
    let unit = (max_energy_range_microjoules * 1000).div_ceil(REGISTER_TURN - 1);
    if unit > 0 && (REGISTER_TURN - 1) * unit / 1000 == max_energy_range_microjoules {
        return REGISTER_TURN * unit;
    }
    (max_energy_range_microjoules + 1) * 1000
}

fn scope_of(name: &str) -> Option<Scope> {
    if name.starts_with("package") {
        return Some(Scope::Package);
    }
    match name {
        "core" => Some(Scope::Core),
        "uncore" => Some(Scope::Uncore),
        "dram" => Some(Scope::Dram),
        "psys" => Some(Scope::Platform),
        _ => None,
    }
}

/// `intel-rapl:0:1` is inside `intel-rapl:0`. Memory is listed inside its package but its energy is not in it.
fn parent_of(entry: &str, scope: Scope, prefix: &str) -> Option<String> {
    if scope == Scope::Dram {
        return None;
    }
    let (head, _) = entry.rsplit_once(':')?;
    head.contains(':').then(|| format!("{prefix}:{head}"))
}

fn describe(root: &Path, entry: &str) -> Option<Zone> {
    let folder = root.join(entry);
    let name = read_text(&folder.join("name"))?;
    let scope = scope_of(&name)?;
    let mmio = entry.contains("mmio");
    let (kind, prefix) = match (mmio, scope) {
        (true, _) => (SourceKind::RaplMmio, "rapl_mmio"),
        (false, Scope::Platform) => (SourceKind::Psys, "rapl_powercap"),
        (false, _) => (SourceKind::RaplPowercap, "rapl_powercap"),
    };
    let energy_path = folder.join("energy_uj");
    let maximum = read_number(&folder.join("max_energy_range_uj")).filter(|value| *value > 0);
    let modulus = maximum.map(modulus_nanojoules);
    let limit = ["constraint_0_max_power_uw", "constraint_0_power_limit_uw", "constraint_1_power_limit_uw"]
        .iter()
        .filter_map(|file| read_number(&folder.join(file)))
        .max()
        .filter(|value| *value > 0);
    let readable = match File::open(&energy_path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(format!(
            "{} is readable by root only (CVE-2020-8694); run `sudo chmod a+r {}` or allow perf events with `sudo sysctl kernel.perf_event_paranoid=0`",
            energy_path.display(),
            energy_path.display()
        )),
        Err(error) => Err(format!("{} cannot be read: {error}", energy_path.display())),
    };
    Some(Zone {
        descriptor: SourceDescriptor {
            id: format!("{prefix}:{entry}"),
            kind,
            scope,
            parent: parent_of(entry, scope, prefix),
            label: name,
            provenance: Provenance::MeasuredCounter,
            state: if readable.is_ok() { SourceState::Included } else { SourceState::Unavailable },
            reason: readable.err().unwrap_or_default(),
            method: format!("powercap counter {}", energy_path.display()),
            uncertainty_permille: 20,
            modulus_nanojoules: modulus,
        },
        energy_path,
        modulus_nanojoules: modulus,
        // A stated limit can be exceeded for short times, by turbo or by a second limit.
        maximum_microwatts: limit.map_or(DEFAULT_MAXIMUM_MICROWATTS, |value| value * 2),
    })
}

/// All RAPL zones under `root`, in the order of their names; empty where there is no tree.
pub fn zones(root: &Path) -> Vec<Zone> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("rapl") && name.contains(':'))
        .collect();
    names.sort();
    names.iter().filter_map(|name| describe(root, name)).collect()
}

struct PowercapReader {
    file: File,
    path: PathBuf,
}

impl SourceReader for PowercapReader {
    fn read(&mut self, _usage: &MachineUsage) -> Result<RawReading, String> {
        let mut buffer = [0_u8; 64];
        let length = self.file.read_at(&mut buffer, 0).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let monotonic_ns = monotonic_nanoseconds();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let microjoules: u128 =
            text.trim().parse().map_err(|_| format!("{}: not a number: {:?}", self.path.display(), text.trim()))?;
        Ok(RawReading::new(monotonic_ns, microjoules * 1000))
    }
}

/// Open a zone for sampling. Counts are nanojoules (microjoules as shown, times 1000).
///
/// # Errors
/// The reason as text.
pub fn open(zone: Zone) -> Result<OpenSource, String> {
    let file = File::open(&zone.energy_path).map_err(|error| format!("{}: {error}", zone.energy_path.display()))?;
    Ok(OpenSource {
        descriptor: zone.descriptor,
        unit: EnergyUnit::NANOJOULE,
        counter: WrappingCounter::new(zone.modulus_nanojoules, Some(zone.maximum_microwatts * 1000)),
        attribution: Attribution::CpuTime,
        idle_nanowatts: None,
        reader: Box::new(PowercapReader { file, path: zone.energy_path }),
    })
}

#[cfg(test)]
mod tests {
    use super::modulus_nanojoules;

    #[test]
    fn the_modulus_is_one_unit_above_the_maximum() {
        // 2⁻¹⁴ J, 2⁻¹⁶ J and the fixed DRAM unit, as the kernel truncates them to whole nanojoules.
        assert_eq!(modulus_nanojoules(262_143_328_850), 61_035 << 32);
        assert_eq!(modulus_nanojoules(65_532_610_987), 15_258 << 32);
        assert_eq!(modulus_nanojoules(65_712_999_613), 15_300 << 32);
        assert_eq!(modulus_nanojoules(999_999), 1_000_000_000);
    }
}
