//! Optimizer steps over many tensors in one call.

mod adam;
mod adam8;
mod clip;
mod sgd;

use super::{CpuCall, CpuKernel, CpuView};
use crate::error::Result;

/// Kernels of this folder.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("adamW", adam::step),
    ("adamW8bit", adam8::step),
    ("sgd", sgd::step),
    ("sgdMomentum", sgd::step),
    ("gradNorm", clip::norm),
    ("allFinite", clip::all_finite),
    ("clipScale", clip::scale),
];

/// Elements per task; a multiple of the state block, so that no block is shared.
const CHUNK: usize = 16_384;

/// The chunks of a list of tensors: (group, first element, end), the same for any number of threads.
fn chunks(sizes: impl Iterator<Item = usize>) -> Vec<(usize, usize, usize)> {
    let mut chunks = Vec::new();
    for (group, size) in sizes.enumerate() {
        chunks.extend((0..size).step_by(CHUNK).map(|start| (group, start, (start + CHUNK).min(size))));
    }
    chunks
}

/// min(1, maxNorm/(norm + 1e-6)) as torch.nn.utils.clip_grad_norm_; a NaN norm gives NaN.
fn clip_coefficient(norm: f32, max_norm: f32) -> f32 {
    let coefficient = max_norm / (norm + 1e-6);
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

/// Factor of the gradients of a step: gradScale, times the clip coefficient where one is asked for.
fn gradient_factor(call: &CpuCall<'_>) -> Result<f32> {
    let (scale, max_norm) = (call.attributes.float("gradScale"), call.attributes.float("maxNorm"));
    match call.optional("norm") {
        Some(norm) if max_norm > 0.0 => Ok(scale * clip_coefficient(norm.slice::<f32>()?[0], max_norm)),
        _ => Ok(scale),
    }
}

#[derive(Clone, Copy)]
struct Pointer<T>(*mut T);
// SAFETY: carries the address of an in-place operand that outlives the pool's run; tasks write disjoint
// ranges.
unsafe impl<T> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pointer<T> {}

impl<T: Copy> Pointer<T> {
    /// # Safety
    /// The range must lie inside the operand and be used by one task only.
    unsafe fn slice<'a>(self, start: usize, end: usize) -> &'a mut [T] {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), end - start) }
    }
}

/// Address of an in-place operand.
///
/// # Safety
/// The view must be declared as written by the running call.
unsafe fn in_place<T: super::storage::Element>(view: &CpuView<'_>) -> Result<Pointer<T>> {
    // SAFETY: the caller's contract.
    Ok(Pointer(unsafe { view.slice_mut::<T>()? }.as_mut_ptr()))
}

/// A parameter tensor of either dtype.
#[derive(Clone, Copy)]
enum Parameter {
    F32(Pointer<f32>),
    BF16(Pointer<half::bf16>),
}

impl Parameter {
    /// # Safety
    /// The view must be declared as written by the running call.
    unsafe fn of(view: &CpuView<'_>) -> Result<Self> {
        // SAFETY: the caller's contract.
        unsafe {
            if view.spec.dtype == crate::dtype::DType::BF16 {
                Ok(Self::BF16(in_place(view)?))
            } else {
                Ok(Self::F32(in_place(view)?))
            }
        }
    }

    /// Calls `body` with the elements `start..end` as f32 and writes them back. bf16 is rounded
    /// stochastically with the words of (seed, origin + index), or to nearest even when the seed is 0.
    ///
    /// # Safety
    /// As [`Pointer::slice`].
    unsafe fn update(self, start: usize, end: usize, seed: u64, origin: u64, body: impl FnOnce(&mut [f32])) {
        match self {
            // SAFETY: the caller's contract.
            Self::F32(pointer) => body(unsafe { pointer.slice(start, end) }),
            Self::BF16(pointer) => {
                // SAFETY: the caller's contract.
                let stored = unsafe { pointer.slice(start, end) };
                let mut values: Vec<f32> = stored.iter().map(|value| value.to_f32()).collect();
                body(&mut values);
                for (index, (slot, value)) in stored.iter_mut().zip(values).enumerate() {
                    *slot = if seed == 0 {
                        half::bf16::from_f32(value)
                    } else {
                        let word = crate::rng::uniform_at(seed, origin + (start + index) as u64);
                        round_stochastic(value, word)
                    };
                }
            }
        }
    }
}

/// Rounds up with the probability of the discarded fraction; specials round as usual.
fn round_stochastic(value: f32, word: u32) -> half::bf16 {
    if !value.is_finite() {
        return half::bf16::from_f32(value);
    }
    half::bf16::from_bits((value.to_bits().wrapping_add(word & 0xffff) >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::round_stochastic;

    #[test]
    fn stochastic_rounding_is_unbiased() {
        let value = 1.0 + 0.3 * 2f32.powi(-7);
        let mean = (0..20_000u64)
            .map(|index| f64::from(round_stochastic(value, crate::rng::uniform_at(5, index)).to_f32()))
            .sum::<f64>()
            / 20_000.0;
        // Deviation of the mean: 2⁻⁷·√(0.21/2e4) = 2.5e-5; five of them.
        assert!((mean - f64::from(value)).abs() < 1.3e-4, "{mean} for {value}");
    }
}
