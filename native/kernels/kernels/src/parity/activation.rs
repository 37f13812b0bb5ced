use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};

/// Functions of one element: 4 ulp of the value, and of its terms where they cancel: 1 + erf is exact to
/// 2e-7, so far below zero GELU is exact to that times |x|/2 and not relatively; hence the floor of 1.
/// Its tanh form's derivative multiplies the rounding of 1 − tanh² by |x|/2·√(2/π)(1 + 0.134·x²) ≤ 30 at
/// |x| = 8: 30 · 2⁻²³ = 3.6e-6, the floor of 4.
const TOLERANCE: f64 = 1e-6;

/// (forward op, backward op, attributes).
type Pair = (&'static str, &'static str, &'static [(&'static str, f64)]);

const UNARY: [Pair; 4] = [
    ("silu", "siluBackward", &[]),
    ("gelu", "geluBackward", &[("tanh", 0.0)]),
    ("gelu", "geluBackward", &[("tanh", 1.0)]),
    ("relu", "reluBackward", &[]),
];

const GATED: [Pair; 3] = [
    ("swiglu", "swigluBackward", &[]),
    ("geglu", "gegluBackward", &[("tanh", 0.0)]),
    ("geglu", "gegluBackward", &[("tanh", 1.0)]),
];

#[test]
fn activations_and_their_gradients_equal_the_oracle() {
    let mut values = Values::new(1);
    for length in [1, 7, 16, 33, 40_001] {
        for (forward, backward, attributes) in UNARY {
            let x = values.tensor(&[length], 8.0);
            OpCall::new(forward, vec![x.clone()], attributes).check_from(TOLERANCE, 1.0);
            OpCall::new(backward, vec![values.tensor(&[length], 1.0), x], attributes).check_from(TOLERANCE, 4.0);
        }
        for (forward, backward, attributes) in GATED {
            let (gate, up) = (values.tensor(&[1, length], 8.0), values.tensor(&[1, length], 2.0));
            OpCall::new(forward, vec![gate.clone(), up.clone()], attributes).check_from(TOLERANCE, 1.0);
            let dy = values.tensor(&[1, length], 1.0);
            OpCall::new(backward, vec![dy, gate, up], attributes).check_from(TOLERANCE, 4.0);
        }
    }
}

#[test]
fn stored_operands_equal_the_oracle_and_results_keep_their_dtype() {
    /// Rounding a result to bfloat16 moves it by 2^-8 of its size at most.
    const STORED: f64 = 1.0 / 256.0;
    let mut values = Values::new(4);
    for length in [1, 7, 16, 33, 40_001] {
        for dtypes in [[DType::BF16; 3], [DType::F32, DType::BF16, DType::BF16], [DType::BF16, DType::F32, DType::BF16]]
        {
            let more = if dtypes == [DType::BF16; 3] { STORED } else { 0.0 };
            for (forward, backward, attributes) in GATED {
                let mut next = |index: usize, size: f64| values.tensor(&[1, length], size).cast(dtypes[index]);
                let (dy, gate, up) = (next(0, 1.0), next(1, 8.0), next(2, 2.0));
                let call = OpCall::new(forward, vec![gate.clone(), up.clone()], attributes);
                let stored = if gate.dtype == DType::BF16 { DType::BF16 } else { DType::F32 };
                assert_eq!(call.oracle()[0].dtype, stored);
                call.check_from(TOLERANCE + if stored == DType::BF16 { STORED } else { 0.0 }, 1.0);
                OpCall::new(backward, vec![dy, gate, up], attributes).check_from(TOLERANCE + more, 4.0);
            }
            for (forward, _, attributes) in UNARY {
                let x = values.tensor(&[length], 8.0).cast(DType::BF16);
                OpCall::new(forward, vec![x], attributes).check_from(TOLERANCE + STORED, 1.0);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let mut values = Values::new(2);
    for (forward, backward, attributes) in UNARY {
        let call = OpCall::new(forward, vec![values.tensor(&[9], 3.0)], attributes);
        check_gradient(&call, &[0], 1, |inputs, _, gradients| {
            OpCall::new(backward, vec![gradients[0].clone(), inputs[0].clone().unwrap()], attributes)
        });
    }
    for (forward, backward, attributes) in GATED {
        let call = OpCall::new(forward, vec![values.tensor(&[3, 3], 3.0), values.tensor(&[3, 3], 1.0)], attributes);
        check_gradient(&call, &[0, 1], 1, |inputs, _, gradients| {
            let input = |index: usize| inputs[index].clone().unwrap();
            OpCall::new(backward, vec![gradients[0].clone(), input(0), input(1)], attributes)
        });
    }
}

#[test]
fn extreme_and_invalid_values_behave_as_in_exact_arithmetic() {
    for (forward, _, attributes) in UNARY {
        let mut x = Tensor::f32(&[6], vec![-200.0, 200.0, 0.0, -90.0, 1e-30, 3.0]);
        OpCall::new(forward, vec![x.clone()], attributes).check(TOLERANCE);
        x.values[4] = f64::NAN;
        OpCall::new(forward, vec![x], attributes).check(TOLERANCE);
    }
}

#[test]
fn embedding_gathers_and_its_gradient_scatters_in_order() {
    let mut values = Values::new(3);
    for (rows, dim) in [(5, 1), (11, 33), (4, 130)] {
        let ids: Vec<i32> = (0..200).map(|_| values.below(rows) as i32).collect();
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let inputs = vec![Tensor::i32(&ids), values.tensor(&[rows, dim], 1.0).cast(dtype)];
            OpCall::new("embedding", inputs, &[("scale", 3.5)]).check(1e-7);
        }
        let inputs = vec![values.tensor(&[200, dim], 1.0), Tensor::i32(&ids)];
        OpCall::new("embeddingBackward", inputs, &[("rows", rows as f64), ("scale", 3.5)]).check(2e-6);
    }
    let forward = OpCall::new("embedding", vec![Tensor::i32(&[2, 0, 2]), values.tensor(&[3, 2], 1.0)], &[]);
    check_gradient(&forward, &[1], 1, |inputs, _, gradients| {
        let ids = inputs[0].clone().unwrap();
        OpCall::new("embeddingBackward", vec![gradients[0].clone(), ids], &[("rows", 3.0)])
    });
    let outside = OpCall::new("embedding", vec![Tensor::i32(&[3]), values.tensor(&[3, 2], 1.0)], &[]);
    let error = outside.run(&mut crate::cpu::CpuBackend::with_isa(crate::cpu::isa::Isa::Portable)).unwrap_err();
    assert_eq!(error.code, "ERR_INDEX_OUT_OF_RANGE");
}
