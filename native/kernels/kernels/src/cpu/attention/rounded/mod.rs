//! Attention with operands of its products rounded to bf16 (AVX-512-BF16): Q·Kᵀ, P·V and their gradients.
//!
//! Queries, keys, values, weights P, and the gradients dO and dS are rounded to nearest even where they enter a
//! product, as FlashAttention does on GPUs; sums, scores, softmax statistics and masks are f32. Machines without
//! these instructions compute in f32: rounding would cost them time and gain nothing.

mod ahead;
mod backward;
mod forward;
mod keys;
mod pack;
mod seen;
mod softmax;
mod tile;
mod tiles;

use super::plan::{self, Geometry, Segment};
use super::{Target, shares};
use crate::cpu::CpuContext;
use crate::cpu::isa::Isa;
use backward::Backward;
use forward::Forward;
use keys::{Keys, Source};

/// Queries of a block of `rows` rows.
fn block(geometry: &Geometry, rows: usize) -> usize {
    (rows / geometry.group()).max(1)
}

/// Inputs of forward, as in the op's declaration.
pub struct Inputs<'a> {
    /// [T, H, D].
    pub q: &'a [f32],
    /// [T, KV, D].
    pub k: &'a [f32],
    /// [T, KV, D].
    pub v: &'a [f32],
}

/// Further inputs of backward.
pub struct Saved<'a> {
    /// [T, H, D].
    pub do_: &'a [f32],
    /// [T, H, D].
    pub o: &'a [f32],
    /// [T, H].
    pub lse: &'a [f32],
}

/// Attention of packed segments.
pub fn forward(
    context: &CpuContext,
    geometry: Geometry,
    segments: &[Segment],
    inputs: &Inputs<'_>,
    (o, lse): (&mut [f32], &mut [f32]),
) {
    assert!(context.isa.has_native_bf16());
    let sources =
        [Source { values: inputs.k, rows: true, pairs: false }, Source { values: inputs.v, rows: false, pairs: true }];
    // SAFETY: the instruction set was detected.
    let mut keys = unsafe { Keys::pack(context.pool, &geometry, segments, &sources) };
    let (k, v) = (keys.get(0), keys.get(1));
    let tasks = plan::tasks_of(&geometry, segments, block(&geometry, forward::ROWS));
    let tiles = context.isa == Isa::AmxBf16;
    let (o, lse) = (Target(o.as_mut_ptr()), Target(lse.as_mut_ptr()));
    context.pool.run(tasks.len(), &|index| {
        let task = tasks[index];
        let segment = segments[task.segment];
        let next = tasks.get(index + context.pool.threads()).map(|task| (segments[task.segment], *task));
        let job = Forward { geometry, segment, task, next, q: inputs.q, k, v, o: o.at(0), lse: lse.at(0), tiles };
        // SAFETY: the instruction set was detected; tasks write disjoint rows.
        unsafe { job.run() };
    });
}

/// Gradients of [`forward`].
pub fn backward(
    context: &CpuContext,
    geometry: Geometry,
    segments: &[Segment],
    inputs: &Inputs<'_>,
    saved: &Saved<'_>,
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
) {
    assert!(context.isa.has_native_bf16());
    let sources =
        [Source { values: inputs.k, rows: true, pairs: true }, Source { values: inputs.v, rows: true, pairs: false }];
    // SAFETY: the instruction set was detected.
    let mut keys = unsafe { Keys::pack(context.pool, &geometry, segments, &sources) };
    let (k, v) = (keys.get(0), keys.get(1));
    let block = block(&geometry, backward::ROWS);
    let shares = shares(context, segments.len() * geometry.kv_heads);
    let (row, size) = (geometry.kv_heads * geometry.dim, inputs.k.len());
    // Shares beyond the first write gradients of their own.
    let mut extra = vec![0.0f32; 2 * (shares - 1) * size];
    let mut order: Vec<(usize, usize)> = (0..segments.len())
        .flat_map(|segment| (0..geometry.kv_heads * shares).map(move |unit| (segment, unit)))
        .collect();
    order.sort_by_key(|(segment, _)| std::cmp::Reverse(segments[*segment].queries));
    let (dq_at, dk_at, dv_at) = (Target(dq.as_mut_ptr()), Target(dk.as_mut_ptr()), Target(dv.as_mut_ptr()));
    let extra_at = Target(extra.as_mut_ptr());
    context.pool.run(order.len(), &|task| {
        let (index, unit) = order[task];
        let (kv_head, share) = (unit / shares, unit % shares);
        let segment = segments[index];
        let start = segment.key * row + kv_head * geometry.dim;
        let (dk, dv) = if share == 0 {
            (dk_at.at(start), dv_at.at(start))
        } else {
            let base = 2 * (share - 1) * size + start;
            (extra_at.at(base), extra_at.at(base + size))
        };
        let (q, o, do_, lse) = (inputs.q, saved.o, saved.do_, saved.lse);
        let dq = dq_at.at(0);
        let job = Backward {
            geometry,
            segment,
            index,
            kv_head,
            share,
            shares,
            q,
            k,
            v,
            o,
            do_,
            lse,
            dq,
            dk,
            dv,
            stride: row,
            tiles: context.isa == Isa::AmxBf16,
        };
        // SAFETY: the instruction set was detected; tasks write disjoint rows and gradients.
        unsafe { job.run(block) };
    });
    for pair in extra.chunks_exact(2 * size.max(1)) {
        for (total, part) in [(&mut *dk, &pair[..size]), (&mut *dv, &pair[size..])] {
            total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
    }
}
