//! Attention with operands of its products rounded to bf16 (AVX-512-BF16): Q·Kᵀ, P·V and their gradients.
//!
//! Queries, keys, values, weights P, and the gradients dO and dS are rounded to nearest even where they enter a
//! product, as FlashAttention does on GPUs, unless they are stored so already; sums, scores, softmax statistics and
//! masks are f32. Machines without these instructions compute in f32: rounding would cost them time and gain nothing.

mod ahead;
mod backward;
mod forward;
mod keys;
mod pack;
mod product;
mod rows;
mod sight;
mod softmax;

use super::pack::Rows as Stored;
use super::plan::{self, Geometry, Segment, Task};
use super::{Target, shares};
use crate::cpu::CpuContext;
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use backward::{Backward, Sums, block_floats, write_keys};
use forward::Forward;
use keys::{Keys, Slots, Source};
use pack::{BLOCK, Memory, SUMS};
pub use rows::Written;

/// Queries of a block of `rows` rows.
fn block(geometry: &Geometry, rows: usize) -> usize {
    (rows / geometry.group()).max(1)
}

/// Elements of outputs that are written past the caches: a MiB in bf16.
const STREAMED: usize = 1 << 19;

/// What was written past the caches is visible to other threads after this.
fn fence() {
    // SAFETY: every processor with AVX-512 has it.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

/// Inputs of forward, as in the op's declaration.
pub struct Inputs<'a> {
    /// [T, H, D].
    pub q: Stored<'a>,
    /// [T, KV, D].
    pub k: Stored<'a>,
    /// [T, KV, D].
    pub v: Stored<'a>,
}

/// Further inputs of backward.
pub struct Saved<'a> {
    /// [T, H, D].
    pub do_: Stored<'a>,
    /// [T, H, D].
    pub o: Stored<'a>,
    /// [T, H].
    pub lse: &'a [f32],
}

/// Attention of packed segments.
pub fn forward(
    context: &CpuContext,
    geometry: Geometry,
    segments: &[Segment],
    inputs: &Inputs<'_>,
    (o, lse): (Written, &mut [f32]),
) {
    assert!(context.isa.has_native_bf16());
    let sources = [
        Source { values: inputs.k, columns: true, pairs: false },
        Source { values: inputs.v, columns: false, pairs: true },
    ];
    let tiles = context.isa == Isa::AmxBf16;
    let streams = inputs.q.elements() >= STREAMED;
    let (q, lse) = (inputs.q, Target(lse.as_mut_ptr()));
    if shares(context, segments.len() * geometry.kv_heads) == 1 {
        let (units, block) = (units(&geometry, segments, 1), block(&geometry, forward::ROWS_IN_TURN));
        context.pool.run(units.len(), &|unit| {
            let Unit { segment, kv_head, .. } = units[unit];
            let alone = [segments[segment]];
            let slots = Slots::new(&alone);
            let heads = kv_head..kv_head + 1;
            // SAFETY: the instruction set was detected.
            let mut keys = unsafe { Keys::pack(Pool::serial(), &geometry, &alone, &slots, heads, &sources) };
            let (k, v) = (keys.get(0), keys.get(1));
            let [segment] = alone;
            for first in (0..segment.queries).step_by(block) {
                let task = |first: usize| Task {
                    segment: 0,
                    kv_head,
                    first,
                    count: block.min(segment.queries.saturating_sub(first)),
                };
                let next = Some((segment, task(first + block)));
                let job = Forward {
                    geometry,
                    segment,
                    slot: 0,
                    task: task(first),
                    next,
                    q,
                    k,
                    v,
                    o,
                    lse: lse.at(0),
                    tiles,
                    streams,
                };
                // SAFETY: the instruction set was detected; tasks write disjoint rows.
                unsafe { job.run() };
            }
            fence();
        });
        return;
    }
    let slots = Slots::new(segments);
    let heads = 0..geometry.kv_heads;
    // SAFETY: the instruction set was detected.
    let mut keys = unsafe { Keys::pack(context.pool, &geometry, segments, &slots, heads, &sources) };
    let (k, v) = (keys.get(0), keys.get(1));
    let tasks = plan::tasks_of(&geometry, segments, block(&geometry, forward::ROWS));
    context.pool.run(tasks.len(), &|index| {
        let task = tasks[index];
        let (segment, slot) = (segments[task.segment], slots.starts[task.segment]);
        let next = tasks.get(index + context.pool.threads()).map(|task| (segments[task.segment], *task));
        let job = Forward { geometry, segment, slot, task, next, q, k, v, o, lse: lse.at(0), tiles, streams };
        // SAFETY: the instruction set was detected; tasks write disjoint rows.
        unsafe { job.run() };
        fence();
    });
}

/// A share of the queries of a head of a segment.
#[derive(Clone, Copy)]
struct Unit {
    /// Index of the segment.
    segment: usize,
    /// Key-value head.
    kv_head: usize,
    /// Share of the queries.
    share: usize,
}

/// All units, most work first: long segments, and later shares, which see more keys.
fn units(geometry: &Geometry, segments: &[Segment], shares: usize) -> Vec<Unit> {
    let of = |segment: usize| {
        let heads = move |share: usize| (0..geometry.kv_heads).map(move |kv_head| Unit { segment, kv_head, share });
        (0..shares).rev().flat_map(heads)
    };
    let mut units: Vec<Unit> = (0..segments.len()).flat_map(of).collect();
    units.sort_by_key(|unit| std::cmp::Reverse(segments[unit.segment].queries));
    units
}

/// Gradients of [`forward`].
pub fn backward(
    context: &CpuContext,
    geometry: Geometry,
    segments: &[Segment],
    inputs: &Inputs<'_>,
    saved: &Saved<'_>,
    (dq, dk, dv): (Written, Written, Written),
) {
    assert!(context.isa.has_native_bf16());
    let sources = [
        Source { values: inputs.k, columns: true, pairs: true },
        Source { values: inputs.v, columns: true, pairs: false },
    ];
    let shares = shares(context, segments.len() * geometry.kv_heads);
    let longest = segments.iter().map(|segment| segment.queries).max().unwrap_or(0);
    // No share without a block.
    let rows = backward::ROWS.min((longest * geometry.group()).div_ceil(shares).next_multiple_of(BLOCK));
    let block = block(&geometry, rows);
    let tiles = context.isa == Isa::AmxBf16;
    let (q, o, do_, lse) = (inputs.q, saved.o, saved.do_, saved.lse);
    let units = units(&geometry, segments, shares);
    if shares == 1 {
        context.pool.run(units.len(), &|unit| {
            let Unit { segment, kv_head, share } = units[unit];
            let alone = [segments[segment]];
            let slots = Slots::new(&alone);
            let heads = kv_head..kv_head + 1;
            // SAFETY: the instruction set was detected.
            let mut keys = unsafe { Keys::pack(Pool::serial(), &geometry, &alone, &slots, heads, &sources) };
            let (k, v, [segment], slot, sums) = (keys.get(0), keys.get(1), alone, 0, Sums::Rows(dk, dv));
            let job = Backward {
                geometry,
                segment,
                slot,
                kv_head,
                block,
                share,
                shares,
                q,
                k,
                v,
                o,
                do_,
                lse,
                dq,
                sums,
                tiles,
            };
            // SAFETY: the instruction set was detected; tasks write disjoint rows.
            unsafe { job.run() };
        });
        return;
    }
    let slots = Slots::new(segments);
    let heads = 0..geometry.kv_heads;
    // SAFETY: the instruction set was detected.
    let mut keys = unsafe { Keys::pack(context.pool, &geometry, segments, &slots, heads, &sources) };
    let (k, v) = (keys.get(0), keys.get(1));
    let size = block_floats(geometry.dim);
    // Of the key blocks of a head in one share.
    let head = slots.count / BLOCK * size;
    let mut memory = Memory::take(&SUMS, shares * geometry.kv_heads * head);
    let sums = Target(memory.words().as_mut_ptr().cast());
    let sums_at = |share: usize, kv_head: usize, slot: usize| {
        sums.at((share * geometry.kv_heads + kv_head) * head + slot / BLOCK * size)
    };
    context.pool.run(units.len(), &|unit| {
        let Unit { segment, kv_head, share } = units[unit];
        let (segment, slot) = (segments[segment], slots.starts[segment]);
        let sums = Sums::Blocks(sums_at(share, kv_head, slot));
        let job =
            Backward { geometry, segment, slot, kv_head, block, share, shares, q, k, v, o, do_, lse, dq, sums, tiles };
        // SAFETY: the instruction set was detected; tasks write disjoint rows and sums.
        unsafe { job.run() };
    });
    let blocks: Vec<(usize, usize)> = (0..segments.len())
        .flat_map(|index| (0..segments[index].keys.div_ceil(BLOCK)).map(move |key_block| (index, key_block)))
        .collect();
    context.pool.run(blocks.len() * geometry.kv_heads, &|task| {
        let ((index, key_block), kv_head) = (blocks[task / geometry.kv_heads], task % geometry.kv_heads);
        let slot = slots.starts[index] + key_block * BLOCK;
        // SAFETY: each task adds up and writes one block of keys of one head.
        unsafe {
            let total = std::slice::from_raw_parts_mut(sums_at(0, kv_head, slot), size);
            for share in 1..shares {
                let part = std::slice::from_raw_parts(sums_at(share, kv_head, slot), size);
                total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
            write_keys(&geometry, &segments[index], (kv_head, key_block), total.as_ptr(), (dk, dv));
        }
    });
}
