use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};

/// Sums of D terms in f32: error ≤ D·ε in the worst case, about √D·ε in practice; 2e-6 covers D ≤ 1,024.
const TOLERANCE: f64 = 2e-6;

const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 5), (17, 16), (5, 33), (70, 128), (2, 1000)];

fn rms(values: &mut Values, shape: &[usize], residual: bool, dtype: DType) -> OpCall {
    let columns = shape[shape.len() - 1];
    let call = OpCall::new(
        "rmsNorm",
        vec![values.tensor(shape, 2.0), values.tensor(&[columns], 1.0).cast(dtype)],
        &[("epsilon", 1e-5), ("weightOffset", if residual { 1.0 } else { 0.0 })],
    );
    call.with_input(residual.then(|| values.tensor(shape, 1.0)))
}

#[test]
fn rms_norm_equals_the_oracle_for_every_weight_dtype() {
    let mut values = Values::new(1);
    for (rows, columns) in SHAPES {
        for (residual, dtype) in [(false, DType::F32), (true, DType::BF16), (true, DType::F16)] {
            rms(&mut values, &[rows, columns], residual, dtype).check(TOLERANCE);
        }
    }
    rms(&mut values, &[7, 3, 24], false, DType::F32).check(TOLERANCE);
}

#[test]
fn rms_norm_backward_equals_the_oracle() {
    let mut values = Values::new(2);
    for (rows, columns) in SHAPES {
        for (residual, need) in [(false, 1.0), (true, 1.0), (true, 0.0)] {
            let shape = [rows, columns];
            let forward = rms(&mut values, &shape, false, DType::F32);
            let outputs = forward.oracle();
            let call = OpCall::new(
                "rmsNormBackward",
                vec![
                    values.tensor(&shape, 1.0),
                    forward.inputs[0].clone().unwrap(),
                    forward.inputs[1].clone().unwrap(),
                    outputs[1].clone().cast(DType::F32),
                ],
                &[("needWeight", need)],
            );
            call.with_input(residual.then(|| values.tensor(&shape, 1.0))).check_from(4.0 * TOLERANCE, 0.1);
        }
    }
}

/// Rounding a result to bfloat16 moves it by 2^-8 of its size at most.
const STORED: f64 = 1.0 / 256.0;

#[test]
fn stored_operands_and_results_equal_the_oracle() {
    let mut values = Values::new(7);
    for ((rows, columns), [x, dy]) in SHAPES.into_iter().flat_map(|shape| {
        [[DType::F32; 2], [DType::F32, DType::BF16], [DType::BF16, DType::F32], [DType::BF16; 2]].map(|x| (shape, x))
    }) {
        for (output, more) in [(0.0, 0.0), (1.0, STORED)] {
            let shape = [rows, columns];
            let mut forward = rms(&mut values, &shape, rows % 2 == 0, DType::BF16);
            forward.inputs[0] = forward.inputs[0].take().map(|tensor| tensor.cast(x));
            let saved = forward.oracle();
            forward.attributes.push(("outputBfloat16", output));
            forward.check(TOLERANCE + more);
            let call = OpCall::new(
                "rmsNormBackward",
                vec![
                    values.tensor(&shape, 1.0).cast(dy),
                    forward.inputs[0].clone().unwrap(),
                    forward.inputs[1].clone().unwrap(),
                    saved[1].clone().cast(DType::F32),
                ],
                &[("outputBfloat16", output)],
            );
            call.with_input((rows % 2 == 0).then(|| values.tensor(&shape, 1.0)))
                .check_from(4.0 * TOLERANCE + more, 0.1);
        }
    }
}

#[test]
fn rms_norm_gradients_are_those_of_finite_differences() {
    let mut values = Values::new(3);
    for shape in [&[1usize, 1][..], &[3, 5], &[2, 3, 7]] {
        for residual in [false, true] {
            let forward = rms(&mut values, shape, residual, DType::F32);
            let offset = if residual { 1.0 } else { 0.0 };
            let wanted: &[usize] = &[0, 1];
            // With a residual the second differentiable output is the sum itself.
            check_gradient(&forward, wanted, 1, |inputs, outputs, gradients| {
                let x = outputs.get(2).or(inputs[0].as_ref()).unwrap().clone();
                OpCall::new(
                    "rmsNormBackward",
                    vec![gradients[0].clone(), x, inputs[1].clone().unwrap(), outputs[1].clone()],
                    &[("weightOffset", offset)],
                )
            });
        }
    }
}

fn layer(values: &mut Values, rows: usize, columns: usize, bias: bool) -> OpCall {
    OpCall::new("layerNorm", vec![values.tensor(&[rows, columns], 2.0), values.tensor(&[columns], 1.0)], &[])
        .with_input(bias.then(|| values.tensor(&[columns], 1.0)))
}

fn layer_backward(inputs: &[Option<Tensor>], outputs: &[Tensor], dy: Tensor) -> OpCall {
    let saved = |index: usize| outputs[index].clone();
    OpCall::new(
        "layerNormBackward",
        vec![dy, inputs[0].clone().unwrap(), inputs[1].clone().unwrap(), saved(1), saved(2)],
        &[],
    )
}

#[test]
fn layer_norm_equals_the_oracle_and_finite_differences() {
    let mut values = Values::new(4);
    for (rows, columns) in SHAPES.into_iter().filter(|shape| shape.1 > 1) {
        let forward = layer(&mut values, rows, columns, rows % 2 == 1);
        forward.check(TOLERANCE);
        let dy = values.tensor(&[rows, columns], 1.0);
        let outputs: Vec<Tensor> = forward.oracle().into_iter().map(|t| t.cast(DType::F32)).collect();
        layer_backward(&forward.inputs, &outputs, dy).check(4.0 * TOLERANCE);
    }
    check_gradient(&layer(&mut values, 3, 5, true), &[0, 1, 2], 1, |inputs, outputs, gradients| {
        layer_backward(inputs, outputs, gradients[0].clone())
    });
}

#[test]
fn a_nan_or_infinity_stays_in_its_row() {
    let mut values = Values::new(5);
    let mut call = rms(&mut values, &[3, 19], false, DType::F32);
    call.inputs[0].as_mut().unwrap().values[19 + 18] = f64::NAN;
    call.check(TOLERANCE);
    call.inputs[0].as_mut().unwrap().values[19 + 18] = f64::INFINITY;
    call.check(TOLERANCE);
}

#[test]
fn a_weight_of_another_extent_is_refused() {
    let mut values = Values::new(6);
    let call = OpCall::new("rmsNorm", vec![values.tensor(&[2, 4], 1.0), values.tensor(&[5], 1.0)], &[]);
    let error = call.run(&mut crate::oracle::OracleBackend::default()).unwrap_err();
    assert_eq!(error.code, "ERR_SHAPE_MISMATCH");
}
