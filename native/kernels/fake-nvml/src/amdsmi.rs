//! The symbols of AMD's management library that the meter uses, answering from the same script: one socket holds all
//! devices.

use std::ffi::{c_char, c_int, c_uint};

use super::{DEVICES, Handle, INVALID_ARGUMENT, answer, put, put_text, seconds};
use crate::script::machine;

/// Microjoules per count.
const RESOLUTION: f32 = 15.3;

#[unsafe(no_mangle)]
pub extern "C" fn amdsmi_init(_flags: u64) -> c_int {
    machine();
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_socket_handles(count: *mut u32, sockets: *mut Handle) -> c_int {
    if !sockets.is_null() {
        put(Ok(1 as Handle), sockets);
    }
    put(Ok(1), count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_processor_handles(_socket: Handle, count: *mut u32, into: *mut Handle) -> c_int {
    let devices = machine().0.devices.len();
    if !into.is_null() {
        for index in 0..devices {
            // SAFETY: the caller has asked for the number before and gives as many places.
            unsafe { *into.add(index) = (DEVICES + index) as Handle };
        }
    }
    put(Ok(devices as u32), count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_gpu_device_uuid(handle: Handle, length: *mut c_uint, into: *mut c_char) -> c_int {
    // SAFETY: the caller gives a readable length.
    let room = unsafe { *length };
    super::device(handle).map_or(INVALID_ARGUMENT, |device| put_text(&device.uuid, into, room))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn amdsmi_get_energy_count(
    handle: Handle,
    count: *mut u64,
    resolution: *mut f32,
    timestamp: *mut u64,
) -> c_int {
    let at = seconds();
    put(Ok(RESOLUTION), resolution);
    put(Ok((at * 1e9) as u64), timestamp);
    put(
        answer(handle, "energy").map(|device| (device.counter(at) as f64 * 1000.0 / f64::from(RESOLUTION)) as u64),
        count,
    )
}
