//! AdamW with f32 states (Loshchilov and Hutter, arXiv 1711.05101, as torch.optim.AdamW computes it).

use super::{CHUNK, Parameter, Pointer, chunks, gradient_factor, in_place};
use crate::cpu::simd::span::{get, put};
use crate::cpu::simd::{Kernel, Simd, dispatch};
use crate::cpu::{CpuCall, CpuContext};
use crate::error::Result;

/// Scalars of a step, computed in f64 once.
#[derive(Clone, Copy)]
pub struct Scalars {
    /// Second-moment decay.
    pub beta2: f32,
    /// 1 − β₁, rounded once.
    pub one_minus_beta1: f32,
    /// 1 − β₂, rounded once.
    pub one_minus_beta2: f32,
    /// ε, added outside the root.
    pub epsilon: f32,
    /// 1 − lr·weightDecay.
    pub decay: f32,
    /// lr / (1 − β₁ᵗ).
    pub step_size: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub inverse_root: f32,
    /// Factor of the gradients.
    pub factor: f32,
}

impl Scalars {
    /// Scalars of a call.
    ///
    /// # Errors
    /// Those of reading the norm.
    pub fn of(call: &CpuCall<'_>) -> Result<Self> {
        let number = |name: &str| call.attributes.number(name);
        let (beta1, beta2, rate, step) = (number("beta1"), number("beta2"), number("learningRate"), number("step"));
        Ok(Self {
            beta2: beta2 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            epsilon: number("epsilon") as f32,
            decay: (1.0 - rate * number("weightDecay")) as f32,
            step_size: (rate / (1.0 - beta1.powf(step))) as f32,
            inverse_root: (1.0 / (1.0 - beta2.powf(step)).sqrt()) as f32,
            factor: gradient_factor(call)?,
        })
    }
}

/// (p, m, v) after one step on one vector.
#[inline(always)]
pub fn update<S: Simd>(s: S, k: &Scalars, p: S::F, g: S::F, m: S::F, v: S::F) -> (S::F, S::F, S::F) {
    let g = s.mul(g, s.splat(k.factor));
    // m + (1 − β₁)(g − m), as torch's lerp.
    let m = s.fma(s.splat(k.one_minus_beta1), s.sub(g, m), m);
    let v = s.fma(s.mul(g, s.splat(k.one_minus_beta2)), g, s.mul(v, s.splat(k.beta2)));
    let denominator = s.fma(s.sqrt(v), s.splat(k.inverse_root), s.splat(k.epsilon));
    let p = s.mul(p, s.splat(k.decay));
    (s.fnma(s.splat(k.step_size), s.div(m, denominator), p), m, v)
}

struct Step<'a> {
    scalars: &'a Scalars,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = 0;
        while at < self.g.len() {
            let count = (self.g.len() - at).min(S::LANES);
            let (p, m, v) = update(
                s,
                self.scalars,
                get(s, self.p, at, count),
                get(s, self.g, at, count),
                get(s, self.m, at, count),
                get(s, self.v, at, count),
            );
            put(s, self.p, at, count, p);
            put(s, self.m, at, count, m);
            put(s, self.v, at, count, v);
            at += S::LANES;
        }
    }
}

struct Group<'a> {
    parameter: Parameter,
    gradient: &'a [f32],
    m: Pointer<f32>,
    v: Pointer<f32>,
    /// Index of the first element among all parameters: the key of stochastic rounding.
    origin: u64,
}

/// One step over all groups.
///
/// # Errors
/// Those of operand access.
pub fn step(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let scalars = Scalars::of(call)?;
    let seed = call.attributes.integer("seed");
    let mut origin = 0;
    let mut groups = Vec::new();
    for views in call.variadic().chunks_exact(4) {
        let gradient = views[1].slice::<f32>()?;
        // SAFETY: param, m and v are declared as written by this op.
        let (parameter, m, v) = unsafe { (Parameter::of(&views[0])?, in_place(&views[2])?, in_place(&views[3])?) };
        groups.push(Group { parameter, gradient, m, v, origin });
        origin += gradient.len() as u64;
    }
    debug_assert_eq!(CHUNK % 16, 0);
    let tasks = chunks(groups.iter().map(|group| group.gradient.len()));
    context.pool.run(tasks.len(), &|task| {
        let (group, start, end) = tasks[task];
        let group = &groups[group];
        // SAFETY: tasks own disjoint ranges of distinct tensors.
        unsafe {
            group.parameter.update(start, end, seed, group.origin, |p| {
                let (m, v) = (group.m.slice(start, end), group.v.slice(start, end));
                dispatch(context.isa, Step { scalars: &scalars, p, g: &group.gradient[start..end], m, v });
            });
        }
    });
    Ok(())
}
