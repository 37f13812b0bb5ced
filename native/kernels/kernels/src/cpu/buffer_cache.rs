//! Buffers of CPU tensors, reused by lifetime: what one tensor has left, the next one of its size takes.
//!
//! A training step asks for the same sizes in the same order as the step before. Freed buffers are kept, so that a
//! steady step neither asks the system for memory nor faults pages in, and live and kept buffers together never exceed
//! the highest live bytes so far: a size that is not at hand is paid for by giving back those unused the longest.

use crate::error::{KernelError, Result};
use memmap2::MmapMut;
use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;

/// Alignment of buffers: one cache line, one AVX-512 register.
const ALIGNMENT: usize = 64;

/// Live and kept buffers may reach this many bytes, however little is live.
const FLOOR: usize = 64 << 20;

/// From this size on a buffer is a mapping of its own, which returns to the system whole; an allocator keeps holes.
const MAPPED_FROM: usize = 1 << 20;

/// A 64-byte aligned buffer.
pub struct HostBuffer {
    pointer: *mut u8,
    bytes: usize,
    capacity: usize,
    /// The memory, when it is a mapping of its own.
    mapping: Option<MmapMut>,
}

// SAFETY: the buffer owns its memory; access is arranged by the single engine thread.
unsafe impl Send for HostBuffer {}

impl HostBuffer {
    /// Start of the buffer.
    pub fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// Usable bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, ALIGNMENT).expect("sizes are checked before allocation")
    }

    fn new(capacity: usize) -> Result<Self> {
        let refused =
            || KernelError::new("ERR_OUT_OF_MEMORY", format!("the operating system refused {capacity} bytes"));
        if capacity >= MAPPED_FROM {
            let mut mapping = MmapMut::map_anon(capacity).map_err(|_| refused())?;
            return Ok(Self { pointer: mapping.as_mut_ptr(), bytes: capacity, capacity, mapping: Some(mapping) });
        }
        // SAFETY: `capacity` is at least one alignment unit, so the layout is not empty.
        let pointer = unsafe { alloc(Self::layout(capacity)) };
        if pointer.is_null() {
            return Err(refused());
        }
        Ok(Self { pointer, bytes: capacity, capacity, mapping: None })
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if self.mapping.is_none() {
            // SAFETY: allocated in `new` with the same layout, freed once.
            unsafe { dealloc(self.pointer, Self::layout(self.capacity)) };
        }
    }
}

/// Kept buffers of one size.
#[derive(Default)]
struct Shelf {
    buffers: Vec<HostBuffer>,
    /// When one was last taken or given back, in calls of the cache.
    used_at: u64,
}

/// Keeps freed buffers by size class.
#[derive(Default)]
pub struct BufferCache {
    shelves: HashMap<usize, Shelf>,
    kept: usize,
    live: usize,
    highest: usize,
    calls: u64,
}

impl BufferCache {
    /// A buffer of `bytes` usable bytes with unspecified contents.
    ///
    /// # Errors
    /// `ERR_OUT_OF_MEMORY`.
    pub fn take(&mut self, bytes: usize) -> Result<HostBuffer> {
        let capacity = size_class(bytes);
        let mut buffer = match self.shelf(capacity).buffers.pop() {
            Some(buffer) => {
                self.kept -= capacity;
                buffer
            }
            None => {
                self.highest = self.highest.max(self.live + capacity);
                self.shrink(self.highest.max(FLOOR).saturating_sub(self.live + capacity));
                HostBuffer::new(capacity)?
            }
        };
        self.live += capacity;
        self.highest = self.highest.max(self.live);
        buffer.bytes = bytes;
        if cfg!(debug_assertions) {
            // SAFETY: the buffer is owned here and `capacity` bytes long; all-ones bytes are NaN as f32.
            unsafe { std::ptr::write_bytes(buffer.pointer, 0xff, buffer.capacity) };
        }
        Ok(buffer)
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: HostBuffer) {
        self.live -= buffer.capacity;
        self.kept += buffer.capacity;
        self.shelf(buffer.capacity).buffers.push(buffer);
    }

    /// Gives all kept buffers back to the system; what is live now is the new measure of what may be kept.
    pub fn trim(&mut self) {
        self.shelves.clear();
        self.kept = 0;
        self.highest = self.live;
    }

    /// Bytes of kept buffers.
    pub fn kept(&self) -> usize {
        self.kept
    }

    fn shelf(&mut self, capacity: usize) -> &mut Shelf {
        self.calls += 1;
        let shelf = self.shelves.entry(capacity).or_default();
        shelf.used_at = self.calls;
        shelf
    }

    /// Gives kept buffers back, the size unused the longest first, until at most `bound` bytes are kept.
    fn shrink(&mut self, bound: usize) {
        while self.kept > bound {
            let filled = self.shelves.iter_mut().filter(|(_, shelf)| !shelf.buffers.is_empty());
            let Some((capacity, shelf)) = filled.min_by_key(|(_, shelf)| shelf.used_at) else { return };
            while self.kept > bound && shelf.buffers.pop().is_some() {
                self.kept -= capacity;
            }
        }
    }
}

/// Rounds up to a multiple of one eighth of the next lower power of two: at most 12.5 % waste.
fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGNMENT);
    let step = (1usize << (usize::BITS - 1 - bytes.leading_zeros())) / 8;
    bytes.next_multiple_of(step.max(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, BufferCache, FLOOR, size_class};

    const MIB: usize = 1 << 20;

    #[test]
    fn classes_hold_what_was_asked_with_an_eighth_of_waste_at_most() {
        for bytes in [0, 1, 63, 64, 65, 1000, 4097, 3 * MIB + 1, 100 * MIB - 1] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(ALIGNMENT), "{bytes}: {class}");
            assert!(class <= (bytes + bytes / 8).max(ALIGNMENT) + ALIGNMENT, "{bytes}: {class}");
        }
    }

    #[test]
    fn a_step_that_repeats_uses_the_buffers_of_the_step_before() {
        let mut cache = BufferCache::default();
        let mut first = Vec::new();
        for step in 0..3 {
            let sizes = [MIB, 8, 3 * MIB, MIB, 5000];
            let taken: Vec<_> = sizes.iter().map(|bytes| cache.take(*bytes).unwrap()).collect();
            let mut pointers: Vec<usize> = taken.iter().map(|buffer| buffer.pointer() as usize).collect();
            pointers.sort_unstable();
            if step == 0 {
                first.clone_from(&pointers);
            }
            assert_eq!(pointers, first);
            for (buffer, bytes) in taken.iter().zip(sizes) {
                assert_eq!(buffer.bytes(), bytes);
                assert!((buffer.pointer() as usize).is_multiple_of(ALIGNMENT));
            }
            taken.into_iter().for_each(|buffer| cache.give(buffer));
        }
    }

    #[test]
    fn live_and_kept_buffers_stay_within_the_highest_live_bytes() {
        let mut cache = BufferCache::default();
        let big: Vec<_> = (0..4).map(|_| cache.take(32 * MIB).unwrap()).collect();
        big.into_iter().for_each(|buffer| cache.give(buffer));
        assert_eq!(cache.kept(), 128 * MIB);
        // Another size finds nothing and drives out what is needed of the old one, no more.
        let other = cache.take(48 * MIB).unwrap();
        assert_eq!(cache.kept(), 64 * MIB);
        cache.give(other);
        assert_eq!(cache.kept(), 112 * MIB);
        // The size unused the longest goes first.
        let _small = cache.take(20 * MIB).unwrap();
        assert_eq!(cache.kept(), 80 * MIB);
        assert!(cache.take(48 * MIB).is_ok_and(|buffer| buffer.bytes() == 48 * MIB));
        assert_eq!(cache.kept(), 32 * MIB);
    }

    #[test]
    fn little_memory_is_kept_whatever_its_sizes_and_trimming_keeps_none() {
        let mut cache = BufferCache::default();
        for index in 1..=8 {
            let buffer = cache.take(index * MIB).unwrap();
            cache.give(buffer);
        }
        assert_eq!(cache.kept(), 36 * MIB);
        assert!(cache.kept() <= FLOOR);
        let live = cache.take(MIB).unwrap();
        cache.trim();
        assert_eq!(cache.kept(), 0);
        cache.give(live);
        assert_eq!(cache.kept(), MIB);
    }
}
