//! The head with tile registers: loss, and the gradient of the hidden states, of a weight that keeps still.
//!
//! The vocabulary is cut into slices and the rows into groups; a unit is a group with a slice, and units share nothing,
//! so no thread waits for another. A unit goes over its slice in chunks. Of a chunk, 32 entries at a time are packed,
//! multiplied by all rows and turned, while they are in the nearest cache, into bf16 numerators in the layout of the
//! second product; that follows once per chunk. Numerators refer to a power of two per row, which is raised only where a
//! logit lies far above it: exactly, because powers of two change no rounding.
//!
//! Slices and chunks are functions of the shape only, and a row's result does not depend on its group: the number of
//! threads changes no bit.

mod softmax;
mod statistics;
mod unit;
mod weight;

use crate::cpu::cross_entropy::{Head, Token};
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::RowLayout;
use crate::cpu::gemm::pack::{Panel, pack};
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
use crate::cpu::gemm::{ComputeDtype, Gemm, Matrix, Operand};
use crate::cpu::pool::SharedMut;
use statistics::{Row, Statistics};
use std::cell::RefCell;
use unit::Unit;

/// Rows of a panel.
const PANEL: usize = 32;
/// Most rows of a group: their packed hidden states stay in the second cache, mostly.
const GROUP_ROWS: usize = 512;
/// Bytes of a packed chunk of the weight, about.
const CHUNK_BYTES: usize = 1 << 20;
/// Most slices of the vocabulary: as many threads can share a small batch without packing the weight twice.
const MOST_SLICES: usize = 4;
/// Bytes by which the sums of all slices may exceed those of a few.
const MORE_BYTES: usize = 4 << 20;

/// Extents of a sweep; functions of the shape only.
#[derive(Clone, Copy)]
struct Plan {
    /// Kept rows of the block, and with those that fill its last panel.
    rows: usize,
    padded: usize,
    /// Columns of the hidden states.
    depth: usize,
    /// Words of their rows in tiles.
    words: usize,
    vocabulary: usize,
    slices: usize,
    /// Entries of a slice and of a chunk: multiples of 32.
    slice: usize,
    chunk: usize,
}

/// Most entries of a chunk.
fn widest_chunk(depth: usize) -> usize {
    (CHUNK_BYTES / (2 * depth.max(1))).clamp(4 * PANEL, 32 * PANEL)
}

/// Bytes of scratch of one sweep over a block of at most `rows` rows: packed hidden states, the sums of all slices, and for
/// each of two threads its chunk of the weight in both layouts with its numerators. Further threads come on top once per
/// process.
pub fn workspace_bytes(rows: usize, depth: usize, vocabulary: usize) -> usize {
    let (rows, depth) = (rows.next_multiple_of(PANEL), depth.next_multiple_of(PANEL));
    let packed = 2 * rows * depth;
    // One slice of many rows, two of fewer, and as many more as `MORE_BYTES` hold.
    let sums = (8 * rows * depth + MORE_BYTES).min(4 * MOST_SLICES * rows * depth);
    let chunk = widest_chunk(depth).min(vocabulary.next_multiple_of(PANEL));
    let thread = 2 * chunk * (depth + rows.min(GROUP_ROWS)) + 2 * unit::TOGETHER * PANEL * depth;
    packed + sums + 2 * thread
}

impl Plan {
    fn new(rows: usize, depth: usize, vocabulary: usize) -> Self {
        // Several slices of few rows; of many, groups of rows are enough, and sums of more would take much memory.
        let affordable = 2 + MORE_BYTES / (4 * rows * depth).max(1);
        let slices = (MOST_SLICES * GROUP_ROWS / rows.max(1)).min(affordable).clamp(1, MOST_SLICES);
        let slices = slices.min(vocabulary.div_ceil(PANEL)).max(1);
        let slice = vocabulary.div_ceil(slices).next_multiple_of(PANEL);
        let widest = widest_chunk(depth);
        let chunk = slice.div_ceil(slice.div_ceil(widest)).next_multiple_of(PANEL);
        let words = depth.div_ceil(2).next_multiple_of(16);
        Self { rows, padded: rows.next_multiple_of(16), depth, words, vocabulary, slices, slice, chunk }
    }

    fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// Groups of rows that let threads of equal speed end soonest; each packs the weight for itself.
    fn groups(&self, threads: usize) -> usize {
        let least = self.panels().div_ceil(GROUP_ROWS / PANEL);
        let most = least.max(threads).min(self.panels());
        // Rounds of units, each as long as its rows and an eighth of a group for the weight.
        let time = |groups: usize| (self.slices * groups).div_ceil(threads) * (8 + groups) * 1000 / groups;
        (least..=most).min_by_key(|groups| time(*groups)).unwrap_or(least)
    }

    /// Panels of 32 columns of the hidden states.
    fn column_panels(&self) -> usize {
        self.depth.div_ceil(PANEL)
    }

    /// Rows that panel `index` holds with its filling: 16 or 32.
    fn height(&self, index: usize) -> usize {
        PANEL.min(self.padded - index * PANEL)
    }

    /// Position of a row's 32 sums of a column panel.
    fn sums_at(&self, slice: usize, column_panel: usize, row: usize) -> usize {
        PANEL * ((slice * self.column_panels() + column_panel) * self.padded + row)
    }
}

#[derive(Default)]
struct Buffers {
    packed: WordBuffer,
    sums: WordBuffer,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
    static GATHERED: RefCell<(WordBuffer, WordBuffer)> = RefCell::new(Default::default());
}

/// Whether [`token_log_probs`] serves these products.
pub fn serves(gemm: &Gemm<'_>) -> bool {
    gemm.kernel.layout == RowLayout::Tiles && gemm.compute == ComputeDtype::Bf16
}

/// As [`crate::cpu::cross_entropy::token_log_probs`] without entropies, for blocks of at most `block` of the kept rows.
pub fn token_log_probs(
    gemm: &Gemm<'_>,
    head: &Head<'_>,
    kept: &[usize],
    block: usize,
    weights: Option<&[f32]>,
    d_hidden: Option<&mut [f32]>,
) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(kept.len());
    let d_hidden = d_hidden.map(|values| {
        values.fill(0.0);
        SharedMut::new(values)
    });
    for rows in kept.chunks(block.max(1)) {
        let results = BUFFERS.with_borrow_mut(|buffers| sweep(gemm, head, rows, weights, d_hidden, buffers));
        tokens.extend(rows.iter().zip(results).map(|(row, Row { log_prob, log_sum_exp, correct, .. })| Token {
            row: *row,
            log_prob: log_prob as f32,
            log_sum_exp: log_sum_exp as f32,
            entropy: 0.0,
            correct,
        }));
    }
    tokens
}

/// One block of rows.
fn sweep(
    gemm: &Gemm<'_>,
    head: &Head<'_>,
    rows: &[usize],
    weights: Option<&[f32]>,
    d_hidden: Option<SharedMut<f32>>,
    buffers: &mut Buffers,
) -> Vec<Row> {
    let plan = Plan::new(rows.len(), head.hidden.columns, head.weight.rows);
    let packed = buffers.packed.words(plan.padded * plan.words);
    pack_hidden(gemm, head, rows, &plan, packed);
    let sums = if d_hidden.is_some() { plan.sums_at(plan.slices, 0, 0) } else { 0 };
    let sums = SharedMut::new(buffers.sums.floats(sums));
    let mut statistics = Statistics::new(plan.slices * plan.padded);
    let shared = statistics.share();
    // A slice's targets in the order of the vocabulary.
    let mut targets: Vec<(usize, usize)> =
        rows.iter().enumerate().map(|(index, row)| (head.targets[*row] as usize, index)).collect();
    targets.sort_unstable();
    let (panels, groups) = (plan.panels(), plan.groups(gemm.pool.threads()));
    gemm.pool.run(plan.slices * groups, &|task| {
        let (slice, group) = (task / groups, task % groups);
        let unit = Unit {
            isa: gemm.kernel.isa,
            head,
            plan: &plan,
            hidden: packed,
            targets: &targets,
            slice,
            panels: group * panels / groups..(group + 1) * panels / groups,
            statistics: shared,
            sums: d_hidden.is_some().then_some(sums),
        };
        unit.run();
    });
    let parts = &statistics;
    let results: Vec<Row> = (0..rows.len()).map(|row| parts.row(&plan, row)).collect();
    if let Some(d_hidden) = d_hidden {
        gemm.pool.for_chunks(rows.len(), 16, &|start, end| {
            GATHERED.with_borrow_mut(|(buffer, _)| {
                let weight_row = buffer.floats(plan.depth);
                for index in start..end {
                    let row = rows[index];
                    load_f32(gemm.kernel.isa, &head.weight, head.targets[row] as usize, 0, weight_row);
                    round_in_place(gemm.kernel.isa, weight_row);
                    let Row { log_prob, log_sum_exp, target, .. } = results[index];
                    let factor = weights.map_or(1.0, |weights| weights[row]);
                    // p(target) − 1 without cancellation, times dl/dz.
                    let exact = log_prob.exp_m1() as f32 * head.transform.slope_of(target);
                    // SAFETY: rows of the output are distinct; sums are complete and only read; tiles imply AVX-512.
                    unsafe {
                        let target = d_hidden.slice(row * plan.depth, (row + 1) * plan.depth);
                        scale_row(target, weight_row, factor * exact);
                        for (slice, scale) in parts.scales(&plan, index, log_sum_exp).enumerate() {
                            let scale = factor * scale * head.transform.scale / head.transform.temperature;
                            if scale != 0.0 {
                                for (panel, target) in target.chunks_mut(PANEL).enumerate() {
                                    let at = plan.sums_at(slice, panel, index);
                                    add_scaled(target, sums.slice(at, at + target.len()), scale);
                                }
                            }
                        }
                    }
                }
            });
        });
    }
    results
}

/// target = scale · row.
#[target_feature(enable = "avx512f,avx512vl")]
fn scale_row(target: &mut [f32], row: &[f32], scale: f32) {
    for (target, value) in target.iter_mut().zip(row) {
        *target = scale * value;
    }
}

/// target += scale · sums.
#[target_feature(enable = "avx512f,avx512vl")]
fn add_scaled(target: &mut [f32], sums: &[f32], scale: f32) {
    for (target, value) in target.iter_mut().zip(sums) {
        *target += scale * value;
    }
}

/// Packs the hidden states of `rows` as columns: panel after panel, step after step.
fn pack_hidden(gemm: &Gemm<'_>, head: &Head<'_>, rows: &[usize], plan: &Plan, packed: &mut [u32]) {
    let (depth, words) = (plan.depth, plan.words);
    let shared = SharedMut::new(packed);
    gemm.pool.run(plan.panels(), &|panel| {
        GATHERED.with_borrow_mut(|(gathered, stage)| {
            let (start, width) = (panel * PANEL, plan.height(panel));
            let rows = &rows[start..(start + PANEL).min(rows.len())];
            let count = rows.len();
            let matrix = if rows[count - 1] - rows[0] + 1 == count {
                head.hidden.row_range(rows[0], rows[0] + count)
            } else {
                let target = gathered.floats(count * depth);
                for (target, row) in target.chunks_exact_mut(depth.max(1)).zip(rows) {
                    load_f32(gemm.kernel.isa, &head.hidden, *row, 0, target);
                }
                Matrix::f32(target, count, depth)
            };
            // SAFETY: panels are disjoint.
            let target = unsafe { shared.slice(start * words, (start + width) * words) };
            let place = |_: usize| Panel { start: 0, count, width, offset: 0 };
            pack(&gemm.kernel, &Operand::rows(matrix), 0..depth, 0..1, &place, target, stage);
            target[depth.div_ceil(2) * width..].fill(0);
        });
    });
}
