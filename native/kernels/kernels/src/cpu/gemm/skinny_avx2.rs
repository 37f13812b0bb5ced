//! [`super::skinny`] for AVX2: tiles of 4 rows and 24 columns, whose twelve sums fill the registers.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::driver::Gemm;
use crate::cpu::gemm::kernel::PanelWord;
use crate::cpu::gemm::product::slab_panels;
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
use crate::cpu::gemm::skinny::{Job, MOST_ROWS};
use crate::cpu::pool::SharedMut;
use std::arch::x86_64::*;
use std::cell::RefCell;

/// Rows of C of a tile.
const GROUP: usize = 4;
/// Columns of a full tile.
const WIDTH: usize = 24;
/// Most columns of a task.
const COLUMNS: usize = 4 * WIDTH;
/// Rows of right that one pass over the columns of a task reads: they stay in the nearest cache for all rows of C.
const DEPTH: usize = 48;
/// Lane masks: the first n lanes of `TAIL[8 - n..]` are set.
static TAIL: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

thread_local! {
    static STAGE: RefCell<WordBuffer> = const { RefCell::new(WordBuffer::new()) };
}

/// Runs a job on a machine with AVX2; `buffer` holds the left operand.
pub fn multiply(gemm: &Gemm<'_>, job: &Job<'_>, target: &mut [f32], buffer: &mut WordBuffer) {
    let (depth, rank, columns) = (job.left.rows, job.left.columns, job.right.columns);
    let rounds = gemm.kernel.word == PanelWord::RoundedF32;
    let groups = rank.div_ceil(GROUP);
    let left = buffer.floats(groups * depth * GROUP);
    for token in 0..depth {
        let row = &job.left_values[job.left.index(token, 0)..][..rank];
        for (group, values) in row.chunks(GROUP).enumerate() {
            let to = &mut left[(group * depth + token) * GROUP..][..GROUP];
            to[..values.len()].copy_from_slice(values);
            to[values.len()..].fill(0.0);
        }
    }
    if rounds {
        round_in_place(gemm.kernel.isa, left);
    }
    let left = &*left;
    let shared = SharedMut::new(target);
    let chunk = WIDTH * slab_panels(columns.div_ceil(WIDTH), COLUMNS / WIDTH, gemm.pool.threads());
    gemm.pool.for_chunks(columns, chunk, &|begin, end| {
        let mut sums = [[0.0f32; COLUMNS]; MOST_ROWS];
        let width = end - begin;
        for start in (0..depth).step_by(DEPTH) {
            let rows = DEPTH.min(depth - start);
            STAGE.with_borrow_mut(|stage| {
                let (right, stride) = if rounds {
                    let staged = stage.floats(rows * COLUMNS);
                    for (row, to) in staged.chunks_exact_mut(COLUMNS).enumerate() {
                        load_f32(gemm.kernel.isa, job.right, start + row, begin, &mut to[..width]);
                        round_in_place(gemm.kernel.isa, &mut to[..width]);
                    }
                    (&*staged, COLUMNS)
                } else {
                    (&job.right_values[job.right.index(start, begin)..], job.right.stride)
                };
                assert!((rows - 1) * stride + width <= right.len());
                for group in 0..groups {
                    let left = &left[(group * depth + start) * GROUP..][..rows * GROUP];
                    let sums = &mut sums[group * GROUP..(group + 1) * GROUP];
                    // The first pass asks for the rows of the next: they lie a page or so apart.
                    let ahead = if group == 0 { DEPTH * stride } else { 0 };
                    // SAFETY: `rows` rows of left and of right's columns exist, as do the sums; AVX2 was detected.
                    unsafe { add(rows, left.as_ptr(), right.as_ptr(), stride, ahead, width, sums) };
                }
            });
        }
        for (line, row) in sums.iter().enumerate().take(rank) {
            job.write(&shared, line, (begin, end), row);
        }
    });
}

/// Adds `rows` rows to the sums of `width` columns.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn add(
    rows: usize,
    left: *const f32,
    right: *const f32,
    stride: usize,
    ahead: usize,
    width: usize,
    sums: &mut [[f32; COLUMNS]],
) {
    let mut column = 0;
    while column < width {
        let lanes = (width - column).min(WIDTH);
        // SAFETY: the columns exist by the caller, and the sums of a tile's lanes inside COLUMNS, a multiple of WIDTH.
        unsafe {
            let (right, sums) = (right.add(column), sums.as_mut_ptr().cast::<f32>().add(column));
            match lanes.div_ceil(8) {
                3 => tile::<3>(rows, left, right, stride, ahead, lanes - 16, sums),
                2 => tile::<2>(rows, left, right, stride, ahead, lanes - 8, sums),
                _ => tile::<1>(rows, left, right, stride, ahead, lanes, sums),
            }
        }
        column += lanes;
    }
}

/// Adds `rows` rows to GROUP rows of V vectors of sums; the last vector of right has `last` lanes.
///
/// # Safety
/// `left` holds GROUP values per row, `right` the lanes of every row, `stride` apart; `sums` GROUP rows of whole vectors,
/// COLUMNS apart.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const V: usize>(
    rows: usize,
    left: *const f32,
    right: *const f32,
    stride: usize,
    ahead: usize,
    last: usize,
    sums: *mut f32,
) {
    // SAFETY: by the caller; masked lanes are not read, prefetches may point anywhere.
    unsafe {
        let mask = _mm256_loadu_si256(TAIL.as_ptr().add(8 - last).cast());
        let mut values = [[_mm256_setzero_ps(); V]; GROUP];
        for r in 0..GROUP {
            for v in 0..V {
                values[r][v] = _mm256_loadu_ps(sums.add(r * COLUMNS + 8 * v));
            }
        }
        for row in 0..rows {
            let from = right.add(row * stride);
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(ahead).cast());
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(ahead + 8 * V - 1).cast());
            let mut words = [_mm256_setzero_ps(); V];
            for v in 0..V {
                words[v] = if v + 1 < V {
                    _mm256_loadu_ps(from.add(8 * v))
                } else {
                    _mm256_maskload_ps(from.add(8 * v), mask)
                };
            }
            for r in 0..GROUP {
                let factor = _mm256_broadcast_ss(&*left.add(GROUP * row + r));
                for v in 0..V {
                    values[r][v] = _mm256_fmadd_ps(factor, words[v], values[r][v]);
                }
            }
        }
        for r in 0..GROUP {
            for v in 0..V {
                _mm256_storeu_ps(sums.add(r * COLUMNS + 8 * v), values[r][v]);
            }
        }
    }
}
