use crate::cpu::CpuBackend;
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values};

/// A dozen roundings per element.
const TOLERANCE: f64 = 1e-6;

fn adam_group(values: &mut Values, elements: usize, dtype: DType) -> Vec<Tensor> {
    let mut v = values.tensor(&[elements], 1.0);
    v.values.iter_mut().for_each(|value| *value = value.abs());
    vec![
        values.tensor(&[elements], 1.0).cast(dtype),
        values.tensor(&[elements], 1.0),
        values.tensor(&[elements], 0.1),
        v,
    ]
}

fn with_norm(op: &'static str, norm: Option<Tensor>, group: Vec<Tensor>, attributes: &[(&'static str, f64)]) -> OpCall {
    let mut call = OpCall::new(op, vec![], attributes);
    call.inputs.push(norm);
    call.inputs.extend(group.into_iter().map(Some));
    call
}

#[test]
fn adam_equals_the_oracle_over_several_tensors_and_dtypes() {
    let mut values = Values::new(1);
    let mut group = adam_group(&mut values, 1, DType::F32);
    group.extend(adam_group(&mut values, 40_003, DType::F32));
    group.extend(adam_group(&mut values, 77, DType::BF16));
    let attributes = [
        ("learningRate", 1e-2),
        ("weightDecay", 0.1),
        ("step", 7.0),
        ("gradScale", 0.5),
        ("maxNorm", 1.0),
        ("beta2", 0.95),
    ];
    let norm = Some(Tensor::f32(&[1], vec![12.5]));
    // A bf16 parameter may round the other way where f32 and f64 straddle a midpoint: one bf16 ulp.
    with_norm("adamW", None, group.clone(), &attributes[..3]).check_from(4e-3, 0.0);
    group.truncate(8);
    with_norm("adamW", None, group.clone(), &attributes).check(TOLERANCE);
    with_norm("adamW", norm, group, &attributes).check(TOLERANCE);
}

/// Values of torch.optim.AdamW (lr 0.1, weight decay 0.01) after three steps with gradients 0.5, −0.25, 1
/// from p = 1, worked out by hand with its formula in f64.
#[test]
fn adam_follows_the_published_update() {
    let (mut p, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
    let mut state = vec![Tensor::f32(&[1], vec![1.0]), Tensor::f32(&[1], vec![0.0]), Tensor::f32(&[1], vec![0.0])];
    for (step, gradient) in [0.5, -0.25, 1.0].into_iter().enumerate() {
        let t = step as i32 + 1;
        p -= 0.1 * 0.01 * p;
        m = 0.9 * m + 0.1 * gradient;
        v = 0.999 * v + 0.001 * gradient * gradient;
        p -= 0.1 * (m / (1.0 - 0.9f64.powi(t))) / ((v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8);
        let group = vec![state[0].clone(), Tensor::f32(&[1], vec![gradient]), state[1].clone(), state[2].clone()];
        let attributes = [("learningRate", 0.1), ("weightDecay", 0.01), ("step", f64::from(t))];
        state = with_norm("adamW", None, group, &attributes).run(&mut CpuBackend::with_isa(Isa::detect())).unwrap();
    }
    assert!((state[0].values[0] - p).abs() < 1e-6, "{} instead of {p}", state[0].values[0]);
}

#[test]
fn eight_bit_adam_equals_the_oracle() {
    let mut values = Values::new(2);
    for elements in [1usize, 255, 256, 700, 33_000] {
        let blocks = elements.div_ceil(256);
        let codes = |values: &mut Values| Tensor {
            dtype: DType::U8,
            shape: vec![elements],
            values: (0..elements).map(|_| values.below(256) as f64).collect(),
        };
        let scales = |values: &mut Values, size: f64| {
            let mut scales = values.tensor(&[blocks], size);
            scales.values.iter_mut().for_each(|value| *value = value.abs() + 1e-3);
            scales
        };
        let group = vec![
            values.tensor(&[elements], 1.0),
            values.tensor(&[elements], 1.0),
            codes(&mut values),
            scales(&mut values, 0.1).cast(DType::F32),
            codes(&mut values),
            scales(&mut values, 0.5).cast(DType::F32),
        ];
        let call = with_norm("adamW8bit", None, group, &[("learningRate", 1e-2), ("weightDecay", 0.1), ("step", 3.0)]);
        let expected = call.oracle();
        for isa in Isa::available() {
            let found = call.run(&mut CpuBackend::with_isa(isa)).unwrap();
            for index in [0, 2, 4] {
                crate::harness::compare(isa.name(), &found[index], &expected[index], 2.0 * TOLERANCE);
            }
            // A state on a midpoint of the map may take either neighbour.
            for index in [1, 3] {
                let pairs = found[index].values.iter().zip(&expected[index].values);
                let moved = pairs.clone().filter(|(a, b)| a != b).count();
                assert!(pairs.clone().all(|(a, b)| (a - b).abs() <= 1.0), "{} codes {index}", isa.name());
                assert!(moved <= 1 + elements / 1000, "{} of {elements} codes moved", moved);
            }
        }
    }
}

#[test]
fn a_zero_state_stays_representable() {
    let group = vec![
        Tensor::f32(&[3], vec![1.0, 2.0, 3.0]),
        Tensor::f32(&[3], vec![0.0; 3]),
        Tensor { dtype: DType::U8, shape: vec![3], values: vec![127.0; 3] },
        Tensor::f32(&[1], vec![0.0]),
        Tensor { dtype: DType::U8, shape: vec![3], values: vec![0.0; 3] },
        Tensor::f32(&[1], vec![0.0]),
    ];
    let call = with_norm("adamW8bit", None, group, &[("learningRate", 0.1), ("step", 1.0)]);
    let found = call.run(&mut CpuBackend::with_isa(Isa::detect())).unwrap();
    assert_eq!(found[0].values, [1.0, 2.0, 3.0]);
    assert_eq!((found[1].values[0], found[3].values[0]), (127.0, 0.0));
}

#[test]
fn sgd_equals_the_oracle() {
    let mut values = Values::new(3);
    let mut group = vec![values.tensor(&[40_000], 1.0), values.tensor(&[40_000], 1.0)];
    with_norm("sgd", None, group.clone(), &[("learningRate", 0.1), ("weightDecay", 0.2)]).check(TOLERANCE);
    group.push(values.tensor(&[40_000], 1.0));
    for nesterov in [0.0, 1.0] {
        let attributes = [("learningRate", 0.1), ("weightDecay", 0.2), ("nesterov", nesterov)];
        with_norm("sgdMomentum", None, group.clone(), &attributes).check(TOLERANCE);
    }
}

#[test]
fn norm_clipping_and_finiteness_equal_the_oracle() {
    let mut values = Values::new(4);
    let mut tensors = vec![values.tensor(&[3, 5], 1.0), values.tensor(&[50_001], 2.0), values.tensor(&[1], 1.0)];
    for scale in [1.0, 1e-25, 1e25] {
        let scaled: Vec<Tensor> = tensors
            .iter()
            .map(|tensor| Tensor::f32(&tensor.shape, tensor.values.iter().map(|v| v * scale).collect()))
            .collect();
        OpCall::new("gradNorm", scaled.clone(), &[]).check(TOLERANCE);
        OpCall::new("allFinite", scaled, &[]).check(0.0);
    }
    for norm in [0.5, 30.0] {
        let mut inputs = vec![Tensor::f32(&[1], vec![norm])];
        inputs.extend(tensors.clone());
        OpCall::new("clipScale", inputs, &[("maxNorm", 1.0)]).check(TOLERANCE);
    }
    for special in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        tensors[1].values[50_000] = special;
        OpCall::new("allFinite", tensors.clone(), &[]).check(0.0);
    }
}

#[test]
fn a_parameter_of_the_wrong_dtype_or_count_is_refused() {
    let mut values = Values::new(5);
    let mut oracle = crate::oracle::OracleBackend::default();
    let attributes = [("learningRate", 0.1), ("step", 1.0)];
    let mut group = adam_group(&mut values, 4, DType::F32);
    group[1] = values.tensor(&[5], 1.0);
    assert_eq!(
        with_norm("adamW", None, group.clone(), &attributes).run(&mut oracle).unwrap_err().code,
        "ERR_SHAPE_MISMATCH"
    );
    group[1] = values.tensor(&[4], 1.0).cast(DType::F16);
    assert_eq!(with_norm("adamW", None, group, &attributes).run(&mut oracle).unwrap_err().code, "ERR_DTYPE_MISMATCH");
}
