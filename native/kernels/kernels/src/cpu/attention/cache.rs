//! Writing keys and values into the cache.

use super::plan::check_cache;
use crate::cpu::gemm::row_load::round_bf16;
use crate::cpu::{CpuCall, CpuContext, CpuView};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use half::bf16;

/// cache[slot, position] = row, in place, rounding to the cache's dtype.
///
/// # Errors
/// `ERR_INDEX_OUT_OF_RANGE` for a slot or position outside the cache.
pub fn append(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (slots, positions) = (call.input("slots").slice::<i32>()?, call.input("positions").slice::<i32>()?);
    for (cache, source) in [("cacheK", "k"), ("cacheV", "v")] {
        write_rows(context, &call.input(cache), call.input(source).slice::<f32>()?, slots, positions)?;
    }
    Ok(())
}

/// Writes one row per token into a cache `[B, S, KV, D]`, an in-place input of the running call.
///
/// # Errors
/// `ERR_INDEX_OUT_OF_RANGE` for a slot or position outside the cache, before anything is written.
pub fn write_rows(
    context: &CpuContext,
    cache: &CpuView<'_>,
    source: &[f32],
    slots: &[i32],
    positions: &[i32],
) -> Result<()> {
    let shape = &cache.spec.shape;
    check_cache(slots, positions, shape[0], shape[1])?;
    let (capacity, row) = (shape[1], shape[2] * shape[3]);
    let places = slots.iter().zip(positions).map(|(slot, position)| *slot as usize * capacity + *position as usize);
    match cache.spec.dtype {
        DType::F32 => {
            // SAFETY: a declared in-place input of this call.
            let target = unsafe { cache.slice_mut::<f32>()? };
            for (place, row_values) in places.zip(source.chunks_exact(row)) {
                target[place * row..(place + 1) * row].copy_from_slice(row_values);
            }
        }
        DType::BF16 => {
            // SAFETY: a declared in-place input of this call.
            let target = unsafe { cache.slice_mut::<bf16>()? };
            for (place, row_values) in places.zip(source.chunks_exact(row)) {
                round_bf16(context.isa, row_values, &mut target[place * row..(place + 1) * row]);
            }
        }
        _ => {
            let text = format!("a cache holds float32 or bfloat16, got {}", cache.spec);
            return Err(KernelError::dtype("cache", text));
        }
    }
    Ok(())
}
