//! NVIDIA's management library, opened at run time; every symbol may be missing.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::Path;

use crate::source::dynamic::Dynamic;

/// Handle of a device: opaque, and good on any thread.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Handle(*mut c_void);

// SAFETY: NVML never asks that a handle stays on the thread that got it.
unsafe impl Send for Handle {}

/// `NVML_ERROR_NOT_SUPPORTED`.
pub const NOT_SUPPORTED: c_int = 3;
const SUCCESS: c_int = 0;
/// `NVML_TOTAL_POWER_SAMPLES`.
const TOTAL_POWER_SAMPLES: c_uint = 0;
/// `NVML_FI_DEV_POWER_INSTANT`.
pub const FIELD_POWER_INSTANT: c_uint = 186;
/// `NVML_FI_DEV_POWER_AVERAGE`, over a second.
pub const FIELD_POWER_AVERAGE: c_uint = 185;

/// `nvmlFieldValue_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FieldValue {
    field: c_uint,
    scope: c_uint,
    timestamp_us: i64,
    latency_us: i64,
    value_type: c_uint,
    status: c_int,
    value: u64,
}

/// `nvmlSample_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PowerSample {
    /// Microseconds since 1970.
    pub timestamp_us: u64,
    /// Union; milliwatts in its low half for power.
    pub value: u64,
}

/// An opened library.
#[derive(Clone, Copy)]
pub struct Library(Dynamic);

/// What a failed call means, in words.
pub fn explain(status: c_int) -> String {
    let known = match status {
        2 => "invalid argument",
        NOT_SUPPORTED => "not supported by this device",
        4 => "no permission",
        6 => "not found",
        9 => "the driver is not loaded",
        15 => "the GPU is lost: it has fallen off the bus",
        18 => "library and driver have different versions",
        _ => return format!("NVML error {status}"),
    };
    format!("{known} (NVML error {status})")
}

macro_rules! call {
    ($library:expr, $name:literal, fn($($type:ty),*), $($argument:expr),*) => {{
        let symbol = $library.0.symbol($name)?;
        // SAFETY: the signature is that of `nvml.h` for this name; it has not changed since it was published.
        let function: unsafe extern "C" fn($($type),*) -> c_int = unsafe { std::mem::transmute(symbol) };
        // SAFETY: pointers given are valid for the length of the call and sized as the function expects.
        let status = unsafe { function($($argument),*) };
        if status == SUCCESS { Ok(()) } else { Err(format!("{}: {}", $name, explain(status))) }
    }};
}

impl Library {
    /// Open the library and start it.
    ///
    /// # Errors
    /// The reason as text.
    pub fn open(path: &Path) -> Result<Self, String> {
        let library = Self(Dynamic::open(path)?);
        call!(library, "nvmlInit_v2", fn(),)?;
        Ok(library)
    }

    /// Number of devices.
    pub fn count(&self) -> Result<u32, String> {
        let mut count: c_uint = 0;
        call!(self, "nvmlDeviceGetCount_v2", fn(*mut c_uint), &raw mut count)?;
        Ok(count)
    }

    /// A device by NVML's index, which is the order of PCI addresses.
    pub fn device(&self, index: u32) -> Result<Handle, String> {
        let mut handle = Handle(std::ptr::null_mut());
        call!(self, "nvmlDeviceGetHandleByIndex_v2", fn(c_uint, *mut Handle), index, &raw mut handle)?;
        Ok(handle)
    }

    /// UUID of a device or MIG instance.
    pub fn uuid(&self, device: Handle) -> Result<String, String> {
        let mut text = [0 as c_char; 96];
        call!(self, "nvmlDeviceGetUUID", fn(Handle, *mut c_char, c_uint), device, text.as_mut_ptr(), 96)?;
        Ok(to_text(&text))
    }

    /// Product name.
    pub fn name(&self, device: Handle) -> Result<String, String> {
        let mut text = [0 as c_char; 96];
        call!(self, "nvmlDeviceGetName", fn(Handle, *mut c_char, c_uint), device, text.as_mut_ptr(), 96)?;
        Ok(to_text(&text))
    }

    /// Driver version; empty where it is not told.
    pub fn driver(&self) -> String {
        let mut text = [0 as c_char; 81];
        let mut ask = || call!(self, "nvmlSystemGetDriverVersion", fn(*mut c_char, c_uint), text.as_mut_ptr(), 80);
        if ask().is_ok() { to_text(&text) } else { String::new() }
    }

    /// UUIDs of the MIG instances of a device; empty where MIG is off.
    pub fn mig_uuids(&self, device: Handle) -> Vec<String> {
        let read = || -> Result<Vec<String>, String> {
            let mut most: c_uint = 0;
            call!(self, "nvmlDeviceGetMaxMigDeviceCount", fn(Handle, *mut c_uint), device, &raw mut most)?;
            let mut found = Vec::new();
            for index in 0..most.min(64) {
                let mut instance = Handle(std::ptr::null_mut());
                let asked = call!(
                    self,
                    "nvmlDeviceGetMigDeviceHandleByIndex",
                    fn(Handle, c_uint, *mut Handle),
                    device,
                    index,
                    &raw mut instance
                );
                if asked.is_ok() {
                    found.push(self.uuid(instance)?);
                }
            }
            Ok(found)
        };
        read().unwrap_or_default()
    }

    /// Millijoules since the driver was loaded.
    pub fn total_energy(&self, device: Handle) -> Result<u64, String> {
        let mut energy: c_ulonglong = 0;
        call!(self, "nvmlDeviceGetTotalEnergyConsumption", fn(Handle, *mut c_ulonglong), device, &raw mut energy)?;
        Ok(energy)
    }

    /// Power samples newer than `since_us` from the driver's buffer.
    pub fn power_samples(&self, device: Handle, since_us: u64) -> Result<Vec<PowerSample>, String> {
        type Arguments = (*mut c_uint, *mut c_uint, *mut PowerSample);
        let ask = |(kind, count, samples): Arguments| -> Result<(), String> {
            call!(
                self,
                "nvmlDeviceGetSamples",
                fn(Handle, c_uint, c_ulonglong, *mut c_uint, *mut c_uint, *mut PowerSample),
                device,
                TOTAL_POWER_SAMPLES,
                since_us,
                kind,
                count,
                samples
            )
        };
        let (mut kind, mut count): (c_uint, c_uint) = (0, 0);
        ask((&raw mut kind, &raw mut count, std::ptr::null_mut()))?;
        let mut samples = vec![PowerSample::default(); count as usize];
        if count > 0 {
            ask((&raw mut kind, &raw mut count, samples.as_mut_ptr()))?;
        }
        samples.truncate(count as usize);
        samples.retain(|sample| sample.timestamp_us > since_us);
        Ok(samples)
    }

    /// A field that holds milliwatts.
    pub fn power_field(&self, device: Handle, field: c_uint) -> Result<u64, String> {
        let mut value = FieldValue { field, ..FieldValue::default() };
        call!(self, "nvmlDeviceGetFieldValues", fn(Handle, c_int, *mut FieldValue), device, 1, &raw mut value)?;
        if value.status != SUCCESS {
            return Err(format!("field {field}: {}", explain(value.status)));
        }
        // Types 1 and 2 are unsigned, of 32 and of at least 32 bits; power fits either.
        Ok(value.value & 0xFFFF_FFFF)
    }

    /// Milliwatts: an average over a second on Ampere (except GA100) and later, instantaneous before.
    pub fn power_usage(&self, device: Handle) -> Result<u64, String> {
        let mut power: c_uint = 0;
        call!(self, "nvmlDeviceGetPowerUsage", fn(Handle, *mut c_uint), device, &raw mut power)?;
        Ok(u64::from(power))
    }

    /// Largest power limit the device accepts, milliwatts.
    pub fn largest_limit(&self, device: Handle) -> Result<u64, String> {
        let (mut low, mut high): (c_uint, c_uint) = (0, 0);
        call!(
            self,
            "nvmlDeviceGetPowerManagementLimitConstraints",
            fn(Handle, *mut c_uint, *mut c_uint),
            device,
            &raw mut low,
            &raw mut high
        )?;
        Ok(u64::from(high))
    }
}

fn to_text(bytes: &[c_char]) -> String {
    let text: Vec<u8> = bytes.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    String::from_utf8_lossy(&text).into_owned()
}
