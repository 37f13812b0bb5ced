//! Panels of the weight for both products of the head.

use crate::cpu::amx::TILE;
use crate::cpu::cross_entropy_tiles::softmax::ENTRIES;
use crate::cpu::gemm::row_load::load_bf16;
use crate::cpu::gemm::{Elements, Matrix};
use crate::cpu::isa::Isa;
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Words of a step of a panel: 32 lanes.
pub const STEP: usize = 2 * TILE;

/// Where a panel of 32 vocabulary entries goes.
#[derive(Clone, Copy)]
pub struct Place {
    /// Left operand of the logits: 32 values of every entry together, then the next 32.
    pub rows: *mut u32,
    /// Right operand of the gradient, where wanted: pairs of entries of 32 columns, 16 pairs.
    pub columns: Option<*mut u32>,
    /// Words from 32 columns to the next.
    pub stride: usize,
}

/// Packs up to 32 entries of the weight. Rows of entries that do not exist keep what was there; their
/// pairs become zero.
///
/// # Safety
/// `place` covers its words; the stage holds two rows of the weight; AVX-512 with BF16 exists.
pub unsafe fn pack_panel(isa: Isa, weight: &Matrix<'_>, entries: Range<usize>, place: Place, stage: &mut [bf16]) {
    let columns = weight.columns;
    let (first, valid) = (entries.start, entries.len());
    assert!(first + valid <= weight.rows && stage.len() >= 2 * columns, "a panel outside the weight");
    let (even, odd) = stage.split_at_mut(columns);
    for entry in (0..ENTRIES).step_by(2) {
        let present = valid.saturating_sub(entry).min(2);
        let row = first + entry;
        let at = match weight.elements {
            Elements::Bf16(values) => {
                let at = |row: usize| values[weight.index(row, 0)..][..columns].as_ptr();
                [
                    if present > 0 { at(row) } else { std::ptr::null() },
                    if present > 1 { at(row + 1) } else { std::ptr::null() },
                ]
            }
            _ => {
                if present > 0 {
                    load_bf16(isa, weight, row, 0, even);
                }
                if present > 1 {
                    load_bf16(isa, weight, row + 1, 0, &mut odd[..columns]);
                }
                [even.as_ptr(), odd.as_ptr()]
            }
        };
        let place = Place {
            rows: place.rows.wrapping_add(entry * TILE),
            columns: place.columns.map(|at| at.wrapping_add(entry / 2 * STEP)),
            ..place
        };
        // SAFETY: rows that are present hold `columns` values; targets by the caller.
        unsafe { pack_pair(at, present, columns, place) };
    }
}

/// # Safety
/// `present` rows of `count` values; targets as in [`pack_panel`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_pair([even, odd]: [*const bf16; 2], present: usize, count: usize, place: Place) {
    // Words 0..16 and 16..32 of two rows of 32 bf16, interleaved; the second row has bit 5 of the index set.
    let mut low = [0u16; 32];
    for (lane, index) in low.iter_mut().enumerate() {
        *index = (lane / 2 + 32 * (lane % 2)) as u16;
    }
    // SAFETY: 32 indices of 16 bits; lanes beyond the last value are masked; targets by the caller.
    unsafe {
        let low = _mm512_loadu_si512(low.as_ptr().cast());
        let high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
        for (step, index) in (0..count).step_by(32).enumerate() {
            let left = count - index;
            let mask = if left >= 32 { u32::MAX } else { (1 << left) - 1 };
            let first = if present > 0 { mask } else { 0 };
            let second = if present > 1 { mask } else { 0 };
            let even = _mm512_maskz_loadu_epi16(first, even.wrapping_add(index).cast());
            let odd = _mm512_maskz_loadu_epi16(second, odd.wrapping_add(index).cast());
            let rows = place.rows.add(step * ENTRIES * TILE);
            _mm512_storeu_si512(rows.cast(), even);
            _mm512_storeu_si512(rows.add(TILE).cast(), odd);
            if let Some(columns) = place.columns {
                let columns = columns.add(step * place.stride);
                _mm512_storeu_si512(columns.cast(), _mm512_permutex2var_epi16(even, low, odd));
                _mm512_storeu_si512(columns.add(TILE).cast(), _mm512_permutex2var_epi16(even, high, odd));
            }
        }
    }
}

/// Where rows of the weight lie, so far as they exist, in one piece and as bf16; else nothing.
pub fn weight_bytes<'a>(weight: &Matrix<'a>, rows: Range<usize>) -> &'a [u8] {
    match weight.elements {
        Elements::Bf16(values) if weight.stride == weight.columns => {
            let end = rows.end.min(weight.rows);
            let values = &values[weight.index(rows.start.min(end), 0)..weight.index(end, 0)];
            // SAFETY: bytes of the values; every byte is a valid u8.
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
        }
        _ => &[],
    }
}
