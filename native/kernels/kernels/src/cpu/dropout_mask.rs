//! The dropout mask of a LoRA branch: a function of (seed, element index), repeated by backward.

use crate::cpu::gemm::row_load::{load_f32, per_isa};
use crate::cpu::gemm::{Gemm, Matrix};
use crate::cpu::isa::Isa;
use crate::cpu::linear::LoraBranch;
use crate::cpu::pool::SharedMut;
use crate::rng::{keep_threshold, words_of_block};

/// Elements per task; a multiple of the four words of one Philox block.
const CHUNK: usize = 1 << 14;

/// Elements whose random words are made together; the compiler vectorises over blocks.
const LANES: usize = 64;

/// Writes dropout(x) of a block of rows that starts at row `first_row` of the whole input.
pub fn apply_dropout(gemm: &Gemm<'_>, x: &Matrix<'_>, first_row: usize, lora: &LoraBranch<'_>, target: &mut [f32]) {
    let columns = x.columns;
    let shared = SharedMut::new(target);
    gemm.pool.for_chunks(x.rows, CHUNK.div_ceil(columns.max(1)), &|start, end| {
        // SAFETY: chunks of rows are disjoint.
        let rows = unsafe { shared.slice(start * columns, end * columns) };
        for (row, part) in (start..end).zip(rows.chunks_exact_mut(columns)) {
            load_f32(gemm.kernel.isa, x, row, 0, part);
        }
        mask(gemm.kernel.isa, lora, ((first_row + start) * columns) as u64, rows);
    });
}

/// Multiplies a whole `[M, K]` gradient by the mask.
pub fn mask_in_place(gemm: &Gemm<'_>, lora: &LoraBranch<'_>, values: &mut [f32]) {
    let length = values.len();
    let shared = SharedMut::new(values);
    gemm.pool.for_chunks(length, CHUNK, &|start, end| {
        // SAFETY: chunks are disjoint.
        mask(gemm.kernel.isa, lora, start as u64, unsafe { shared.slice(start, end) });
    });
}

fn mask(isa: Isa, lora: &LoraBranch<'_>, first: u64, values: &mut [f32]) {
    let factor = (1.0 / (1.0 - lora.dropout)) as f32;
    mask_values(isa, lora.seed, keep_threshold(lora.dropout), factor, first, values);
}

#[inline(always)]
fn mask_values_body(seed: u64, threshold: u32, factor: f32, first: u64, values: &mut [f32]) {
    let mut done = 0;
    while done < values.len() {
        // Draw whole aligned groups; an unaligned start skips the words before it.
        let index = first + done as u64;
        let skip = (index % 4) as usize;
        let mut words = [[0u32; 4]; LANES / 4];
        for (offset, block) in words.iter_mut().enumerate() {
            *block = words_of_block(seed, index / 4 + offset as u64);
        }
        let count = (LANES - skip).min(values.len() - done);
        let words = words.as_flattened();
        for (value, word) in values[done..done + count].iter_mut().zip(&words[skip..]) {
            *value = if *word >= threshold { *value * factor } else { 0.0 };
        }
        done += count;
    }
}

per_isa!(
    mask_values,
    mask_values_body,
    (seed: u64, threshold: u32, factor: f32, first: u64, values: &mut [f32])
);
