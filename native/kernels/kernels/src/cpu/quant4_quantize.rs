//! Quantization to 4 bits, bit-equal to bitsandbytes' CPU operations, and the way back.
//!
//! Per block: absmax; codes by the nearest codebook value of x · (1 / absmax), ties to the lower value.
//! A short last block divides instead and keeps an absmax of at least 1e-38, as bitsandbytes does.
//! FP4 differs from bitsandbytes' CUDA kernel in the sign of zeros and in ties of negative values only.

use crate::cpu::gemm::row_load::{decode_quant4, load_f32, round_bf16_exact};
use crate::cpu::gemm::{Elements, Matrix};
use crate::cpu::isa::Isa;
use crate::cpu::pool::{Pool, SharedMut};
use crate::cpu::quant4::{Quant4, Quant4Kind, Scales, check_block};
use crate::cpu::quant4_map::dynamic_map;
use crate::cpu::torch_sum::torch_sum;
use crate::error::Result;
use half::bf16;

/// Blocks per task.
const BLOCKS_PER_TASK: usize = 256;

/// Absmax below which a block is treated as if it had this one.
const SMALLEST_ABSMAX: f32 = 1e-38;

/// Quantizes consecutive weights in blocks of `block`; with `nested_block` the scales are quantized to
/// 8 bits in blocks of that many (bitsandbytes: 256).
///
/// # Errors
/// `ERR_INVALID_ARGUMENT` for a block size outside the domain.
pub fn quantize4(
    pool: &Pool,
    isa: Isa,
    kind: Quant4Kind,
    weight: &Elements<'_>,
    elements: usize,
    block: usize,
    nested_block: Option<usize>,
) -> Result<Quant4> {
    check_block(block)?;
    let source = Matrix::new(*weight, 1, elements);
    let codebook = Codebook::of(kind);
    let blocks = elements.div_ceil(block);
    let mut codes = vec![0u8; elements.div_ceil(2)];
    let mut absmax = vec![0.0f32; blocks];
    let (shared_codes, shared_absmax) = (SharedMut::new(&mut codes), SharedMut::new(&mut absmax));
    pool.for_chunks(blocks, BLOCKS_PER_TASK, &|start, end| {
        let mut values = vec![0.0f32; block];
        for index in start..end {
            let first = index * block;
            let count = block.min(elements - first);
            let values = &mut values[..count];
            load_f32(isa, &source, 0, first, values);
            // SAFETY: blocks are disjoint and even in length, so no two share a byte.
            let (codes, absmax) = unsafe {
                (shared_codes.slice(first / 2, (first + count).div_ceil(2)), shared_absmax.slice(index, index + 1))
            };
            absmax[0] = scale_to_unit(values, count < block);
            for (byte, pair) in codes.iter_mut().zip(values.chunks(2)) {
                // bitsandbytes pads an odd count with a zero before coding.
                let low = pair.get(1).copied().unwrap_or(0.0);
                *byte = codebook.code(pair[0]) << 4 | codebook.code(low);
            }
        }
    });
    let scales = match nested_block {
        Some(nested) => nest(&absmax, nested),
        None => Scales::Plain(absmax),
    };
    Ok(Quant4 { kind, elements, block, codes: codes.into(), scales })
}

/// Divides a block by its absmax, clamped to ±1, and returns the absmax.
fn scale_to_unit(values: &mut [f32], short: bool) -> f32 {
    let mut absmax = 0.0f32;
    for value in &*values {
        // Written so that NaN sticks.
        absmax = if value.abs() <= absmax { absmax } else { value.abs() };
    }
    let bounded = if absmax < SMALLEST_ABSMAX { SMALLEST_ABSMAX } else { absmax };
    if short {
        values.iter_mut().for_each(|value| *value = (*value / bounded).clamp(-1.0, 1.0));
        return bounded;
    }
    let reciprocal = 1.0 / bounded;
    values.iter_mut().for_each(|value| *value = (*value * reciprocal).clamp(-1.0, 1.0));
    absmax
}

/// Thresholds between the codebook's values in ascending order, and the code of each interval.
struct Codebook {
    bounds: [f32; 15],
    order: [u8; 16],
}

impl Codebook {
    fn of(kind: Quant4Kind) -> Self {
        let values = kind.values();
        let mut order: [u8; 16] = std::array::from_fn(|index| index as u8);
        // Stable: of the two zeros of FP4 the positive one comes first.
        order.sort_by(|a, b| values[usize::from(*a)].partial_cmp(&values[usize::from(*b)]).expect("finite"));
        let bounds = std::array::from_fn(|index| {
            (values[usize::from(order[index])] + values[usize::from(order[index + 1])]) / 2.0
        });
        Self { bounds, order }
    }

    /// The code of a scaled value: a value on a threshold takes the lower interval, NaN the highest.
    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must count every bound, and this loop stays vector code")]
    fn code(&self, value: f32) -> u8 {
        let interval = self.bounds.iter().filter(|bound| !(**bound >= value)).count();
        self.order[interval]
    }
}

/// Double quantization of the scales: mean removed, then 8-bit codes in blocks.
fn nest(absmax: &[f32], block: usize) -> Scales {
    let offset = torch_sum(absmax) / absmax.len().max(1) as f32;
    let centred: Vec<f32> = absmax.iter().map(|value| value - offset).collect();
    let map = dynamic_map(true);
    let (codes, absmax) = quantize_blockwise(&centred, &map, block);
    Scales::Nested { codes, absmax, offset, map: Box::new(map), block }
}

/// 8-bit block-wise quantization to an ascending 256-entry map: ties to the lower code, NaN to the highest.
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must lie above every bound")]
pub fn quantize_blockwise(values: &[f32], map: &[f32; 256], block: usize) -> (Vec<u8>, Vec<f32>) {
    let bounds: Vec<f32> = map.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let mut codes = Vec::with_capacity(values.len());
    let mut absmax = Vec::with_capacity(values.len().div_ceil(block));
    for chunk in values.chunks(block) {
        let mut scaled = chunk.to_vec();
        absmax.push(scale_to_unit(&mut scaled, chunk.len() < block));
        codes.extend(scaled.iter().map(|value| bounds.partition_point(|bound| !(*bound >= *value)) as u8));
    }
    (codes, absmax)
}

/// Dequantizes to f32.
///
/// # Panics
/// When `target` has another length than the weight.
pub fn dequantize4_f32(pool: &Pool, isa: Isa, weight: &Quant4, target: &mut [f32]) {
    assert_eq!(target.len(), weight.elements);
    let shared = SharedMut::new(target);
    pool.for_chunks(weight.elements, BLOCKS_PER_TASK * weight.block, &|start, end| {
        // SAFETY: chunks are disjoint.
        decode_quant4(isa, &weight.view(), start, unsafe { shared.slice(start, end) });
    });
}

/// Dequantizes to bf16: the f32 value, rounded.
///
/// # Panics
/// When `target` has another length than the weight.
pub fn dequantize4_bf16(pool: &Pool, isa: Isa, weight: &Quant4, target: &mut [bf16]) {
    assert_eq!(target.len(), weight.elements);
    let shared = SharedMut::new(target);
    pool.for_chunks(weight.elements, BLOCKS_PER_TASK * weight.block, &|start, end| {
        let mut wide = [0.0f32; 1024];
        for begin in (start..end).step_by(wide.len()) {
            let wide = &mut wide[..1024.min(end - begin)];
            decode_quant4(isa, &weight.view(), begin, wide);
            // SAFETY: chunks are disjoint.
            round_bf16_exact(isa, wide, unsafe { shared.slice(begin, begin + wide.len()) });
        }
    });
}
