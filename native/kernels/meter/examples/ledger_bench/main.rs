//! The ledger's own figures: `cargo run --release -p swift-meter --example ledger_bench -- [--json] [--quick] [PART …]`.
//! Parts: conservation, vectors, classes, marks, bytes, load, overhead, merge; all of them without a name.
//!
//! Each result has a value, and the limit it is held to where there is one; timings depend on the machine and its load.

#[path = "../../tests/support/gpu.rs"]
mod gpu;
mod measure;
mod overhead;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/support/vectors.rs"]
mod vectors;

use serde::Serialize;

/// One line of the table.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What.
    pub name: &'static str,
    /// Unit of value and limit.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// At most this, or at least where `at_least`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// `value / limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction_of_limit: Option<f64>,
    /// The limit is a floor.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// What was done.
    pub detail: String,
}

impl Figure {
    /// A figure held to at most `limit`.
    pub fn new(name: &'static str, unit: &'static str, value: f64, limit: Option<f64>, detail: String) -> Self {
        let fraction_of_limit = limit.filter(|limit| *limit != 0.0).map(|limit| value / limit);
        Self { name, unit, value, limit, fraction_of_limit, at_least: false, detail }
    }

    /// A figure held to at least `limit`.
    pub fn floor(name: &'static str, unit: &'static str, value: f64, limit: f64, detail: String) -> Self {
        Self { at_least: true, ..Self::new(name, unit, value, Some(limit), detail) }
    }

    /// Whether the limit is kept.
    pub fn is_kept(&self) -> bool {
        self.limit.is_none_or(|limit| if self.at_least { self.value >= limit } else { self.value <= limit })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let parts: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !["--json", "--quick"].contains(argument)).collect();
    if let Some(unknown) = parts.iter().find(|part| !measure::PARTS.contains(part)) {
        eprintln!("ledger_bench knows --json, --quick and the parts {}; not {unknown}", measure::PARTS.join(", "));
        std::process::exit(2);
    }
    let parts = if parts.is_empty() { measure::PARTS.to_vec() } else { parts };
    let figures = measure::all(has("--quick"), &parts);
    if has("--json") {
        let table = serde_json::json!({ "suite": "ledger-native", "quick": has("--quick"), "results": figures });
        println!("{table}");
    } else {
        for figure in &figures {
            let limit = figure.limit.map_or_else(String::new, |limit| {
                format!(" (limit {}{limit})", if figure.at_least { "≥ " } else { "≤ " })
            });
            println!("{:<34} {:>12.4} {}{limit}: {}", figure.name, figure.value, figure.unit, figure.detail);
        }
    }
    let missed: Vec<&str> = figures.iter().filter(|figure| !figure.is_kept()).map(|figure| figure.name).collect();
    if !missed.is_empty() {
        eprintln!("missed: {}", missed.join(", "));
    }
}
