//! Activations and gated activations, forward and backward.
#![allow(clippy::excessive_precision)]

use super::simd::Simd;
use super::simd::math::{erf, exp, sigmoid, tanh};
use super::simd::pointwise::{Pointwise, map};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;
use crate::ops::activation::Activation;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("silu", forward),
    ("siluBackward", backward),
    ("gelu", forward),
    ("geluBackward", backward),
    ("relu", forward),
    ("reluBackward", backward),
    ("swiglu", gated),
    ("swigluBackward", gated_backward),
    ("geglu", gated),
    ("gegluBackward", gated_backward),
];

/// An activation with its derivative.
pub trait Function: Copy + Sync {
    /// f(x).
    fn value<S: Simd>(s: S, x: S::F) -> S::F;
    /// (f(x), f′(x)).
    fn both<S: Simd>(s: S, x: S::F) -> (S::F, S::F);
}

/// x·σ(x).
#[derive(Clone, Copy)]
struct Silu;
impl Function for Silu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        // x / (1 + e⁻ˣ); where e⁻ˣ overflows the quotient is −0, the limit.
        s.div(x, s.add(s.splat(1.0), exp(s, s.neg(x))))
    }
    #[inline(always)]
    fn both<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
        let sigma = sigmoid(s, x);
        let value = s.mul(x, sigma);
        // σ + x·σ·(1 − σ).
        (value, s.fma(value, s.sub(s.splat(1.0), sigma), sigma))
    }
}

/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
#[derive(Clone, Copy)]
struct GeluTanh;
impl Function for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        Self::both(s, x).0
    }
    #[inline(always)]
    fn both<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
        let (root, cubic) = (s.splat(0.797_884_560_8), s.splat(0.044_715));
        let square = s.mul(x, x);
        let inner = s.mul(s.mul(root, x), s.fma(cubic, square, s.splat(1.0)));
        let t = tanh(s, inner);
        let half = s.mul(s.splat(0.5), s.add(s.splat(1.0), t));
        let slope = s.mul(root, s.fma(s.splat(3.0 * 0.044_715), square, s.splat(1.0)));
        let bend = s.mul(s.mul(s.splat(0.5), x), s.fnma(t, t, s.splat(1.0)));
        (s.mul(x, half), s.fma(bend, slope, half))
    }
}

/// x·Φ(x) with the exact normal distribution.
#[derive(Clone, Copy)]
struct GeluErf;
impl Function for GeluErf {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        let phi = s.fma(s.splat(0.5), erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), s.splat(0.5));
        s.mul(x, phi)
    }
    #[inline(always)]
    fn both<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
        let phi = s.fma(s.splat(0.5), erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), s.splat(0.5));
        let density = s.mul(s.splat(0.398_942_280_4), exp(s, s.mul(s.mul(x, x), s.splat(-0.5))));
        (s.mul(x, phi), s.fma(x, density, phi))
    }
}

/// max(x, 0).
#[derive(Clone, Copy)]
struct Relu;
impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::F) -> S::F {
        s.max(s.splat(0.0), x)
    }
    #[inline(always)]
    fn both<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
        let slope = s.select(s.lt(s.splat(0.0), x), s.splat(1.0), s.splat(0.0));
        (s.max(s.splat(0.0), x), slope)
    }
}

#[derive(Clone, Copy)]
struct Value<F>(F);
impl<F: Function> Pointwise<1, 1> for Value<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [x]: [S::F; 1]) -> [S::F; 1] {
        [F::value(s, x)]
    }
}

#[derive(Clone, Copy)]
struct Derivative<F>(F);
impl<F: Function> Pointwise<2, 1> for Derivative<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [dy, x]: [S::F; 2]) -> [S::F; 1] {
        [s.mul(dy, F::both(s, x).1)]
    }
}

#[derive(Clone, Copy)]
struct Gated<F>(F);
impl<F: Function> Pointwise<2, 1> for Gated<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [gate, up]: [S::F; 2]) -> [S::F; 1] {
        [s.mul(F::value(s, gate), up)]
    }
}

#[derive(Clone, Copy)]
struct GatedDerivative<F>(F);
impl<F: Function> Pointwise<3, 2> for GatedDerivative<F> {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, [dy, gate, up]: [S::F; 3]) -> [S::F; 2] {
        let (value, slope) = F::both(s, gate);
        [s.mul(s.mul(dy, up), slope), s.mul(dy, value)]
    }
}

/// Calls `$body` with `$function` bound to the activation that the call asks for.
macro_rules! with_function {
    ($call:expr, $function:ident => $body:expr) => {
        match Activation::of(&$call.attributes)? {
            Activation::Silu => {
                let $function = Silu;
                $body
            }
            Activation::GeluTanh => {
                let $function = GeluTanh;
                $body
            }
            Activation::GeluErf => {
                let $function = GeluErf;
                $body
            }
            Activation::Relu => {
                let $function = Relu;
                $body
            }
        }
    };
}

fn forward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    // SAFETY: the output of this call.
    with_function!(call, f => unsafe { map(context, Value(f), [call.input("x")], [call.outputs[0]]) })
}

fn backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let inputs = [call.input("dy"), call.input("x")];
    // SAFETY: the output of this call.
    with_function!(call, f => unsafe { map(context, Derivative(f), inputs, [call.outputs[0]]) })
}

fn gated(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let inputs = [call.input("gate"), call.input("up")];
    // SAFETY: the output of this call.
    with_function!(call, f => unsafe { map(context, Gated(f), inputs, [call.outputs[0]]) })
}

fn gated_backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let inputs = [call.input("dy"), call.input("gate"), call.input("up")];
    // SAFETY: distinct outputs of this call.
    with_function!(call, f => unsafe { map(context, GatedDerivative(f), inputs, [call.outputs[0], call.outputs[1]]) })
}
