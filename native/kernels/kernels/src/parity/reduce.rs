use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};

/// Sums of n terms in lanes: √n·ε/4 in practice; n ≤ 5e4.
const TOLERANCE: f64 = 5e-6;

const SHAPES: [&[usize]; 6] = [&[1], &[7], &[3, 5], &[4, 2, 33], &[130, 257], &[2, 20_000]];

#[test]
fn reductions_equal_the_oracle() {
    let mut values = Values::new(1);
    for shape in SHAPES {
        let x = values.tensor(shape, 2.0);
        for op in ["sum", "mean", "max"] {
            for over in [0.0, 1.0, 2.0] {
                OpCall::new(op, vec![x.clone()], &[("over", over)]).check_from(TOLERANCE, 1.0);
            }
        }
        OpCall::new("argmax", vec![x.clone()], &[]).check(0.0);
        let columns = shape[shape.len() - 1] as f64;
        let mut per_row: Vec<f64> = shape.iter().map(|extent| *extent as f64).collect();
        OpCall::new("sumTo", vec![x.clone()], &[]).with_rest(&per_row).check(0.0);
        *per_row.last_mut().unwrap() = 1.0;
        for rest in [vec![1.0], vec![columns], per_row] {
            OpCall::new("sumTo", vec![x.clone()], &[]).with_rest(&rest).check_from(TOLERANCE, 1.0);
        }
    }
}

#[test]
fn a_nan_wins_a_maximum_and_ties_take_the_lowest_index() {
    let mut x = Tensor::f32(&[2, 70], vec![1.0; 140]);
    x.values[69] = f64::NAN;
    x.values[70 + 5] = 2.0;
    x.values[70 + 50] = 2.0;
    OpCall::new("argmax", vec![x.clone()], &[]).check(0.0);
    for over in [0.0, 1.0, 2.0] {
        OpCall::new("max", vec![x.clone()], &[("over", over)]).check(0.0);
    }
}

#[test]
fn softmax_and_its_gradient_equal_the_oracle_and_finite_differences() {
    let mut values = Values::new(2);
    for (op, backward) in [("softmax", "softmaxBackward"), ("logSoftmax", "logSoftmaxBackward")] {
        for shape in SHAPES {
            let x = values.tensor(shape, 30.0);
            let call = OpCall::new(op, vec![x], &[]);
            call.check(TOLERANCE);
            let y = call.oracle()[0].clone().cast(DType::F32);
            OpCall::new(backward, vec![values.tensor(shape, 1.0), y], &[]).check_from(20.0 * TOLERANCE, 0.1);
        }
        let call = OpCall::new(op, vec![values.tensor(&[2, 5], 2.0)], &[]);
        check_gradient(&call, &[0], 1, |_, outputs, gradients| {
            OpCall::new(backward, vec![gradients[0].clone(), outputs[0].clone()], &[])
        });
    }
}

#[test]
fn layout_ops_move_elements_of_every_size() {
    let mut values = Values::new(3);
    for dtype in [DType::F32, DType::BF16, DType::U8, DType::F64] {
        let mut tensor = |shape: &[usize]| {
            let mut tensor = values.tensor(shape, 100.0);
            tensor.values.iter_mut().for_each(|value| *value = value.abs().floor());
            tensor.cast(dtype)
        };
        let parts = vec![tensor(&[3, 5]), tensor(&[70, 5]), tensor(&[1, 5])];
        OpCall::new("concat", parts, &[]).check(0.0);
        let parts = vec![tensor(&[2, 3, 5]), tensor(&[2, 3, 1]), tensor(&[2, 3, 64])];
        OpCall::new("concatColumns", parts, &[]).check(0.0);
        let x = tensor(&[65, 37]);
        OpCall::new("sliceColumns", vec![x.clone()], &[("start", 5.0), ("count", 30.0)]).check(0.0);
        OpCall::new("gatherRows", vec![x.clone(), Tensor::i32(&[64, 0, 0, 7])], &[]).check(0.0);
        OpCall::new("transpose", vec![x], &[]).check(0.0);
    }
    let x = values.tensor(&[4, 3, 2], 1.0);
    OpCall::new("scatterAddRows", vec![x, Tensor::i32(&[1, 4, 1, 0])], &[("rows", 5.0)]).check(1e-7);
    let past = OpCall::new("sliceColumns", vec![values.tensor(&[2, 4], 1.0)], &[("start", 3.0), ("count", 2.0)]);
    assert_eq!(past.run(&mut crate::oracle::OracleBackend::default()).unwrap_err().code, "ERR_INVALID_ARGUMENT");
}
