//! Tokens: how a mark on any thread finds its ledger without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{MeterError, Result};
use crate::mark_ring::{Edge, MarkRecord, MarkRing};

/// Ledgers that can be open at once in one process.
const SLOTS: usize = 16;

struct Slot {
    ring: OnceLock<MarkRing>,
    taken: AtomicBool,
}

static REGISTRY: [Slot; SLOTS] = [const { Slot { ring: OnceLock::new(), taken: AtomicBool::new(false) } }; SLOTS];

/// Serial numbers are never used twice in a process, so a mark that arrives after its ledger closed names nobody.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

/// A ledger's place in the registry; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    slot: usize,
}

impl Seat {
    /// Take a free place.
    ///
    /// # Errors
    /// `ERR_LEDGER_TOO_MANY` when 16 ledgers are open.
    pub fn take() -> Result<Self> {
        for (slot, entry) in REGISTRY.iter().enumerate() {
            if !entry.taken.swap(true, Ordering::AcqRel) {
                // Late marks of the ledger that sat here before.
                entry.ring.get_or_init(MarkRing::new).drain(&mut Vec::new());
                return Ok(Self { slot });
            }
        }
        Err(MeterError::new(
            "ERR_LEDGER_TOO_MANY",
            format!("{SLOTS} ledgers are open in this process; close one before opening another"),
        ))
    }

    /// A new token; below 2⁵³ for the first 2⁴⁹ phases of a process.
    pub fn token(&self) -> u64 {
        NEXT_SERIAL.fetch_add(1, Ordering::Relaxed) * SLOTS as u64 + self.slot as u64
    }

    /// This ledger's ring.
    pub fn ring(&self) -> &'static MarkRing {
        REGISTRY[self.slot].ring.get_or_init(MarkRing::new)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        REGISTRY[self.slot].taken.store(false, Ordering::Release);
    }
}

/// Record one end of a phase. Any thread may call this: the compute engine does so when a queued mark command is
/// reached. `monotonic_ns` is [`crate::clock::monotonic_nanoseconds`] at that moment. Lock-free; tokens of a closed
/// ledger are ignored.
pub fn mark(token: u64, edge: Edge, monotonic_ns: u64) {
    if let Some(ring) = REGISTRY[(token % SLOTS as u64) as usize].ring.get() {
        ring.push(MarkRecord::Mark { token, edge, monotonic_ns });
    }
}

/// [`mark`] with the present time.
pub fn mark_now(token: u64, edge: Edge) {
    mark(token, edge, crate::clock::monotonic_nanoseconds());
}
