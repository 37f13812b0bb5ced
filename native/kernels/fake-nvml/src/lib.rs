//! The symbols of NVIDIA's management library that the meter uses, answering from a script (see [`script`]). A test
//! loads it in place of `libnvidia-ml.so.1`; the environment variable `SWIFT_FAKE_NVML` names the script.
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "names and contracts are those of nvml.h")]

pub mod amdsmi;
pub mod script;

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::time::{Duration, SystemTime};

use script::{Device, machine};

type Handle = *mut c_void;

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NOT_FOUND: c_int = 6;
const LOST: c_int = 15;
/// Handles are indices above these; MIG instances lie above the second.
const DEVICES: usize = 0x1000;
const INSTANCES: usize = 0x10_0000;

fn seconds() -> f64 {
    let (script, start) = machine();
    script.seconds(*start)
}

fn device(handle: Handle) -> Option<&'static Device> {
    machine().0.devices.get((handle as usize).checked_sub(DEVICES)?)
}

/// The device, after the time a call takes; an error when it lacks the call or is lost.
fn answer(handle: Handle, call: &str) -> Result<&'static Device, c_int> {
    let device = device(handle).ok_or(INVALID_ARGUMENT)?;
    std::thread::sleep(Duration::from_millis(device.slow_ms));
    if device.lost_at.is_some_and(|lost| seconds() >= lost) {
        return Err(LOST);
    }
    if device.not_supported.iter().any(|name| name == call) { Err(NOT_SUPPORTED) } else { Ok(device) }
}

fn put_text(text: &str, into: *mut c_char, length: c_uint) -> c_int {
    if text.len() >= length as usize {
        return 7;
    }
    for (index, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: the caller gives `length` writable bytes, and the text with its zero fits.
        unsafe { *into.add(index) = byte as c_char };
    }
    SUCCESS
}

fn put<T>(value: Result<T, c_int>, into: *mut T) -> c_int {
    match value {
        Ok(value) => {
            // SAFETY: the caller gives a writable place of this type.
            unsafe { *into = value };
            SUCCESS
        }
        Err(status) => status,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_int {
    machine();
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(into: *mut c_char, length: c_uint) -> c_int {
    put_text(&machine().0.driver, into, length)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_int {
    put(Ok(machine().0.devices.len() as c_uint), count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, handle: *mut Handle) -> c_int {
    let known = (index as usize) < machine().0.devices.len();
    put(if known { Ok((DEVICES + index as usize) as Handle) } else { Err(INVALID_ARGUMENT) }, handle)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(handle: Handle, into: *mut c_char, length: c_uint) -> c_int {
    if let Some(instance) = (handle as usize).checked_sub(INSTANCES) {
        let device = machine().0.devices.get(instance / 64);
        return match device.and_then(|device| device.instances.get(instance % 64)) {
            Some(uuid) => put_text(uuid, into, length),
            None => INVALID_ARGUMENT,
        };
    }
    device(handle).map_or(INVALID_ARGUMENT, |device| put_text(&device.uuid, into, length))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(handle: Handle, into: *mut c_char, length: c_uint) -> c_int {
    device(handle).map_or(INVALID_ARGUMENT, |device| put_text(&device.name, into, length))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(handle: Handle, count: *mut c_uint) -> c_int {
    put(device(handle).map(|device| device.instances.len() as c_uint).ok_or(INVALID_ARGUMENT), count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    handle: Handle,
    index: c_uint,
    into: *mut Handle,
) -> c_int {
    let Some(device) = device(handle) else { return INVALID_ARGUMENT };
    let known = (index as usize) < device.instances.len();
    let instance = INSTANCES + (handle as usize - DEVICES) * 64 + index as usize;
    put(if known { Ok(instance as Handle) } else { Err(NOT_FOUND) }, into)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(handle: Handle, energy: *mut c_ulonglong) -> c_int {
    // The value is that of the call's start; a slow call returns it late.
    let at = seconds();
    put(answer(handle, "energy").map(|device| device.counter(at)), energy)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(handle: Handle, power: *mut c_uint) -> c_int {
    put(answer(handle, "usage").map(|device| device.milliwatts(seconds())), power)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    handle: Handle,
    low: *mut c_uint,
    high: *mut c_uint,
) -> c_int {
    let limit = answer(handle, "limit").map(|device| device.limit_watts * 1000);
    put(limit.map(|limit| limit / 4), low);
    put(limit, high)
}

/// `nvmlFieldValue_t`.
#[repr(C)]
pub struct FieldValue {
    field: c_uint,
    scope: c_uint,
    timestamp_us: i64,
    latency_us: i64,
    value_type: c_uint,
    status: c_int,
    value: u64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(handle: Handle, count: c_int, values: *mut FieldValue) -> c_int {
    for index in 0..count as usize {
        // SAFETY: the caller gives `count` values.
        let value = unsafe { &mut *values.add(index) };
        match answer(handle, &format!("field:{}", value.field)) {
            Ok(device) => {
                value.value_type = 1;
                value.value = u64::from(device.milliwatts(seconds()));
                value.status = SUCCESS;
            }
            Err(LOST) => return LOST,
            Err(status) => value.status = status,
        }
    }
    SUCCESS
}

/// `nvmlSample_t`.
#[repr(C)]
pub struct PowerSample {
    timestamp_us: u64,
    value: u64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetSamples(
    handle: Handle,
    _kind: c_uint,
    since_us: c_ulonglong,
    value_type: *mut c_uint,
    count: *mut c_uint,
    samples: *mut PowerSample,
) -> c_int {
    let device = match answer(handle, "samples") {
        Ok(device) => device,
        Err(status) => return status,
    };
    let unix_us = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
    let now = seconds();
    let period = device.update_ms / 1000.0;
    let last = (now / period).floor() as u64;
    let time_of = |number: u64| unix_us - ((now - number as f64 * period) * 1e6) as u64;
    // The driver keeps the last 120.
    let fresh: Vec<u64> =
        (last.saturating_sub(119)..=last).filter(|number| time_of(*number) > since_us + 500).collect();
    put(Ok(1), value_type);
    if !samples.is_null() {
        // SAFETY: the caller gives a readable count, and as many samples.
        let room = unsafe { *count } as usize;
        for (index, number) in fresh.iter().take(room).enumerate() {
            let value = u64::from(device.milliwatts(*number as f64 * period));
            // SAFETY: `index` is below the count the caller has room for.
            unsafe { *samples.add(index) = PowerSample { timestamp_us: time_of(*number), value } };
        }
    }
    put(Ok(fresh.len() as c_uint), count)
}
