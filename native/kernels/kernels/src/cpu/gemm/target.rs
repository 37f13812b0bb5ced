//! Where results of products go.

use crate::cpu::pool::{Pool, SharedMut};
use crate::cpu::simd::span::put;
use crate::cpu::simd::{Kernel, Simd, dispatch};
use crate::cpu::{gemm::buffer::WordBuffer, isa::Isa};
use half::bf16;
use std::cell::RefCell;

/// A C of so many bytes is written past the caches where whole lines are: most of them would be evicted before they are
/// read, and each would be fetched before it is written.
const STREAMED_BYTES: usize = 1 << 20;

/// Elements per task of a pass that only rounds.
const CHUNK: usize = 1 << 14;

/// Memory of a result: the f32 sums, or these rounded to bf16.
pub enum Results<'a> {
    /// Sums.
    F32(&'a mut [f32]),
    /// Rounded sums.
    Bf16(&'a mut [bf16]),
}

impl Results<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements `start..end`.
    ///
    /// # Panics
    /// When the range leaves the result.
    pub fn range(&mut self, start: usize, end: usize) -> Results<'_> {
        match self {
            Self::F32(values) => Results::F32(&mut values[start..end]),
            Self::Bf16(values) => Results::Bf16(&mut values[start..end]),
        }
    }

    /// For disjoint writes by several tasks.
    pub fn share(&mut self) -> SharedResults {
        match self {
            Self::F32(values) => SharedResults::F32(SharedMut::new(values)),
            Self::Bf16(values) => SharedResults::Bf16(SharedMut::new(values)),
        }
    }

    /// Lets `work` compute the f32 sums where they belong, or elsewhere and rounds them afterwards.
    pub fn unrounded(self, pool: &Pool, isa: Isa, work: impl FnOnce(&mut [f32])) {
        let target = match self {
            Self::F32(values) => return work(values),
            Self::Bf16(values) => values,
        };
        SUMS.with_borrow_mut(|buffer| {
            let sums = buffer.floats(target.len());
            work(sums);
            let (sums, shared) = (&*sums, SharedMut::new(target));
            pool.for_chunks(sums.len(), CHUNK, &|start, end| {
                // SAFETY: chunks are disjoint.
                let target = unsafe { shared.slice(start, end) };
                dispatch(isa, Round { sums: &sums[start..end], target });
            });
        });
    }
}

thread_local! {
    /// Sums before they are rounded.
    static SUMS: RefCell<WordBuffer> = const { RefCell::new(WordBuffer::new()) };
}

struct Round<'a> {
    sums: &'a [f32],
    target: &'a mut [bf16],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = 0;
        while at < self.sums.len() {
            let count = (self.sums.len() - at).min(S::LANES);
            put(s, self.target, at, count, crate::cpu::simd::span::get(s, self.sums, at, count));
            at += S::LANES;
        }
    }
}

/// A result that several tasks write.
pub enum SharedResults {
    /// Sums.
    F32(SharedMut<f32>),
    /// Rounded sums.
    Bf16(SharedMut<bf16>),
}

impl SharedResults {
    /// Elements `start..end`.
    ///
    /// # Safety
    /// As [`SharedMut::slice`].
    pub unsafe fn slice<'a>(&self, start: usize, end: usize) -> Results<'a> {
        // SAFETY: by the caller.
        unsafe {
            match self {
                Self::F32(values) => Results::F32(values.slice(start, end)),
                Self::Bf16(values) => Results::Bf16(values.slice(start, end)),
            }
        }
    }
}

/// The result of a product: rows of `columns` elements, `stride` elements apart.
pub struct Target<'a> {
    pointer: *mut u8,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
    /// Whether whole lines are written past the caches.
    pub(super) streams: bool,
    /// Whether elements are bf16, rounded from the sums.
    pub(super) rounds: bool,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: tasks write disjoint elements; the constructor holds the exclusive borrow.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    /// A contiguous target of f32.
    ///
    /// # Panics
    /// When `values` is too short.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::of(Results::F32(values), rows, columns)
    }

    /// A contiguous target. One that rounds takes no sums before and no factors, and needs tile registers.
    ///
    /// # Panics
    /// When `values` is too short.
    pub fn of(values: Results<'a>, rows: usize, columns: usize) -> Self {
        assert!(values.len() >= rows * columns, "target [{rows}, {columns}] does not fit");
        let (pointer, rounds, size): (*mut u8, bool, usize) = match values {
            Results::F32(values) => (values.as_mut_ptr().cast(), false, size_of::<f32>()),
            Results::Bf16(values) => (values.as_mut_ptr().cast(), true, size_of::<bf16>()),
        };
        let aligned = pointer.align_offset(64) == 0 && (columns * size).is_multiple_of(64);
        let streams = aligned && size * rows * columns >= STREAMED_BYTES;
        Self { pointer, rows, columns, stride: columns, streams, rounds, lifetime: std::marker::PhantomData }
    }

    /// Address of an element inside a target of f32.
    pub(super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        debug_assert!(row < self.rows && column < self.columns && !self.rounds);
        self.pointer.cast::<f32>().wrapping_add(row * self.stride + column)
    }

    /// Address of an element inside a target of bf16.
    pub(super) fn at_rounded(&self, row: usize, column: usize) -> *mut bf16 {
        debug_assert!(row < self.rows && column < self.columns && self.rounds);
        self.pointer.cast::<bf16>().wrapping_add(row * self.stride + column)
    }
}
