//! Conversions between element types, and fills.

use super::pool::SharedMut;
use super::simd::pointwise::CHUNK;
use super::storage::Element;
use super::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use half::{bf16, f16};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("cast", cast), ("fill", fill)];

/// Conversion through f64, which holds every value of the other types that fits (64-bit integers above
/// 2⁵³ round).
trait Convert: Element + Send + Sync {
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
}

macro_rules! convert {
    ($($type:ty),*) => { $(impl Convert for $type {
        #[inline(always)]
        fn to_f64(self) -> f64 { self as f64 }
        #[inline(always)]
        fn from_f64(value: f64) -> Self { value as $type }
    })* };
}
convert!(f32, f64, i32, u8, i8, i64);

impl Convert for bf16 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(f32::from_bits(u32::from(self.to_bits()) << 16))
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        let bits = (value as f32).to_bits();
        if value.is_nan() {
            return bf16::from_bits(((bits >> 16) | 0x40) as u16);
        }
        // Round to nearest, ties to even, in integer arithmetic.
        bf16::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

impl Convert for f16 {
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
    fn from_f64(value: f64) -> Self {
        f16::from_f32(value as f32)
    }
}

fn convert<A: Convert, B: Convert>(context: &CpuContext, x: &CpuView<'_>, y: &CpuView<'_>) -> Result<()> {
    let x = x.slice::<A>()?;
    // SAFETY: the output of the running call.
    let y = SharedMut::new(unsafe { y.slice_mut::<B>()? });
    context.pool.for_chunks(x.len(), CHUNK, &|start, end| {
        // SAFETY: tasks own disjoint ranges.
        let y = unsafe { y.slice(start, end) };
        for (y, x) in y.iter_mut().zip(&x[start..end]) {
            *y = B::from_f64(x.to_f64());
        }
    });
    Ok(())
}

fn unsupported(view: &CpuView<'_>) -> KernelError {
    KernelError::dtype("cast", format!("{} has no plain elements", view.spec))
}

fn to<A: Convert>(context: &CpuContext, x: &CpuView<'_>, y: &CpuView<'_>) -> Result<()> {
    match y.spec.dtype {
        DType::F32 => convert::<A, f32>(context, x, y),
        DType::BF16 => convert::<A, bf16>(context, x, y),
        DType::F16 => convert::<A, f16>(context, x, y),
        DType::F64 => convert::<A, f64>(context, x, y),
        DType::I32 => convert::<A, i32>(context, x, y),
        DType::U8 => convert::<A, u8>(context, x, y),
        DType::I8 => convert::<A, i8>(context, x, y),
        DType::I64 => convert::<A, i64>(context, x, y),
        DType::NF4 | DType::FP4 => Err(unsupported(y)),
    }
}

fn cast(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (x, y) = (call.input("x"), call.outputs[0]);
    match x.spec.dtype {
        DType::F32 => to::<f32>(context, &x, &y),
        DType::BF16 => to::<bf16>(context, &x, &y),
        DType::F16 => to::<f16>(context, &x, &y),
        DType::F64 => to::<f64>(context, &x, &y),
        DType::I32 => to::<i32>(context, &x, &y),
        DType::U8 => to::<u8>(context, &x, &y),
        DType::I8 => to::<i8>(context, &x, &y),
        DType::I64 => to::<i64>(context, &x, &y),
        DType::NF4 | DType::FP4 => Err(unsupported(&x)),
    }
}

fn fill(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    fn put<T: Convert>(context: &CpuContext, view: &CpuView<'_>, value: f64) -> Result<()> {
        // SAFETY: the output of the running call.
        let y = SharedMut::new(unsafe { view.slice_mut::<T>()? });
        context.pool.for_chunks(view.spec.elements(), 16 * CHUNK, &|start, end| {
            // SAFETY: tasks own disjoint ranges.
            unsafe { y.slice(start, end) }.fill(T::from_f64(value));
        });
        Ok(())
    }
    let (view, value) = (call.outputs[0], call.attributes.number("value"));
    match view.spec.dtype {
        DType::F32 => put::<f32>(context, &view, value),
        DType::BF16 => put::<bf16>(context, &view, value),
        DType::F16 => put::<f16>(context, &view, value),
        DType::F64 => put::<f64>(context, &view, value),
        DType::I32 => put::<i32>(context, &view, value),
        DType::U8 => put::<u8>(context, &view, value),
        DType::I8 => put::<i8>(context, &view, value),
        DType::I64 => put::<i64>(context, &view, value),
        DType::NF4 | DType::FP4 => Err(unsupported(&view)),
    }
}
