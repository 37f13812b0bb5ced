//! Products of unpacked operands: packs the left side block by block into reused buffers.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::{ComputeDtype, MicroKernel};
use crate::cpu::gemm::pack::Operand;
use crate::cpu::gemm::product::{Start, Term, pack_rows, packed_words, product};
use crate::cpu::gemm::target::{Results, Target};
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use std::cell::RefCell;

/// Bytes of packed rows held at a time: beyond a few hundred rows, packing the columns anew for the next
/// block of rows costs little.
const PACKED_BYTES: usize = 16 << 20;

/// Where and how products run.
#[derive(Clone, Copy)]
pub struct Gemm<'a> {
    /// Threads.
    pub pool: &'a Pool,
    /// Micro-kernel.
    pub kernel: MicroKernel,
    /// What inputs are rounded to.
    pub compute: ComputeDtype,
}

/// One unpacked term: `alpha · left · right`.
#[derive(Clone, Copy)]
pub struct Factor<'a> {
    /// Left operand: its lanes are rows of C.
    pub left: Operand<'a>,
    /// Right operand: its lanes are columns of C.
    pub right: Operand<'a>,
    /// Factor.
    pub alpha: f32,
}

thread_local! {
    /// Buffers of the calling thread: packed rows of up to two terms, and plain scratch.
    static BUFFERS: RefCell<[WordBuffer; 2]> = const { RefCell::new([WordBuffer::new(), WordBuffer::new()]) };
}

impl<'a> Gemm<'a> {
    /// Products on `pool` for an instruction set and compute dtype.
    pub fn new(pool: &'a Pool, isa: Isa, compute: ComputeDtype) -> Self {
        Self { pool, kernel: MicroKernel::select(isa, compute), compute }
    }

    /// The same on the calling thread alone, for the inside of tasks.
    pub fn alone(&self) -> Gemm<'static> {
        Gemm { pool: Pool::serial(), kernel: self.kernel, compute: self.compute }
    }

    /// `c = start + Σ factors`, for one or two factors; `c` is contiguous `[rows, columns]`.
    ///
    /// # Panics
    /// When extents disagree or there are not one or two factors.
    pub fn multiply(&self, factors: &[Factor<'_>], start: Start<'_>, c: &mut [f32]) {
        self.multiply_into(factors, start, Results::F32(c));
    }

    /// As [`Self::multiply`]; a result that is rounded is what [`Target::of`] says.
    ///
    /// # Panics
    /// As [`Self::multiply`].
    pub fn multiply_into(&self, factors: &[Factor<'_>], start: Start<'_>, mut c: Results<'_>) {
        let (rows, columns) = (factors[0].left.count(), factors[0].right.count());
        let depth: usize = factors.iter().map(|factor| factor.left.depth()).sum();
        let step = self.block_rows(depth);
        BUFFERS.with_borrow_mut(|[first, second]| {
            for begin in (0..rows).step_by(step) {
                let end = (begin + step).min(rows);
                let target = Target::of(c.range(begin * columns, end * columns), end - begin, columns);
                let packed = self.pack(&factors[0], begin, end, first);
                let term = Term { rows: &packed, columns: factors[0].right };
                match factors {
                    [_] => product(&self.kernel, self.pool, &[term], start, &target),
                    [_, other] => {
                        let packed = self.pack(other, begin, end, second);
                        let terms = [term, Term { rows: &packed, columns: other.right }];
                        product(&self.kernel, self.pool, &terms, start, &target);
                    }
                    _ => panic!("{} factors", factors.len()),
                }
            }
        });
    }

    fn pack<'b>(
        &self,
        factor: &Factor<'_>,
        begin: usize,
        end: usize,
        buffer: &'b mut WordBuffer,
    ) -> super::product::PackedRows<'b> {
        let left = factor.left.range(begin, end);
        let words = buffer.words(packed_words(&self.kernel, left.count(), left.depth()));
        pack_rows(&self.kernel, self.pool, &left, factor.alpha, words)
    }

    /// Rows of C per block for a total depth.
    pub fn block_rows(&self, depth: usize) -> usize {
        let row_bytes = 4 * depth.div_ceil(self.kernel.word.depth()).max(1);
        (PACKED_BYTES / row_bytes / self.kernel.rows).max(8) * self.kernel.rows
    }
}

/// Bytes that packing the left operand of a product takes at most, whatever the instruction set; each thread's
/// scratch for columns, below a MiB, comes on top once per process.
pub fn packed_bytes_bound(rows: usize, depth: usize) -> usize {
    let row_bytes = 4 * depth;
    // Rows of tiles are stored in sixteens, of pairs in whole lines.
    let tiled = rows.next_multiple_of(16) * 2 * (depth + 64);
    (rows * row_bytes).max(tiled).min(PACKED_BYTES.max(8 * 32 * row_bytes))
}
