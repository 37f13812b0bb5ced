//! Marks travel from any thread to the sampler through a lock-free ring: a few tens of nanoseconds per mark.

use std::cell::UnsafeCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which end of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The phase starts.
    Begin,
    /// The phase ends.
    End,
}

/// What travels through the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkRecord {
    /// A phase instance exists; its marks follow, perhaps from another thread.
    Declare {
        /// Instance.
        token: u64,
        /// Index into the path table.
        path: u32,
        /// Stream the marks come from; 0 is the caller's own time.
        track: u32,
    },
    /// An end of an instance.
    Mark {
        /// Instance.
        token: u64,
        /// Which end.
        edge: Edge,
        /// When.
        monotonic_ns: u64,
    },
}

const CAPACITY: usize = 1 << 13;

struct Cell {
    /// Position this cell is ready for: `n` to be written at position n, `n + 1` to be read.
    sequence: AtomicUsize,
    record: UnsafeCell<MarkRecord>,
}

/// Bounded many-producer, one-consumer queue after Dmitry Vyukov's design, with a locked list behind it for the case
/// that it is full: no mark is ever dropped.
pub struct MarkRing {
    cells: Box<[Cell]>,
    head: AtomicUsize,
    tail: AtomicUsize,
    overflow: Mutex<Vec<MarkRecord>>,
}

// SAFETY: a cell's record is written only by the producer that won `head` for it and read only after the release store
// of `sequence` that follows the write; the consumer hands it back by another release store.
unsafe impl Sync for MarkRing {}
// SAFETY: records are plain values, bound to no thread.
unsafe impl Send for MarkRing {}

impl Default for MarkRing {
    fn default() -> Self {
        Self::new()
    }
}

impl MarkRing {
    /// An empty ring.
    pub fn new() -> Self {
        let empty = MarkRecord::Declare { token: 0, path: 0, track: 0 };
        Self {
            cells: (0..CAPACITY)
                .map(|index| Cell { sequence: AtomicUsize::new(index), record: UnsafeCell::new(empty) })
                .collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            overflow: Mutex::new(Vec::new()),
        }
    }

    /// Add a record, from any thread.
    pub fn push(&self, record: MarkRecord) {
        let mut position = self.head.load(Ordering::Relaxed);
        loop {
            let cell = &self.cells[position % CAPACITY];
            let sequence = cell.sequence.load(Ordering::Acquire);
            if sequence == position {
                match self.head.compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: winning `head` at `position` gives this thread alone the right to write this cell.
                        unsafe { *cell.record.get() = record };
                        cell.sequence.store(position + 1, Ordering::Release);
                        return;
                    }
                    Err(actual) => position = actual,
                }
            } else if sequence < position {
                // Full: the consumer has not been here for a whole turn.
                self.overflow.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(record);
                return;
            } else {
                position = self.head.load(Ordering::Relaxed);
            }
        }
    }

    /// Whether more than a quarter of it is taken: time to drain.
    pub fn is_filling(&self) -> bool {
        let waiting = self.head.load(Ordering::Relaxed).wrapping_sub(self.tail.load(Ordering::Relaxed));
        waiting > CAPACITY / 4
    }

    /// Take everything that is complete. Only one thread may call this.
    pub fn drain(&self, into: &mut Vec<MarkRecord>) {
        let mut position = self.tail.load(Ordering::Relaxed);
        loop {
            let cell = &self.cells[position % CAPACITY];
            if cell.sequence.load(Ordering::Acquire) != position + 1 {
                break;
            }
            // SAFETY: `sequence` says that the record is complete, and only this thread reads at `tail`.
            into.push(unsafe { *cell.record.get() });
            cell.sequence.store(position + CAPACITY, Ordering::Release);
            position += 1;
        }
        self.tail.store(position, Ordering::Relaxed);
        into.append(&mut self.overflow.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn four_threads_lose_nothing_even_when_it_overflows() {
        let ring = Arc::new(MarkRing::new());
        let per_thread = 3 * CAPACITY as u64;
        let writers: Vec<_> = (0..4_u64)
            .map(|thread| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(move || {
                    for index in 0..per_thread {
                        ring.push(MarkRecord::Mark { token: thread, edge: Edge::Begin, monotonic_ns: index });
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            ring.drain(&mut seen);
        }
        ring.drain(&mut seen);
        for writer in writers {
            writer.join().unwrap();
        }
        ring.drain(&mut seen);
        assert_eq!(seen.len() as u64, 4 * per_thread);
        let mut times: Vec<u64> = seen
            .iter()
            .filter_map(|record| match record {
                MarkRecord::Mark { token: 2, monotonic_ns, .. } => Some(*monotonic_ns),
                _ => None,
            })
            .collect();
        times.sort_unstable();
        assert_eq!(times, (0..per_thread).collect::<Vec<_>>());
    }
}
