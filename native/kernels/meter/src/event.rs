//! What the ledger wants a person to know.

use serde::{Deserialize, Serialize};

/// A coded event; queued for the program and written to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Stable code.
    pub code: String,
    /// `warning` or `error`.
    pub severity: Severity,
    /// What happened, what was found, what to do.
    pub message: String,
    /// Wall-clock milliseconds since 1970.
    pub unix_ms: u64,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The numbers hold, with a wider interval or a labelled gap.
    Warning,
    /// Energy or records are missing.
    Error,
}
