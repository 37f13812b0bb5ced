//! Writing keys and values into the cache.

use super::plan::check_cache;
use crate::cpu::gemm::row_load::round_bf16;
use crate::cpu::{CpuCall, CpuContext};
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
        let cache = call.input(cache);
        let shape = &cache.spec.shape;
        check_cache(slots, positions, shape[0], shape[1])?;
        let (capacity, row) = (shape[1], shape[2] * shape[3]);
        let source = call.input(source).slice::<f32>()?;
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
                return Err(KernelError::dtype(
                    "kvAppend",
                    format!("a cache holds float32 or bfloat16, got {}", cache.spec),
                ));
            }
        }
    }
    Ok(())
}
