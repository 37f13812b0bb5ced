//! Clocks and the identity of host and boot.

use sha2::{Digest, Sha256};

fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec and the clock ids used here exist on every platform we build for.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return 0;
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of the clock that every mark and sample uses: `CLOCK_MONOTONIC_RAW`, which no time daemon slews.
pub fn monotonic_nanoseconds() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    return read_clock(libc::CLOCK_MONOTONIC_RAW);
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    return read_clock(libc::CLOCK_MONOTONIC);
}

/// Nanoseconds the machine has slept since it started; 0 where that is not told.
pub fn asleep_nanoseconds() -> u64 {
    #[cfg(target_os = "linux")]
    return read_clock(libc::CLOCK_BOOTTIME).saturating_sub(read_clock(libc::CLOCK_MONOTONIC));
    #[cfg(not(target_os = "linux"))]
    return 0;
}

/// CPU time used by all threads of this process.
pub fn process_cpu_nanoseconds() -> u64 {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time used by the calling thread.
pub fn thread_cpu_nanoseconds() -> u64 {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Wall-clock milliseconds since 1970.
pub fn unix_milliseconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Twelve hexadecimal digits of SHA-256.
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..6])
}

/// A hash of the machine's id: records can be told apart by host without naming it.
pub fn host_hash() -> String {
    let id = std::fs::read_to_string("/etc/machine-id")
        .ok()
        .filter(|text| !text.trim().is_empty())
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "unknown-host".to_owned());
    short_hash(id.trim())
}

/// A hash of the boot's id; counters restart with it.
pub fn boot_hash() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| "unknown-boot".to_owned());
    short_hash(id.trim())
}
