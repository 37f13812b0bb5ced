//! kill −9 at moments nobody chose: what was committed is there, the chain holds, and the run goes on.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{FakeTree, INTEL_UNIT, folder};
use swift_meter::journal::state::LedgerState;
use swift_meter::journal::verify::{read_state, verify};
use swift_meter::{Edge, Meter, MeterOptions, mark_now};

const ROUNDS: u64 = 12;

/// The process that is killed: phases without end, at 50 W.
fn child(directory: &str) -> ! {
    let mut tree = FakeTree::new("kill-tree");
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    let meter = Meter::open(&MeterOptions {
        directory: directory.into(),
        run_id: "killed".to_owned(),
        sample_period_ms: 10,
        commit_ms: 20,
        idle_seconds: 0.0,
        exclusive: true,
        powercap_root: Some(tree.root.to_path_buf()),
        ..MeterOptions::default()
    })
    .unwrap();
    let path = meter.intern("work").unwrap();
    println!("ready");
    loop {
        let token = meter.declare(path, 0).unwrap();
        mark_now(token, Edge::Begin);
        std::thread::sleep(Duration::from_millis(3));
        tree.zones[0].total += 50 * 3_000_000;
        tree.zones[0].show();
        mark_now(token, Edge::End);
    }
}

fn measured(state: &LedgerState) -> u128 {
    state.entries.iter().filter(|entry| entry.source.starts_with("rapl")).map(|entry| entry.nanojoules).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, directory] = &arguments[..]
        && mode == "child"
    {
        child(directory);
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
        assert_eq!(line.trim(), "ready");
        // From before the first commit to well after it.
        std::thread::sleep(Duration::from_millis((round * 7919) % 211));
        process.kill().unwrap();
        process.wait().unwrap();
        let check = verify(&directory).unwrap();
        assert!(check.ok, "round {round}: {check:?}");
        let Ok(state) = read_state(&directory, 0) else {
            assert_eq!(check.commits, 0, "round {round}: commits that cannot be read");
            continue;
        };
        let now = measured(&state);
        assert!(now >= before, "round {round}: {now} nJ after {before} nJ");
        before = now;
    }
    let state = read_state(&directory, 0).unwrap();
    assert_eq!(state.run_id, "killed");
    assert!(before > 0);
    println!("killed {ROUNDS} times: {:.1} J on the ledger, chain whole", before as f64 / 1e9);
}
