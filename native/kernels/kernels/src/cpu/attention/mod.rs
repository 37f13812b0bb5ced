//! Attention over packed sequences and over a key-value cache, in O(S) memory.

mod backward;
mod cache;
mod enter;
mod forward;
mod micro;
mod pack;
pub mod plan;
#[cfg(target_arch = "x86_64")]
mod rounded;
mod single;

use super::gemm::buffer::WordBuffer;
use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::dispatch;
use super::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use backward::{Backward, RowDots};
use forward::{Forward, LOWEST};
use half::bf16;
use pack::Rows;
use plan::{Geometry, Segment};
use std::cell::Cell;

/// Kernels of this folder.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("attention", packed),
    ("attentionBackward", packed_backward),
    ("attentionDecode", cached),
    ("kvAppend", cache::append),
    ("kvEnter", enter::enter),
];

/// Shape and masking of a call with inputs `q` [T, H, D] and keys whose last extents are KV, D.
pub fn geometry(call: &CpuCall<'_>, keys: &str) -> Geometry {
    let q = &call.input("q").spec.shape;
    let k = &call.input(keys).spec.shape;
    let dim = q[2];
    let attributes = call.attributes;
    let scale = attributes.float("scale");
    Geometry {
        heads: q[1],
        kv_heads: k[k.len() - 2],
        dim,
        causal: attributes.op.attributes.iter().all(|a| a.name != "causal") || attributes.flag("causal"),
        window: attributes.count("window"),
        scale: if scale == 0.0 { 1.0 / (dim as f32).sqrt() } else { scale },
        softcap: attributes.float("softcap"),
    }
}

#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: carries the address of an output that outlives the pool's run; tasks write disjoint rows.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn at(self, index: usize) -> *mut f32 {
        // SAFETY: callers pass indices inside the output.
        unsafe { self.0.add(index) }
    }
}

fn run_forward(
    context: &CpuContext,
    geometry: Geometry,
    segments: &[Segment],
    q: &[f32],
    (k, v): (Rows<'_>, Rows<'_>),
    o: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    let tasks = plan::tasks(&geometry, segments);
    let o = Target(o.as_mut_ptr());
    let lse = lse.map(|lse| Target(lse.as_mut_ptr()));
    context.pool.run(tasks.len(), &|index| {
        let task = tasks[index];
        let segment = segments[task.segment];
        let lse = lse.map(|lse| lse.at(0));
        dispatch(context.isa, Forward { geometry, segment, task, q, k, v, o: o.at(0), lse });
    });
}

/// Whether the products of a call round their operands to bf16: asked for, and gained by on this machine.
#[cfg(target_arch = "x86_64")]
fn rounds(context: &CpuContext, call: &CpuCall<'_>) -> bool {
    call.attributes.flag("bfloat16") && context.isa.has_native_bf16()
}

/// The elements of a float32 or bfloat16 tensor as they are stored.
fn stored<'a>(call: &CpuCall<'a>, name: &str) -> Result<Rows<'a>> {
    let view = call.input(name);
    match view.spec.dtype {
        DType::F32 => Ok(Rows::F32(view.slice()?)),
        DType::BF16 => {
            let values = view.slice::<bf16>()?;
            // SAFETY: `bf16` is a transparent wrapper of u16.
            Ok(Rows::BF16(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }))
        }
        _ => Err(KernelError::dtype(call.attributes.op.name, format!("{name} must be float32 or bfloat16"))),
    }
}

thread_local! {
    /// Outputs in f32 that are rounded into their tensors last.
    static WIDE: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// Floats that outputs in bf16 need until they are rounded.
fn wide_floats(outputs: &[CpuView<'_>]) -> usize {
    outputs.iter().filter(|view| view.spec.dtype == DType::BF16).map(|view| view.spec.elements()).sum()
}

/// An output in f32: the tensor itself, or the front of `spare`, which [`narrow`] then rounds.
///
/// # Safety
/// As [`CpuView::slice_mut`].
unsafe fn wide<'a>(view: &CpuView<'a>, spare: &mut &'a mut [f32]) -> Result<&'a mut [f32]> {
    if view.spec.dtype == DType::F32 {
        // SAFETY: by the caller.
        return unsafe { view.slice_mut() };
    }
    let (front, rest) = std::mem::take(spare).split_at_mut(view.spec.elements());
    *spare = rest;
    Ok(front)
}

/// Rounds what [`wide`] gave into a bf16 tensor.
///
/// # Safety
/// As [`CpuView::slice_mut`].
unsafe fn narrow(context: &CpuContext, values: &[f32], view: &CpuView<'_>) -> Result<()> {
    if view.spec.dtype == DType::F32 {
        return Ok(());
    }
    // SAFETY: by the caller.
    let target = SharedMut::new(unsafe { view.slice_mut::<bf16>()? });
    context.pool.for_chunks(values.len(), CHUNK, &|begin, end| {
        // SAFETY: chunks are disjoint.
        let target = unsafe { target.slice(begin, end) };
        target.iter_mut().zip(&values[begin..end]).for_each(|(target, value)| *target = bf16::from_f32(*value));
    });
    Ok(())
}

/// An output as it is stored.
///
/// # Safety
/// As [`CpuView::slice_mut`].
#[cfg(target_arch = "x86_64")]
unsafe fn written(view: &CpuView<'_>) -> Result<rounded::Written> {
    // SAFETY: by the caller.
    unsafe {
        Ok(match view.spec.dtype {
            DType::F32 => rounded::Written::F32(view.slice_mut::<f32>()?.as_mut_ptr()),
            _ => rounded::Written::BF16(view.slice_mut::<bf16>()?.as_mut_ptr().cast()),
        })
    }
}

fn packed(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let segments = plan::packed_segments(call.input("cuSeqlens").slice::<i32>()?, call.input("q").spec.shape[0])?;
    let geometry = geometry(call, "k");
    #[cfg(target_arch = "x86_64")]
    if rounds(context, call) {
        let inputs = rounded::Inputs { q: stored(call, "q")?, k: stored(call, "k")?, v: stored(call, "v")? };
        // SAFETY: distinct outputs of this call.
        let (o, lse) = unsafe { (written(&call.outputs[0])?, call.outputs[1].slice_mut()?) };
        rounded::forward(context, geometry, &segments, &inputs, (o, lse));
        return Ok(());
    }
    let [q, k, v] = ["q", "k", "v"].map(|name| as_f32(&call.input(name)));
    let (q, k, v) = (q?, k?, v?);
    let mut buffer = WIDE.take();
    let mut spare = buffer.floats(wide_floats(&call.outputs[..1]));
    // SAFETY: distinct outputs of this call.
    let (o, lse) = unsafe { (wide(&call.outputs[0], &mut spare)?, call.outputs[1].slice_mut()?) };
    run_forward(context, geometry, &segments, &q, (Rows::F32(&k), Rows::F32(&v)), o, Some(lse));
    // SAFETY: as above.
    unsafe { narrow(context, o, &call.outputs[0])? };
    WIDE.set(buffer);
    Ok(())
}

fn cached(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let shape = &call.input("cacheK").spec.shape;
    let (slots, positions) = (call.input("slots").slice()?, call.input("positions").slice()?);
    let segments = plan::cached_segments(slots, positions, shape[0], shape[1])?;
    // SAFETY: the output of this call.
    let o: &mut [f32] = unsafe { call.outputs[0].slice_mut()? };
    let operands = (stored(call, "cacheK")?, stored(call, "cacheV")?);
    let (geometry, q) = (geometry(call, "cacheK"), call.input("q").slice()?);
    let (single, longer): (Vec<_>, Vec<_>) =
        segments.into_iter().partition(|segment| segment.queries == 1 && single::fits(&geometry));
    if !single.is_empty() {
        single::run(context, &geometry, &single, q, operands.0, operands.1, Target(o.as_mut_ptr()));
    }
    run_forward(context, geometry, &longer, q, operands, o, None);
    Ok(())
}

/// Elements of a task that fills or adds gradients.
const CHUNK: usize = 16_384;

thread_local! {
    /// Gradients of keys and values of the shares beyond the first.
    static EXTRA: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// Tasks wanted at least, so that cores stay busy when sequences and key-value heads are few.
fn shares(context: &CpuContext, heads: usize) -> usize {
    (2 * context.pool.threads()).max(8).div_ceil(heads.max(1))
}

fn packed_backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let geometry = geometry(call, "k");
    let tokens = call.input("q").spec.shape[0];
    let segments = plan::packed_segments(call.input("cuSeqlens").slice::<i32>()?, tokens)?;
    let lse = call.input("lse").slice::<f32>()?;
    #[cfg(target_arch = "x86_64")]
    if rounds(context, call) {
        let inputs = rounded::Inputs { q: stored(call, "q")?, k: stored(call, "k")?, v: stored(call, "v")? };
        let saved = rounded::Saved { do_: stored(call, "dO")?, o: stored(call, "o")?, lse };
        // SAFETY: distinct outputs of this call.
        let gradients = unsafe { (written(&call.outputs[0])?, written(&call.outputs[1])?, written(&call.outputs[2])?) };
        rounded::backward(context, geometry, &segments, &inputs, &saved, gradients);
        return Ok(());
    }
    let [q, k, v, do_, o] = ["q", "k", "v", "dO", "o"].map(|name| as_f32(&call.input(name)));
    let (q, k, v, do_, o) = (&*q?, &*k?, &*v?, &*do_?, &*o?);
    let mut wide_buffer = WIDE.take();
    let mut spare = wide_buffer.floats(wide_floats(&call.outputs));
    let [dq, dk, dv] = [0, 1, 2].map(|index| {
        // SAFETY: distinct outputs of this call.
        unsafe { wide(&call.outputs[index], &mut spare) }
    });
    let (dq, dk, dv) = (dq?, dk?, dv?);
    let (dim, heads) = (geometry.dim, geometry.heads);
    let mut delta = vec![0.0; tokens * heads];
    let shared = SharedMut::new(&mut delta);
    context.pool.for_chunks(tokens, (16_384 / (heads * dim).max(1)).max(1), &|first, last| {
        let span = first * heads * dim..last * heads * dim;
        // SAFETY: tasks own disjoint tokens.
        let delta = unsafe { shared.slice(first * heads, last * heads) };
        dispatch(context.isa, RowDots { do_: &do_[span.clone()], o: &o[span], delta });
    });
    let shares = shares(context, segments.len() * geometry.kv_heads);
    let row = geometry.kv_heads * dim;
    // Shares beyond the first add into gradients of their own.
    let mut buffer = EXTRA.take();
    let extra = buffer.floats(2 * (shares - 1) * k.len());
    for values in [&mut *dk, &mut *dv, &mut *extra] {
        let shared = SharedMut::new(values);
        // SAFETY: chunks are disjoint.
        context.pool.for_chunks(values.len(), CHUNK, &|begin, end| unsafe { shared.slice(begin, end) }.fill(0.0));
    }
    let mut order: Vec<(usize, usize)> = (0..segments.len())
        .flat_map(|segment| (0..geometry.kv_heads * shares).map(move |unit| (segment, unit)))
        .collect();
    order.sort_by_key(|(segment, _)| std::cmp::Reverse(segments[*segment].queries));
    let (dq_at, dk_at, dv_at) = (Target(dq.as_mut_ptr()), Target(dk.as_mut_ptr()), Target(dv.as_mut_ptr()));
    let extra_at = Target(extra.as_mut_ptr());
    context.pool.run(order.len(), &|index| {
        let (segment, unit) = order[index];
        let (kv_head, share) = (unit / shares, unit % shares);
        let segment = segments[segment];
        let start = segment.key * row + kv_head * dim;
        let (dk, dv) = if share == 0 {
            (dk_at.at(start), dv_at.at(start))
        } else {
            let base = 2 * (share - 1) * k.len() + start;
            (extra_at.at(base), extra_at.at(base + k.len()))
        };
        let dq = dq_at.at(0);
        let delta = &delta;
        let task =
            Backward { geometry, segment, kv_head, share, shares, q, k, v, do_, lse, delta, dq, dk, dv, stride: row };
        dispatch(context.isa, task);
    });
    let extra = &*extra;
    for (total, offset) in [(&mut *dk, 0), (&mut *dv, k.len())] {
        let total = SharedMut::new(total);
        context.pool.for_chunks(if shares > 1 { k.len() } else { 0 }, CHUNK, &|begin, end| {
            // SAFETY: chunks are disjoint.
            let total = unsafe { total.slice(begin, end) };
            for pair in extra.chunks_exact(2 * k.len()) {
                let part = &pair[offset + begin..offset + end];
                total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
        });
    }
    EXTRA.set(buffer);
    for (values, view) in [dq, dk, dv].iter().zip(&call.outputs) {
        // SAFETY: as above.
        unsafe { narrow(context, values, view)? };
    }
    WIDE.set(wide_buffer);
    Ok(())
}
