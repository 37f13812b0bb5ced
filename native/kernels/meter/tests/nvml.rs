//! NVIDIA GPUs through a stand-in for the driver's library: rungs, masks, MIG, resets, lost devices and slow calls.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::{Folder, folder};
use swift_meter::journal::state::LedgerState;
use swift_meter::source::discover::{DiscoverOptions, Discovery, discover};
use swift_meter::source::nvml::NvmlOptions;
use swift_meter::source::{Attribution, Provenance, Scope, SourceKind, SourceState};
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

/// Uses the crate, so that its shared library is built.
fn library() -> PathBuf {
    assert_eq!(swift_fake_nvml::script::Device::default().update_ms, 100.0);
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.join(if cfg!(target_os = "macos") { "libswift_fake_nvml.dylib" } else { "libswift_fake_nvml.so" })
}

/// A copy of the library in a folder of its own, so that each test has a machine of its own.
struct Machine {
    folder: Folder,
}

impl Machine {
    fn new(name: &str, devices: &str) -> Self {
        let folder = folder(name);
        std::fs::copy(library(), folder.join("nvml.so")).unwrap();
        let script = format!("{{\"driver\":\"580.1\",\"devices\":[{devices}]}}");
        std::fs::write(folder.join("nvml.so.json"), script).unwrap();
        Self { folder }
    }

    /// Take a symbol out of the library, as an older driver lacks it.
    fn without(self, symbol: &str) -> Self {
        let path = self.folder.join("nvml.so");
        let mut bytes = std::fs::read(&path).unwrap();
        let name = [symbol.as_bytes(), b"\0"].concat();
        let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(&name)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at] = b'_');
        std::fs::write(&path, bytes).unwrap();
        self
    }

    fn nvml(&self, mask: Option<&str>) -> NvmlOptions {
        NvmlOptions {
            library: Some(self.folder.join("nvml.so")),
            visible_devices: Some(mask.unwrap_or("0,1,2,3,4,5,6,7").to_owned()),
        }
    }

    fn discover(&self, mask: Option<&str>) -> Discovery {
        discover(&DiscoverOptions { powercap_root: Some(self.folder.join("none")), nvml: self.nvml(mask) })
    }

    fn meter(&self) -> Meter {
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

fn gpus(found: &Discovery) -> Vec<(String, SourceState, SourceKind)> {
    let own = found.descriptors.iter().filter(|source| source.id.starts_with("nvml"));
    own.map(|source| (source.id.clone(), source.state, source.kind)).collect()
}

fn device(uuid: &str, more: &str) -> String {
    format!("{{\"uuid\":\"{uuid}\"{more}}}")
}

fn nanojoules(state: &LedgerState, source: &str) -> u128 {
    state.entries.iter().filter(|entry| entry.source == source).map(|entry| entry.nanojoules).sum()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_ladder_ends_at_the_first_rung_that_answers() {
    let devices = [
        device("GPU-0", ""),
        device("GPU-1", ",\"notSupported\":[\"energy\"]"),
        device("GPU-2", ",\"notSupported\":[\"energy\",\"samples\"]"),
        device("GPU-3", ",\"notSupported\":[\"energy\",\"samples\",\"field:186\"]"),
        device("GPU-4", ",\"notSupported\":[\"energy\",\"samples\",\"field:186\",\"field:185\"]"),
        device("GPU-5", ",\"notSupported\":[\"energy\",\"samples\",\"field:186\",\"field:185\",\"usage\"]"),
    ];
    let machine = Machine::new("ladder", &devices.join(","));
    let found = machine.discover(None);
    let kinds: Vec<_> = gpus(&found).into_iter().map(|(_, state, kind)| (state, kind)).collect();
    use SourceState::{Included, Unavailable};
    assert_eq!(kinds[0], (Included, SourceKind::NvmlCounter));
    assert_eq!(kinds[1], (Included, SourceKind::NvmlSamples));
    assert_eq!(kinds[2..5], [(Included, SourceKind::NvmlPower); 3]);
    assert_eq!(kinds[5].0, Unavailable);
    let methods: Vec<&str> = found.descriptors.iter().map(|source| source.method.as_str()).collect();
    assert!(methods[2].contains("instant") && methods[3].contains("averaged") && methods[4].contains("usage"));
    let reason = &found.descriptors[5].reason;
    for call in ["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetSamples", "field 186", "nvmlDeviceGetPowerUsage"]
    {
        assert!(reason.contains(call) && reason.contains("not supported"), "{reason}");
    }
    assert_eq!(found.descriptors[2].provenance, Provenance::IntegratedPower);
}

#[test]
fn a_missing_symbol_is_a_missing_rung_and_a_missing_library_a_reason() {
    let machine = Machine::new("symbol", &device("GPU-0", "")).without("nvmlDeviceGetTotalEnergyConsumption");
    assert_eq!(gpus(&machine.discover(None))[0].2, SourceKind::NvmlSamples);
    let machine = Machine::new("library", "");
    std::fs::remove_file(machine.folder.join("nvml.so")).unwrap();
    let found = machine.discover(None);
    assert_eq!(gpus(&found)[0].1, SourceState::Unavailable);
    assert!(found.descriptors[0].reason.contains("cannot be opened"));
}

#[test]
fn v9_mig_instances_share_one_counter_that_counts_once() {
    let slices = ",\"instances\":[\"MIG-a\",\"MIG-b\",\"MIG-c\",\"MIG-d\"]";
    let machine = Machine::new("mig", &device("GPU-0", slices));
    let whole = machine.discover(None);
    assert_eq!(gpus(&whole).len(), 1, "four instances, one device");
    assert_eq!(whole.open[0].attribution, Attribution::WHOLE_DEVICE);
    let slice = machine.discover(Some("MIG-b"));
    assert_eq!(gpus(&slice).len(), 1);
    assert_eq!(slice.open[0].attribution, Attribution::Device { own: 1, of: 4 });
}

#[test]
fn v10_the_mask_decides_whose_energy_it_is() {
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

#[test]
fn a_module_counter_covers_processor_and_memory() {
    let machine = Machine::new("module", &device("GPU-0", ",\"name\":\"NVIDIA GH200 480GB\""));
    let found = machine.discover(None);
    assert_eq!(found.descriptors[0].scope, Scope::Module);
    assert_eq!(
        found.open.len(),
        1,
        "no model beside a counter that holds processor and memory: {:?}",
        found.descriptors
    );
}

#[test]
fn counter_and_integrated_power_agree_with_the_script() {
    let devices = [
        device("GPU-0", ",\"power\":[[0,300]],\"updateMs\":20,\"startMillijoules\":123456789"),
        device("GPU-1", ",\"power\":[[0,300]],\"updateMs\":20,\"notSupported\":[\"energy\"]"),
        device("GPU-2", ",\"power\":[[0,300]],\"updateMs\":20,\"notSupported\":[\"energy\",\"samples\"]"),
    ];
    let machine = Machine::new("agree", &devices.join(","));
    let mut meter = machine.meter();
    let path = meter.intern("work").unwrap();
    let opened = swift_meter::monotonic_nanoseconds();
    wait_for("a first reading", || meter.is_settled(opened));
    let token = meter.declare(path, 0).unwrap();
    mark_now(token, Edge::Begin);
    std::thread::sleep(Duration::from_millis(700));
    mark_now(token, Edge::End);
    wait_for("the phase", || meter.try_settle(token).is_ok_and(|settled| settled.is_some()));
    let settled = meter.try_settle(token).unwrap().unwrap();
    for source in settled.sources.iter().filter(|source| source.source.starts_with("nvml")) {
        let expected = u128::from(settled.duration_nanoseconds) * 300;
        let difference = source.active.abs_diff(expected) as f64 / expected as f64;
        assert!(difference < 0.06, "{}: {} nJ, expected {expected}", source.source, source.active);
    }
    meter.close().unwrap();
    let state = meter.state();
    // What the counter moved by is on the accounts, to the millijoule's last nanojoule.
    assert_eq!(nanojoules(&state, "nvml:GPU-0") % 1_000_000, 0);
}

#[test]
fn a_reset_is_a_gap_and_a_lost_gpu_a_failure_that_others_do_not_notice() {
    let devices = [
        device("GPU-0", ",\"startMillijoules\":5000000,\"resetAt\":0.5,\"updateMs\":20"),
        device("GPU-1", ",\"lostAt\":0.4,\"updateMs\":20"),
        device("GPU-2", ",\"slowMs\":50,\"updateMs\":20"),
        device("GPU-3", ",\"updateMs\":20"),
    ];
    let machine = Machine::new("reset", &devices.join(","));
    let mut meter = machine.meter();
    std::thread::sleep(Duration::from_millis(1200));
    meter.close().unwrap();
    let state = meter.state();
    assert!(state.gaps.iter().any(|gap| gap.source == "nvml:GPU-0"), "{:?}", state.gaps);
    assert!(meter.take_events().iter().any(|event| event.code == "WARN_ENERGY_COUNTER_RESET"));
    let [reset, lost, slow, good] =
        ["nvml:GPU-0", "nvml:GPU-1", "nvml:GPU-2", "nvml:GPU-3"].map(|id| nanojoules(&state, id) as f64 / 1e9);
    // 100 W for 1.2 s at most; nothing of the 5 kJ the counter started with.
    assert!(reset > 60.0 && reset < 125.0, "{reset}");
    assert!(lost > 20.0 && lost < 45.0, "{lost}");
    assert!(good > 90.0 && good < 125.0, "{good}");
    assert!(slow > 70.0 && slow < 125.0, "{slow}");
}
