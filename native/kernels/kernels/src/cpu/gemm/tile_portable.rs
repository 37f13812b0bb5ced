//! The micro-kernel in plain Rust: 4 rows by 8 columns, left to the compiler to vectorise.

use crate::cpu::gemm::kernel::{MicroKernel, PanelWord, Part, RowLayout, TileFn, Write};
use crate::cpu::isa::Isa;

/// Portable kernel.
pub const KERNEL: MicroKernel = MicroKernel {
    isa: Isa::Portable,
    name: "portable 4x8",
    rows: 4,
    layout: RowLayout::Steps,
    columns: 8,
    word: PanelWord::F32,
    block_words: 256,
    row_block_bytes: 256 << 10,
    streams: false,
    tiles: &[
        [tile::<1, 4> as TileFn, tile::<1, 8>],
        [tile::<2, 4>, tile::<2, 8>],
        [tile::<3, 4>, tile::<3, 8>],
        [tile::<4, 4>, tile::<4, 8>],
    ],
};

/// See [`TileFn`].
///
/// # Safety
/// As [`TileFn`].
unsafe fn tile<const R: usize, const W: usize>(parts: &[Part], c: *mut f32, stride: usize, write: Write) {
    let mut sums = [[0.0f32; W]; R];
    for Part { steps, a, b, factor } in parts {
        for step in 0..*steps {
            // SAFETY: the caller's panels hold `steps` groups of R and W words.
            let (left, right) = unsafe { (&*a.add(step * R).cast::<[f32; R]>(), &*b.add(step * W).cast::<[f32; W]>()) };
            for r in 0..R {
                for j in 0..W {
                    sums[r][j] += left[r] * right[j];
                }
            }
        }
        sums.as_flattened_mut().iter_mut().for_each(|sum| *sum *= factor);
    }
    let accumulate = write == Write::Accumulate;
    for r in 0..R {
        // SAFETY: the caller's tile of C covers R rows of W columns.
        let row = unsafe { &mut *c.add(r * stride).cast::<[f32; W]>() };
        for j in 0..W {
            row[j] = if accumulate { row[j] + sums[r][j] } else { sums[r][j] };
        }
    }
}
