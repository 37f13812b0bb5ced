//! A machine with scripted GPUs.
#![allow(dead_code, reason = "the benchmark uses a part")]

use std::path::PathBuf;

use swift_meter::source::discover::{DiscoverOptions, Discovery, discover};
use swift_meter::source::nvml::NvmlOptions;
use swift_meter::source::{Attribution, SourceKind, SourceState};
use swift_meter::{Meter, MeterOptions};

use crate::support::{Folder, folder};

/// Uses the crate, so that its shared library is built.
fn library() -> PathBuf {
    assert_eq!(swift_fake_nvml::script::Device::default().update_ms, 100.0);
    let name = if cfg!(target_os = "macos") { "libswift_fake_nvml.dylib" } else { "libswift_fake_nvml.so" };
    let program = std::env::current_exe().unwrap();
    // A test lies beside its dependencies, an example in the folder beside theirs.
    let places = program.ancestors().flat_map(|place| [place.join(name), place.join("deps").join(name)]);
    places.into_iter().find(|place| place.exists()).expect("the stand-in was built with this program")
}

/// A copy of the library in a folder of its own, so that each test has a machine of its own.
pub struct Machine {
    pub folder: Folder,
}

impl Machine {
    pub fn new(name: &str, devices: &str) -> Self {
        let folder = folder(name);
        std::fs::copy(library(), folder.join("nvml.so")).unwrap();
        let script = format!("{{\"driver\":\"580.1\",\"devices\":[{devices}]}}");
        std::fs::write(folder.join("nvml.so.json"), script).unwrap();
        Self { folder }
    }

    /// The same with a clock that stands at zero until [`Self::set_seconds`]: how late anybody looks changes no reading.
    pub fn with_clock(name: &str, devices: &str) -> Self {
        let machine = Self::new(name, devices);
        machine.set_seconds(0.0);
        let clock = serde_json::to_string(&machine.folder.join("clock")).unwrap();
        let script = format!("{{\"driver\":\"580.1\",\"clock\":{clock},\"devices\":[{devices}]}}");
        std::fs::write(machine.folder.join("nvml.so.json"), script).unwrap();
        machine
    }

    /// Let it be so many seconds after the library was loaded.
    pub fn set_seconds(&self, seconds: f64) {
        let next = self.folder.join("clock.next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        // A reader finds the old time or the new one, and never half a file.
        std::fs::rename(next, self.folder.join("clock")).unwrap();
    }

    /// Take a symbol out of the library, as an older driver lacks it.
    pub fn without(self, symbol: &str) -> Self {
        let path = self.folder.join("nvml.so");
        let mut bytes = std::fs::read(&path).unwrap();
        let name = [symbol.as_bytes(), b"\0"].concat();
        let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(&name)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at] = b'_');
        std::fs::write(&path, bytes).unwrap();
        self
    }

    pub fn nvml(&self, mask: Option<&str>) -> NvmlOptions {
        NvmlOptions {
            library: Some(self.folder.join("nvml.so")),
            visible_devices: Some(mask.unwrap_or("0,1,2,3,4,5,6,7").to_owned()),
        }
    }

    pub fn discover(&self, mask: Option<&str>) -> Discovery {
        discover(&DiscoverOptions {
            powercap_root: Some(self.folder.join("none")),
            nvml: self.nvml(mask),
            ..DiscoverOptions::default()
        })
    }

    /// The same devices as AMD's library shows them.
    pub fn discover_amd(&self) -> Discovery {
        discover(&DiscoverOptions {
            powercap_root: Some(self.folder.join("none")),
            hwmon_root: Some(self.folder.join("hwmon")),
            amdsmi_library: Some(self.folder.join("nvml.so")),
            ..DiscoverOptions::default()
        })
    }

    pub fn meter(&self) -> Meter {
        Meter::open(&MeterOptions {
            directory: self.folder.join("ledger"),
            run_id: "gpu".to_owned(),
            sample_period_ms: 20,
            idle_seconds: 0.0,
            powercap_root: Some(self.folder.join("none")),
            nvml_library: self.nvml(None).library,
            visible_devices: self.nvml(None).visible_devices,
            sync: false,
            ..MeterOptions::default()
        })
        .unwrap()
    }
}

pub fn gpus(found: &Discovery) -> Vec<(String, SourceState, SourceKind)> {
    let own = found.descriptors.iter().filter(|source| source.id.starts_with("nvml"));
    own.map(|source| (source.id.clone(), source.state, source.kind)).collect()
}

pub fn device(uuid: &str, more: &str) -> String {
    format!("{{\"uuid\":\"{uuid}\"{more}}}")
}

pub fn v9_mig_instances_share_one_counter_that_counts_once() {
    let slices = ",\"instances\":[\"MIG-a\",\"MIG-b\",\"MIG-c\",\"MIG-d\"]";
    let machine = Machine::new("mig", &device("GPU-0", slices));
    let whole = machine.discover(None);
    assert_eq!(gpus(&whole).len(), 1, "four instances, one device");
    assert_eq!(whole.open[0].attribution, Attribution::WHOLE_DEVICE);
    let slice = machine.discover(Some("MIG-b"));
    assert_eq!(gpus(&slice).len(), 1);
    assert_eq!(slice.open[0].attribution, Attribution::Device { own: 1, of: 4 });
}

pub fn v10_the_mask_decides_whose_energy_it_is() {
    // The driver lists devices in another order than their names suggest.
    let devices = ["GPU-d", "GPU-b", "GPU-a", "GPU-c"].map(|uuid| device(uuid, ""));
    let machine = Machine::new("mask", &devices.join(","));
    let included = |mask: &str| -> Vec<String> {
        let found = gpus(&machine.discover(Some(mask))).into_iter();
        found.filter(|(_, state, _)| *state == SourceState::Included).map(|(id, ..)| id).collect()
    };
    assert_eq!(included("3"), ["nvml:GPU-c"]);
    assert_eq!(included("GPU-a"), ["nvml:GPU-a"]);
    assert_eq!(included("1,GPU-d"), ["nvml:GPU-d", "nvml:GPU-b"]);
    assert!(included("-1").is_empty());
    let hidden = machine.discover(Some("3"));
    assert_eq!(gpus(&hidden)[0].1, SourceState::ShownOnly);
    assert!(hidden.open.iter().all(|source| source.descriptor.id != "nvml:GPU-d"), "not ours: not read");
}
