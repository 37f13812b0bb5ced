//! Makes the bytes of a segment: frames in sequence, and the hash chain over them.

use sha2::{Digest, Sha256};

use super::commit::Commit;
use super::frame::{self, FrameKind};

/// Hash of a commit.
pub type ChainHash = [u8; 32];

/// Hexadecimal text of a hash.
pub fn to_hex(hash: &ChainHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`to_hex`]; empty text is the hash before the first commit.
pub fn from_hex(text: &str) -> Option<ChainHash> {
    let mut hash = [0; 32];
    if text.is_empty() {
        return Some(hash);
    }
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(hash)
}

/// Hash over the previous commit's hash and all bytes since, the commit's own included.
pub fn chain(previous: &ChainHash, bytes: &[u8]) -> ChainHash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(bytes);
    hasher.finalize().into()
}

/// Where the chain stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainPosition {
    /// Sequence number of the next frame.
    pub next_sequence: u64,
    /// Hash of the last commit.
    pub hash: ChainHash,
}

/// Collects frames until a commit makes them durable.
#[derive(Debug, Default)]
pub struct Encoder {
    position: ChainPosition,
    pending: Vec<u8>,
}

impl Encoder {
    /// Continue a chain.
    pub fn new(position: ChainPosition) -> Self {
        Self { position, pending: Vec::new() }
    }

    /// Where the chain stands.
    pub fn position(&self) -> ChainPosition {
        self.position
    }

    /// Add a frame.
    pub fn frame(&mut self, kind: FrameKind, payload: &[u8]) {
        frame::write(&mut self.pending, kind, self.position.next_sequence, payload);
        self.position.next_sequence += 1;
    }

    /// Add the commit frame and hand out everything since the last commit.
    pub fn commit(&mut self, commit: &Commit) -> Vec<u8> {
        self.frame(FrameKind::Commit, &commit.write());
        let bytes = std::mem::take(&mut self.pending);
        self.position.hash = chain(&self.position.hash, &bytes);
        bytes
    }
}
