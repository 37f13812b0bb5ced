//! kill −9 at moments nobody chose: what was committed is there, at most a second is lost, the chain holds, and the run
//! goes on.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{FakeTree, INTEL_UNIT, folder};
use swift_meter::journal::gains::gains;
use swift_meter::journal::state::LedgerState;
use swift_meter::journal::verify::{read_state, verify};
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

const ROUNDS: u64 = 12;
/// Power of the child, and the most that a kill may cost: one second of it.
const WATTS: u128 = 50;
const MOST_LOST: u128 = WATTS * 1_000_000_000;

/// The process that is killed: phases without end, at 50 W.
fn child(directory: &str) -> ! {
    let mut tree = FakeTree::new("kill-tree");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let meter = Meter::open(&MeterOptions {
        directory: directory.into(),
        run_id: "killed".to_owned(),
        sample_period_ms: 10,
        commit_ms: 200,
        idle_seconds: 0.0,
        exclusive: true,
        powercap_root: Some(tree.root.to_path_buf()),
        ..MeterOptions::default()
    })
    .unwrap();
    let path = meter.intern("work").unwrap();
    println!("{}", tree.zones[0].counter().display());
    loop {
        let token = meter.declare(path, 0).unwrap();
        mark_now(token, Edge::Begin);
        std::thread::sleep(Duration::from_millis(3));
        tree.zones[0].total += WATTS * 3_000_000;
        tree.zones[0].show();
        mark_now(token, Edge::End);
    }
}

fn measured(state: &LedgerState) -> u128 {
    state.entries.iter().filter(|entry| entry.source.starts_with("rapl")).map(|entry| entry.nanojoules).sum()
}

/// The same, summed commit by commit by the other reader of the journal.
fn gained(directory: &Path) -> u128 {
    let series = gains(directory, 0, usize::MAX).unwrap();
    let all =
        series.points.iter().flat_map(|point| &point.gains).chain(series.parts.iter().flat_map(|part| &part.moved));
    let of_counter = all.filter(|gain| series.sources[gain.source].starts_with("rapl"));
    let sum: i128 = of_counter.map(|gain| gain.nanojoules.parse::<i128>().unwrap()).sum();
    u128::try_from(sum).unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, directory] = &arguments[..]
        && mode == "child"
    {
        child(directory);
    }
    // In memory where the system has such a folder: what a kill costs is not how long this disk, busy with others, takes.
    if Path::new("/dev/shm").is_dir() {
        // SAFETY: nothing else runs in this process yet.
        unsafe { std::env::set_var("TMPDIR", "/dev/shm") };
    }
    let directory = folder("kill");
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child", directory.to_str().unwrap()])
            // What the killed process leaves behind goes with the test's folder.
            .env("TMPDIR", &*directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // From before the first commit to well after it; every fourth round longer than what may be lost.
        let longer = if round % 4 == 3 { 1300 } else { 0 };
        std::thread::sleep(Duration::from_millis((round * 7919) % 211 + longer));
        process.kill().unwrap();
        process.wait().unwrap();
        // Empty when the kill fell between the emptying of the file and its writing: nothing to compare with.
        let shown: u128 = std::fs::read_to_string(line.trim()).unwrap().trim().parse().unwrap_or(0);
        let check = verify(&directory).unwrap();
        assert!(check.ok, "round {round}: {check:?}");
        let Ok(state) = read_state(&directory, 0) else {
            assert_eq!(check.commits, 0, "round {round}: commits that cannot be read");
            continue;
        };
        let now = measured(&state);
        assert_eq!(now, gained(&directory), "round {round}: the totals are not those of the commits");
        let lost = 1000 * shown - (now - before).min(1000 * shown);
        assert!(lost <= MOST_LOST, "round {round}: {lost} nJ of {shown} µJ are lost");
        assert!(now >= before, "round {round}: {now} nJ after {before} nJ");
        before = now;
    }
    let state = read_state(&directory, 0).unwrap();
    assert_eq!(state.run_id, "killed");
    assert!(before > 0);
    println!("killed {ROUNDS} times: {:.1} J on the ledger, chain whole", before as f64 / 1e9);
}
