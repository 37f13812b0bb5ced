//! Random tensors: every element is a function of (seed, offset + index).

use super::pool::SharedMut;
use super::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;
use crate::rng::{keep_threshold, normal_at, uniform_at, unit};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("uniform", uniform), ("normal", normal), ("bernoulli", bernoulli)];

fn fill(context: &CpuContext, call: &CpuCall<'_>, draw: impl Fn(u64, u64) -> f32 + Sync) -> Result<()> {
    let (seed, offset) = (call.attributes.integer("seed"), call.attributes.integer("offset"));
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    context.pool.for_chunks(call.outputs[0].spec.elements(), 4096, &|start, end| {
        // SAFETY: tasks own disjoint ranges.
        for (index, y) in (start..end).zip(unsafe { y.slice(start, end) }) {
            *y = draw(seed, offset + index as u64);
        }
    });
    Ok(())
}

fn uniform(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (low, high) = (call.attributes.float("low"), call.attributes.float("high"));
    fill(context, call, |seed, index| low + (high - low) * unit(uniform_at(seed, index)))
}

fn normal(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (mean, std) = (call.attributes.number("mean"), call.attributes.number("std"));
    fill(context, call, |seed, index| (mean + std * normal_at(seed, index)) as f32)
}

fn bernoulli(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    // `keep_threshold(p)` words lie below the threshold.
    let threshold = keep_threshold(call.attributes.number("p"));
    fill(context, call, |seed, index| f32::from(uniform_at(seed, index) < threshold))
}
