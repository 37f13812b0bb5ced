//! Attention of single queries over a cache, as in decoding: keys and values stream past once, in the order of memory.
//!
//! A tile of queries would be almost empty here, and transposing and packing for it costs more than the products. The
//! keys of a sequence are cut into parts of fixed size; each part gives every head a maximum, a sum and a weighted mean
//! of values, which are then put together (Dao et al., Flash-Decoding, 2023). Parts depend on the shape only.

use super::pack::{Rows, SoftCap};
use super::plan::{Geometry, Segment};
use super::{LOWEST, Target};
use crate::cpu::CpuContext;
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::math::exp2_nonpositive;
use crate::cpu::simd::{Kernel, Simd, dispatch, prefetch_far};
use std::cell::Cell;
use std::f32::consts::LOG2_E;

/// Floats of keys per part: as many of values follow, and both stay in the second cache.
const PART_FLOATS: usize = 32 << 10;

/// Elements between the one that is read and the one that is asked for.
const AHEAD: usize = 4096;

/// Widest vectors: the heads' extents are whole vectors of it, and lines of scores are padded to it.
const WIDEST: usize = 16;

thread_local! {
    static PARTS: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// Whether heads of this extent can be read in whole vectors.
pub fn fits(geometry: &Geometry) -> bool {
    geometry.dim.is_multiple_of(WIDEST)
}

/// Keys `first..first + count` of a segment.
#[derive(Clone, Copy)]
struct Part {
    segment: Segment,
    first: usize,
    count: usize,
}

/// Writes the outputs of segments with one query each.
pub fn run(
    context: &CpuContext,
    geometry: &Geometry,
    segments: &[Segment],
    q: &[f32],
    k: Rows<'_>,
    v: Rows<'_>,
    o: Target,
) {
    let Geometry { heads, kv_heads, dim, .. } = *geometry;
    let most = (PART_FLOATS / (kv_heads * dim).max(1)).clamp(WIDEST, 512).next_multiple_of(WIDEST);
    let mut parts = Vec::new();
    let mut begins = Vec::with_capacity(segments.len() + 1);
    for segment in segments {
        begins.push(parts.len());
        let (start, end) = geometry.visible(segment.position, segment.position, segment.keys);
        let part = |first: usize| Part { segment: *segment, first, count: most.min(end - first) };
        parts.extend((start..end).step_by(most).map(part));
    }
    begins.push(parts.len());
    let size = (heads * (dim + 2 + most)).next_multiple_of(WIDEST);
    let mut buffer = PARTS.take();
    let memory = buffer.floats(parts.len() * size);
    let shared = SharedMut::new(memory);
    context.pool.run(parts.len(), &|index| {
        // SAFETY: each task owns the memory of its part.
        let memory = unsafe { shared.slice(index * size, (index + 1) * size) };
        dispatch(context.isa, OnePart { geometry, part: parts[index], most, q, k, v, memory });
    });
    let memory = &*memory;
    // Long caches of many heads are put together by all threads.
    let per_task = (PART_FLOATS * segments.len() / (parts.len() * dim).max(1)).max(1);
    context.pool.for_chunks(segments.len() * heads, per_task, &|first, last| {
        for unit in first..last {
            let (segment, head) = (unit / heads, unit % heads);
            let parts = &memory[begins[segment] * size..begins[segment + 1] * size];
            let at = (segments[segment].query * heads + head) * dim;
            // SAFETY: each unit owns the row of its query and head in [T, H, D].
            let output = unsafe { std::slice::from_raw_parts_mut(o.at(at), dim) };
            dispatch(context.isa, Together { parts, size, heads, head, output });
        }
    });
    PARTS.set(buffer);
}

/// Memory of a part: outputs [H, D], maxima [H], sums [H], scores [H, most].
struct OnePart<'a> {
    geometry: &'a Geometry,
    part: Part,
    most: usize,
    q: &'a [f32],
    k: Rows<'a>,
    v: Rows<'a>,
    memory: &'a mut [f32],
}

impl Kernel for OnePart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match (self.k, self.v) {
            (Rows::F32(k), Rows::F32(v)) => self.over(s, k, v),
            (Rows::BF16(k), Rows::BF16(v)) => self.over(s, k, v),
            _ => panic!("keys and values of a cache have one dtype"),
        }
    }
}

/// An element of a cache.
trait Element: Copy {
    /// # Safety
    /// A whole vector of elements is readable at `at`.
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load(at) }
    }
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::F {
        // SAFETY: by the caller.
        unsafe { s.load_bf16(at) }
    }
}

impl OnePart<'_> {
    #[inline(always)]
    fn over<S: Simd, E: Element>(self, s: S, k: &[E], v: &[E]) {
        let Geometry { heads, kv_heads, dim, scale, softcap, .. } = *self.geometry;
        let (Part { segment, first, count }, most, group) = (self.part, self.most, heads / kv_heads);
        let row = kv_heads * dim;
        let span = (segment.key + first) * row..(segment.key + first + count) * row;
        let (k, v) = (&k[span.clone()], &v[span]);
        let q = &self.q[segment.query * heads * dim..(segment.query + 1) * heads * dim];
        let (output, rest) = self.memory.split_at_mut(heads * dim);
        let (highest, rest) = rest.split_at_mut(heads);
        let (total, rest) = rest.split_at_mut(heads);
        let scores = &mut rest[..heads * most];
        // The softmax works in base 2: log₂e is part of the scale.
        let unit = if softcap > 0.0 { scale } else { scale * LOG2_E };
        for key in 0..count {
            for kv_head in 0..kv_heads {
                let keys = &k[key * row + kv_head * dim..key * row + (kv_head + 1) * dim];
                ask(keys);
                for head in kv_head * group..(kv_head + 1) * group {
                    let query = &q[head * dim..(head + 1) * dim];
                    let mut sums = s.splat(0.0);
                    for at in (0..dim).step_by(S::LANES) {
                        // SAFETY: heads are whole vectors.
                        unsafe {
                            let query = s.load(query.as_ptr().add(at));
                            sums = s.fma(query, E::load(s, keys.as_ptr().add(at)), sums);
                        }
                    }
                    scores[head * most + key] = unit * s.sum(sums);
                }
            }
        }
        let padded = count.next_multiple_of(S::LANES);
        for head in 0..heads {
            let scores = &mut scores[head * most..head * most + padded];
            if softcap > 0.0 {
                scores[count..].fill(0.0);
                s.call(SoftCap { scores: &mut *scores, cap: softcap });
                scores.iter_mut().for_each(|score| *score *= LOG2_E);
            }
            scores[count..].fill(f32::NEG_INFINITY);
            (highest[head], total[head]) = softmax(s, scores);
        }
        output.fill(0.0);
        for key in 0..count {
            for kv_head in 0..kv_heads {
                let values = &v[key * row + kv_head * dim..key * row + (kv_head + 1) * dim];
                ask(values);
                for head in kv_head * group..(kv_head + 1) * group {
                    let weight = s.splat(scores[head * most + key]);
                    let output = &mut output[head * dim..(head + 1) * dim];
                    for at in (0..dim).step_by(S::LANES) {
                        // SAFETY: heads are whole vectors.
                        unsafe {
                            let to = output.as_mut_ptr().add(at);
                            s.store(to, s.fma(weight, E::load(s, values.as_ptr().add(at)), s.load(to)));
                        }
                    }
                }
            }
        }
    }
}

/// Asks for the elements that lie [`AHEAD`] behind these.
#[inline(always)]
fn ask<E: Element>(these: &[E]) {
    for at in (0..these.len()).step_by(64 / size_of::<E>()) {
        prefetch_far(these.as_ptr().wrapping_add(at + AHEAD));
    }
}

/// Scores become weights relative to the highest; returns that and the sum of the weights.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &mut [f32]) -> (f32, f32) {
    let mut high = s.splat(LOWEST);
    for chunk in scores.chunks_exact(S::LANES) {
        // SAFETY: whole vectors.
        high = s.max(high, unsafe { s.load(chunk.as_ptr()) });
    }
    let highest = s.largest(high);
    let mut sum = s.splat(0.0);
    for chunk in scores.chunks_exact_mut(S::LANES) {
        // SAFETY: whole vectors.
        unsafe {
            let weight = exp2_nonpositive(s, s.sub(s.load(chunk.as_ptr()), s.splat(highest)));
            s.store(chunk.as_mut_ptr(), weight);
            sum = s.add(sum, weight);
        }
    }
    (highest, s.sum(sum))
}

/// One head of one query from its parts.
struct Together<'a> {
    parts: &'a [f32],
    size: usize,
    heads: usize,
    head: usize,
    output: &'a mut [f32],
}

impl Kernel for Together<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { parts, size, heads, head, output } = self;
        let dim = output.len();
        let mut highest = LOWEST;
        for part in parts.chunks_exact(size) {
            highest = highest.max(part[heads * dim + head]);
        }
        let mut total = 0.0;
        output.fill(0.0);
        for part in parts.chunks_exact(size) {
            let factor = (part[heads * dim + head] - highest).exp2();
            total += factor * part[heads * dim + heads + head];
            let part = &part[head * dim..(head + 1) * dim];
            for at in (0..dim).step_by(S::LANES) {
                // SAFETY: heads are whole vectors.
                unsafe {
                    let to = output.as_mut_ptr().add(at);
                    s.store(to, s.fma(s.splat(factor), s.load(part.as_ptr().add(at)), s.load(to)));
                }
            }
        }
        // A query that sees no key gives zeros.
        let inverse = if total == 0.0 { 0.0 } else { 1.0 / total };
        for at in (0..dim).step_by(S::LANES) {
            // SAFETY: as above.
            unsafe {
                let to = output.as_mut_ptr().add(at);
                s.store(to, s.mul(s.splat(inverse), s.load(to)));
            }
        }
    }
}
