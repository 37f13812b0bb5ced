//! NVIDIA GPUs through a stand-in for the driver's library: rungs, masks, MIG, resets, lost devices and slow calls.

#[path = "support/gpu.rs"]
mod gpu;
mod support;

use std::time::{Duration, Instant};

use gpu::{Machine, device, gpus};
use swift_meter::journal::state::LedgerState;
use swift_meter::source::{Provenance, Scope, SourceKind, SourceState};
use swift_meter::{Edge, mark_now};

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
    gpu::v9_mig_instances_share_one_counter_that_counts_once();
}

#[test]
fn v10_the_mask_decides_whose_energy_it_is() {
    gpu::v10_the_mask_decides_whose_energy_it_is();
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

#[test]
fn amd_counters_have_their_own_unit_and_count_once_beside_the_kernels_sensor() {
    let devices =
        [device("aa11", ",\"power\":[[0,250]],\"updateMs\":20"), device("bb22", ",\"notSupported\":[\"energy\"]")];
    let machine = Machine::new("amd", &devices.join(","));
    std::fs::create_dir_all(machine.folder.join("hwmon/hwmon0")).unwrap();
    std::fs::write(machine.folder.join("hwmon/hwmon0/name"), "amdgpu").unwrap();
    std::fs::write(machine.folder.join("hwmon/hwmon0/power1_average"), "250000000").unwrap();
    let mut found = machine.discover_amd();
    let state = |id: &str| found.descriptors.iter().find(|source| source.id.starts_with(id)).unwrap().state;
    assert_eq!(state("amdsmi:aa11"), SourceState::Included);
    assert_eq!(state("amdsmi:bb22"), SourceState::Unavailable);
    assert_eq!(state("hwmon:amdgpu"), SourceState::ShownOnly);
    let source = found.open.iter_mut().find(|source| source.descriptor.id == "amdsmi:aa11").unwrap();
    let usage = swift_meter::usage::MachineUsage::default();
    let mut answers = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(600) {
        source.reader.drain(&usage, &mut answers);
        std::thread::sleep(Duration::from_millis(5));
    }
    let readings: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let (first, last) = (readings[1], readings[readings.len() - 1]);
    let joules = source.unit.cumulative_nanojoules(last.raw - first.raw) as f64 / 1e9;
    let seconds = (last.monotonic_ns - first.monotonic_ns) as f64 / 1e9;
    assert!((joules / seconds / 250.0 - 1.0).abs() < 0.05, "{joules} J in {seconds} s");
}
