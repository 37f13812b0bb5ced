//! What the fake machine looks like: JSON in the file that `SWIFT_FAKE_NVML` names, else in the file beside the library
//! whose name is the library's with `.json` behind it.

use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use serde::Deserialize;

/// The machine.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Script {
    /// Driver version.
    pub driver: String,
    /// Devices in the order of PCI addresses.
    pub devices: Vec<Device>,
    /// A file that holds the seconds since the library started, for tests that let time pass themselves. It is replaced as a
    /// whole, never written in place. Without it the clock is the machine's.
    pub clock: Option<PathBuf>,
}

/// One GPU.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// `GPU-…`.
    pub uuid: String,
    /// Product.
    pub name: String,
    /// Power in watts from a second on: constant until the next entry.
    pub power: Vec<(f64, f64)>,
    /// The counter moves this often.
    pub update_ms: f64,
    /// Sensors average over this window.
    pub window_ms: f64,
    /// The counter's value when the library starts, millijoules.
    pub start_millijoules: u64,
    /// Calls that answer NOT_SUPPORTED: `energy`, `samples`, `field:186`, `field:185`, `usage`, `limit`.
    pub not_supported: Vec<String>,
    /// UUIDs of MIG instances.
    pub instances: Vec<String>,
    /// The counter returns to zero at this second.
    pub reset_at: Option<f64>,
    /// The GPU is lost from this second on.
    pub lost_at: Option<f64>,
    /// Each energy or power call takes this long.
    pub slow_ms: u64,
    /// Largest power limit, watts.
    pub limit_watts: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            uuid: String::new(),
            name: "NVIDIA Fake".to_owned(),
            power: vec![(0.0, 100.0)],
            update_ms: 100.0,
            window_ms: 100.0,
            start_millijoules: 0,
            not_supported: Vec::new(),
            instances: Vec::new(),
            reset_at: None,
            lost_at: None,
            slow_ms: 0,
            limit_watts: 700,
        }
    }
}

impl Device {
    /// Exact joules from the start to `seconds`.
    pub fn joules(&self, seconds: f64) -> f64 {
        let ends = self.power.iter().skip(1).map(|(start, _)| *start).chain([f64::INFINITY]);
        let parts = self.power.iter().zip(ends);
        parts.map(|((start, watts), end)| (seconds.min(end) - start.min(seconds)).max(0.0) * watts).sum()
    }

    /// What the counter shows at `seconds`, millijoules.
    pub fn counter(&self, seconds: f64) -> u64 {
        let moved = (seconds / (self.update_ms / 1000.0)).floor() * self.update_ms / 1000.0;
        match self.reset_at {
            Some(reset) if seconds >= reset => ((self.joules(moved) - self.joules(reset)).max(0.0) * 1000.0) as u64,
            _ => self.start_millijoules + (self.joules(moved) * 1000.0) as u64,
        }
    }

    /// What the power sensor shows at `seconds`, milliwatts.
    pub fn milliwatts(&self, seconds: f64) -> u32 {
        let window = (self.window_ms / 1000.0).max(1e-3);
        let moved = ((seconds / (self.update_ms / 1000.0)).floor() * self.update_ms / 1000.0).max(1e-3);
        let from = (moved - window).max(0.0);
        ((self.joules(moved) - self.joules(from)) / (moved - from) * 1000.0).round() as u32
    }
}

impl Script {
    /// Seconds since the library started at `start`, or what the clock's file says.
    pub fn seconds(&self, start: Instant) -> f64 {
        let Some(path) = &self.clock else { return start.elapsed().as_secs_f64() };
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().parse().unwrap_or_else(|error| panic!("{}: {text:?}: {error}", path.display()))
    }
}

fn beside_library() -> Option<PathBuf> {
    // SAFETY: all zero is a valid value of this plain structure; dladdr fills it.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is that of a function in this library, the place is writable.
    let status = unsafe { libc::dladdr(machine as *const () as *const libc::c_void, &raw mut found) };
    if status == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gives a C string that lives as long as the library.
    let name = unsafe { CStr::from_ptr(found.dli_fname) }.to_str().ok()?;
    let path = PathBuf::from(format!("{name}.json"));
    path.exists().then_some(path)
}

/// The script and the moment the library started.
pub fn machine() -> &'static (Script, Instant) {
    static MACHINE: OnceLock<(Script, Instant)> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let path = std::env::var_os("SWIFT_FAKE_NVML").map(PathBuf::from).or_else(beside_library);
        let script = match path.map(|path| (std::fs::read_to_string(&path), path)) {
            None => Script::default(),
            Some((Err(error), path)) => panic!("{}: {error}", path.display()),
            Some((Ok(text), path)) => {
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            }
        };
        (script, Instant::now())
    })
}
