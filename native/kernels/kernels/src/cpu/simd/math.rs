//! Transcendental functions on vectors, the same code on every instruction set.
//!
//! The polynomials were fitted at Chebyshev nodes by us; errors are against f64 over the whole range,
//! measured by the tests below with the portable path (no fused multiply-add), the least exact one.
#![allow(clippy::excessive_precision)]

use super::Simd;

#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[N - 1]);
    for index in (0..N - 1).rev() {
        sum = s.fma(sum, x, s.splat(coefficients[index]));
    }
    sum
}

/// eˣ, relative error ≤ 2 ulp; 0 below −104, infinity above 88.73, NaN kept.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first exact in nine bits, so that n·ln2 loses nothing.
    let r = s.fnma(n, s.splat(0.693_359_375), x);
    let r = s.fnma(n, s.splat(-2.121_944_4e-4), r);
    let p = horner(s, r, [0.5, 0.166_665_733_8, 0.041_666_550_1, 0.008_363_773_87, 0.001_392_692_66]);
    let y = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    // Two factors: n reaches −150 and 128, outside the exponents of one normal number.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(y, s.exp2_int(half)), s.exp2_int(s.sub(n, half)))
}

/// 2ˣ for x ≤ 0, relative error ≤ 2 ulp; 0 below −126, NaN kept. The softmax of attention.
#[inline(always)]
pub fn exp2_nonpositive<S: Simd>(s: S, x: S::F) -> S::F {
    let bound = s.splat(-126.0);
    let clamped = s.max(bound, x);
    let n = s.round(clamped);
    let r = s.sub(clamped, n);
    let q = horner(
        s,
        r,
        [0.693_147_188, 0.240_226_508, 0.055_503_549_3, 0.009_618_080_67, 0.001_339_201_74, 1.545_416_21e-4],
    );
    let y = s.mul(s.fma(r, q, s.splat(1.0)), s.exp2_int(n));
    s.select(s.lt(x, bound), s.splat(0.0), y)
}

/// ln x, relative error ≤ 3 ulp; −∞ at 0, NaN below.
#[inline(always)]
pub fn log<S: Simd>(s: S, x: S::F) -> S::F {
    let tiny = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(tiny, s.mul(x, s.splat(33_554_432.0)), x);
    let (m, e) = s.frexp(scaled);
    let e = s.select(tiny, s.sub(e, s.splat(25.0)), e);
    let low = s.lt(m, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let m = s.select(low, s.add(m, m), m);
    let e = s.select(low, s.sub(e, s.splat(1.0)), e);
    // ln m = 2 artanh((m − 1)/(m + 1)).
    let t = s.div(s.sub(m, s.splat(1.0)), s.add(m, s.splat(1.0)));
    let square = s.mul(t, t);
    let p = horner(s, square, [0.666_666_665_4, 0.400_001_295_6, 0.285_499_542_9, 0.233_538_049_8]);
    let small = s.fma(s.mul(t, square), p, s.mul(e, s.splat(-2.121_944_4e-4)));
    let y = s.add(s.fma(e, s.splat(0.693_359_375), small), s.add(t, t));
    let y = s.select(s.lt(x, s.splat(0.0)), s.splat(f32::NAN), y);
    let y = s.select(s.eq(x, s.splat(0.0)), s.splat(f32::NEG_INFINITY), y);
    let y = s.select(s.eq(x, s.splat(f32::INFINITY)), x, y);
    s.select(s.eq(x, x), y, x)
}

/// tanh x, relative error ≤ 4 ulp.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.abs(x);
    let square = s.mul(x, x);
    let p = horner(s, square, [-0.333_333_289, 0.133_327_697, -0.053_850_909_6, 0.020_997_179, -0.006_096_714_16]);
    let near = s.fma(s.mul(x, square), p, x);
    let e = exp(s, s.add(magnitude, magnitude));
    let far = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    s.select(s.lt(magnitude, s.splat(0.625)), near, s.copysign(far, x))
}

/// 1 / (1 + e⁻ˣ), relative error ≤ 4 ulp while the result is normal.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.neg(x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

/// erf x, absolute error ≤ 2e-7.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.min(s.splat(9.2), s.abs(x));
    let square = s.mul(magnitude, magnitude);
    let p = horner(
        s,
        square,
        [
            1.128_379_165_85,
            -0.376_126_266_67,
            0.112_835_947_15,
            -0.026_854_212_01,
            0.005_189_087_423,
            -8.016_864_283e-4,
            7.875_875_05e-5,
        ],
    );
    let near = s.mul(x, p);
    // erfc x = t e^(−x²) g(t) with t = 1/(1 + x/2).
    let t = s.div(s.splat(1.0), s.fma(magnitude, s.splat(0.5), s.splat(1.0)));
    let g = horner(
        s,
        t,
        [
            0.282_101_256_5,
            0.281_984_290_35,
            0.247_407_751_23,
            0.176_866_720_59,
            0.065_795_818_57,
            0.075_473_134_11,
            -0.220_758_848_18,
            0.091_680_194_4,
        ],
    );
    let far = s.fnma(s.mul(t, g), exp(s, s.neg(square)), s.splat(1.0));
    s.select(s.lt(magnitude, s.splat(1.0)), near, s.copysign(far, x))
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, Simd, dispatch};
    use crate::cpu::isa::Isa;

    struct Apply<'a>(usize, &'a [f32], &'a mut [f32]);
    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.1.chunks_exact(S::LANES).zip(self.2.chunks_exact_mut(S::LANES)) {
                // SAFETY: chunks of exactly LANES elements.
                unsafe {
                    let x = s.load(x.as_ptr());
                    let result = match self.0 {
                        0 => super::exp(s, x),
                        1 => super::exp2_nonpositive(s, x),
                        2 => super::log(s, x),
                        3 => super::tanh(s, x),
                        4 => super::sigmoid(s, x),
                        _ => super::erf(s, x),
                    };
                    s.store(y.as_mut_ptr(), result);
                }
            }
        }
    }

    fn apply(isa: Isa, function: usize, x: &[f32]) -> Vec<f32> {
        let mut padded = x.to_vec();
        padded.resize(x.len().next_multiple_of(16), 0.5);
        let mut y = vec![0.0; padded.len()];
        dispatch(isa, Apply(function, &padded, &mut y));
        y.truncate(x.len());
        y
    }

    /// erf by its Taylor series and continued fraction, in f64.
    fn erf64(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..120 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return sum * 2.0 / std::f64::consts::PI.sqrt();
        }
        let mut fraction = x.abs();
        for k in (1..80).rev() {
            fraction = x.abs() + f64::from(k) * 0.5 / fraction;
        }
        x.signum() * (1.0 - (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt()))
    }

    #[test]
    fn errors_stay_within_the_stated_bounds_on_every_instruction_set() {
        let grid = |low: f32, high: f32| -> Vec<f32> {
            (0..200_003).map(|i| low + (high - low) * (i as f32 / 200_002.0)).collect()
        };
        let positive: Vec<f32> =
            (1..200_000u32).map(|i| f32::from_bits(i * 10_600)).filter(|x| x.is_finite()).collect();
        // (function, inputs, bound in ulp, reference).
        type Set = (usize, Vec<f32>, f64, fn(f64) -> f64);
        let sets: [Set; 5] = [
            (0, grid(-87.0, 88.7), 2.0, f64::exp),
            (1, grid(-125.9, 0.0), 2.0, f64::exp2),
            (2, positive, 3.0, f64::ln),
            (3, grid(-12.0, 12.0), 4.0, f64::tanh),
            (4, grid(-80.0, 30.0), 4.0, |x| 1.0 / (1.0 + (-x).exp())),
        ];
        for isa in Isa::available() {
            for (function, inputs, ulps, reference) in &sets {
                let outputs = apply(isa, *function, inputs);
                for (x, y) in inputs.iter().zip(outputs) {
                    let expected = reference(f64::from(*x));
                    let error = (f64::from(y) - expected).abs();
                    let bound = ulps * f64::from(f32::EPSILON) * expected.abs() + f64::from(f32::MIN_POSITIVE) * 1e-6;
                    assert!(error <= bound, "{} f{function}({x}) = {y}, expected {expected}", isa.name());
                }
            }
            let inputs = grid(-10.0, 10.0);
            for (x, y) in inputs.iter().zip(apply(isa, 5, &inputs)) {
                assert!((f64::from(y) - erf64(f64::from(*x))).abs() <= 2e-7, "{} erf({x}) = {y}", isa.name());
            }
        }
    }

    #[test]
    fn special_values_are_those_of_the_standard() {
        let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        for isa in Isa::available() {
            let exp = apply(isa, 0, &specials);
            assert!(exp[0].is_nan() && exp[1] == f32::INFINITY && exp[2] == 0.0 && exp[3] == 1.0, "{exp:?}");
            let exp2 = apply(isa, 1, &[f32::NAN, f32::NEG_INFINITY, 0.0, -127.0]);
            assert!(exp2[0].is_nan() && exp2[1] == 0.0 && exp2[2] == 1.0 && exp2[3] == 0.0, "{exp2:?}");
            let log = apply(isa, 2, &[f32::NAN, f32::INFINITY, -1.0, 0.0, 1.0]);
            assert!(log[0].is_nan() && log[1] == f32::INFINITY && log[2].is_nan(), "{log:?}");
            assert!(log[3] == f32::NEG_INFINITY && log[4] == 0.0, "{log:?}");
            for function in [3, 4, 5] {
                let y = apply(isa, function, &specials);
                assert!(y[0].is_nan() && y[1] == 1.0, "{} f{function}: {y:?}", isa.name());
            }
        }
    }
}
