//! Memory of 4-bit codes: those of large weights lie one after the other in pages of 2 MiB.
//!
//! The codes of one layer of a small model are a megabyte, less than a large page, and a step of decoding reads all of
//! them once: in pages of 4 KiB the processor asks for a translation every 8192 weights, and its prefetcher ends at each.
//! Weights therefore share regions; a region is freed with the last weight in it.

use memmap2::{MmapMut, MmapRaw};
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a region: what is not used yet takes no memory.
const REGION: usize = 64 << 20;

/// Bytes of a large page.
const PAGE: usize = 2 << 20;

/// Codes below this many bytes stay where they are: they are in a cache whenever they matter.
const SHARED_FROM: usize = 64 << 10;

/// Alignment of weights in a region: a cache line.
const LINE: usize = 64;

/// Bytes of 4-bit codes, which do not change.
#[derive(Clone)]
pub enum Codes {
    /// Memory of their own.
    Owned(Vec<u8>),
    /// A part of a region that several weights share.
    Shared {
        /// The region.
        region: Arc<Region>,
        /// Bytes of it.
        range: Range<usize>,
    },
}

/// Memory that several weights share.
pub struct Region {
    map: MmapRaw,
    /// Bytes given out. Held while they are given out and filled.
    used: Mutex<usize>,
}

/// The region that is being filled.
static CURRENT: Mutex<Weak<Region>> = Mutex::new(Weak::new());

impl Region {
    /// A region of at least `bytes` beside what aligns it. `None` where the system refuses.
    fn new(bytes: usize) -> Option<Arc<Self>> {
        let map = MmapMut::map_anon(bytes.max(REGION).next_multiple_of(PAGE) + PAGE).ok()?;
        // Only a wish: without large pages everything works as before.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let map = MmapRaw::from(map);
        let start = map.as_ptr().align_offset(PAGE);
        Some(Arc::new(Self { map, used: Mutex::new(start) }))
    }

    /// Copies bytes to where none were given out yet. `None` where they do not fit.
    fn add(self: &Arc<Self>, bytes: &[u8]) -> Option<Codes> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let range = *used..*used + bytes.len();
        if range.end > self.map.len() {
            return None;
        }
        // SAFETY: in bounds as just checked; nobody was given these bytes, and the lock keeps others from them.
        unsafe {
            let to = self.map.as_mut_ptr().add(range.start);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        *used = range.end.next_multiple_of(LINE);
        Some(Codes::Shared { region: Arc::clone(self), range })
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        // SAFETY: a range that was given out by `add`: in bounds, filled, and never written again.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(range.start), range.len()) }
    }
}

impl From<Vec<u8>> for Codes {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() < SHARED_FROM {
            return Self::Owned(bytes);
        }
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codes) = current.upgrade().and_then(|region| region.add(&bytes)) {
            return codes;
        }
        let Some(region) = Region::new(bytes.len()) else { return Self::Owned(bytes) };
        *current = Arc::downgrade(&region);
        region.add(&bytes).unwrap_or(Self::Owned(bytes))
    }
}

impl Deref for Codes {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared { region, range } => region.bytes(range),
        }
    }
}

impl PartialEq for Codes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes of codes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_bytes_beside_others_and_outlive_them() {
        let bytes =
            |seed: usize, count: usize| -> Vec<u8> { (0..count).map(|index| ((index * seed) >> 3) as u8).collect() };
        let counts = [1, SHARED_FROM - 1, SHARED_FROM, SHARED_FROM + 33, 3 * PAGE + 5, REGION + 1];
        let mut codes: Vec<Codes> =
            counts.iter().enumerate().map(|(index, count)| Codes::from(bytes(7 + index, *count))).collect();
        for (index, count) in counts.iter().enumerate() {
            assert!(*codes[index] == bytes(7 + index, *count)[..], "{count} bytes");
            assert_eq!(matches!(codes[index], Codes::Owned(_)), *count < SHARED_FROM);
        }
        let kept = codes.swap_remove(3);
        drop(codes);
        assert!(*kept == bytes(10, counts[3])[..]);
    }

    #[test]
    fn weights_of_a_region_lie_side_by_side() {
        let region = Region::new(1).expect("memory");
        let ranges = [100_000, 70_001, 65_536].map(|count| match region.add(&vec![3; count]) {
            Some(Codes::Shared { range, .. }) => range,
            _ => panic!("the region has room"),
        });
        assert!(
            ranges[0].start.is_multiple_of(LINE)
                && region.map.as_ptr().wrapping_add(ranges[0].start).align_offset(PAGE) == 0
        );
        assert!(ranges.windows(2).all(|pair| pair[1].start == pair[0].end.next_multiple_of(LINE)));
        assert!(region.add(&vec![0; 2 * REGION]).is_none());
    }
}
