//! The two binary payloads: samples and commits.

use super::varint::{self, Cursor};
use crate::accounts::Balance;

/// What a sample means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleKind {
    /// A starting point; the count is not energy. Time is absolute.
    Start,
    /// An interval.
    Interval,
    /// An interval in which the counter may have turned more often than seen.
    ImputedGap,
    /// Counts refused as implausible; not credited.
    Quarantined,
}

impl SampleKind {
    const ALL: [Self; 4] = [Self::Start, Self::Interval, Self::ImputedGap, Self::Quarantined];

    /// Whether the counts are energy of the source.
    pub fn counts(self) -> bool {
        matches!(self, Self::Interval | Self::ImputedGap)
    }
}

/// One sample of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Index of the source in the segment.
    pub source: u32,
    /// What it means.
    pub kind: SampleKind,
    /// Nanoseconds since the source's previous sample; since the clock's zero for a start.
    pub elapsed_ns: u64,
    /// Counts since the previous sample.
    pub delta: u128,
}

/// Encode samples.
pub fn write_samples(samples: &[Sample]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(samples.len() * 10 + 4);
    varint::write(&mut payload, samples.len() as u128);
    for sample in samples {
        varint::write(&mut payload, u128::from(sample.source) * 4 + sample.kind as u128);
        varint::write(&mut payload, u128::from(sample.elapsed_ns));
        varint::write(&mut payload, sample.delta);
    }
    payload
}

/// Decode samples; `None` when malformed.
pub fn read_samples(payload: &[u8]) -> Option<Vec<Sample>> {
    let mut cursor = Cursor::new(payload);
    let count: usize = cursor.read_as()?;
    (0..count)
        .map(|_| {
            let key = cursor.read()?;
            Some(Sample {
                source: u32::try_from(key / 4).ok()?,
                kind: SampleKind::ALL[(key % 4) as usize],
                elapsed_ns: cursor.read_as()?,
                delta: cursor.read()?,
            })
        })
        .collect()
}

/// Cumulative state of one source in this segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceTotal {
    /// Counts since the segment began.
    pub count: u128,
    /// The same in nanojoules.
    pub nanojoules: u128,
    /// Nanoseconds without a usable reading since the segment began.
    pub gap_ns: u128,
}

/// Content of a commit frame. Its hash is not in it: it is the hash over the bytes before and of this frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Hash of the previous commit.
    pub previous_hash: [u8; 32],
    /// Monotonic nanoseconds.
    pub monotonic_ns: u64,
    /// Wall-clock milliseconds.
    pub unix_ms: u64,
    /// Metered nanoseconds of the run.
    pub duration_ns: u128,
    /// By source index.
    pub totals: Vec<SourceTotal>,
    /// (source index, account index, cumulative balance of the run) where it changed.
    pub balances: Vec<(u32, u32, Balance)>,
}

impl Commit {
    /// Encode.
    pub fn write(&self) -> Vec<u8> {
        let mut payload = self.previous_hash.to_vec();
        let mut put = |value: u128| varint::write(&mut payload, value);
        put(u128::from(self.monotonic_ns));
        put(u128::from(self.unix_ms));
        put(self.duration_ns);
        put(self.totals.len() as u128);
        for total in &self.totals {
            put(total.count);
            put(total.nanojoules);
            put(total.gap_ns);
        }
        put(self.balances.len() as u128);
        for (source, account, balance) in &self.balances {
            put(u128::from(*source));
            put(u128::from(*account));
            put(balance.nanojoules);
            put(balance.below);
            put(balance.above);
        }
        payload
    }

    /// Decode; `None` when malformed.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let previous_hash = cursor.take(32)?.try_into().ok()?;
        let monotonic_ns = cursor.read_as()?;
        let unix_ms = cursor.read_as()?;
        let duration_ns = cursor.read()?;
        let sources: usize = cursor.read_as()?;
        let totals = (0..sources)
            .map(|_| Some(SourceTotal { count: cursor.read()?, nanojoules: cursor.read()?, gap_ns: cursor.read()? }))
            .collect::<Option<Vec<_>>>()?;
        let count: usize = cursor.read_as()?;
        let balances = (0..count)
            .map(|_| {
                let (source, account) = (cursor.read_as()?, cursor.read_as()?);
                let balance = Balance { nanojoules: cursor.read()?, below: cursor.read()?, above: cursor.read()? };
                Some((source, account, balance))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { previous_hash, monotonic_ns, unix_ms, duration_ns, totals, balances })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_round_trip() {
        let samples = vec![
            Sample { source: 0, kind: SampleKind::Start, elapsed_ns: u64::MAX, delta: 0 },
            Sample { source: 3, kind: SampleKind::ImputedGap, elapsed_ns: 100, delta: u128::MAX },
        ];
        assert_eq!(read_samples(&write_samples(&samples)), Some(samples));
        let commit = Commit {
            previous_hash: [7; 32],
            monotonic_ns: 5,
            unix_ms: 6,
            duration_ns: 7,
            totals: vec![SourceTotal { count: 1, nanojoules: 2, gap_ns: 3 }],
            balances: vec![(0, 4, Balance { nanojoules: 1 << 90, below: 1, above: 2 })],
        };
        let bytes = commit.write();
        assert_eq!(Commit::read(&bytes), Some(commit));
        assert_eq!(Commit::read(&bytes[..bytes.len() - 1]), None);
    }
}
