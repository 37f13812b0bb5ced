//! The language-model head without stored logits: cross-entropy and token log-probabilities.
//!
//! Rows whose target is ignored are dropped before anything is multiplied. The vocabulary is swept in
//! chunks: a chunk of logits is made, absorbed into running softmax statistics, and, for the gradient of
//! the hidden states, multiplied back by the same rows of the weight at once; sums are rescaled whenever
//! the running maximum grows. So the weight is read twice per sweep and logits never exceed one chunk.

use crate::cpu::cross_entropy_rows::{Absorb, Differentiate, LogitTransform, RowState};
#[cfg(target_arch = "x86_64")]
use crate::cpu::cross_entropy_tiles;
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
use crate::cpu::gemm::{ComputeDtype, Factor, Gemm, Matrix, Operand, Start, Target, Term};
use crate::cpu::gemm::{pack_rows, packed_words, product};
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::dispatch;
use crate::error::{KernelError, Result};
use std::cell::RefCell;
use std::ops::Range;

/// Bytes of one chunk of logits, about: it is written, read for the softmax and packed while the caches hold it.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Least vocabulary entries of a chunk.
const LEAST_CHUNK: usize = 1024;
/// Bytes of the hidden states of one block of rows.
pub const BLOCK_BYTES: usize = 16 << 20;

/// Hidden states, the head's weight and the targets.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Hidden states `[T, D]`.
    pub hidden: Matrix<'a>,
    /// Weight `[V, D]`, of any format.
    pub weight: Matrix<'a>,
    /// Target ids `[T]`.
    pub targets: &'a [i32],
    /// Targets equal to this are dropped.
    pub ignore: i32,
    /// From raw logits to logits.
    pub transform: LogitTransform,
}

/// Result of one kept row.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Row in the hidden states.
    pub row: usize,
    /// ln p(target).
    pub log_prob: f32,
    /// ln Σ exp(l).
    pub log_sum_exp: f32,
    /// Entropy in nats; 0 unless asked for.
    pub entropy: f32,
    /// Whether no logit is above the target's.
    pub correct: bool,
}

impl Token {
    /// What the statistics of a row say of its target.
    pub(super) fn of(row: usize, state: &RowState, entropy: bool) -> Self {
        let log_sum_exp = state.log_sum_exp();
        Self {
            row,
            log_prob: (f64::from(state.target) - log_sum_exp) as f32,
            log_sum_exp: log_sum_exp as f32,
            entropy: if entropy { state.entropy() as f32 } else { 0.0 },
            correct: state.target >= state.largest,
        }
    }
}

/// Upstream gradients of one kept row.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// Row in the hidden states.
    pub row: usize,
    /// ln Σ exp(l) from forward.
    pub log_sum_exp: f32,
    /// d loss / d ln p(target).
    pub d_log_prob: f32,
    /// d loss / d entropy, and the entropy from forward.
    pub entropy: Option<(f32, f32)>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

#[derive(Default)]
struct Buffers {
    gathered: WordBuffer,
    packed: WordBuffer,
    logits: WordBuffer,
    gradient: WordBuffer,
}

/// Rows per block and vocabulary entries per chunk; functions of the shape only.
pub fn partition(rows: usize, hidden: usize, vocabulary: usize) -> (usize, usize) {
    let block = (BLOCK_BYTES / (4 * hidden.max(1))).clamp(256, rows.max(256)).min(rows.max(1));
    // For many rows narrower chunks would read and write the sums of the gradient too often.
    let widest = (CHUNK_BYTES / (4 * block)).max(LEAST_CHUNK);
    if widest >= vocabulary {
        return (block, vocabulary.max(1));
    }
    // Equal chunks; rows a power of two apart would share few sets of a cache.
    let even = vocabulary.div_ceil(vocabulary.div_ceil(widest)).next_multiple_of(32);
    let chunk = if even.is_multiple_of(128) { even + 32 } else { even };
    (block, chunk)
}

/// Bytes of scratch of one sweep, whichever way it is done.
pub fn workspace_bytes(rows: usize, hidden: usize, vocabulary: usize) -> usize {
    let (block, chunk) = partition(rows, hidden, vocabulary);
    // Gathered, packed and gradient rows; logits and their packed copy.
    let chunked = 4 * (3 * block * hidden + 2 * block * chunk);
    #[cfg(target_arch = "x86_64")]
    return chunked.max(cross_entropy_tiles::workspace_bytes(block, hidden, vocabulary));
    #[cfg(not(target_arch = "x86_64"))]
    chunked
}

impl Head<'_> {
    /// Rows whose target counts.
    ///
    /// # Errors
    /// `ERR_INDEX_OUT_OF_RANGE` for a target outside the vocabulary.
    pub fn kept_rows(&self) -> Result<Vec<usize>> {
        let vocabulary = self.weight.rows;
        let mut rows = Vec::with_capacity(self.targets.len());
        for (row, target) in self.targets.iter().enumerate() {
            if *target == self.ignore {
                continue;
            }
            if usize::try_from(*target).map_or(true, |index| index >= vocabulary) {
                return Err(KernelError::new(
                    "ERR_INDEX_OUT_OF_RANGE",
                    format!("target {target} of row {row} is outside the vocabulary of {vocabulary}"),
                ));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn target_in(&self, row: usize, chunk: &Range<usize>) -> Option<usize> {
        let target = self.targets[row] as usize;
        chunk.contains(&target).then(|| target - chunk.start)
    }
}

/// One block of rows with one chunk of raw logits.
struct Sweep<'s> {
    /// Rows in the hidden states.
    rows: &'s [usize],
    /// Index of the first row among all kept rows.
    first: usize,
    /// Hidden states of these rows.
    hidden: Matrix<'s>,
    /// Vocabulary entries of this chunk.
    chunk: Range<usize>,
    /// Raw logits.
    logits: &'s mut [f32],
    /// Sums over chunks, `[rows, D]`, kept between the chunks of a block.
    gradient: &'s mut [f32],
}

/// Computes the raw logits of every block of rows and chunk of vocabulary and hands them to `visit`.
fn sweep(
    gemm: &Gemm<'_>,
    head: &Head<'_>,
    kept: &[usize],
    with_gradient: bool,
    mut visit: impl FnMut(Sweep<'_>),
    mut finish: impl FnMut(&[usize], usize, &[f32]),
) {
    let (hidden, vocabulary) = (head.hidden.columns, head.weight.rows);
    let (block, width) = partition(kept.len(), hidden, vocabulary);
    BUFFERS.with_borrow_mut(|Buffers { gathered, packed, logits, gradient }| {
        for (index, rows) in kept.chunks(block).enumerate() {
            let count = rows.len();
            let contiguous = rows[count - 1] - rows[0] + 1 == count;
            let matrix = if contiguous {
                head.hidden.row_range(rows[0], rows[0] + count)
            } else {
                let target = gathered.floats(count * hidden);
                for (target, row) in target.chunks_exact_mut(hidden.max(1)).zip(rows) {
                    load_f32(gemm.kernel.isa, &head.hidden, *row, 0, target);
                }
                Matrix::f32(target, count, hidden)
            };
            let words = packed.words(packed_words(&gemm.kernel, count, hidden));
            let packed = pack_rows(&gemm.kernel, gemm.pool, &Operand::rows(matrix), 1.0, words);
            let gradient = gradient.floats(if with_gradient { count * hidden } else { 0 });
            gradient.fill(0.0);
            for start in (0..vocabulary).step_by(width) {
                let chunk = start..(start + width).min(vocabulary);
                let logits = logits.floats(count * chunk.len());
                let columns = Operand::rows(head.weight.row_range(chunk.start, chunk.end));
                let terms = [Term { rows: &packed, columns }];
                let target = Target::new(logits, count, chunk.len());
                product(&gemm.kernel, gemm.pool, &terms, Start::Overwrite, &target);
                visit(Sweep { rows, first: index * block, hidden: matrix, chunk, logits, gradient });
            }
            finish(rows, index * block, gradient);
        }
    });
}

/// gradient += logits · W[chunk].
fn back_to_hidden(gemm: &Gemm<'_>, head: &Head<'_>, part: &Sweep<'_>, gradient: &mut [f32]) {
    let logits = Matrix::f32(part.logits, part.rows.len(), part.chunk.len());
    let weight = head.weight.row_range(part.chunk.start, part.chunk.end);
    let factor = Factor { left: Operand::rows(logits), right: Operand::columns(weight), alpha: 1.0 };
    gemm.multiply(&[factor], Start::Accumulate, gradient);
}

/// Rows per task, for a row of `length` elements.
fn rows_per_task(length: usize) -> usize {
    (1usize << 14).div_ceil(length.max(1))
}

/// Log-probabilities of the targets. With `d_hidden` (`[T, D]`) also −Σ weight·d ln p / d hidden: the
/// gradient of the weighted cross-entropy, zero in dropped rows; `weights` holds one factor per row.
///
/// # Errors
/// Errors of [`Head::kept_rows`].
pub fn token_log_probs(
    gemm: &Gemm<'_>,
    head: &Head<'_>,
    entropy: bool,
    weights: Option<&[f32]>,
    d_hidden: Option<&mut [f32]>,
) -> Result<Vec<Token>> {
    let kept = head.kept_rows()?;
    let columns = head.hidden.columns;
    #[cfg(target_arch = "x86_64")]
    if !entropy && cross_entropy_tiles::serves(gemm) {
        let (block, _) = partition(kept.len(), columns, head.weight.rows);
        return Ok(cross_entropy_tiles::token_log_probs(gemm, head, &kept, block, weights, d_hidden));
    }
    let gradient = d_hidden.is_some();
    let mut states = vec![RowState::EMPTY; kept.len()];
    let states_shared = SharedMut::new(&mut states);
    let d_hidden = d_hidden.map(|values| {
        values.fill(0.0);
        SharedMut::new(values)
    });
    let isa = gemm.kernel.isa;
    let visit = |mut part: Sweep<'_>| {
        let width = part.chunk.len();
        let logits = SharedMut::new(part.logits);
        let sums = SharedMut::new(part.gradient);
        gemm.pool.for_chunks(part.rows.len(), rows_per_task(width), &|start, end| {
            for index in start..end {
                let at = part.first + index;
                // SAFETY: each row, its state and its sums belong to one task.
                let (row, state) = unsafe {
                    (logits.slice(index * width, (index + 1) * width), &mut states_shared.slice(at, at + 1)[0])
                };
                let target = head.target_in(part.rows[index], &part.chunk);
                let factor = dispatch(isa, Absorb { row, state, target, transform: head.transform, gradient, entropy });
                if gradient && factor != 1.0 {
                    // SAFETY: as above.
                    let sums = unsafe { sums.slice(index * columns, (index + 1) * columns) };
                    sums.iter_mut().for_each(|value| *value *= factor);
                }
            }
        });
        if gradient {
            let sums = std::mem::take(&mut part.gradient);
            back_to_hidden(gemm, head, &part, sums);
        }
    };
    let finish = |rows: &[usize], first: usize, sums: &[f32]| {
        let Some(d_hidden) = &d_hidden else {
            return;
        };
        gemm.pool.for_chunks(rows.len(), rows_per_task(columns), &|start, end| {
            let mut weight_row = vec![0.0f32; columns];
            for index in start..end {
                let row = rows[index];
                // SAFETY: states are complete and only read; rows of the output are distinct.
                let (state, target) = unsafe {
                    (
                        states_shared.slice(first + index, first + index + 1)[0],
                        d_hidden.slice(row * columns, (row + 1) * columns),
                    )
                };
                load_f32(isa, &head.weight, head.targets[row] as usize, 0, &mut weight_row);
                if gemm.compute == ComputeDtype::Bf16 {
                    round_in_place(isa, &mut weight_row);
                }
                let factor = weights.map_or(1.0, |weights| weights[row]);
                // p(target) − 1 without cancellation, times dl/dz.
                let log_p = f64::from(state.target) - state.log_sum_exp();
                let exact = log_p.exp_m1() as f32 * head.transform.slope_of(state.target);
                let scale = (1.0 / state.sum) as f32;
                let sums = &sums[index * columns..(index + 1) * columns];
                for ((target, sum), weight) in target.iter_mut().zip(sums).zip(&weight_row) {
                    *target = factor * (sum * scale + exact * weight);
                }
            }
        });
    };
    sweep(gemm, head, &kept, gradient, visit, finish);
    Ok(kept.iter().zip(&states).map(|(row, state)| Token::of(*row, state, entropy)).collect())
}

/// Gradients of token log-probabilities (and entropies) by recomputing the logits: `d_hidden` `[T, D]` and,
/// where asked, `d_weight` `[V, D]`; both are overwritten.
pub fn token_log_probs_backward(
    gemm: &Gemm<'_>,
    head: &Head<'_>,
    upstream: &[Upstream],
    d_hidden: Option<&mut [f32]>,
    mut d_weight: Option<&mut [f32]>,
) {
    let kept: Vec<usize> = upstream.iter().map(|token| token.row).collect();
    let columns = head.hidden.columns;
    let with_hidden = d_hidden.is_some();
    let d_hidden = d_hidden.map(|values| {
        values.fill(0.0);
        SharedMut::new(values)
    });
    if let (Some(values), true) = (&mut d_weight, kept.is_empty()) {
        values.fill(0.0);
    }
    let visit = |mut part: Sweep<'_>| {
        let width = part.chunk.len();
        let logits = SharedMut::new(part.logits);
        gemm.pool.for_chunks(part.rows.len(), rows_per_task(width), &|start, end| {
            for index in start..end {
                // SAFETY: each row belongs to one task.
                let row = unsafe { logits.slice(index * width, (index + 1) * width) };
                let Upstream { log_sum_exp, d_log_prob, entropy, .. } = upstream[part.first + index];
                let target = head.target_in(part.rows[index], &part.chunk);
                let transform = head.transform;
                dispatch(gemm.kernel.isa, Differentiate { row, target, transform, log_sum_exp, d_log_prob, entropy });
            }
        });
        if with_hidden {
            let sums = std::mem::take(&mut part.gradient);
            back_to_hidden(gemm, head, &part, sums);
        }
        if let Some(values) = &mut d_weight {
            let left = Operand::columns(Matrix::f32(part.logits, part.rows.len(), width));
            let factor = Factor { left, right: Operand::columns(part.hidden), alpha: 1.0 };
            let start = if part.first == 0 { Start::Overwrite } else { Start::Accumulate };
            gemm.multiply(&[factor], start, &mut values[part.chunk.start * columns..part.chunk.end * columns]);
        }
    };
    let finish = |rows: &[usize], _: usize, sums: &[f32]| {
        if let Some(target) = &d_hidden {
            for (row, sums) in rows.iter().zip(sums.chunks_exact(columns.max(1))) {
                // SAFETY: one row at a time on this thread.
                unsafe { target.slice(row * columns, (row + 1) * columns) }.copy_from_slice(sums);
            }
        }
    };
    sweep(gemm, head, &kept, with_hidden, visit, finish);
}
