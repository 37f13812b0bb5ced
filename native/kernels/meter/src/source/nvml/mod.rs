//! NVIDIA GPUs through NVML: energy counter, else the driver's power samples, else instant power, else average power.

pub mod library;
pub mod visible;

use std::path::{Path, PathBuf};

use self::library::{FIELD_POWER_AVERAGE, FIELD_POWER_INSTANT, Handle, Library};
use self::visible::{Listed, Visibility, visible};
use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::integrate::{self, Integrator};
use super::threaded::{Plan, Poll, ThreadedReader};
use super::{Attribution, OpenSource, RawReading};
use crate::clock::{monotonic_nanoseconds, unix_milliseconds};
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;

/// The library's name on Linux.
pub const DEFAULT_LIBRARY: &str = "libnvidia-ml.so.1";

/// A device that states no limit is assumed to draw no more than this, in milliwatts.
const DEFAULT_LIMIT_MILLIWATTS: u64 = 2_000_000;

/// Power is polled this often where it must be integrated: faster than any sensor's 25 ms window moves.
const POWER_PERIOD_NS: u64 = 20_000_000;

/// The samples buffer is emptied this often.
const SAMPLES_PERIOD_NS: u64 = 100_000_000;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct NvmlOptions {
    /// Library to open. Default: environment variable `SWIFT_NVML_LIBRARY`, else [`DEFAULT_LIBRARY`].
    pub library: Option<PathBuf>,
    /// Devices this process uses, as in `CUDA_VISIBLE_DEVICES`, which is the default.
    pub visible_devices: Option<String>,
}

/// A device as found, with the rung that answers.
pub struct Device {
    /// What it is.
    pub descriptor: SourceDescriptor,
    attribution: Attribution,
    limit_milliwatts: u64,
    reader: Option<Rung>,
}

#[derive(Clone, Copy)]
struct Reference {
    library: Library,
    handle: Handle,
}

enum Rung {
    Counter(Reference),
    Samples(Reference),
    Field(Reference, u32),
    Usage(Reference),
}

fn present() -> bool {
    Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists()
}

fn blank(id: String, label: String) -> SourceDescriptor {
    SourceDescriptor {
        id,
        kind: SourceKind::NvmlCounter,
        scope: Scope::Gpu,
        label,
        parent: None,
        provenance: Provenance::MeasuredCounter,
        state: SourceState::Included,
        reason: String::new(),
        method: String::new(),
        uncertainty_permille: 50,
        modulus_nanojoules: None,
    }
}

/// All NVIDIA devices of this machine, used or not; empty where there is no driver.
pub fn devices(options: &NvmlOptions) -> Vec<Device> {
    let named = options.library.clone().or_else(|| std::env::var_os("SWIFT_NVML_LIBRARY").map(PathBuf::from));
    if named.is_none() && !present() {
        return Vec::new();
    }
    let path = named.unwrap_or_else(|| DEFAULT_LIBRARY.into());
    match Library::open(&path).and_then(|library| list(library, options)) {
        Ok(devices) => devices,
        Err(reason) => {
            let descriptor = SourceDescriptor {
                state: SourceState::Unavailable,
                reason: format!("{reason}; install the NVIDIA driver's libraries, or pass the GPU into the container"),
                ..blank("nvml".to_owned(), "NVIDIA GPUs".to_owned())
            };
            vec![Device { descriptor, attribution: Attribution::WHOLE_DEVICE, limit_milliwatts: 0, reader: None }]
        }
    }
}

fn list(library: Library, options: &NvmlOptions) -> Result<Vec<Device>, String> {
    let mut handles = Vec::new();
    let mut listed = Vec::new();
    for index in 0..library.count()? {
        let handle = library.device(index)?;
        listed.push(Listed {
            uuid: library.uuid(handle)?,
            name: library.name(handle).unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
            instances: library.mig_uuids(handle),
        });
        handles.push(handle);
    }
    let mask = options.visible_devices.clone().or_else(|| std::env::var("CUDA_VISIBLE_DEVICES").ok());
    let by_address = std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|order| order == "PCI_BUS_ID");
    let seen = visible(&listed, mask.as_deref(), by_address);
    let driver = library.driver();
    let devices = handles.into_iter().zip(&listed).zip(seen);
    Ok(devices.map(|((handle, listed), seen)| describe(Reference { library, handle }, listed, seen, &driver)).collect())
}

fn describe(device: Reference, listed: &Listed, seen: Visibility, driver: &str) -> Device {
    let mut descriptor = blank(format!("nvml:{}", listed.uuid), listed.name.clone());
    // On Grace Hopper and Grace Blackwell the counter covers the module: GPU, CPU and memory.
    let module = listed.name.contains("GH200") || listed.name.contains("GB200");
    descriptor.scope = if module { Scope::Module } else { Scope::Gpu };
    let limit_milliwatts = device.library.largest_limit(device.handle).unwrap_or(DEFAULT_LIMIT_MILLIWATTS);
    let mut attribution = Attribution::WHOLE_DEVICE;
    match seen {
        Visibility::Whole => {}
        Visibility::Instances(count) => {
            let all = listed.instances.len().max(count) as u32;
            attribution = Attribution::Device { own: count as u32, of: all };
            descriptor.reason = format!(
                "counted once for the whole GPU; {count} of its {all} MIG instances are this process's, by their number"
            );
        }
        Visibility::Hidden => {
            descriptor.state = SourceState::ShownOnly;
            descriptor.reason = "not in CUDA_VISIBLE_DEVICES: another program's".to_owned();
        }
        Visibility::Unknown => {
            descriptor.state = SourceState::Unavailable;
            descriptor.reason = "CUDA_VISIBLE_DEVICES gives numbers, and the GPUs here differ: CUDA counts by speed, the driver by address; set CUDA_DEVICE_ORDER=PCI_BUS_ID or name GPUs by UUID".to_owned();
        }
    }
    if seen == Visibility::Whole && !listed.instances.is_empty() {
        descriptor.reason = format!("the whole GPU, counted once for its {} MIG instances", listed.instances.len());
    }
    if matches!(seen, Visibility::Hidden | Visibility::Unknown) {
        return Device { descriptor, attribution, limit_milliwatts, reader: None };
    }
    let reader = ladder(device, &mut descriptor, driver);
    Device { descriptor, attribution, limit_milliwatts, reader }
}

/// The first rung that answers; the reasons of those that did not are kept.
fn ladder(device: Reference, descriptor: &mut SourceDescriptor, driver: &str) -> Option<Rung> {
    let Reference { library, handle } = device;
    let mut refused = Vec::new();
    let mut choose = |kind, provenance, permille, method: &str| {
        descriptor.kind = kind;
        descriptor.provenance = provenance;
        descriptor.uncertainty_permille = permille;
        descriptor.method = format!("{method}, driver {driver}");
    };
    let integrated = Provenance::IntegratedPower;
    match library.total_energy(handle) {
        Ok(_) => {
            choose(SourceKind::NvmlCounter, Provenance::MeasuredCounter, 50, "NVML energy counter, 1 mJ per count");
            return Some(Rung::Counter(device));
        }
        Err(reason) => refused.push(reason),
    }
    match library.power_samples(handle, 0) {
        Ok(samples) if !samples.is_empty() => {
            choose(SourceKind::NvmlSamples, integrated, 80, "NVML power samples of the driver's buffer, trapezoids");
            return Some(Rung::Samples(device));
        }
        Ok(_) => refused.push("nvmlDeviceGetSamples: the buffer is empty".to_owned()),
        Err(reason) => refused.push(reason),
    }
    for (field, permille, method) in [
        // A window of 25 ms every 100 ms can miss three quarters of a periodic load.
        (FIELD_POWER_INSTANT, 250, "NVML instant power every 20 ms, trapezoids"),
        (FIELD_POWER_AVERAGE, 80, "NVML power averaged over 1 s every 20 ms, trapezoids"),
    ] {
        match library.power_field(handle, field) {
            Ok(_) => {
                choose(SourceKind::NvmlPower, integrated, permille, method);
                return Some(Rung::Field(device, field));
            }
            Err(reason) => refused.push(reason),
        }
    }
    match library.power_usage(handle) {
        Ok(_) => {
            choose(SourceKind::NvmlPower, integrated, 250, "NVML power usage every 20 ms, trapezoids");
            return Some(Rung::Usage(device));
        }
        Err(reason) => refused.push(reason),
    }
    descriptor.state = SourceState::Unavailable;
    descriptor.reason = refused.join("; ");
    None
}

fn power_poll(read: impl Fn() -> Result<u64, String> + Send + 'static) -> Poll {
    let mut integrator = Integrator::default();
    Box::new(move || read().map(|milliwatts| integrator.take(monotonic_nanoseconds(), milliwatts)))
}

fn samples_poll(device: Reference) -> Poll {
    let mut integrator = Integrator::default();
    let mut since_us = 0;
    let mut last: Option<RawReading> = None;
    Box::new(move || {
        let samples = device.library.power_samples(device.handle, since_us)?;
        let (now, unix_ns) = (monotonic_nanoseconds(), unix_milliseconds() * 1_000_000);
        for sample in samples {
            since_us = sample.timestamp_us;
            let age = unix_ns.saturating_sub(sample.timestamp_us * 1000);
            let reading = integrator.take(now.saturating_sub(age), sample.value & 0xFFFF_FFFF);
            // A restart among several samples must reach the book.
            let restart = reading.restart || last.is_some_and(|last| last.restart);
            last = Some(RawReading { restart, ..reading });
        }
        last.take().ok_or_else(|| "nvmlDeviceGetSamples: no new sample".to_owned())
    })
}

/// Open a device for sampling.
///
/// # Errors
/// The reason as text.
pub fn open(device: Device) -> Result<OpenSource, String> {
    let Device { descriptor, attribution, limit_milliwatts, reader } = device;
    let Some(rung) = reader else { return Err(descriptor.reason) };
    let id = descriptor.id.clone();
    // A stated limit can be exceeded for short times.
    let counts = u128::from(limit_milliwatts) * 2;
    let (unit, most, plan, poll): (EnergyUnit, u128, Plan, Poll) = match rung {
        Rung::Counter(device) => {
            let poll = move || {
                let before = monotonic_nanoseconds();
                let raw = device.library.total_energy(device.handle)?;
                Ok(RawReading::new(before.midpoint(monotonic_nanoseconds()), u128::from(raw)))
            };
            (EnergyUnit { numerator: 1_000_000, denominator: 1 }, counts, Plan::Edges, Box::new(poll))
        }
        Rung::Samples(device) => {
            (integrate::UNIT, counts * 2_000_000_000, Plan::Every(SAMPLES_PERIOD_NS), samples_poll(device))
        }
        Rung::Field(device, field) => {
            let read = move || device.library.power_field(device.handle, field);
            (integrate::UNIT, counts * 2_000_000_000, Plan::Every(POWER_PERIOD_NS), power_poll(read))
        }
        Rung::Usage(device) => {
            let read = move || device.library.power_usage(device.handle);
            (integrate::UNIT, counts * 2_000_000_000, Plan::Every(POWER_PERIOD_NS), power_poll(read))
        }
    };
    Ok(OpenSource {
        descriptor,
        unit,
        counter: WrappingCounter::new(None, Some(most)),
        attribution,
        idle_nanowatts: None,
        reader: Box::new(ThreadedReader::new(&id, plan, poll)),
    })
}
