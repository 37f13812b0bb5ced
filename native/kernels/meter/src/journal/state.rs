//! What a ledger holds at a commit, in the form that is stored, carried between segments and given to programs.

use serde::{Deserialize, Serialize};

use crate::regression::report::FitReport;
use crate::source::SourceDescriptor;

/// Balance of one account for one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// Source id.
    pub source: String,
    /// Account name, such as `phase/train/forward`.
    pub account: String,
    /// Credited nanojoules.
    #[serde(with = "crate::decimal")]
    pub nanojoules: u128,
    /// How far below the truth can lie.
    #[serde(with = "crate::decimal")]
    pub below: u128,
    /// How far above.
    #[serde(with = "crate::decimal")]
    pub above: u128,
}

/// Time without a usable reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredGap {
    /// Source id; `*` for all of them.
    pub source: String,
    /// How long.
    #[serde(with = "crate::decimal")]
    pub duration_nanoseconds: u128,
    /// Why.
    pub reason: String,
}

/// Everything up to one commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerState {
    /// The run; resumed parts share it.
    pub run_id: String,
    /// Segment of the commit.
    pub segment: u32,
    /// Sequence number of the commit frame.
    pub sequence: u64,
    /// Hash of the commit, hexadecimal.
    pub chain_hash: String,
    /// Metered time of all parts, gaps excluded.
    #[serde(with = "crate::decimal")]
    pub duration_nanoseconds: u128,
    /// Sources, also those of earlier parts.
    pub sources: Vec<SourceDescriptor>,
    /// Balances.
    pub entries: Vec<StoredEntry>,
    /// Gaps.
    pub gaps: Vec<StoredGap>,
    /// How the intervals of each source are split over phases, where a regression does it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fits: Vec<FitReport>,
}

impl LedgerState {
    /// Add to a gap, or open it.
    pub fn add_gap(&mut self, source: &str, duration_nanoseconds: u128, reason: &str) {
        add_gap(&mut self.gaps, source, duration_nanoseconds, reason);
    }

    /// Credited nanojoules of an account.
    pub fn nanojoules(&self, source: &str, account: &str) -> u128 {
        self.entries
            .iter()
            .find(|entry| entry.source == source && entry.account == account)
            .map_or(0, |entry| entry.nanojoules)
    }
}

/// Reason of a gap in one source; the events beside it say more.
pub const NO_READING: &str = "no usable reading: the counter was reset, or its value was implausible";

/// Reason of the gap between two parts of a run.
pub const NOT_RUNNING: &str = "the program was not running between two parts of the run";

/// Add to a gap of the list, or open it.
pub fn add_gap(gaps: &mut Vec<StoredGap>, source: &str, duration_nanoseconds: u128, reason: &str) {
    if let Some(gap) = gaps.iter_mut().find(|gap| gap.source == source && gap.reason == reason) {
        gap.duration_nanoseconds += duration_nanoseconds;
        return;
    }
    gaps.push(StoredGap { source: source.to_owned(), duration_nanoseconds, reason: reason.to_owned() });
}

/// What a checkpoint embeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Always [`SNAPSHOT_FORMAT`].
    pub format: String,
    /// The run.
    pub run_id: String,
    /// Segment of the commit the snapshot stands for.
    pub segment: u32,
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash.
    pub chain_hash: String,
    /// Balances then.
    pub entries: Vec<SnapshotEntry>,
}

/// One balance of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEntry {
    /// Source id.
    pub source: String,
    /// Account name.
    pub account: String,
    /// Credited nanojoules.
    #[serde(with = "crate::decimal")]
    pub nanojoules: u128,
}

/// Format name of [`Snapshot`].
pub const SNAPSHOT_FORMAT: &str = "swift-ledger-snapshot/1";

impl From<&LedgerState> for Snapshot {
    fn from(state: &LedgerState) -> Self {
        Self {
            format: SNAPSHOT_FORMAT.to_owned(),
            run_id: state.run_id.clone(),
            segment: state.segment,
            sequence: state.sequence,
            chain_hash: state.chain_hash.clone(),
            entries: state
                .entries
                .iter()
                .map(|entry| SnapshotEntry {
                    source: entry.source.clone(),
                    account: entry.account.clone(),
                    nanojoules: entry.nanojoules,
                })
                .collect(),
        }
    }
}

/// Name of the segment format.
pub const SEGMENT_FORMAT: &str = "swift-joules/1";

/// First frame of a segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Always [`SEGMENT_FORMAT`].
    pub format: String,
    /// Hash of the machine's id.
    pub host_hash: String,
    /// Hash of the boot's id.
    pub boot_hash: String,
    /// Rank of the writer.
    pub rank: u32,
    /// Number of this segment.
    pub segment: u32,
    /// Wall clock at the start.
    pub started_unix_ms: u64,
    /// Monotonic clock at the start.
    pub started_monotonic_ns: u64,
    /// How far this host's wall clock is ahead of the run's reference, milliseconds, where the launcher told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// Hash of the commit this segment continues, empty for the first.
    pub previous_hash: String,
    /// Units of the sources that are read in this segment, in the order of their indices.
    pub sources: Vec<SegmentSource>,
    /// Phase energy that going back to a checkpoint turned into rework, already applied to `carried`.
    pub rework: Vec<StoredEntry>,
    /// Everything the run held when the segment began.
    pub carried: LedgerState,
}

/// A source that this segment records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSource {
    /// Source id.
    pub id: String,
    /// Nanojoules per count, numerator.
    #[serde(with = "crate::decimal")]
    pub numerator: u128,
    /// Nanojoules per count, denominator.
    #[serde(with = "crate::decimal")]
    pub denominator: u128,
    /// Whether its energy is credited to accounts, or only recorded.
    pub included: bool,
}
