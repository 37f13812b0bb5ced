//! One checksummed record.

use super::crc32c::crc32c;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// JSON: run, host, boot, rank, sources, balances carried over. First frame of a segment.
    Header = 1,
    /// Name of an account: varint index, UTF-8 name.
    Account = 2,
    /// Samples since the last commit.
    Samples = 3,
    /// Cumulative totals and the hash chain.
    Commit = 4,
    /// JSON: a coded event.
    Event = 5,
    /// The ledger was closed in order.
    Close = 6,
    /// JSON: how intervals are split over phases.
    Fits = 7,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Account, Self::Samples, Self::Commit, Self::Event, Self::Close, Self::Fits]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Bytes around a payload.
pub const OVERHEAD: usize = 4 + 1 + 8 + 4;

/// No payload is larger; a length above it is damage, not data.
const MAXIMUM_PAYLOAD: usize = 256 << 20;

/// Append a frame to `into`.
pub fn write(into: &mut Vec<u8>, kind: FrameKind, sequence: u64, payload: &[u8]) {
    let start = into.len();
    into.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    into.push(kind as u8);
    into.extend_from_slice(&sequence.to_le_bytes());
    into.extend_from_slice(payload);
    let checksum = crc32c(&into[start..]);
    into.extend_from_slice(&checksum.to_le_bytes());
}

/// A frame as read.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// Its place in the run.
    pub sequence: u64,
    /// Its content.
    pub payload: &'a [u8],
    /// All its bytes, for the hash chain.
    pub bytes: &'a [u8],
}

/// The frame at the start of `bytes`; `None` when it is cut short or damaged.
pub fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if length > MAXIMUM_PAYLOAD {
        return None;
    }
    let whole = bytes.get(..length + OVERHEAD)?;
    let (content, checksum) = whole.split_at(length + OVERHEAD - 4);
    if crc32c(content) != u32::from_le_bytes(checksum.try_into().ok()?) {
        return None;
    }
    Some(Frame {
        kind: FrameKind::from_byte(content[4])?,
        sequence: u64::from_le_bytes(content[5..13].try_into().ok()?),
        payload: &content[13..],
        bytes: whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let mut bytes = Vec::new();
        write(&mut bytes, FrameKind::Event, 7, b"{\"code\":\"X\"}");
        let frame = read(&bytes).unwrap();
        assert_eq!((frame.kind, frame.sequence, frame.payload.len()), (FrameKind::Event, 7, 12));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_none());
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_none(), "bit {bit}");
        }
    }
}
