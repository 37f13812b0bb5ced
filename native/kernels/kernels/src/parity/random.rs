use crate::cpu::CpuBackend;
use crate::cpu::isa::Isa;
use crate::harness::{OpCall, Tensor, Values};

#[test]
fn random_tensors_equal_the_oracle_and_continue_by_offset() {
    for (op, attributes) in [
        ("uniform", vec![("seed", 3.0), ("low", -2.0), ("high", 5.0)]),
        ("normal", vec![("seed", 4.0), ("mean", 1.0), ("std", 0.02)]),
        ("bernoulli", vec![("seed", 5.0), ("p", 0.25)]),
    ] {
        let whole = OpCall::new(op, vec![], &attributes).with_rest(&[10_007.0]);
        whole.check(2e-7);
        let mut later = attributes.clone();
        later.push(("offset", 5_003.0));
        let tail = OpCall::new(op, vec![], &later).with_rest(&[5_004.0]).oracle();
        assert_eq!(whole.oracle()[0].values[5_003..], tail[0].values[..], "{op}");
    }
}

fn history(rows: usize, values: &mut Values, vocabulary: usize) -> Tensor {
    let ids: Vec<i32> =
        (0..rows * 6).map(|at| if at % 5 == 4 { -1 } else { values.below(vocabulary) as i32 }).collect();
    let mut tensor = Tensor::i32(&ids);
    tensor.shape = vec![rows, 6];
    tensor
}

#[test]
fn sampling_equals_the_oracle_for_all_settings() {
    let mut values = Values::new(1);
    for (rows, vocabulary) in [(1, 1), (3, 17), (5, 1000), (2, 30_000)] {
        let logits = values.tensor(&[rows, vocabulary], 6.0);
        for settings in [
            vec![("temperature", 0.0)],
            vec![("temperature", 0.8)],
            vec![("topK", 5.0)],
            vec![("topP", 0.7), ("temperature", 1.3)],
            vec![("minP", 0.2)],
            vec![("topK", 40.0), ("topP", 0.9), ("minP", 0.01), ("repetitionPenalty", 1.3)],
            vec![("temperature", 0.0), ("repetitionPenalty", 2.0)],
        ] {
            for step in 0..5 {
                let mut attributes = settings.clone();
                attributes.extend([("seed", 11.0), ("step", f64::from(step))]);
                OpCall::new("sample", vec![logits.clone()], &attributes)
                    .with_input(Some(history(rows, &mut values, vocabulary)))
                    .check(3e-5);
            }
        }
    }
}

#[test]
fn equal_logits_take_the_lowest_id_and_draws_follow_the_distribution() {
    let flat = Tensor::f32(&[1, 9], vec![2.0; 9]);
    assert_eq!(OpCall::new("sample", vec![flat.clone()], &[("temperature", 0.0)]).oracle()[0].values, [0.0]);
    assert_eq!(OpCall::new("sample", vec![flat], &[("topK", 1.0)]).oracle()[0].values, [0.0]);
    let rows = 20_000;
    let logits = Tensor::f32(&[rows, 2], (0..2 * rows).map(|at| if at % 2 == 0 { 3f64.ln() } else { 0.0 }).collect());
    let mut cpu = CpuBackend::with_isa(Isa::detect());
    let ids = OpCall::new("sample", vec![logits], &[("seed", 2.0)]).run(&mut cpu).unwrap();
    let share = ids[0].values.iter().filter(|id| **id == 0.0).count() as f64 / rows as f64;
    // Deviation √(0.75·0.25/2e4) = 0.0031; five of them.
    assert!((share - 0.75).abs() < 0.0153, "{share}");
}

#[test]
fn the_likeliest_token_is_found_in_any_part_of_a_vocabulary() {
    let vocabulary = 20_000;
    let mut values = Values::new(3);
    for best in [0, 8191, 8192, 19_999] {
        let mut logits = values.tensor(&[1, vocabulary], 3.0);
        logits.values[best] = 16.0;
        // The same logit again further on does not count, and a part of nothing but −∞ adds nothing.
        logits.values[vocabulary - 1] = 16.0;
        logits.values[8192..16_384].iter_mut().skip(1).for_each(|value| *value = f64::NEG_INFINITY);
        OpCall::new("sample", vec![logits], &[("temperature", 0.0)]).check(3e-5);
    }
}

#[test]
fn logits_without_a_distribution_are_an_error() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut logits = Tensor::f32(&[2, 40], vec![0.5; 80]);
        logits.values[77] = bad;
        for temperature in [0.0, 1.0] {
            let call = OpCall::new("sample", vec![logits.clone()], &[("temperature", temperature)]);
            for isa in Isa::available() {
                assert_eq!(call.run(&mut CpuBackend::with_isa(isa)).unwrap_err().code, "ERR_NUMERIC");
            }
        }
    }
    let call = OpCall::new("sample", vec![Tensor::f32(&[1, 3], vec![0.0; 3])], &[("topP", 0.0)]);
    assert_eq!(call.run(&mut CpuBackend::with_isa(Isa::Portable)).unwrap_err().code, "ERR_INVALID_ARGUMENT");
}
