//! Hardware monitors, batteries, and a meter at the plug.

mod support;

use std::fmt::Write;
use std::path::Path;

use support::{FakeTree, INTEL_UNIT, folder};
use swift_meter::calibrate::calibrate;
use swift_meter::journal::gains::gains;
use swift_meter::simulate::segment::{SegmentOptions, write_segment};
use swift_meter::source::discover::{DiscoverOptions, Discovery, discover};
use swift_meter::source::{Provenance, Scope, SourceState};
use swift_meter::usage::MachineUsage;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn find(tree: &Path, root: &Path) -> Discovery {
    discover(&DiscoverOptions {
        powercap_root: Some(tree.to_owned()),
        hwmon_root: Some(root.join("hwmon")),
        power_supply_root: Some(root.join("supply")),
        ..DiscoverOptions::default()
    })
}

#[test]
fn a_system_meter_counts_where_nothing_inside_it_does() {
    let root = folder("hwmon-meter");
    write(&root, &[("hwmon/hwmon0/name", "power_meter"), ("hwmon/hwmon0/power1_average", "180000000\n")]);
    let alone = find(&root.join("none"), &root);
    let meter = &alone.descriptors[0];
    assert_eq!(
        (meter.scope, meter.state, meter.provenance),
        (Scope::Wall, SourceState::Included, Provenance::IntegratedPower)
    );
    assert_eq!(alone.open.len(), 1, "no model beside a meter of the whole machine");
    let mut tree = FakeTree::new("hwmon-tree");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let beside = find(&tree.root, &root);
    let meter = beside.descriptors.iter().find(|source| source.scope == Scope::Wall).unwrap();
    assert_eq!(meter.state, SourceState::ShownOnly);
}

#[test]
fn unknown_sensors_and_batteries_are_shown_and_not_added() {
    let root = folder("hwmon-unknown");
    write(
        &root,
        &[
            ("hwmon/hwmon0/name", "ina226"),
            ("hwmon/hwmon0/power1_input", "5000000"),
            ("hwmon/hwmon0/power1_average", "5000000"),
            ("hwmon/hwmon0/power1_cap", "9"),
            ("hwmon/hwmon1/name", "amdgpu"),
            ("hwmon/hwmon1/power1_average", "90000000"),
            ("supply/BAT0/type", "Battery"),
            ("supply/BAT0/status", "Charging"),
            ("supply/BAT0/power_now", "12000000"),
            ("supply/AC/type", "Mains"),
        ],
    );
    let mut found = find(&root.join("none"), &root);
    let states: Vec<_> = found.descriptors.iter().map(|source| (source.scope, source.state)).take(3).collect();
    use SourceState::{Included, ShownOnly};
    assert_eq!(states, [(Scope::Platform, ShownOnly), (Scope::Gpu, Included), (Scope::Wall, ShownOnly)]);
    let battery = found.open.iter_mut().find(|source| source.descriptor.id == "battery:BAT0").unwrap();
    let mut drain = || {
        let mut readings = Vec::new();
        battery.reader.drain(&MachineUsage::default(), &mut readings);
        readings
    };
    assert!(drain().is_empty(), "a charging battery says nothing");
    write(&root, &[("supply/BAT0/status", "Discharging")]);
    let first = drain()[0].clone().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let second = drain()[0].clone().unwrap();
    let joules = battery.unit.cumulative_nanojoules(second.raw - first.raw);
    assert_eq!(joules, u128::from(second.monotonic_ns - first.monotonic_ns) * 12, "12 W");
}

#[test]
fn a_meter_at_the_plug_gives_gain_and_offset() {
    let root = folder("calibrate");
    write_segment(&root, &SegmentOptions { samples: 900, ..SegmentOptions::default() }).unwrap();
    // A meter that sees 1.25 times the ledger and 30 W more, at the same seconds.
    let mut csv = "time,watts\n".to_owned();
    for point in gains(&root, 0, 100_000).unwrap().points {
        let joules: f64 = point.gains.iter().map(|gain| gain.nanojoules.parse::<f64>().unwrap() / 1e9).sum();
        let watts = joules * 1000.0 / (point.end_unix_ms - point.start_unix_ms) as f64;
        writeln!(csv, "{},{}", point.end_unix_ms, 1.25 * watts + 30.0).unwrap();
    }
    let path = root.join("meter.csv");
    std::fs::write(&path, csv).unwrap();
    let found = calibrate(&root, &path, 0).unwrap();
    assert!((found.gain - 1.25).abs() < 1e-6 && (found.offset_watts - 30.0).abs() < 1e-3, "{found:?}");
    assert!(found.residual_permille < 1e-3 && found.pairs > 80, "{found:?}");
    std::fs::write(&path, "time,watts\n1,100\n2,100\n").unwrap();
    assert_eq!(calibrate(&root, &path, 0).unwrap_err().code, "ERR_ENERGY_CALIBRATION");
}
