//! AMD GPUs through amdsmi's energy accumulator.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};

use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::dynamic::Dynamic;
use super::nvml::visible::{Listed, Visibility, visible};
use super::threaded::{Plan, ThreadedReader};
use super::{Attribution, OpenSource, RawReading};
use crate::clock::monotonic_nanoseconds;
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;

const DEFAULT_LIBRARY: &str = "libamd_smi.so";
/// `AMDSMI_INIT_AMD_GPUS`.
const INIT_GPUS: u64 = 1 << 1;
/// No card draws more; twice this over an interval is refused.
const LARGEST_WATTS: u128 = 3000;

type Handle = *mut c_void;

#[derive(Clone, Copy)]
struct Processor {
    library: Dynamic,
    handle: Handle,
}

// SAFETY: amdsmi takes its processor handles on any thread.
unsafe impl Send for Processor {}

/// A device as found.
pub struct Device {
    /// What it is.
    pub descriptor: SourceDescriptor,
    processor: Option<(Processor, EnergyUnit)>,
}

macro_rules! call {
    ($library:expr, $name:literal, fn($($type:ty),*), $($argument:expr),*) => {{
        let symbol = $library.symbol($name)?;
        // SAFETY: the signature is that of `amdsmi.h` for this name.
        let function: unsafe extern "C" fn($($type),*) -> c_int = unsafe { std::mem::transmute(symbol) };
        // SAFETY: pointers given are valid for the length of the call and sized as the function expects.
        let status = unsafe { function($($argument),*) };
        if status == 0 { Ok(()) } else { Err(format!("{}: amdsmi error {status}", $name)) }
    }};
}

fn handles(ask: impl Fn(*mut u32, *mut Handle) -> Result<(), String>) -> Result<Vec<Handle>, String> {
    let mut count = 0;
    ask(&raw mut count, std::ptr::null_mut())?;
    let mut found = vec![std::ptr::null_mut(); count as usize];
    if count > 0 {
        ask(&raw mut count, found.as_mut_ptr())?;
    }
    found.truncate(count as usize);
    Ok(found)
}

impl Processor {
    fn uuid(self) -> Result<String, String> {
        let mut text = [0 as c_char; 64];
        let mut length: c_uint = 64;
        call!(
            self.library,
            "amdsmi_get_gpu_device_uuid",
            fn(Handle, *mut c_uint, *mut c_char),
            self.handle,
            &raw mut length,
            text.as_mut_ptr()
        )?;
        let bytes: Vec<u8> = text.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Counts, and microjoules per count.
    fn energy(self) -> Result<(u64, f32), String> {
        let (mut count, mut resolution, mut timestamp) = (0_u64, 0_f32, 0_u64);
        call!(
            self.library,
            "amdsmi_get_energy_count",
            fn(Handle, *mut u64, *mut f32, *mut u64),
            self.handle,
            &raw mut count,
            &raw mut resolution,
            &raw mut timestamp
        )?;
        Ok((count, resolution))
    }
}

fn processors(path: &Path) -> Result<Vec<Processor>, String> {
    let library = Dynamic::open(path)?;
    call!(library, "amdsmi_init", fn(u64), INIT_GPUS)?;
    let sockets =
        handles(|count, into| call!(library, "amdsmi_get_socket_handles", fn(*mut u32, *mut Handle), count, into))?;
    let mut found = Vec::new();
    for socket in sockets {
        let of_socket = handles(|count, into| {
            call!(library, "amdsmi_get_processor_handles", fn(Handle, *mut u32, *mut Handle), socket, count, into)
        })?;
        found.extend(of_socket.into_iter().map(|handle| Processor { library, handle }));
    }
    Ok(found)
}

fn blank(id: String) -> SourceDescriptor {
    SourceDescriptor {
        id,
        kind: SourceKind::AmdCounter,
        scope: Scope::Gpu,
        label: "AMD GPU".to_owned(),
        parent: None,
        provenance: Provenance::MeasuredCounter,
        state: SourceState::Included,
        reason: String::new(),
        method: String::new(),
        uncertainty_permille: 50,
        modulus_nanojoules: None,
    }
}

/// All AMD devices; empty where there is no driver and no library is named.
pub fn devices(library: Option<&Path>) -> Vec<Device> {
    let named = library.map(Path::to_owned).or_else(|| std::env::var_os("SWIFT_AMDSMI_LIBRARY").map(PathBuf::from));
    if named.is_none() && !Path::new("/dev/kfd").exists() {
        return Vec::new();
    }
    let refused = |reason: String| {
        let descriptor = SourceDescriptor { state: SourceState::Unavailable, reason, ..blank("amdsmi".to_owned()) };
        vec![Device { descriptor, processor: None }]
    };
    let processors = match processors(&named.unwrap_or_else(|| DEFAULT_LIBRARY.into())) {
        Ok(processors) => processors,
        Err(reason) => return refused(format!("{reason}; install amd-smi-lib, or pass the GPU into the container")),
    };
    let listed: Vec<Listed> = processors
        .iter()
        .enumerate()
        .map(|(index, processor)| Listed {
            uuid: processor.uuid().unwrap_or_else(|_| format!("index-{index}")),
            name: String::new(),
            instances: Vec::new(),
        })
        .collect();
    let mask = ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"].iter().find_map(|name| std::env::var(name).ok());
    let seen = visible(&listed, mask.as_deref(), true);
    processors
        .into_iter()
        .zip(listed)
        .zip(seen)
        .map(|((processor, listed), seen)| describe(processor, &listed, seen))
        .collect()
}

fn describe(processor: Processor, listed: &Listed, seen: Visibility) -> Device {
    let mut descriptor = blank(format!("amdsmi:{}", listed.uuid));
    if seen == Visibility::Hidden {
        descriptor.state = SourceState::ShownOnly;
        descriptor.reason = "not in HIP_VISIBLE_DEVICES: another program's".to_owned();
        return Device { descriptor, processor: None };
    }
    match processor.energy() {
        Ok((_, resolution)) if resolution > 0.0 && resolution.is_finite() => {
            descriptor.method = format!("amdsmi energy accumulator, {resolution} uJ per count");
            // The resolution as stated, to a millionth of a microjoule: 15.3 is 15,300,000.
            let numerator = (f64::from(resolution) * 1e6).round() as u128;
            let unit = EnergyUnit { numerator, denominator: 1000 };
            Device { descriptor, processor: Some((processor, unit)) }
        }
        Ok((_, resolution)) => {
            descriptor.state = SourceState::Unavailable;
            descriptor.reason = format!("its counter states a resolution of {resolution} uJ");
            Device { descriptor, processor: None }
        }
        Err(reason) => {
            descriptor.state = SourceState::Unavailable;
            descriptor.reason = reason;
            Device { descriptor, processor: None }
        }
    }
}

/// Open a device for sampling.
///
/// # Errors
/// The reason as text.
pub fn open(device: Device) -> Result<OpenSource, String> {
    let Device { descriptor, processor } = device;
    let Some((processor, unit)) = processor else { return Err(descriptor.reason) };
    let poll = move || {
        let processor = processor;
        let before = monotonic_nanoseconds();
        let (count, _) = processor.energy()?;
        Ok(RawReading::new(before.midpoint(monotonic_nanoseconds()), u128::from(count)))
    };
    let most = LARGEST_WATTS * 1_000_000_000 * unit.denominator / unit.numerator.max(1);
    let reader = ThreadedReader::new(&descriptor.id, Plan::Edges, Box::new(poll));
    Ok(OpenSource {
        descriptor,
        unit,
        counter: WrappingCounter::new(None, Some(most)),
        attribution: Attribution::WHOLE_DEVICE,
        idle_nanowatts: None,
        reader: Box::new(reader),
    })
}
