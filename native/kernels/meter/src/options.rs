//! How a ledger is opened.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{MeterError, Result};
use crate::resume::Resume;
use crate::source::discover::DiscoverOptions;
use crate::source::nvml::NvmlOptions;
use crate::source::redfish::options::RedfishOptions;

/// Options of [`crate::meter::Meter::open`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MeterOptions {
    /// Folder of the journal; made where it is missing.
    pub directory: PathBuf,
    /// Name of a new run; a resumed one keeps its own.
    pub run_id: String,
    /// Where to continue.
    pub resume: Resume,
    /// Rank of this process.
    pub rank: u32,
    /// Mean time between samples, milliseconds; each is jittered by ±10 % against aliasing. 10 to 10,000.
    pub sample_period_ms: u64,
    /// Time between commits, milliseconds. At most 1,000.
    pub commit_ms: u64,
    /// Length of the idle baseline of measured sources, seconds; 0 for none.
    pub idle_seconds: f64,
    /// Count all active energy as this process's, whatever others do.
    pub exclusive: bool,
    /// Count the processes started by this one, and theirs, as this process.
    pub follow_children: bool,
    /// Powercap tree to read instead of the system's sources.
    pub powercap_root: Option<PathBuf>,
    /// Hardware monitors to read instead of the system's.
    pub hwmon_root: Option<PathBuf>,
    /// AMD's management library. Default: environment variable `SWIFT_AMDSMI_LIBRARY`, else `libamd_smi.so`.
    pub amdsmi_library: Option<PathBuf>,
    /// NVIDIA's management library. Default: environment variable `SWIFT_NVML_LIBRARY`, else `libnvidia-ml.so.1`.
    pub nvml_library: Option<PathBuf>,
    /// GPUs this process uses, written like `CUDA_VISIBLE_DEVICES`, which is the default.
    pub visible_devices: Option<String>,
    /// Device of the management controller, or `none`. Default: environment variable `SWIFT_IPMI_DEVICE`, else
    /// `/dev/ipmi0` and its other names.
    pub ipmi_device: Option<PathBuf>,
    /// The management controller in the network.
    pub redfish: RedfishOptions,
    /// How far this host's wall clock is ahead of the run's reference, milliseconds, as the launcher measured it.
    pub clock_offset_ms: Option<i64>,
    /// A segment of the journal that has grown beyond this is followed by another, bytes. At least 4,096.
    pub segment_bytes: u64,
    /// Follow each commit by fdatasync.
    pub sync: bool,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            run_id: String::new(),
            resume: Resume::Auto,
            rank: 0,
            sample_period_ms: 100,
            commit_ms: 1000,
            idle_seconds: 1.0,
            exclusive: false,
            follow_children: false,
            powercap_root: None,
            hwmon_root: None,
            amdsmi_library: None,
            nvml_library: None,
            visible_devices: None,
            ipmi_device: None,
            redfish: RedfishOptions::default(),
            clock_offset_ms: None,
            segment_bytes: 64 << 20,
            sync: true,
        }
    }
}

impl MeterOptions {
    /// Where the sources are looked for.
    pub fn discover_options(&self) -> DiscoverOptions {
        DiscoverOptions {
            powercap_root: self.powercap_root.clone(),
            hwmon_root: self.hwmon_root.clone(),
            power_supply_root: None,
            amdsmi_library: self.amdsmi_library.clone(),
            nvml: NvmlOptions { library: self.nvml_library.clone(), visible_devices: self.visible_devices.clone() },
            ipmi_device: self.ipmi_device.clone(),
            redfish: self.redfish.clone(),
        }
    }

    /// # Errors
    /// `ERR_LEDGER_OPTION` naming the option, its value and its range; `ERR_ENERGY_REDFISH_OPTION`,
    /// `ERR_ENERGY_REDFISH_PLAIN`.
    pub fn validate(&self) -> Result<()> {
        let refuse = |name: &str, value: String, range: &str| {
            Err(MeterError::new("ERR_LEDGER_OPTION", format!("{name} is {value}; it must be {range}")))
        };
        if self.directory.as_os_str().is_empty() {
            return refuse("directory", "empty".to_owned(), "a folder to keep the journal in");
        }
        if self.run_id.is_empty() {
            return refuse("runId", "empty".to_owned(), "a non-empty name");
        }
        // 10 s is the ceiling that keeps every known counter from wrapping unseen.
        if !(10..=10_000).contains(&self.sample_period_ms) {
            return refuse("samplePeriodMs", self.sample_period_ms.to_string(), "from 10 to 10000");
        }
        if !(10..=1000).contains(&self.commit_ms) {
            return refuse("commitMs", self.commit_ms.to_string(), "from 10 to 1000: at most a second may be lost");
        }
        if self.segment_bytes < 4096 {
            return refuse("segmentBytes", self.segment_bytes.to_string(), "at least 4096");
        }
        if !(0.0..=600.0).contains(&self.idle_seconds) {
            return refuse("idle.seconds", self.idle_seconds.to_string(), "from 0 to 600");
        }
        // What a caller wrote is refused; what the environment holds makes one source unavailable.
        self.redfish.access().map_err(|failure| MeterError::new(failure.code, failure.message))?;
        Ok(())
    }
}
