//! The ladder: perf events, else the powercap tree, else models. What could not be used is listed with its reason.

use std::path::{Path, PathBuf};

use super::descriptor::{Scope, SourceDescriptor, SourceState};
use super::nvml::{self, NvmlOptions};
use super::redfish::options::RedfishOptions;
use super::redfish::own::this_machine;
use super::{OpenSource, amdsmi, cpu_table, cpu_time, hwmon, ipmi, memory, perf, powercap, redfish, scope_tree};
use crate::usage::UsageReader;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct DiscoverOptions {
    /// Read this powercap tree instead of perf events and the system's tree. Default: environment variable
    /// `SWIFT_POWERCAP_ROOT`, else the system.
    pub powercap_root: Option<PathBuf>,
    /// Read these hardware monitors instead of `/sys/class/hwmon`. Default: environment variable `SWIFT_HWMON_ROOT`,
    /// else the system's, unless a powercap tree is given.
    pub hwmon_root: Option<PathBuf>,
    /// The same for `/sys/class/power_supply`: `SWIFT_POWER_SUPPLY_ROOT`.
    pub power_supply_root: Option<PathBuf>,
    /// AMD's management library. Default: environment variable `SWIFT_AMDSMI_LIBRARY`, else `libamd_smi.so`.
    pub amdsmi_library: Option<PathBuf>,
    /// NVIDIA's library and the devices this process uses.
    pub nvml: NvmlOptions,
    /// Device of the management controller, or `none`. Default: environment variable `SWIFT_IPMI_DEVICE`, else the
    /// system's, unless a powercap tree is given.
    pub ipmi_device: Option<PathBuf>,
    /// The management controller in the network. What is left out comes from `SWIFT_REDFISH_…`.
    pub redfish: RedfishOptions,
}

/// What was found.
pub struct Discovery {
    /// Sources to sample: included ones, and ones that are shown only.
    pub open: Vec<OpenSource>,
    /// Every source, usable or not.
    pub descriptors: Vec<SourceDescriptor>,
    /// What a person must know before anything is measured: code and text.
    pub warnings: Vec<(&'static str, String)>,
}

/// Where scaphandre's hosts mount a guest's powercap tree.
const GUEST_ROOT: &str = "/var/scaphandre";

type Opened = (Vec<SourceDescriptor>, Vec<OpenSource>);

fn open_all<T>(
    found: Vec<T>,
    describe: impl Fn(&T) -> SourceDescriptor,
    open: impl Fn(T) -> Result<OpenSource, String>,
) -> Opened {
    let mut descriptors = Vec::new();
    let mut opened = Vec::new();
    for item in found {
        let mut descriptor = describe(&item);
        if descriptor.state == SourceState::Unavailable {
            descriptors.push(descriptor);
            continue;
        }
        match open(item) {
            Ok(source) => opened.push(source),
            // Shown and not read: another program's.
            Err(_) if descriptor.state == SourceState::ShownOnly => {}
            Err(reason) => {
                descriptor.state = SourceState::Unavailable;
                descriptor.reason = reason;
            }
        }
        descriptors.push(descriptor);
    }
    (descriptors, opened)
}

fn open_perf() -> Opened {
    open_all(perf::events(Path::new(perf::DEFAULT_ROOT)), |event| event.descriptor.clone(), perf::open)
}

fn open_powercap(root: &Path) -> Opened {
    open_all(powercap::zones(root), |zone| zone.descriptor.clone(), powercap::open)
}

fn covers(sources: &[OpenSource], scope: Scope) -> bool {
    sources.iter().any(|source| source.descriptor.scope == scope)
}

fn why_no_counter(scope: Scope, descriptors: &[SourceDescriptor]) -> String {
    descriptors.iter().find(|source| source.scope == scope && source.state == SourceState::Unavailable).map_or_else(
        || {
            "no energy counter on this machine: no `power` PMU and no powercap tree (usual on virtual machines)"
                .to_owned()
        },
        |source| format!("counter not readable: {}", source.reason),
    )
}

/// A controller that was named and measures nothing: what stands in for it must not do so silently.
fn not_measured(code: &'static str, descriptors: &[SourceDescriptor]) -> Option<(&'static str, String)> {
    let reasons: Vec<String> = descriptors.iter().map(|source| format!("{}: {}", source.id, source.reason)).collect();
    let message =
        "the management controller that was asked for measures nothing here, other sources or models stand in";
    (!reasons.is_empty()).then(|| (code, format!("{message}; {}", reasons.join("; "))))
}

/// The server's own readings, from its management controller: through the kernel's device, and through the network.
fn open_controllers(options: &DiscoverOptions, is_system: bool, warnings: &mut Vec<(&'static str, String)>) -> Opened {
    let named = options.ipmi_device.clone().or_else(|| std::env::var_os("SWIFT_IPMI_DEVICE").map(PathBuf::from));
    let controllers = if named.is_some() || is_system { ipmi::controllers(named.as_deref()) } else { Vec::new() };
    let (mut descriptors, mut open) = open_all(controllers, |one| one.descriptor.clone(), ipmi::open);
    if named.is_some() && open.is_empty() {
        warnings.extend(not_measured("WARN_ENERGY_IPMI_UNAVAILABLE", &descriptors));
    }
    let access = options.redfish.with_environment(|name| std::env::var(name).ok());
    if redfish::is_insecure(&access) {
        let message = "the management controller's certificate is NOT checked: anyone in the network between can take the password and make up the joules. Pin it with the option fingerprint (SWIFT_REDFISH_FINGERPRINT) instead of insecure (SWIFT_REDFISH_INSECURE)";
        warnings.push(("WARN_ENERGY_REDFISH_INSECURE", message.to_owned()));
    }
    let found = redfish::chassis(&access, &this_machine());
    let (more, opened) = open_all(found, |one| one.descriptor.clone(), redfish::open);
    if opened.is_empty() {
        warnings.extend(not_measured("WARN_ENERGY_REDFISH_UNAVAILABLE", &more));
    }
    descriptors.extend(more);
    open.extend(opened);
    (descriptors, open)
}

/// Find and open the sources of this machine.
pub fn discover(options: &DiscoverOptions) -> Discovery {
    let root = options.powercap_root.clone().or_else(|| std::env::var_os("SWIFT_POWERCAP_ROOT").map(PathBuf::from));
    let (mut descriptors, mut open) = match &root {
        Some(root) => open_powercap(root),
        None => {
            let (mut descriptors, open) = open_perf();
            if covers(&open, Scope::Package) {
                (descriptors, open)
            } else {
                let (more, mut open) = open_powercap(Path::new(powercap::DEFAULT_ROOT));
                descriptors.extend(more);
                if covers(&open, Scope::Package) {
                    (descriptors, open)
                } else {
                    // What a host gives its guest of its own counters.
                    let guest = std::env::var_os("SWIFT_GUEST_POWERCAP_ROOT").map(PathBuf::from);
                    let (more, more_open) = open_powercap(&guest.unwrap_or_else(|| GUEST_ROOT.into()));
                    descriptors.extend(more);
                    open.extend(more_open);
                    (descriptors, open)
                }
            }
        }
    };
    let (more, gpus) = open_all(nvml::devices(&options.nvml), |device| device.descriptor.clone(), nvml::open);
    descriptors.extend(more);
    open.extend(gpus);
    // perf events of a package the powercap tree then supplied stay listed as unavailable, with their reason.
    let (cpu_count, memory_bytes) = UsageReader::open().machine();
    let amd = amdsmi::devices(options.amdsmi_library.as_deref());
    let (more, amd) = open_all(amd, |device| device.descriptor.clone(), amdsmi::open);
    descriptors.extend(more);
    let amd_is_counted = !amd.is_empty();
    open.extend(amd);
    let place = |given: &Option<PathBuf>, variable: &str, system: &str| {
        let named = given.clone().or_else(|| std::env::var_os(variable).map(PathBuf::from));
        named.or_else(|| root.is_none().then(|| system.into()))
    };
    let monitors = place(&options.hwmon_root, "SWIFT_HWMON_ROOT", hwmon::DEFAULT_ROOT);
    let supplies = place(&options.power_supply_root, "SWIFT_POWER_SUPPLY_ROOT", hwmon::SUPPLY_ROOT);
    let mut sensors = monitors.map(|root| hwmon::sensors(&root)).unwrap_or_default();
    sensors.extend(supplies.map(|root| hwmon::batteries(&root)).unwrap_or_default());
    // The kernel's sensors of a GPU whose counter is read are the same joules again.
    let again = |sensor: &&mut hwmon::Sensor| amd_is_counted && sensor.descriptor.scope == Scope::Gpu;
    for sensor in sensors.iter_mut().filter(again) {
        sensor.descriptor.state = SourceState::ShownOnly;
        sensor.descriptor.reason = "the GPU's own counter is read".to_owned();
    }
    let (more, sensors) = open_all(sensors, |sensor| sensor.descriptor.clone(), hwmon::open);
    descriptors.extend(more);
    open.extend(sensors);
    let mut warnings = Vec::new();
    let (more, servers) = open_controllers(options, root.is_none(), &mut warnings);
    descriptors.extend(more);
    open.extend(servers);
    let covers = |open: &[OpenSource], scope| {
        let counted = |source: &OpenSource, scope| {
            source.descriptor.scope == scope && source.descriptor.state == SourceState::Included
        };
        covers(open, scope) || open.iter().any(|source| counted(source, Scope::Module) || counted(source, Scope::Wall))
    };
    if !covers(&open, Scope::Package) && !covers(&open, Scope::Platform) {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let power = cpu_table::thread_power(&cpu_table::parse_cpuinfo(&cpuinfo));
        let model = cpu_time::open(&power, cpu_count, why_no_counter(Scope::Package, &descriptors));
        descriptors.push(model.descriptor.clone());
        open.push(model);
    }
    if !covers(&open, Scope::Dram)
        && let Some(model) = memory::open(memory_bytes, why_no_counter(Scope::Dram, &descriptors))
    {
        descriptors.push(model.descriptor.clone());
        open.push(model);
    }
    scope_tree::select(&mut descriptors);
    for source in &mut open {
        if let Some(decided) = descriptors.iter().find(|other| other.id == source.descriptor.id) {
            source.descriptor = decided.clone();
        }
    }
    open.retain(|source| matches!(source.descriptor.state, SourceState::Included | SourceState::ShownOnly));
    Discovery { open, descriptors, warnings }
}
