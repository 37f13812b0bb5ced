//! NVIDIA GPUs through a stand-in for the driver's library: rungs, masks, MIG, resets, lost devices and slow calls.

#[path = "support/gpu.rs"]
mod gpu;
mod support;

use std::time::{Duration, Instant};

use gpu::{Machine, device, gpus};
use support::wait_for;
use swift_meter::journal::state::LedgerState;
use swift_meter::source::{Provenance, RawReading, Scope, SourceKind, SourceState};
use swift_meter::{Edge, Meter, mark_now};

fn nanojoules(state: &LedgerState, source: &str) -> u128 {
    state.entries.iter().filter(|entry| entry.source == source).map(|entry| entry.nanojoules).sum()
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
    // Long, because a poll that comes late dates a counter's move late: 6 % of it are 180 ms.
    std::thread::sleep(Duration::from_millis(3000));
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
    // 8 W, and times that floating point holds exactly, so that every sum is one number.
    let eight = ",\"power\":[[0,8]],\"updateMs\":250";
    let devices = [
        device("GPU-0", &format!("{eight},\"startMillijoules\":5000000,\"resetAt\":2")),
        device("GPU-1", &format!("{eight},\"lostAt\":1.5")),
        device("GPU-2", &format!("{eight},\"slowMs\":50")),
        device("GPU-3", eight),
    ];
    let machine = Machine::with_clock("reset", &devices.join(","));
    let mut meter = machine.meter();
    let ids = ["nvml:GPU-0", "nvml:GPU-1", "nvml:GPU-2", "nvml:GPU-3"];
    let joules = |meter: &Meter| ids.map(|id| nanojoules(&meter.state(), id) as f64 / 1e9);
    let opened = swift_meter::monotonic_nanoseconds();
    wait_for("a first reading of each", || meter.is_settled(opened));
    let mut events = Vec::new();
    let mut at = |seconds: f64, expected: [f64; 4]| {
        machine.set_seconds(seconds);
        wait_for(&format!("{expected:?} J at {seconds} s"), || {
            events.extend(meter.take_events());
            joules(&meter) == expected
        });
    };
    // Nothing of the 5 kJ the first counter started with.
    at(1.0, [8.0, 8.0, 8.0, 8.0]);
    // The second GPU is lost: what it drew since is nobody's knowledge. The others do not notice.
    at(1.75, [14.0, 8.0, 14.0, 14.0]);
    // The first counter went back to zero: what it drew since its last reading is unknown too.
    at(2.0, [14.0, 8.0, 16.0, 16.0]);
    wait_for("the reset", || {
        events.extend(meter.take_events());
        events.iter().any(|event| event.code == "WARN_ENERGY_COUNTER_RESET")
    });
    machine.set_seconds(2.5);
    wait_for("the last joules", || joules(&meter) == [18.0, 8.0, 20.0, 20.0]);
    meter.close().unwrap();
    let state = meter.state();
    assert!(state.gaps.iter().any(|gap| gap.source == "nvml:GPU-0"), "{:?}", state.gaps);
    assert_eq!(joules(&meter), [18.0, 8.0, 20.0, 20.0]);
    events.extend(meter.take_events());
    let resets: Vec<&str> = events
        .iter()
        .filter(|event| event.code == "WARN_ENERGY_COUNTER_RESET")
        .map(|event| event.message.as_str())
        .collect();
    assert!(matches!(resets[..], [reset] if reset.contains("GPU-0")), "{resets:?}");
}

#[test]
fn amd_counters_have_their_own_unit_and_count_once_beside_the_kernels_sensor() {
    let devices =
        [device("aa11", ",\"power\":[[0,250]],\"updateMs\":250"), device("bb22", ",\"notSupported\":[\"energy\"]")];
    let machine = Machine::with_clock("amd", &devices.join(","));
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
    let mut next = |what: &str, is_it: &dyn Fn(RawReading) -> bool| {
        let start = Instant::now();
        loop {
            source.reader.drain(&usage, &mut answers);
            let found = answers.drain(..).map(Result::unwrap).find(|reading| is_it(*reading));
            if let Some(reading) = found {
                return reading;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what} never came");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let first = next("a first reading", &|_| true);
    machine.set_seconds(0.5);
    let last = next("a move", &|reading| reading.raw != first.raw);
    assert!(last.monotonic_ns > first.monotonic_ns);
    let joules = source.unit.cumulative_nanojoules(last.raw - first.raw) as f64 / 1e9;
    // 250 W for half a second; a count is 15.3 µJ.
    assert!((joules - 125.0).abs() < 1e-4, "{joules} J in half a second");
}
