//! Whole segments of ranks that never ran.

use std::path::{Path, PathBuf};

use super::Numbers;
use super::replay::simulated_source;
use crate::accounts::Balance;
use crate::counter::WrappingCounter;
use crate::error::{MeterError, Result};
use crate::journal::commit::{Commit, Sample, SampleKind, SourceTotal, write_samples};
use crate::journal::encoder::Encoder;
use crate::journal::folder::segment_file;
use crate::journal::frame::FrameKind;
use crate::journal::state::{Header, LedgerState, SEGMENT_FORMAT, SegmentSource};
use crate::journal::varint;
use crate::source::SourceDescriptor;
use crate::unit::EnergyUnit;

/// What to write.
#[derive(Debug, Clone)]
pub struct SegmentOptions {
    /// Host.
    pub host: String,
    /// Rank.
    pub rank: u32,
    /// Id of its one source.
    pub source: String,
    /// Samples, 10 in a second.
    pub samples: u64,
    /// Start, by the monotonic clock.
    pub start_ns: u64,
    /// Wall clock ahead of the run's reference.
    pub clock_offset_ms: Option<i64>,
    /// Seed.
    pub seed: u64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            host: "host".to_owned(),
            rank: 0,
            source: "counter".to_owned(),
            samples: 1000,
            start_ns: 1_000_000_000,
            clock_offset_ms: None,
            seed: 0,
        }
    }
}

/// The bytes of a segment, and the nanojoules in it.
pub fn segment(options: &SegmentOptions) -> (Vec<u8>, u128) {
    let mut numbers = Numbers::new(options.seed);
    let descriptor = SourceDescriptor {
        uncertainty_permille: 20,
        ..simulated_source(&options.source, EnergyUnit::NANOJOULE, WrappingCounter::new(None, None)).descriptor
    };
    let started_unix_ms = 1_750_000_000_000;
    let header = Header {
        format: SEGMENT_FORMAT.to_owned(),
        host_hash: options.host.clone(),
        boot_hash: "boot".to_owned(),
        rank: options.rank,
        segment: 1,
        started_unix_ms,
        started_monotonic_ns: options.start_ns,
        clock_offset_ms: options.clock_offset_ms,
        previous_hash: String::new(),
        sources: vec![SegmentSource { id: options.source.clone(), numerator: 1, denominator: 1, included: true }],
        rework: Vec::new(),
        carried: LedgerState {
            run_id: "run".to_owned(),
            segment: 1,
            sources: vec![descriptor],
            ..LedgerState::default()
        },
    };
    let mut encoder = Encoder::default();
    encoder.frame(FrameKind::Header, &serde_json::to_vec(&header).unwrap_or_default());
    let accounts = ["phase/train/epoch:0/forward", "phase/train/epoch:0/backward", "idle/train/epoch:0/forward"];
    for (index, name) in accounts.iter().enumerate() {
        let mut payload = Vec::new();
        varint::write(&mut payload, index as u128);
        payload.extend_from_slice(name.as_bytes());
        encoder.frame(FrameKind::Account, &payload);
    }
    let mut bytes = Vec::new();
    let mut balances = [0_u128; 3];
    let (mut now, mut total) = (options.start_ns, 0_u128);
    let mut left = options.samples;
    while left > 0 {
        let mut samples = Vec::new();
        if total == 0 {
            samples.push(Sample { source: 0, kind: SampleKind::Start, elapsed_ns: now, delta: 0 });
        }
        for _ in 0..left.min(10) {
            let elapsed_ns = 90_000_000 + numbers.below(20_000_000);
            let delta = u128::from(30_000_000_000 + numbers.below(1 << 31) * 10);
            now += elapsed_ns;
            total += delta;
            balances[numbers.below(3) as usize] += delta;
            samples.push(Sample { source: 0, kind: SampleKind::Interval, elapsed_ns, delta });
            left -= 1;
        }
        encoder.frame(FrameKind::Samples, &write_samples(&samples));
        let balance = |nanojoules| Balance { nanojoules, below: nanojoules / 100, above: nanojoules / 100 };
        bytes.extend(encoder.commit(&Commit {
            previous_hash: encoder.position().hash,
            monotonic_ns: now,
            unix_ms: started_unix_ms + (now - options.start_ns) / 1_000_000,
            duration_ns: u128::from(now - options.start_ns),
            totals: vec![SourceTotal { count: total, nanojoules: total, gap_ns: 0 }],
            balances: (0..3).map(|account| (0, account, balance(balances[account as usize]))).collect(),
        }));
    }
    (bytes, total)
}

/// Write a segment to a folder; returns its path and its nanojoules.
///
/// # Errors
/// `ERR_LEDGER_IO`.
pub fn write_segment(folder: &Path, options: &SegmentOptions) -> Result<(PathBuf, u128)> {
    let (bytes, total) = segment(options);
    let path = folder.join(segment_file(&options.host, "boot", options.rank, 1));
    std::fs::write(&path, bytes).map_err(|error| MeterError::io("write", &path, &error))?;
    Ok((path, total))
}
