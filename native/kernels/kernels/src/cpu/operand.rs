//! Operands of kernels that read more than one float type.

use crate::cpu::CpuView;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use half::{bf16, f16};
use std::borrow::Cow;

/// The values of a dense float tensor as f32; borrowed when they are f32 already. For small operands
/// (norm weights, biases), where a copy costs nothing.
///
/// # Errors
/// `ERR_DTYPE_MISMATCH` for another dtype.
pub fn as_f32<'a>(view: &CpuView<'a>) -> Result<Cow<'a, [f32]>> {
    Ok(match view.spec.dtype {
        DType::F32 => Cow::Borrowed(view.slice::<f32>()?),
        DType::BF16 => Cow::Owned(view.slice::<bf16>()?.iter().map(|value| value.to_f32()).collect()),
        DType::F16 => Cow::Owned(view.slice::<f16>()?.iter().map(|value| value.to_f32()).collect()),
        DType::F64 => Cow::Owned(view.slice::<f64>()?.iter().map(|value| *value as f32).collect()),
        _ => return Err(KernelError::dtype("operand", format!("a float tensor is needed, got {}", view.spec))),
    })
}
