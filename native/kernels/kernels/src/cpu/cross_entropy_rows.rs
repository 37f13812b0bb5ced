//! Row kernels of the head: softmax statistics over a vocabulary that arrives in chunks.

use crate::cpu::simd::math::{exp, tanh};
use crate::cpu::simd::{Kernel, Simd};

/// What is done to a raw logit z: l = cap(scale·z) / temperature, cap(x) = c·tanh(x/c) where c > 0.
#[derive(Clone, Copy, Debug)]
pub struct LogitTransform {
    /// Factor on the raw logit.
    pub scale: f32,
    /// Soft cap c; 0 without.
    pub soft_cap: f32,
    /// Temperature, above 0.
    pub temperature: f32,
}

impl LogitTransform {
    /// l of z, lane by lane.
    #[inline(always)]
    pub(super) fn logit<S: Simd>(self, s: S, z: S::F) -> S::F {
        let z = s.mul(z, s.splat(self.scale));
        let capped = if self.soft_cap > 0.0 {
            s.mul(s.splat(self.soft_cap), tanh(s, s.mul(z, s.splat(1.0 / self.soft_cap))))
        } else {
            z
        };
        s.mul(capped, s.splat(1.0 / self.temperature))
    }

    /// dl/dz, from l.
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, l: S::F) -> S::F {
        let constant = s.splat(self.scale / self.temperature);
        if self.soft_cap > 0.0 {
            let ratio = s.mul(l, s.splat(self.temperature / self.soft_cap));
            s.mul(constant, s.fnma(ratio, ratio, s.splat(1.0)))
        } else {
            constant
        }
    }

    /// dl/dz of one logit, from l.
    pub fn slope_of(self, l: f32) -> f32 {
        let ratio = if self.soft_cap > 0.0 { l * self.temperature / self.soft_cap } else { 0.0 };
        self.scale / self.temperature * (1.0 - ratio * ratio)
    }
}

/// Running softmax statistics of one row.
#[derive(Clone, Copy, Debug)]
pub struct RowState {
    /// Largest logit so far.
    pub largest: f32,
    /// Σ exp(l − largest).
    pub sum: f64,
    /// Σ l·exp(l − largest), kept for the entropy.
    pub weighted: f64,
    /// The target's logit, once seen.
    pub target: f32,
}

impl RowState {
    /// Before the first chunk.
    pub const EMPTY: RowState = RowState { largest: f32::NEG_INFINITY, sum: 0.0, weighted: 0.0, target: f32::NAN };

    /// ln Σ exp(l).
    pub fn log_sum_exp(&self) -> f64 {
        f64::from(self.largest) + self.sum.ln()
    }

    /// Entropy of the softmax in nats.
    pub fn entropy(&self) -> f64 {
        self.log_sum_exp() - self.weighted / self.sum
    }
}

/// Replaces each vector of a row by an expression of it; lanes beyond the row hold `filler`. A macro rather than a
/// function of a closure, because a closure would be compiled without the instruction set of its surroundings.
macro_rules! each_vector {
    ($s:ident, $row:expr, $filler:expr, |$value:ident| $body:expr) => {{
        let row: &mut [f32] = $row;
        let whole = row.len() / S::LANES * S::LANES;
        let pointer = row.as_mut_ptr();
        for index in (0..whole).step_by(S::LANES) {
            // SAFETY: `index + LANES` is at most the length.
            let $value = unsafe { $s.load(pointer.add(index)) };
            let result = $body;
            // SAFETY: as above.
            unsafe { $s.store(pointer.add(index), result) };
        }
        let rest = row.len() - whole;
        if rest > 0 {
            let mut last = [$filler; 16];
            last[..rest].copy_from_slice(&row[whole..]);
            // SAFETY: `last` holds 16 values, at least one vector of every instruction set.
            let $value = unsafe { $s.load(last.as_ptr()) };
            let result = $body;
            // SAFETY: as above.
            unsafe { $s.store(last.as_mut_ptr(), result) };
            row[whole..].copy_from_slice(&last[..rest]);
        }
    }};
}

/// Turns raw logits of a chunk into logits and takes them into the state; returns exp(old largest − new
/// largest), by which sums over earlier chunks must be scaled. With `gradient` the row becomes
/// exp(l − largest)·dl/dz, zero at the target, whose term is added exactly at the end.
pub struct Absorb<'a> {
    /// Raw logits of one row and chunk.
    pub row: &'a mut [f32],
    /// Statistics so far.
    pub state: &'a mut RowState,
    /// Position of the target in this chunk.
    pub target: Option<usize>,
    /// Transform.
    pub transform: LogitTransform,
    /// Whether the row becomes the gradient's numerators.
    pub gradient: bool,
    /// Whether `weighted` is kept.
    pub entropy: bool,
}

impl Kernel for Absorb<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let Absorb { row, state, target, transform, gradient, entropy } = self;
        let mut largest = s.splat(f32::NEG_INFINITY);
        each_vector!(s, row, f32::NEG_INFINITY, |z| {
            let l = transform.logit(s, z);
            largest = s.max(largest, l);
            l
        });
        // A soft cap lifts the filler of the last vector to −c, so take the rest of the row alone.
        let mut chunk_largest = s.largest(largest);
        if transform.soft_cap > 0.0 || chunk_largest.is_nan() {
            chunk_largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        }
        if let Some(index) = target {
            state.target = row[index];
        }
        let before = state.largest;
        state.largest = before.max(chunk_largest);
        let factor = if before == state.largest { 1.0 } else { (before - state.largest).exp() };
        let shift = s.splat(state.largest);
        let (mut sum, mut weighted) = (s.splat(0.0), s.splat(0.0));
        let zero = s.splat(0.0);
        each_vector!(s, row, f32::NEG_INFINITY, |l| {
            let e = exp(s, s.sub(l, shift));
            sum = s.add(sum, e);
            if entropy {
                // −∞·0 of masked logits counts 0.
                let finite = s.lt(s.splat(f32::NEG_INFINITY), l);
                weighted = s.add(weighted, s.select(finite, s.mul(e, l), zero));
            }
            if gradient { s.mul(e, transform.slope(s, l)) } else { l }
        });
        state.sum = state.sum * f64::from(factor) + f64::from(s.sum(sum));
        state.weighted = state.weighted * f64::from(factor) + f64::from(s.sum(weighted));
        if let (Some(index), true) = (target, gradient) {
            row[index] = 0.0;
        }
        factor
    }
}

/// Turns raw logits of a chunk into the gradient of a row's log-probability and entropy with respect to
/// them: (d·(1[target] − p) − e·p·(ln p + H))·dl/dz.
pub struct Differentiate<'a> {
    /// Raw logits of one row and chunk.
    pub row: &'a mut [f32],
    /// Position of the target in this chunk.
    pub target: Option<usize>,
    /// Transform.
    pub transform: LogitTransform,
    /// ln Σ exp(l) of the row.
    pub log_sum_exp: f32,
    /// Upstream gradient of the log-probability.
    pub d_log_prob: f32,
    /// Upstream gradient of the entropy, and the entropy.
    pub entropy: Option<(f32, f32)>,
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Differentiate { row, target, transform, log_sum_exp, d_log_prob, entropy } = self;
        let raw = target.map(|index| row[index]);
        let shift = s.splat(log_sum_exp);
        let minus = s.splat(-d_log_prob);
        let zero = s.splat(0.0);
        each_vector!(s, row, 0.0, |z| {
            let l = transform.logit(s, z);
            let log_p = s.sub(l, shift);
            let p = exp(s, log_p);
            let mut factor = minus;
            if let Some((upstream, value)) = entropy {
                let finite = s.lt(s.splat(f32::NEG_INFINITY), l);
                let spread = s.select(finite, s.add(log_p, s.splat(value)), zero);
                factor = s.fnma(s.splat(upstream), spread, factor);
            }
            s.mul(s.mul(factor, p), transform.slope(s, l))
        });
        if let (Some(index), Some(raw)) = (target, raw) {
            // 1 − p loses nothing as −expm1(ln p), which matters for confident tokens.
            let mut z = [0.0f32; 16];
            z[0] = raw;
            // SAFETY: 16 values, at least one vector of every instruction set.
            unsafe { s.store(z.as_mut_ptr(), transform.logit(s, s.load(z.as_ptr()))) };
            let log_p = f64::from(z[0]) - f64::from(log_sum_exp);
            let mut gradient = f64::from(d_log_prob) * -log_p.exp_m1();
            if let Some((upstream, value)) = entropy {
                gradient -= f64::from(upstream) * log_p.exp() * (log_p + f64::from(value));
            }
            row[index] = gradient as f32 * transform.slope_of(z[0]);
        }
    }
}
