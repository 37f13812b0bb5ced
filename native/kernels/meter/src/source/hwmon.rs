//! Power and energy files of the kernel's hardware monitors (ACPI power meters, AMD GPUs, board sensors), and batteries.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::integrate::{self, Integrator};
use super::{Attribution, OpenSource, RawReading, SourceReader};
use crate::clock::monotonic_nanoseconds;
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// Where the kernel shows its monitors.
pub const DEFAULT_ROOT: &str = "/sys/class/hwmon";

/// Where the kernel shows batteries.
pub const SUPPLY_ROOT: &str = "/sys/class/power_supply";

/// One file of a monitor, as found.
pub struct Sensor {
    /// What it is.
    pub descriptor: SourceDescriptor,
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Cumulative microjoules.
    Microjoules,
    /// Microwatts.
    Microwatts,
    /// Microwatts of a battery, which mean the machine's use only while it discharges.
    BatteryMicrowatts,
}

fn read_text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Scope of a driver's sensor, whether it may be counted, and why not.
fn place(driver: &str, label: &str) -> (Scope, SourceState, &'static str) {
    match driver {
        "amdgpu" => (Scope::Gpu, SourceState::Included, ""),
        // The specification of ACPI's power meter: the power of the system it is part of.
        "power_meter" => (Scope::Wall, SourceState::Included, ""),
        "amd_energy" if label.starts_with("Esocket") => (Scope::Package, SourceState::Included, ""),
        "amd_energy" => (Scope::Core, SourceState::ShownOnly, "inside its socket"),
        _ => (
            Scope::Platform,
            SourceState::ShownOnly,
            "what this sensor covers is not known, so it is shown and not added",
        ),
    }
}

fn names(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// `power1_average` is (`power`, `1`): one file for each sensor, averages before instants.
fn chosen(files: &[String]) -> Vec<(String, Content)> {
    let mut found: Vec<(String, Content)> = Vec::new();
    for (ending, kind, content) in [
        ("_input", "energy", Content::Microjoules),
        ("_average", "power", Content::Microwatts),
        ("_input", "power", Content::Microwatts),
    ] {
        for file in files {
            let Some(stem) = file.strip_suffix(ending).filter(|stem| stem.starts_with(kind)) else { continue };
            let known = found.iter().any(|(other, _)| other.starts_with(&format!("{stem}_")));
            if !known && stem[kind.len()..].bytes().all(|byte| byte.is_ascii_digit()) {
                found.push((file.clone(), content));
            }
        }
    }
    found
}

/// All power and energy sensors under `root`.
pub fn sensors(root: &Path) -> Vec<Sensor> {
    let mut found = Vec::new();
    for monitor in names(root) {
        let folder = root.join(&monitor);
        let Some(driver) = read_text(&folder.join("name")) else { continue };
        for (file, content) in chosen(&names(&folder)) {
            let stem = file.split('_').next().unwrap_or(&file);
            let label = read_text(&folder.join(format!("{stem}_label"))).unwrap_or_else(|| stem.to_owned());
            let (scope, state, reason) = place(&driver, &label);
            let device = std::fs::canonicalize(folder.join("device")).ok();
            let device = device.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            let path = folder.join(&file);
            found.push(Sensor {
                descriptor: SourceDescriptor {
                    id: format!("hwmon:{driver}:{}:{stem}", device.unwrap_or(monitor.clone())),
                    kind: SourceKind::Hwmon,
                    scope,
                    label: format!("{driver} {label}"),
                    parent: None,
                    provenance: match content {
                        Content::Microjoules => Provenance::MeasuredCounter,
                        _ => Provenance::IntegratedPower,
                    },
                    state,
                    reason: reason.to_owned(),
                    method: format!("hardware monitor {}", path.display()),
                    uncertainty_permille: if content == Content::Microjoules { 20 } else { 100 },
                    modulus_nanojoules: None,
                },
                path,
                content,
            });
        }
    }
    found
}

/// All batteries under `root`: shown, never added, for they know no more than the machine's use while it is unplugged.
pub fn batteries(root: &Path) -> Vec<Sensor> {
    let is_battery = |name: &String| read_text(&root.join(name).join("type")).is_some_and(|kind| kind == "Battery");
    let battery = |name: String| {
        let path = root.join(&name).join("power_now");
        path.exists().then(|| Sensor {
            descriptor: SourceDescriptor {
                id: format!("battery:{name}"),
                kind: SourceKind::Battery,
                scope: Scope::Wall,
                label: format!("battery {name}"),
                parent: None,
                provenance: Provenance::IntegratedPower,
                state: SourceState::ShownOnly,
                reason: "tells the machine's power only while it discharges, so it is shown and not added".to_owned(),
                method: format!("power supply {}", path.display()),
                uncertainty_permille: 100,
                modulus_nanojoules: None,
            },
            path,
            content: Content::BatteryMicrowatts,
        })
    };
    names(root).into_iter().filter(is_battery).filter_map(battery).collect()
}

struct HwmonReader {
    file: File,
    path: PathBuf,
    content: Content,
    integrator: Integrator,
}

impl SourceReader for HwmonReader {
    fn read(&mut self, _usage: &MachineUsage) -> Result<RawReading, String> {
        let mut buffer = [0_u8; 64];
        let length = self.file.read_at(&mut buffer, 0).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let monotonic_ns = monotonic_nanoseconds();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let value: i64 =
            text.trim().parse().map_err(|_| format!("{}: not a number: {:?}", self.path.display(), text.trim()))?;
        // Batteries of some makers count discharge below zero.
        let value = value.unsigned_abs();
        Ok(match self.content {
            Content::Microjoules => RawReading::new(monotonic_ns, u128::from(value)),
            _ => self.integrator.take(monotonic_ns, value / 1000),
        })
    }

    fn drain(&mut self, usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        let discharging =
            || read_text(&self.path.with_file_name("status")).is_some_and(|status| status == "Discharging");
        if self.content != Content::BatteryMicrowatts || discharging() {
            into.push(self.read(usage));
        }
    }
}

/// Open a sensor for sampling.
///
/// # Errors
/// The reason as text.
pub fn open(sensor: Sensor) -> Result<OpenSource, String> {
    let file = File::open(&sensor.path).map_err(|error| format!("{}: {error}", sensor.path.display()))?;
    let unit = match sensor.content {
        Content::Microjoules => EnergyUnit { numerator: 1000, denominator: 1 },
        _ => integrate::UNIT,
    };
    let device = matches!(sensor.descriptor.scope, Scope::Gpu);
    Ok(OpenSource {
        descriptor: sensor.descriptor,
        unit,
        counter: WrappingCounter::new(None, None),
        attribution: if device { Attribution::WHOLE_DEVICE } else { Attribution::CpuTime },
        idle_nanowatts: None,
        reader: Box::new(HwmonReader {
            file,
            path: sensor.path,
            content: sensor.content,
            integrator: Integrator::default(),
        }),
    })
}
