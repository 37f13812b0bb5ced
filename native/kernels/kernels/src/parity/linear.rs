//! `linear` and its gradients: every instruction set against the oracle, the oracle against differences.
//!
//! Tolerances: float32 sums of K ≤ 200 products round to K·2^-24 ≈ 1.2e-5 of the size of their terms at
//! worst; bfloat16 rounds each factor by 2^-9, hence each product by 2^-8 = 3.9e-3 of its size.

use crate::cpu::gemm::tests::TestRandom;
use crate::cpu::gemm::{ComputeDtype, Elements, Gemm, Matrix, Results};
use crate::cpu::isa::Isa;
use crate::cpu::linear::{LoraBranch, linear_forward, linear_input_gradient, linear_lora_gradient};
use crate::cpu::pool::Pool;
use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};
use half::bf16;

const F32: f64 = 4e-5;
const BF16: f64 = 2e-2;

struct Case {
    m: usize,
    n: usize,
    k: usize,
    rank: usize,
    dropout: f64,
    scale: f64,
    weight: DType,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // The last has rows for several threads; so have wide branches.
    for (m, n, k) in [(0, 5, 3), (1, 33, 70), (3, 7, 5), (8, 40, 64), (9, 17, 129), (31, 50, 200), (131, 70, 150)] {
        for (rank, dropout) in [(0, 0.0), (4, 0.0), (17, 0.3)] {
            for weight in [DType::F32, DType::BF16, DType::F16] {
                cases.push(Case { m, n, k, rank, dropout, scale: 1.5, weight });
            }
        }
    }
    cases.push(Case { m: 100, n: 90, k: 110, rank: 70, dropout: 0.0, scale: 1.5, weight: DType::BF16 });
    cases
}

impl Case {
    fn attributes(&self, bfloat16: f64) -> Vec<(&'static str, f64)> {
        vec![("scale", self.scale), ("dropout", self.dropout), ("seed", 99.0), ("bfloat16", bfloat16)]
    }

    /// x, weight, bias, loraA, loraB.
    fn inputs(&self, values: &mut Values) -> Vec<Option<Tensor>> {
        let Case { m, n, k, rank, .. } = *self;
        let lora = rank > 0;
        vec![
            Some(values.tensor(&[1, m, k], 1.0)),
            Some(values.tensor(&[n, k], 1.0).cast(self.weight)),
            (m % 2 == 1).then(|| values.tensor(&[n], 1.0)),
            lora.then(|| values.tensor(&[rank, k], 1.0)),
            lora.then(|| values.tensor(&[n, rank], 1.0)),
        ]
    }

    fn forward(&self, values: &mut Values, bfloat16: f64) -> OpCall {
        let inputs = self.inputs(values);
        OpCall { op: "linear", inputs, attributes: self.attributes(bfloat16), rest: vec![] }
    }

    fn input_gradient(&self, inputs: &[Option<Tensor>], dy: &Tensor, bfloat16: f64) -> OpCall {
        let inputs = vec![Some(dy.clone()), inputs[1].clone(), inputs[3].clone(), inputs[4].clone()];
        OpCall { op: "linearInputGradient", inputs, attributes: self.attributes(bfloat16), rest: vec![] }
    }

    fn lora_gradient(&self, inputs: &[Option<Tensor>], xa: &Tensor, dy: &Tensor, bfloat16: f64) -> OpCall {
        let inputs =
            vec![Some(dy.clone()), inputs[0].clone(), Some(xa.clone()), inputs[3].clone(), inputs[4].clone(), None];
        OpCall { op: "linearLoraGradient", inputs, attributes: self.attributes(bfloat16), rest: vec![] }
    }
}

fn weight_gradient(inputs: &[Option<Tensor>], dy: &Tensor, bfloat16: f64) -> OpCall {
    let inputs = vec![Some(dy.clone()), inputs[0].clone()];
    OpCall { op: "linearWeightGradient", inputs, attributes: vec![("bfloat16", bfloat16)], rest: vec![] }
}

#[test]
fn every_instruction_set_equals_the_oracle() {
    let mut values = Values::new(11);
    for case in cases() {
        for (bfloat16, tolerance) in [(0.0, F32), (1.0, BF16)] {
            let forward = case.forward(&mut values, bfloat16);
            forward.check(tolerance);
            let dy = values.tensor(&[1, case.m, case.n], 1.0);
            case.input_gradient(&forward.inputs, &dy, bfloat16).check(tolerance);
            weight_gradient(&forward.inputs, &dy, bfloat16).check(tolerance);
            OpCall::new("linearBiasGradient", vec![dy.clone()], &[]).check(F32);
            if case.rank > 0 {
                let xa = values.tensor(&[1, case.m, case.rank], 1.0);
                let call = case.lora_gradient(&forward.inputs, &xa, &dy, bfloat16);
                call.check(tolerance);
                // u given is u recomputed.
                let u = case.input_gradient(&forward.inputs, &dy, bfloat16).oracle().remove(1);
                let mut given = call;
                given.inputs[5] = Some(u);
                given.check(tolerance);
            }
        }
    }
}

/// Rounding a result to bfloat16 moves it by 2^-8 of its size at most.
const STORED: f64 = 1.0 / 256.0;

#[test]
fn stored_operands_and_results_equal_the_oracle() {
    let mut values = Values::new(12);
    for mut case in cases() {
        // A power of two, which can be part of packed words, and a factor that cannot.
        for scale in [2.0, 1.5] {
            case.scale = scale;
            for (bfloat16, tolerance) in [(0.0, F32), (1.0, BF16)] {
                let mut forward = case.forward(&mut values, bfloat16);
                forward.inputs[0] = forward.inputs[0].take().map(|x| x.cast(DType::BF16));
                forward.check(tolerance);
                let dy = values.tensor(&[1, case.m, case.n], 1.0).cast(DType::BF16);
                let mut backward = case.input_gradient(&forward.inputs, &dy, bfloat16);
                backward.check(tolerance);
                weight_gradient(&forward.inputs, &dy, bfloat16).check(tolerance);
                OpCall::new("linearBiasGradient", vec![dy.clone()], &[]).check(F32);
                if case.rank > 0 {
                    let xa = values.tensor(&[1, case.m, case.rank], 1.0);
                    case.lora_gradient(&forward.inputs, &xa, &dy, bfloat16).check(tolerance);
                }
                for call in [&mut forward, &mut backward] {
                    call.attributes.push(("outputBfloat16", 1.0));
                    assert_eq!(call.oracle()[0].dtype, DType::BF16);
                    call.check(tolerance + STORED);
                }
            }
        }
    }
}

#[test]
fn layers_together_equal_the_oracle_and_themselves_alone() {
    let mut values = Values::new(13);
    for (m, k) in [(0, 3), (1, 128), (3, 70), (8, 129), (9, 64)] {
        for formats in [[DType::BF16; 3], [DType::F32, DType::BF16, DType::F16]] {
            let x = values.tensor(&[m, k], 1.0);
            let weights: Vec<Tensor> =
                formats.iter().zip([5, 33, 64]).map(|(format, n)| values.tensor(&[n, k], 1.0).cast(*format)).collect();
            let bias = values.tensor(&[33], 1.0);
            let [first, second, third] = &weights[..] else { unreachable!() };
            for (bfloat16, tolerance) in [(0.0, F32), (1.0, BF16)] {
                let call = |op, inputs| OpCall { op, inputs, attributes: vec![("bfloat16", bfloat16)], rest: vec![] };
                let some = |tensor: &Tensor| Some(tensor.clone());
                let three = [some(&x), some(first), some(second), some(third), None, some(&bias), None];
                let together = call("linearTogether", three.to_vec());
                together.check(tolerance);
                call("linearTogether", vec![some(&x), some(first), some(second), None, None, None, None])
                    .check(tolerance);
                for isa in crate::cpu::isa::Isa::available() {
                    let run = |call: &OpCall| call.run(&mut crate::cpu::CpuBackend::with_isa(isa)).expect("runs");
                    let found = run(&together);
                    for (index, weight) in weights.iter().enumerate() {
                        let bias = (index == 1).then(|| bias.clone());
                        let alone = run(&call("linear", vec![some(&x), some(weight), bias, None, None]));
                        assert_eq!(found[index].values, alone[0].values, "{m}x{k} layer {index} on {}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for (rank, dropout) in [(0, 0.0), (2, 0.0), (3, 0.4)] {
        let case = Case { m: 3, n: 4, k: 5, rank, dropout, scale: 1.5, weight: DType::F32 };
        let forward = case.forward(&mut Values::new(5), 0.0);
        check_gradient(&forward, &[0], 1, |inputs, _, dy| case.input_gradient(inputs, &dy[0], 0.0));
        check_gradient(&forward, &[1], 1, |inputs, _, dy| weight_gradient(inputs, &dy[0], 0.0));
        check_gradient(&forward, &[2], 1, |_, _, dy| OpCall::new("linearBiasGradient", vec![dy[0].clone()], &[]));
        if rank > 0 {
            check_gradient(&forward, &[3, 4], 1, |inputs, outputs, dy| {
                case.lora_gradient(inputs, &outputs[1], &dy[0], 0.0)
            });
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let (m, n, k, rank) = (300, 130, 200, 16);
    let mut random = TestRandom(17);
    let mut values = |count: usize| random.values(count);
    let (x, dy, a, b) = (values(m * k), values(m * n), values(rank * k), values(n * rank));
    let weight: Vec<bf16> = values(n * k).into_iter().map(bf16::from_f32).collect();
    let weight = Matrix::new(Elements::Bf16(&weight), n, k);
    let (x, dy) = (Matrix::f32(&x, m, k), Matrix::f32(&dy, m, n));
    let lora =
        LoraBranch { a: Matrix::f32(&a, rank, k), b: Matrix::f32(&b, n, rank), scale: 2.0, dropout: 0.0, seed: 0 };
    for (isa, compute) in Isa::available().into_iter().flat_map(|isa| ComputeDtype::ALL.map(|compute| (isa, compute))) {
        let run = |threads: usize| {
            let pool = Pool::new(threads);
            let gemm = Gemm::new(&pool, isa, compute);
            let (mut y, mut xa) = (vec![f32::NAN; m * n], vec![f32::NAN; m * rank]);
            linear_forward(&gemm, &x, &weight, None, Some(&lora), Results::F32(&mut y), &mut xa);
            let (mut dx, mut u) = (vec![f32::NAN; m * k], vec![f32::NAN; m * rank]);
            linear_input_gradient(&gemm, &dy, &weight, Some(&lora), Results::F32(&mut dx), &mut u);
            let (mut da, mut db) = (vec![f32::NAN; rank * k], vec![f32::NAN; n * rank]);
            linear_lora_gradient(&gemm, &dy, &x, &xa, &u, &lora, &mut da, &mut db);
            [y, xa, dx, u, da, db].map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        let one = run(1);
        assert!(one.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()), "{}", isa.name());
        assert!(one == run(2) && one == run(5), "{} {compute:?}", isa.name());
    }
}

#[test]
fn nan_and_infinity_propagate() {
    let case = Case { m: 4, n: 6, k: 8, rank: 2, dropout: 0.0, scale: 1.5, weight: DType::F32 };
    let mut forward = case.forward(&mut Values::new(3), 0.0);
    let x = forward.inputs[0].as_mut().expect("x");
    x.values[9] = f64::NAN;
    x.values[17] = f64::INFINITY;
    for isa in crate::cpu::isa::Isa::available() {
        let y = forward.run(&mut crate::cpu::CpuBackend::with_isa(isa)).expect("runs").remove(0);
        assert!(y.values[..6].iter().all(|value| value.is_finite()), "row 0");
        assert!(y.values[6..12].iter().all(|value| value.is_nan()), "row 1");
        assert!(y.values[12..18].iter().all(|value| !value.is_finite()), "row 2");
    }
}

#[test]
fn wrong_operands_are_coded_errors() {
    let mut values = Values::new(1);
    let (x, w) = (values.tensor(&[2, 3], 1.0), values.tensor(&[4, 5], 1.0));
    let code = |call: OpCall| {
        call.run(&mut crate::cpu::CpuBackend::with_isa(crate::cpu::isa::Isa::Portable)).unwrap_err().code
    };
    assert_eq!(code(OpCall::new("linear", vec![x.clone(), w], &[])), "ERR_SHAPE_MISMATCH");
    let w = values.tensor(&[4, 3], 1.0);
    assert_eq!(code(OpCall::new("linear", vec![x.clone(), w.clone()], &[("dropout", 1.0)])), "ERR_INVALID_ARGUMENT");
    let half = OpCall {
        op: "linear",
        inputs: vec![Some(x), Some(w.clone()), None, Some(w)],
        attributes: vec![],
        rest: vec![],
    };
    assert_eq!(code(half), "ERR_INVALID_ARGUMENT");
}
