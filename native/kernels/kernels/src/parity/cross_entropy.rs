//! The head: every instruction set against the oracle, the oracle against differences.
//!
//! Tolerances: float32 logits err by D·2^-24 of their size and exp by 2 ulp; softmax sums keep the relative
//! error. bfloat16 rounds factors by 2^-9: logits of D = 70 products of size 1 err by about 2^-8·√70.

use crate::cpu::CpuBackend;
use crate::cpu::cross_entropy::{Head, token_log_probs};
use crate::cpu::cross_entropy_rows::LogitTransform;
use crate::cpu::gemm::{ComputeDtype, Elements, Gemm, Matrix};
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};

const F32: f64 = 5e-5;
const BF16: f64 = 4e-2;

fn targets(values: &mut Values, tokens: usize, vocabulary: usize, ignored: usize) -> Tensor {
    let ids: Vec<i32> = (0..tokens)
        .map(|row| if ignored > 0 && row % ignored == 0 { -100 } else { values.below(vocabulary) as i32 })
        .collect();
    Tensor::i32(&ids)
}

fn operands(values: &mut Values, (t, d, v): (usize, usize, usize), ignored: usize, weight: DType) -> Vec<Tensor> {
    vec![values.tensor(&[t, d], 1.0), values.tensor(&[v, d], 1.0).cast(weight), targets(values, t, v, ignored)]
}

/// (logitScale, softCap, temperature)
const TRANSFORMS: [(f64, f64, f64); 3] = [(1.0, 0.0, 1.0), (0.5, 0.0, 1.7), (1.0, 3.0, 0.8)];

fn attributes(transform: (f64, f64, f64), bfloat16: f64) -> Vec<(&'static str, f64)> {
    vec![("logitScale", transform.0), ("softCap", transform.1), ("temperature", transform.2), ("bfloat16", bfloat16)]
}

#[test]
fn every_instruction_set_equals_the_oracle() {
    let mut values = Values::new(21);
    for shape in [(1, 3, 5), (7, 70, 33), (16, 24, 300), (5, 9, 1)] {
        for (ignored, weight) in [(0, DType::F32), (3, DType::BF16), (1, DType::F32), (2, DType::F16)] {
            for transform in TRANSFORMS {
                for (bfloat16, tolerance) in [(0.0, F32), (1.0, BF16)] {
                    let inputs = operands(&mut values, shape, ignored, weight);
                    let base = attributes(transform, bfloat16);
                    for (hidden, matrix) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)] {
                        let mut named = base.clone();
                        named.extend([("needHidden", hidden), ("needWeight", matrix)]);
                        let call = OpCall::new("linearCrossEntropy", inputs.clone(), &named);
                        // bfloat16 may break near ties of the largest logit, so its count is not compared.
                        if bfloat16 == 0.0 {
                            call.check(tolerance);
                            let weights = values.tensor(&[shape.0], 1.0);
                            call.with_input(Some(weights)).check(tolerance);
                        } else {
                            check_without(&call, 1, tolerance);
                        }
                    }
                    let mut named = base.clone();
                    named.push(("needEntropy", 1.0));
                    let forward = OpCall::new("logProbs", inputs.clone(), &named);
                    forward.check(tolerance);
                    let outputs = forward.oracle();
                    let (up, spread) = (values.tensor(&[shape.0], 1.0), values.tensor(&[shape.0], 1.0));
                    let mut named = base;
                    named.push(("needWeight", 1.0));
                    let given: Vec<Tensor> = std::iter::once(up).chain(inputs).chain([outputs[1].clone()]).collect();
                    let backward = OpCall::new("logProbsBackward", given, &named);
                    // With one entry the softmax is 1 and the gradient the difference of equal numbers: its error is
                    // that of the terms, upstream gradients of size 1.
                    backward.check_from(tolerance, 1.0);
                    backward.with_input(Some(outputs[2].clone())).with_input(Some(spread)).check_from(tolerance, 1.0);
                }
            }
        }
    }
}

fn check_without(call: &OpCall, skipped: usize, tolerance: f64) {
    let expected = call.oracle();
    for isa in Isa::available() {
        let found = call.run(&mut CpuBackend::with_isa(isa)).expect("runs");
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            if index != skipped {
                let what = format!("{} {} output {index}", isa.name(), call.op);
                crate::harness::compare(&what, found, expected, tolerance);
            }
        }
    }
}

#[test]
fn a_vocabulary_of_many_chunks_equals_the_oracle() {
    // 9,000 rows make three chunks of 704 entries at most.
    let mut values = Values::new(4);
    let (t, d, v) = (9000, 3, 2100);
    let call = OpCall::new("linearCrossEntropy", operands(&mut values, (t, d, v), 0, DType::F32), &[]);
    let (block, chunk) = crate::cpu::cross_entropy::partition(t, d, v);
    assert!(chunk < v && block <= t, "{block} {chunk}");
    let found = call.run(&mut CpuBackend::with_isa(Isa::detect())).expect("runs");
    let expected = call.oracle();
    for index in [0, 2] {
        crate::harness::compare("many chunks", &found[index], &expected[index], F32);
    }
    let mut both = call.clone();
    both.attributes.push(("needWeight", 1.0));
    let found = both.run(&mut CpuBackend::with_isa(Isa::detect())).expect("runs");
    let expected = both.oracle();
    for index in [0, 2, 3] {
        crate::harness::compare("many chunks", &found[index], &expected[index], 3e-4);
    }
}

#[test]
fn bfloat16_heads_of_ragged_extents_equal_the_oracle() {
    let mut values = Values::new(31);
    // Vocabularies that end inside a panel, a chunk and a slice; rows that end inside a panel, and a single one.
    for (shape, ignored) in [((70, 40, 4200), 3), ((1, 33, 1111), 0), ((33, 64, 700), 0), ((17, 1030, 1500), 5)] {
        for (transform, weight) in TRANSFORMS.into_iter().zip([DType::BF16, DType::F16, DType::F32]) {
            let (t, d, v) = shape;
            let inputs = vec![
                values.tensor(&[t, d], 1.0).cast(DType::BF16).cast(DType::F32),
                values.tensor(&[v, d], 0.2).cast(DType::BF16).cast(weight),
                targets(&mut values, t, v, ignored),
            ];
            let mut named = attributes(transform, 1.0);
            named.push(("needHidden", 1.0));
            let call = OpCall::new("linearCrossEntropy", inputs.clone(), &named);
            let weights = values.tensor(&[t], 1.0);
            check_without(&call.with_input(Some(weights)), 1, 5e-3);
            OpCall::new("logProbs", inputs, &attributes(transform, 1.0)).check(5e-3);
        }
    }
}

#[test]
fn logits_that_rise_along_the_vocabulary_equal_the_oracle() {
    // Each panel of entries raises what the sums refer to; the last logits are near 3e4. Their numerators are rounded by
    // 2^-9, and the gradient is the difference of two weights of up to twice its size.
    let (t, d, v) = (40, 32, 3000);
    let mut values = Values::new(6);
    let hidden = Tensor::f32(&[t, d], vec![1.0; t * d]);
    let weight = (0..v * d).map(|at| (at / d) as f64 * 0.3125).collect();
    let weight = Tensor::f32(&[v, d], weight).cast(DType::BF16);
    let named = [("bfloat16", 1.0), ("needHidden", 1.0)];
    let call = OpCall::new("linearCrossEntropy", vec![hidden, weight, targets(&mut values, t, v, 7)], &named);
    check_without(&call, 1, 4e-3);
}

#[test]
fn logits_of_any_size_end_and_equal_the_oracle() {
    let mut values = Values::new(31);
    for size in [1e6, 1e10, 1e20, 1e30] {
        let mut inputs = operands(&mut values, (40, 64, 100), 3, DType::BF16);
        // One entry of the vocabulary wins by far in about half of the rows.
        for value in &mut inputs[1].values[70 * 64..71 * 64] {
            *value *= size;
        }
        inputs[1] = inputs[1].clone().cast(DType::BF16);
        inputs[0] = inputs[0].clone().cast(DType::BF16).cast(DType::F32);
        let plain = attributes((1.0, 0.0, 1.0), 1.0);
        OpCall::new("logProbs", inputs.clone(), &plain).check(5e-3);
        check_without(&OpCall::new("linearCrossEntropy", inputs, &plain), 1, 5e-3);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let (t, d, v) = (150, 70, 5000);
    let mut random = Values::new(12);
    let mut floats =
        |count: usize| -> Vec<f32> { random.tensor(&[count], 1.0).values.iter().map(|value| *value as f32).collect() };
    let (hidden, weight) = (floats(t * d), floats(v * d));
    let weight: Vec<half::bf16> = weight.into_iter().map(half::bf16::from_f32).collect();
    let targets: Vec<i32> = (0..t as i32).map(|row| if row % 11 == 3 { -100 } else { row * 31 % v as i32 }).collect();
    for (isa, compute) in Isa::available().into_iter().flat_map(|isa| ComputeDtype::ALL.map(|compute| (isa, compute))) {
        let run = |threads: usize| {
            let pool = Pool::new(threads);
            let head = Head {
                hidden: Matrix::f32(&hidden, t, d),
                weight: Matrix::new(Elements::Bf16(&weight), v, d),
                targets: &targets,
                ignore: -100,
                transform: LogitTransform { scale: 1.0, soft_cap: 0.0, temperature: 1.0 },
            };
            let mut gradient = vec![f32::NAN; t * d];
            let gemm = Gemm::new(&pool, isa, compute);
            let tokens = token_log_probs(&gemm, &head, false, None, Some(&mut gradient)).expect("targets inside");
            let tokens = tokens.iter().flat_map(|token| [token.log_prob, token.log_sum_exp]);
            gradient.iter().copied().chain(tokens).map(f32::to_bits).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one.iter().all(|bits| f32::from_bits(*bits).is_finite()), "{}", isa.name());
        assert!(one == run(2) && one == run(3) && one == run(7), "{} {compute:?}", isa.name());
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for transform in TRANSFORMS {
        let mut values = Values::new(8);
        let inputs = operands(&mut values, (4, 3, 6), 3, DType::F32);
        let named = attributes(transform, 0.0);
        let mut both = named.clone();
        both.push(("needWeight", 1.0));
        let mut entropy = named.clone();
        entropy.push(("needEntropy", 1.0));
        let forward = OpCall::new("logProbs", inputs.clone(), &entropy);
        check_gradient(&forward, &[0, 1], 1, |inputs, outputs, up| {
            let mut given = vec![Some(up[0].clone())];
            given.extend(inputs.iter().cloned());
            given.push(Some(outputs[1].clone()));
            OpCall { op: "logProbsBackward", inputs: given, attributes: both.clone(), rest: vec![] }
        });
        // The sum of all weighted losses: gradients against differences of output 0 alone.
        let forward = OpCall::new("linearCrossEntropy", inputs, &both).with_input(Some(values.tensor(&[4], 1.0)));
        let outputs = forward.oracle();
        for (input, gradient) in [(0, &outputs[2]), (1, &outputs[3])] {
            for at in 0..gradient.values.len() {
                let loss = |delta: f64| {
                    let mut moved = forward.clone();
                    moved.inputs[input].as_mut().expect("present").values[at] += delta;
                    moved.oracle()[0].values[0]
                };
                let numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                assert!((numeric - gradient.values[at]).abs() < 1e-6, "input {input} [{at}]");
            }
        }
    }
}

#[test]
fn a_confident_token_keeps_its_small_gradient_in_bfloat16() {
    // The target's logit leads by 9: p − 1 = −1.2e-4 would drown in the rounding of p to bfloat16.
    let hidden = Tensor::f32(&[1, 2], vec![3.0, 0.0]);
    let weight = Tensor::f32(&[2, 2], vec![3.0, 0.5, 0.0, 0.25]);
    let call = OpCall::new("linearCrossEntropy", vec![hidden, weight, Tensor::i32(&[0])], &[("bfloat16", 1.0)]);
    call.check(1e-2);
}

#[test]
fn targets_outside_the_vocabulary_are_refused() {
    let mut values = Values::new(2);
    let mut inputs = operands(&mut values, (2, 3, 4), 0, DType::F32);
    inputs[2] = Tensor::i32(&[1, 4]);
    let call = OpCall::new("linearCrossEntropy", inputs, &[]);
    let error = call.run(&mut CpuBackend::with_isa(Isa::Portable)).unwrap_err();
    assert_eq!(error.code, "ERR_INDEX_OUT_OF_RANGE");
}
