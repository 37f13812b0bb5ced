//! Token embedding: gather of rows and, for trained tables, its scatter.

use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::span::put;
use super::simd::{Kernel, Simd, dispatch};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use half::{bf16, f16};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("embedding", forward), ("embeddingBackward", backward)];

/// Checks ids against the table. Done here and not at dispatch, which does not see values.
pub fn check_ids(op: &str, ids: &[i32], rows: usize) -> Result<()> {
    match ids.iter().position(|id| *id < 0 || *id as usize >= rows) {
        None => Ok(()),
        Some(at) => Err(KernelError::new(
            "ERR_INDEX_OUT_OF_RANGE",
            format!("{op}: index {} at position {at} is outside 0..{rows}", ids[at]),
        )),
    }
}

struct Widen<'a> {
    row: &'a [u16],
    scale: f32,
    y: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.row.len() / S::LANES * S::LANES;
        let mut at = 0;
        while at < whole {
            // SAFETY: at + LANES ≤ whole ≤ row length.
            let v = unsafe { s.load_bf16(self.row.as_ptr().add(at)) };
            put(s, self.y, at, S::LANES, s.mul(v, s.splat(self.scale)));
            at += S::LANES;
        }
        for index in whole..self.row.len() {
            self.y[index] = f32::from_bits(u32::from(self.row[index]) << 16) * self.scale;
        }
    }
}

fn forward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let ids = call.input("ids").slice::<i32>()?;
    let weight = call.input("weight");
    let (rows, dim) = (weight.spec.shape[0], weight.spec.shape[1]);
    check_ids("embedding", ids, rows)?;
    let scale = call.attributes.float("scale");
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    let each = |copy: &(dyn Fn(usize, &mut [f32]) + Sync)| {
        context.pool.for_chunks(ids.len(), (16_384 / dim.max(1)).max(1), &|first, last| {
            for token in first..last {
                // SAFETY: tasks own disjoint rows.
                copy(ids[token] as usize, unsafe { y.slice(token * dim, (token + 1) * dim) });
            }
        });
    };
    match weight.spec.dtype {
        DType::F32 => {
            let table = weight.slice::<f32>()?;
            each(&|id, y| {
                for (y, value) in y.iter_mut().zip(&table[id * dim..]) {
                    *y = value * scale;
                }
            });
        }
        DType::BF16 => {
            let table = weight.slice::<bf16>()?;
            // SAFETY: `bf16` is a transparent wrapper of u16.
            let bits = unsafe { std::slice::from_raw_parts(table.as_ptr().cast::<u16>(), table.len()) };
            each(&|id, y| dispatch(context.isa, Widen { row: &bits[id * dim..(id + 1) * dim], scale, y }));
        }
        DType::F16 => {
            let table = weight.slice::<f16>()?;
            each(&|id, y| {
                for (y, value) in y.iter_mut().zip(&table[id * dim..]) {
                    *y = value.to_f32() * scale;
                }
            });
        }
        _ => {
            return Err(KernelError::dtype(
                "embedding",
                format!("weight must be a dense float table, got {}", weight.spec),
            ));
        }
    }
    Ok(())
}

/// dW[ids[t]] += dy[t]·scale in token order; tasks own columns, so the order never depends on timing.
fn backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let ids = call.input("ids").slice::<i32>()?;
    let dy = as_f32(&call.input("dy"))?;
    let dy = &*dy;
    let rows = call.outputs[0].spec.shape[0];
    let scale = call.attributes.float("scale");
    check_ids("embeddingBackward", ids, rows)?;
    // SAFETY: the output of this call.
    let dw = unsafe { call.outputs[0].slice_mut::<f32>()? };
    let dim = call.outputs[0].spec.shape[1];
    scatter_add(context, ids, dy, dim, scale, dw, true);
    Ok(())
}

/// total[ids[t]] += scale·rows[t] over rows of `dim`, in order of t.
pub fn scatter_add(
    context: &CpuContext,
    ids: &[i32],
    rows: &[f32],
    dim: usize,
    scale: f32,
    total: &mut [f32],
    clear: bool,
) {
    if clear {
        let shared = SharedMut::new(total);
        context.pool.for_chunks(total.len(), 1 << 18, &|start, end| {
            // SAFETY: disjoint ranges.
            unsafe { shared.slice(start, end) }.fill(0.0);
        });
    }
    let shared = SharedMut::new(total);
    context.pool.for_chunks(dim, 64, &|first, last| {
        for (token, id) in ids.iter().enumerate() {
            let target = *id as usize * dim;
            // SAFETY: tasks own disjoint columns.
            let target = unsafe { shared.slice(target + first, target + last) };
            for (sum, value) in target.iter_mut().zip(&rows[token * dim + first..]) {
                *sum += value * scale;
            }
        }
    });
}
