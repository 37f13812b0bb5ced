//! AdamW with block-wise 8-bit states (Dettmers et al., arXiv 2110.02861): 256 elements share an
//! absmax, codes index the dynamic map, signed for m and unsigned for v.

use super::adam::{Scalars, update};
use super::{Parameter, Pointer, chunks, gradient_factor, in_place};
use crate::cpu::quant4_map::dynamic_map;
use crate::cpu::simd::{Kernel, Portable, Simd, dispatch};
use crate::cpu::{CpuCall, CpuContext};
use crate::error::Result;
use crate::ops::STATE_BLOCK;
use std::sync::OnceLock;

/// A dynamic map with a table that finds the nearest entry without a search.
pub struct Codebook {
    /// Entries, ascending.
    pub values: [f32; 256],
    /// Midpoints between neighbours.
    midpoints: [f32; 255],
    /// Code of the lowest value of each bucket of the leading bits of a float.
    start: Vec<u8>,
}

/// Leading bits (sign, exponent, 4 mantissa bits) that choose a bucket.
const BUCKET_SHIFT: u32 = 19;

impl Codebook {
    fn new(signed: bool) -> Self {
        let values = dynamic_map(signed);
        let midpoints = std::array::from_fn(|index| (values[index] + values[index + 1]) * 0.5);
        let code = |x: f32| midpoints.partition_point(|midpoint| x > *midpoint) as u8;
        // In a bucket of negative floats larger bits are lower values.
        let start = (0..1u32 << (32 - BUCKET_SHIFT))
            .map(|bucket| {
                let low = f32::from_bits(bucket << BUCKET_SHIFT);
                let high = f32::from_bits((bucket << BUCKET_SHIFT) | ((1 << BUCKET_SHIFT) - 1));
                code(if low.is_sign_negative() { high } else { low })
            })
            .collect();
        Self { values, midpoints, start }
    }

    /// The maps of m and v.
    pub fn pair() -> &'static [Codebook; 2] {
        static PAIR: OnceLock<[Codebook; 2]> = OnceLock::new();
        PAIR.get_or_init(|| [Self::new(true), Self::new(false)])
    }

    /// Code of the entry nearest to x in −1..=1; a tie takes the lower one.
    #[inline(always)]
    pub fn encode(&self, x: f32) -> u8 {
        let mut code = usize::from(self.start[(x.to_bits() >> BUCKET_SHIFT) as usize]);
        while code < 255 && x > self.midpoints[code] {
            code += 1;
        }
        code as u8
    }
}

struct Block<'a> {
    scalars: &'a Scalars,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32; STATE_BLOCK],
    v: &'a mut [f32; STATE_BLOCK],
}

impl Kernel for Block<'_> {
    /// Largest |m| and v of the block.
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let whole = self.g.len() / S::LANES * S::LANES;
        let (mut high_m, mut high_v) = (s.splat(0.0), s.splat(0.0));
        let mut at = 0;
        while at < whole {
            // SAFETY: at + LANES ≤ whole ≤ length of each operand (state blocks are full arrays).
            unsafe {
                let p = self.p.as_mut_ptr().add(at);
                let (m, v) = (self.m.as_mut_ptr().add(at), self.v.as_mut_ptr().add(at));
                let g = s.load(self.g.as_ptr().add(at));
                let next = update(s, self.scalars, s.load(p), g, s.load(m), s.load(v));
                s.store(p, next.0);
                s.store(m, next.1);
                s.store(v, next.2);
                high_m = s.max(high_m, s.abs(next.1));
                high_v = s.max(high_v, next.2);
            }
            at += S::LANES;
        }
        let (mut high_m, mut high_v) = (s.largest(high_m), s.largest(high_v));
        let k = self.scalars;
        for index in whole..self.g.len() {
            let one = |value: f32| Portable.splat(value);
            let (p, m, v) =
                update(Portable, k, one(self.p[index]), one(self.g[index]), one(self.m[index]), one(self.v[index]));
            (self.p[index], self.m[index], self.v[index]) = (p[0], m[0], v[0]);
            high_m = high_m.max(m[0].abs());
            high_v = high_v.max(v[0]);
        }
        (high_m, high_v)
    }
}

struct Group<'a> {
    parameter: Parameter,
    gradient: &'a [f32],
    codes: [Pointer<u8>; 2],
    scales: [Pointer<f32>; 2],
    origin: u64,
}

/// One step over all groups.
///
/// # Errors
/// Those of operand access.
pub fn step(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let scalars = Scalars { factor: gradient_factor(call)?, ..Scalars::of(call)? };
    let seed = call.attributes.integer("seed");
    let maps = Codebook::pair();
    let mut origin = 0;
    let mut groups = Vec::new();
    for views in call.variadic().chunks_exact(6) {
        let gradient = views[1].slice::<f32>()?;
        // SAFETY: parameters and states are declared as written by this op.
        groups.push(unsafe {
            Group {
                parameter: Parameter::of(&views[0])?,
                gradient,
                codes: [in_place(&views[2])?, in_place(&views[4])?],
                scales: [in_place(&views[3])?, in_place(&views[5])?],
                origin,
            }
        });
        origin += gradient.len() as u64;
    }
    let tasks = chunks(groups.iter().map(|group| group.gradient.len()));
    context.pool.run(tasks.len(), &|task| {
        let (group, start, end) = tasks[task];
        let group = &groups[group];
        let mut states = [[0.0f32; STATE_BLOCK]; 2];
        let body = |p: &mut [f32]| {
            for block in (start..end).step_by(STATE_BLOCK) {
                let stop = (block + STATE_BLOCK).min(end);
                for index in 0..2 {
                    // SAFETY: chunks are whole blocks, so tasks own disjoint codes and scales.
                    let (codes, scale) = unsafe {
                        (
                            group.codes[index].slice(block, stop),
                            group.scales[index].slice(block / STATE_BLOCK, block / STATE_BLOCK + 1)[0],
                        )
                    };
                    for (state, code) in states[index].iter_mut().zip(codes) {
                        *state = maps[index].values[usize::from(*code)] * scale;
                    }
                }
                let [m, v] = &mut states;
                let (p, g) = (&mut p[block - start..stop - start], &group.gradient[block..stop]);
                let (high_m, high_v) = dispatch(context.isa, Block { scalars: &scalars, p, g, m, v });
                for (index, high) in [high_m, high_v].into_iter().enumerate() {
                    // SAFETY: as above.
                    let (codes, scales) = unsafe {
                        (
                            group.codes[index].slice(block, stop),
                            group.scales[index].slice(block / STATE_BLOCK, block / STATE_BLOCK + 1),
                        )
                    };
                    scales[0] = high;
                    let inverse = if high > 0.0 { 1.0 / high } else { 0.0 };
                    for (code, state) in codes.iter_mut().zip(&states[index]) {
                        *code = maps[index].encode(state * inverse);
                    }
                }
            }
        };
        // SAFETY: tasks own disjoint ranges of distinct tensors.
        unsafe { group.parameter.update(start, end, seed, group.origin, body) };
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Codebook;

    #[test]
    fn encode_finds_the_nearest_entry() {
        for book in Codebook::pair() {
            for step in 0..=40_000 {
                let x = -1.0 + step as f32 / 20_000.0;
                let nearest = |a: &f32, b: &f32| (a - x).abs().total_cmp(&(b - x).abs());
                let best = book.values.iter().copied().min_by(nearest).unwrap();
                let found = book.values[usize::from(book.encode(x))];
                // Near a midpoint both neighbours are as good as float32 can tell: 2 ulp of values below 1.
                assert!((found - x).abs() <= (best - x).abs() + f32::EPSILON, "{x}: {found} instead of {best}");
            }
            for (code, value) in book.values.iter().enumerate() {
                assert_eq!(usize::from(book.encode(*value)), code);
            }
        }
    }
}
