use crate::cpu::CpuBackend;
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient, compare};
use half::bf16;

/// Scores are sums of D products, outputs of S: √(D·S)·ε with D·S ≤ 3e4, and the exponential's 2 ulp.
const TOLERANCE: f64 = 2e-5;

/// 1/√3: the size of values in −1..1.
const UNIFORM: f64 = 0.577_350_269;

struct Case {
    lengths: &'static [usize],
    heads: usize,
    kv_heads: usize,
    dim: usize,
    attributes: &'static [(&'static str, f64)],
}

impl Case {
    /// Size of a score before the cap over that of q·k/√D.
    fn sharpness(&self) -> f64 {
        let scale = self.attributes.iter().find(|(name, _)| *name == "scale").map(|(_, scale)| *scale);
        scale.map_or(1.0, |scale| scale.abs() * (self.dim as f64).sqrt())
    }

    /// Size of a term of any gradient: of dv, a weight times dO; of dq and dk, dP of √D terms times k or q times the
    /// scale. dS = P ∘ (dP − delta) cancels to nothing where a query sees one key, and keeps the rounding of dP. The
    /// first keys' gradients add one large term per head of the group.
    fn term(&self) -> f64 {
        let group = (self.heads / self.kv_heads) as f64;
        group.sqrt() * (2.0 / 3.0 / 3f64.sqrt() * self.sharpness()).max(UNIFORM)
    }

    /// Error of products of operands rounded to bfloat16, relative to the size of a term. Rounding moves a value by at
    /// most 2⁻⁹ of itself, 2⁻⁹/√3 in the mean square. A score is D products of two rounded factors of size 2/√3 with
    /// random signs; under the scale 1/√D that leaves √2 · 2⁻⁹/√3 · 4/3 = 2.1e-3, five deviations of which (10⁵ scores)
    /// are 1.05e-2: the relative error of a weight. The weight and its partner (v, or dO in backward) are rounded too,
    /// 2⁻⁹ each. Together 1.44e-2 of the largest term, which is √3 of the mean square: 2.5e-2. Where dP takes the place
    /// of the score, its error is smaller.
    fn rounding(&self) -> f64 {
        3f64.sqrt() * (1.05e-2 * self.sharpness() + 2.0 * 2f64.powi(-9))
    }
}

const CASES: [Case; 16] = [
    Case { lengths: &[5], heads: 2, kv_heads: 2, dim: 16, attributes: &[] },
    Case { lengths: &[1], heads: 1, kv_heads: 1, dim: 1, attributes: &[] },
    Case { lengths: &[3, 0, 7, 1], heads: 4, kv_heads: 2, dim: 13, attributes: &[] },
    Case { lengths: &[97, 200], heads: 4, kv_heads: 2, dim: 64, attributes: &[] },
    Case { lengths: &[130], heads: 7, kv_heads: 1, dim: 33, attributes: &[("causal", 0.0)] },
    Case { lengths: &[140, 33], heads: 2, kv_heads: 1, dim: 128, attributes: &[("window", 17.0)] },
    Case { lengths: &[250], heads: 2, kv_heads: 2, dim: 24, attributes: &[("window", 100.0), ("scale", 0.3)] },
    Case { lengths: &[66], heads: 3, kv_heads: 3, dim: 80, attributes: &[("softcap", 5.0), ("scale", 0.9)] },
    Case { lengths: &[120], heads: 4, kv_heads: 4, dim: 8, attributes: &[("softcap", 2.0), ("window", 9.0)] },
    Case { lengths: &[40], heads: 96, kv_heads: 1, dim: 20, attributes: &[] },
    Case { lengths: &[70], heads: 1, kv_heads: 1, dim: 256, attributes: &[("window", 1.0)] },
    Case { lengths: &[9, 101], heads: 6, kv_heads: 2, dim: 40, attributes: &[("causal", 0.0), ("window", 30.0)] },
    // Keys in several runs, heads enough to be worked through in turn; maxima that rise late; a scale below zero.
    Case { lengths: &[600, 40], heads: 8, kv_heads: 4, dim: 24, attributes: &[] },
    Case { lengths: &[570], heads: 2, kv_heads: 1, dim: 16, attributes: &[("window", 300.0)] },
    Case { lengths: &[300], heads: 2, kv_heads: 2, dim: 16, attributes: &[("scale", 2.0)] },
    Case { lengths: &[280], heads: 8, kv_heads: 8, dim: 16, attributes: &[("scale", -0.4)] },
];

fn offsets(lengths: &[usize]) -> Tensor {
    let mut sum = 0;
    let mut offsets = vec![0];
    for length in lengths {
        sum += *length as i32;
        offsets.push(sum);
    }
    Tensor::i32(&offsets)
}

fn forward(values: &mut Values, case: &Case) -> OpCall {
    let tokens: usize = case.lengths.iter().sum();
    let q = values.tensor(&[tokens, case.heads, case.dim], 2.0);
    let k = values.tensor(&[tokens, case.kv_heads, case.dim], 2.0);
    let v = values.tensor(&[tokens, case.kv_heads, case.dim], 1.0);
    OpCall::new("attention", vec![q, k, v, offsets(case.lengths)], case.attributes)
}

fn backward(forward: &OpCall, outputs: &[Tensor], gradient: Tensor) -> OpCall {
    let input = |index: usize| forward.inputs[index].clone().unwrap();
    OpCall::new(
        "attentionBackward",
        vec![gradient, input(0), input(1), input(2), outputs[0].clone(), outputs[1].clone(), input(3)],
        &forward.attributes,
    )
}

#[test]
fn attention_equals_the_oracle() {
    let mut values = Values::new(1);
    for case in &CASES {
        forward(&mut values, case).check(TOLERANCE);
    }
}

#[test]
fn attention_backward_equals_the_oracle() {
    let mut values = Values::new(2);
    for case in &CASES {
        let call = forward(&mut values, case);
        let outputs: Vec<Tensor> = call.oracle().into_iter().map(|tensor| tensor.cast(DType::F32)).collect();
        let gradient = values.tensor(&outputs[0].shape, 1.0);
        backward(&call, &outputs, gradient).check_from(2.0 * TOLERANCE, 0.1);
    }
}

fn rounding(mut call: OpCall) -> OpCall {
    call.attributes.push(("bfloat16", 1.0));
    call
}

/// The call in float32 and with rounded operands.
fn both(call: &OpCall) -> [OpCall; 2] {
    [call.clone(), rounding(call.clone())]
}

#[test]
fn attention_of_rounded_operands_stays_within_their_rounding() {
    let mut values = Values::new(11);
    for case in &CASES {
        let exact = forward(&mut values, case);
        let call = rounding(exact.clone());
        // An output is a mean of v.
        call.check_from(case.rounding(), UNIFORM);
        let outputs: Vec<Tensor> = exact.oracle().into_iter().map(|tensor| tensor.cast(DType::F32)).collect();
        let gradient = values.tensor(&outputs[0].shape, 1.0);
        backward(&call, &outputs, gradient).check_from(case.rounding(), case.term());
    }
}

#[test]
fn operands_are_rounded_where_the_machine_multiplies_bf16_and_only_there() {
    let mut values = Values::new(12);
    let call = forward(&mut values, &CASES[3]);
    for isa in Isa::available() {
        let run = |call: &OpCall| call.run(&mut CpuBackend::with_isa(isa)).unwrap();
        let (exact, rounded) = (run(&call), run(&rounding(call.clone())));
        assert_eq!(exact[0].values != rounded[0].values, isa.has_native_bf16(), "{} output", isa.name());
        let gradient = values.tensor(&exact[0].shape, 1.0);
        let (exact, rounded) = (backward(&call, &exact, gradient.clone()), backward(&call, &exact, gradient));
        let (exact, rounded) = (run(&exact), run(&rounding(rounded)));
        for (index, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
            assert_eq!(exact.values != rounded.values, isa.has_native_bf16(), "{} gradient {index}", isa.name());
        }
    }
}

/// The call with the inputs whose bits of `mask` are set in bfloat16, all of them float32 tensors.
fn stored(call: &OpCall, mask: usize) -> OpCall {
    let mut call = call.clone();
    let floats =
        call.inputs.iter_mut().flatten().filter(|tensor| tensor.dtype == DType::F32 && tensor.shape.len() == 3);
    for (index, tensor) in floats.enumerate() {
        let dtype = if mask >> index & 1 == 1 { DType::BF16 } else { DType::F32 };
        *tensor = tensor.clone().cast(dtype);
    }
    call
}

/// All operands hold values that bfloat16 holds, so which of them are stored in it changes nothing, and an output in
/// bfloat16 is the float32 one rounded.
#[test]
fn how_operands_are_stored_changes_no_bit() {
    let mut values = Values::new(13);
    for (number, case) in CASES.iter().enumerate() {
        let exact = forward(&mut values, case);
        let widened = |call: OpCall, count: usize| {
            let mut call = stored(&call, (1 << count) - 1);
            for tensor in call.inputs.iter_mut().flatten().filter(|tensor| tensor.dtype == DType::BF16) {
                *tensor = tensor.clone().cast(DType::F32);
            }
            call
        };
        let exact = widened(exact, 3);
        let outputs: Vec<Tensor> = exact.oracle().into_iter().map(|tensor| tensor.cast(DType::F32)).collect();
        let gradient = values.tensor(&outputs[0].shape, 1.0);
        let exact_backward = widened(backward(&exact, &outputs, gradient), 5);
        for (call, operands) in [(exact, 3), (exact_backward, 5)] {
            for call in both(&call) {
                for isa in Isa::available() {
                    let run = |call: &OpCall| call.run(&mut CpuBackend::with_isa(isa)).unwrap();
                    let expected = run(&call);
                    // Every combination meets several cases; all of them in bfloat16 meets every case.
                    let masks = (0..1 << operands).filter(|mask| (mask + number) % 5 == 0 || mask + 1 == 1 << operands);
                    for mask in masks {
                        let call = stored(&call, mask);
                        let what = format!("{} {} operands {mask:b} of case {number}", isa.name(), call.op);
                        for (found, expected) in run(&call).iter().zip(&expected) {
                            compare(&what, found, expected, 0.0);
                        }
                        let mut call = call;
                        call.attributes.push(("outputBfloat16", 1.0));
                        for (found, expected) in run(&call).iter().zip(&expected) {
                            let is_lse = expected.shape.len() == 2;
                            assert_eq!(found.dtype, if is_lse { DType::F32 } else { DType::BF16 });
                            let mut expected = expected.clone();
                            if !is_lse {
                                // Not through `cast`, which drops what decides a tie.
                                expected.values.iter_mut().for_each(|x| *x = bf16::from_f32(*x as f32).to_f64());
                            }
                            compare(&what, found, &expected, 0.0);
                        }
                    }
                }
            }
        }
    }
}

/// As the float32 ones, and an output is rounded by 2⁻⁸ of itself at most.
#[test]
fn attention_in_bfloat16_throughout_equals_the_oracle() {
    let mut values = Values::new(14);
    for case in &CASES {
        let exact = stored(&forward(&mut values, case), 7);
        let outputs: Vec<Tensor> = exact.oracle().into_iter().map(|tensor| tensor.cast(DType::F32)).collect();
        let gradient = values.tensor(&outputs[0].shape, 1.0);
        let exact_backward = stored(&backward(&exact, &outputs, gradient), 31);
        for (call, floor, term) in [(exact, 0.0, UNIFORM), (exact_backward, 0.1, case.term())] {
            let [mut plain, mut rounded] = both(&call);
            plain.attributes.push(("outputBfloat16", 1.0));
            rounded.attributes.push(("outputBfloat16", 1.0));
            plain.check_from(2.0 * TOLERANCE + 2f64.powi(-8), floor);
            rounded.check_from(case.rounding() + 2f64.powi(-8), term);
        }
    }
}

#[test]
fn attention_gradients_are_those_of_finite_differences() {
    let mut values = Values::new(3);
    let small = [
        Case { lengths: &[5], heads: 2, kv_heads: 1, dim: 3, attributes: &[] },
        Case { lengths: &[4, 2], heads: 2, kv_heads: 2, dim: 2, attributes: &[("softcap", 3.0), ("window", 2.0)] },
        Case { lengths: &[3], heads: 1, kv_heads: 1, dim: 5, attributes: &[("causal", 0.0), ("scale", 0.7)] },
    ];
    for case in &small {
        let call = forward(&mut values, case);
        check_gradient(&call, &[0, 1, 2], 1, |_, outputs, gradients| backward(&call, outputs, gradients[0].clone()));
    }
}

#[test]
fn packed_sequences_equal_each_alone() {
    let mut values = Values::new(4);
    let case = Case { lengths: &[33, 70], heads: 4, kv_heads: 2, dim: 32, attributes: &[] };
    for call in both(&forward(&mut values, &case)) {
        let packed = call.run(&mut CpuBackend::with_isa(Isa::detect())).unwrap();
        let mut alone = call.clone();
        for (index, heads) in [(0, 4), (1, 2), (2, 2)] {
            let tensor = alone.inputs[index].as_mut().unwrap();
            tensor.values.drain(..33 * heads * 32);
            tensor.shape[0] = 70;
        }
        alone.inputs[3] = Some(offsets(&[70]));
        let alone = alone.run(&mut CpuBackend::with_isa(Isa::detect())).unwrap();
        assert_eq!(packed[0].values[33 * 4 * 32..], alone[0].values[..], "bit for bit");
    }
}

#[test]
fn a_nan_reaches_the_queries_that_see_it_and_no_other() {
    let mut values = Values::new(5);
    let case = Case { lengths: &[20, 10], heads: 2, kv_heads: 1, dim: 16, attributes: &[] };
    let mut call = forward(&mut values, &case);
    call.inputs[1].as_mut().unwrap().values[15 * 16 + 3] = f64::NAN;
    for call in both(&call) {
        let found = call.run(&mut CpuBackend::with_isa(Isa::detect())).unwrap();
        for (at, value) in found[0].values.iter().enumerate() {
            let token = at / 32;
            assert_eq!(value.is_nan(), (15..20).contains(&token), "token {token}");
        }
    }
}

#[test]
fn rope_equals_the_oracle_and_its_inverse_undoes_it() {
    let mut values = Values::new(6);
    for (tokens, heads, dim, half) in [(5, 2, 16, 8), (1, 1, 2, 1), (33, 3, 40, 10), (300, 8, 64, 32)] {
        let positions: Vec<i32> = (0..tokens).map(|i| (i * 37 % 4096) as i32).collect();
        let frequencies = (0..half).map(|i| 10_000f64.powf(-(i as f64) / half as f64)).collect();
        let inputs =
            vec![values.tensor(&[tokens, heads, dim], 1.0), Tensor::i32(&positions), Tensor::f32(&[half], frequencies)];
        let call = OpCall::new("rope", inputs, &[("attentionScale", 1.25)]);
        call.check(4e-7);
        let mut stored = call.clone();
        stored.inputs[0] = stored.inputs[0].take().map(|x| x.cast(DType::BF16));
        assert_eq!(stored.oracle()[0].dtype, DType::BF16);
        // Rounding the result moves it by 2^-8 of its size.
        stored.check(4e-7 + 1.0 / 256.0);
        let mut back = OpCall::new("rope", vec![], &[("inverse", 1.0)]);
        let mut there = call.clone();
        there.attributes.clear();
        back.inputs = vec![Some(there.oracle()[0].clone()), call.inputs[1].clone(), call.inputs[2].clone()];
        compare("rope there and back", &back.oracle()[0], call.inputs[0].as_ref().unwrap(), 1e-12);
    }
}

#[test]
fn cached_attention_equals_the_oracle_for_prefill_and_decode() {
    let mut values = Values::new(7);
    for (dtype, heads, kv_heads, dim, attributes) in [
        (DType::F32, 4, 2, 16, &[][..]),
        (DType::BF16, 4, 1, 33, &[]),
        (DType::F32, 3, 3, 64, &[("window", 40.0)]),
        (DType::BF16, 8, 2, 128, &[("softcap", 4.0)]),
    ] {
        let (sequences, capacity) = (3, 300);
        let cache = [sequences, capacity, kv_heads, dim];
        // A prefill of 70 tokens in slot 2, decodes at other places, a lone first token.
        let mut slots = vec![2; 70];
        let mut positions: Vec<i32> = (10..80).collect();
        slots.extend([0, 1, 1]);
        positions.extend([299, 0, 123]);
        let tokens = slots.len();
        OpCall::new(
            "attentionDecode",
            vec![
                values.tensor(&[tokens, heads, dim], 2.0),
                values.tensor(&cache, 1.0).cast(dtype),
                values.tensor(&cache, 1.0).cast(dtype),
                Tensor::i32(&slots),
                Tensor::i32(&positions),
            ],
            attributes,
        )
        .check(TOLERANCE);
    }
}

#[test]
fn kv_append_writes_the_addressed_rows_only() {
    let mut values = Values::new(8);
    for dtype in [DType::F32, DType::BF16] {
        let rows = values.tensor(&[3, 2, 5], 1.0).cast(dtype).cast(DType::F32);
        OpCall::new(
            "kvAppend",
            vec![
                values.tensor(&[2, 4, 2, 5], 1.0).cast(dtype),
                values.tensor(&[2, 4, 2, 5], 1.0).cast(dtype),
                rows.clone(),
                rows,
                Tensor::i32(&[1, 0, 1]),
                Tensor::i32(&[3, 0, 2]),
            ],
            &[],
        )
        .check(0.0);
    }
}

/// Norm and rotation are a dozen roundings of values below 4; a cache in bfloat16 rounds keys by 2⁻⁹ more.
#[test]
fn entering_the_cache_equals_the_oracle_and_the_ops_it_joins() {
    let mut values = Values::new(10);
    for (dtype, tolerance) in [(DType::F32, 4e-6), (DType::BF16, 2f64.powi(-8))] {
        for (tokens, heads, kv_heads, dim, half) in
            [(1, 16, 8, 128, 64), (3, 4, 2, 10, 3), (70, 6, 3, 64, 32), (0, 2, 1, 4, 2)]
        {
            let cache = values.tensor(&[2, 80, kv_heads, dim], 1.0).cast(dtype);
            let (q, k) = (values.tensor(&[tokens, heads, dim], 1.0), values.tensor(&[tokens, kv_heads, dim], 1.0));
            // Values that the cache's dtype holds, so that only what is computed is rounded.
            let v = values.tensor(&[tokens, kv_heads, dim], 1.0).cast(dtype).cast(DType::F32);
            let slots: Vec<i32> = (0..tokens as i32).map(|token| token % 2).collect();
            let positions: Vec<i32> = (0..tokens as i32).map(|token| token / 2 + 5).collect();
            let (slots, positions) = (Tensor::i32(&slots), Tensor::i32(&positions));
            let frequencies = values.tensor(&[half], 0.5);
            let norms = [values.tensor(&[dim], 1.0), values.tensor(&[dim], 1.0)];
            for [with_q, with_k] in [[true, true], [false, false], [false, true]] {
                let norm = |is_there: bool, index: usize| is_there.then(|| norms[index].clone());
                let operands = [&q, &k, &v, &cache, &cache, &slots, &positions, &frequencies];
                let mut inputs: Vec<Option<Tensor>> = operands.into_iter().cloned().map(Some).collect();
                inputs.extend([norm(with_q, 0), norm(with_k, 1)]);
                let attributes = vec![("epsilon", 1e-5), ("attentionScale", 1.25)];
                let entered = OpCall { op: "kvEnter", inputs, attributes, rest: vec![] };
                entered.check(tolerance);
                for isa in Isa::available() {
                    let run = |call: OpCall| call.run(&mut CpuBackend::with_isa(isa)).expect("runs").remove(0);
                    let normed = match norm(with_q, 0) {
                        Some(weight) => run(OpCall::new("rmsNorm", vec![q.clone(), weight], &[("epsilon", 1e-5)])),
                        None => q.clone(),
                    };
                    let turned = vec![normed, positions.clone(), frequencies.clone()];
                    let apart = run(OpCall::new("rope", turned, &[("attentionScale", 1.25)]));
                    let together = entered.run(&mut CpuBackend::with_isa(isa)).expect("runs").remove(0);
                    assert_eq!(together.values, apart.values, "{}", isa.name());
                }
            }
        }
    }
}

#[test]
fn addresses_outside_the_cache_and_bad_offsets_are_coded_errors() {
    let mut values = Values::new(9);
    let row = values.tensor(&[1, 1, 2], 1.0);
    let cache = values.tensor(&[1, 2, 1, 2], 1.0);
    let inputs = vec![cache.clone(), cache, row.clone(), row, Tensor::i32(&[0]), Tensor::i32(&[2])];
    let mut cpu = CpuBackend::with_isa(Isa::Portable);
    assert_eq!(OpCall::new("kvAppend", inputs, &[]).run(&mut cpu).unwrap_err().code, "ERR_INDEX_OUT_OF_RANGE");
    let mut call = forward(&mut values, &CASES[0]);
    call.inputs[3] = Some(Tensor::i32(&[0, 4]));
    assert_eq!(call.run(&mut cpu).unwrap_err().code, "ERR_INVALID_ARGUMENT");
}
