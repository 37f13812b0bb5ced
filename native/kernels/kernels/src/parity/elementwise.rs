use crate::dtype::DType;
use crate::harness::{OpCall, Tensor, Values, check_gradient};

/// One operation: half an ulp, up to 4 ulp for transcendental functions.
const TOLERANCE: f64 = 5e-7;

const BINARY: [&str; 9] = ["add", "sub", "mul", "div", "maximum", "minimum", "equal", "less", "lessEqual"];

#[test]
fn binary_ops_equal_the_oracle_for_every_broadcast() {
    let mut values = Values::new(1);
    for op in BINARY {
        for (rows, columns) in [(1, 1), (3, 5), (7, 64), (300, 70)] {
            let full = values.tensor(&[rows, columns], 3.0);
            for shape in [vec![rows, columns], vec![1], vec![columns], vec![rows, 1], vec![rows]] {
                let mut other = values.tensor(&shape, 2.0);
                if op == "equal" {
                    other.values[0] = full.values[0];
                }
                OpCall::new(op, vec![full.clone(), other.clone()], &[]).check_from(TOLERANCE, 1.0);
                OpCall::new(op, vec![other, full.clone()], &[]).check_from(TOLERANCE, 1.0);
            }
        }
        let specials = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, 1.0];
        let left: Vec<f64> = specials.iter().flat_map(|a| [*a; 5]).collect();
        let right: Vec<f64> = (0..5).flat_map(|_| specials).collect();
        OpCall::new(op, vec![Tensor::f32(&[25], left), Tensor::f32(&[25], right)], &[]).check(0.0);
    }
    let error = OpCall::new("add", vec![values.tensor(&[2, 3], 1.0), values.tensor(&[2, 2], 1.0)], &[])
        .run(&mut crate::oracle::OracleBackend::default());
    assert_eq!(error.unwrap_err().code, "ERR_SHAPE_MISMATCH");
}

#[test]
fn stored_operands_give_float32_and_sums_in_place_keep_their_dtype() {
    let mut values = Values::new(6);
    for (rows, columns) in [(1, 1), (3, 5), (7, 64), (300, 70)] {
        for shape in [vec![rows, columns], vec![1], vec![columns], vec![rows, 1]] {
            for dtypes in [[DType::BF16; 2], [DType::F32, DType::BF16], [DType::BF16, DType::F32]] {
                let full = values.tensor(&[rows, columns], 3.0).cast(dtypes[0]);
                let other = values.tensor(&shape, 2.0).cast(dtypes[1]);
                let call = OpCall::new("mul", vec![full.clone(), other.clone()], &[]);
                assert_eq!(call.oracle()[0].dtype, DType::F32);
                call.check(TOLERANCE);
                let sums =
                    OpCall::new("addScaled", vec![full.clone(), full.clone().cast(dtypes[1])], &[("factor", 0.5)]);
                // Rounding to bfloat16 moves a sum by 2^-8 of its size.
                sums.check(if full.dtype == DType::BF16 { 1.0 / 256.0 } else { TOLERANCE });
            }
        }
        let x = values.tensor(&[rows, columns], 2.0).cast(DType::BF16);
        for (op, attributes) in [("sigmoid", &[][..]), ("pow", &[("exponent", 2.0)]), ("sum", &[]), ("softmax", &[])] {
            OpCall::new(op, vec![x.clone()], attributes).check_from(2e-6, 1.0);
        }
        let dropout = [("p", 0.3), ("seed", 5.0)];
        OpCall::new("dropout", vec![x], &dropout).check(TOLERANCE);
    }
}

#[test]
fn where_selects_with_broadcast_operands() {
    let mut values = Values::new(2);
    let condition = Tensor::f32(&[4, 3], (0..12).map(|i| f64::from(i % 3)).collect());
    OpCall::new("where", vec![condition, values.tensor(&[4, 3], 1.0), Tensor::f32(&[1], vec![9.0])], &[]).check(0.0);
}

#[test]
fn unary_ops_equal_the_oracle() {
    let mut values = Values::new(3);
    for length in [1, 15, 17, 50_000] {
        let any = values.tensor(&[length], 4.0);
        let positive = Tensor::f32(&[length], any.values.iter().map(|v| v.abs() + 1e-3).collect());
        for (op, x, attributes) in [
            ("neg", &any, &[][..]),
            ("exp", &any, &[]),
            ("abs", &any, &[]),
            ("sigmoid", &any, &[]),
            ("tanh", &any, &[]),
            ("clamp", &any, &[("low", -0.5), ("high", 1.5)]),
            ("scale", &any, &[("factor", -1.5), ("bias", 0.25)]),
            ("log", &positive, &[]),
            ("sqrt", &positive, &[]),
            ("pow", &positive, &[("exponent", -1.7)]),
            ("pow", &any, &[("exponent", 2.0)]),
        ] {
            OpCall::new(op, vec![x.clone()], attributes).check_from(TOLERANCE, 0.5);
        }
        OpCall::new("addScaled", vec![any.clone(), positive], &[("factor", -0.3)]).check(TOLERANCE);
    }
}

#[test]
fn dropout_draws_the_same_mask_everywhere_and_in_backward() {
    let mut values = Values::new(4);
    for (length, offset) in [(1, 0.0), (10_003, 0.0), (33, 5.0), (40_000, 1e10)] {
        let x = values.tensor(&[length], 1.0);
        let attributes = [("p", 0.3), ("seed", 12_345.0), ("offset", offset)];
        OpCall::new("dropout", vec![x.clone()], &attributes).check(TOLERANCE);
        let forward = OpCall::new("dropout", vec![x.clone()], &attributes).oracle();
        let backward = OpCall::new("dropoutBackward", vec![x], &attributes).oracle();
        assert_eq!(forward, backward);
    }
    let x = values.tensor(&[7], 1.0);
    assert_eq!(OpCall::new("dropout", vec![x.clone()], &[("p", 0.0), ("seed", 1.0)]).oracle()[0], x);
    let all = OpCall::new("dropout", vec![x.clone()], &[("p", 1.0), ("seed", 1.0)]);
    assert_eq!(all.run(&mut crate::oracle::OracleBackend::default()).unwrap_err().code, "ERR_INVALID_ARGUMENT");
    let call = OpCall::new("dropout", vec![x], &[("p", 0.4), ("seed", 9.0)]);
    check_gradient(&call, &[0], 1, |_, _, gradients| {
        OpCall::new("dropoutBackward", vec![gradients[0].clone()], &[("p", 0.4), ("seed", 9.0)])
    });
}

#[test]
fn casts_equal_the_oracle_between_all_dtypes() {
    let dtypes = [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I32, DType::U8, DType::I8, DType::I64];
    let mut values = Values::new(5);
    for from in dtypes {
        for to in dtypes {
            let integer = matches!(from, DType::I32 | DType::U8 | DType::I8 | DType::I64);
            let source: Vec<f64> =
                (0..37).map(|_| if integer { values.below(100) as f64 } else { values.unit() * 90.0 }).collect();
            let x = Tensor { dtype: DType::F64, shape: vec![37], values: source }.cast(from);
            let code = DType::ALL.iter().position(|dtype| *dtype == to).unwrap() as f64;
            OpCall::new("cast", vec![x], &[("dtype", code)]).check(0.0);
        }
    }
    let specials = Tensor::f32(&[4], vec![f64::NAN, f64::INFINITY, -1e30, 3.39e38]);
    OpCall::new("cast", vec![specials.clone()], &[("dtype", 1.0)]).check(0.0);
    OpCall::new("cast", vec![specials], &[("dtype", 3.0)]).check(0.0);
}

#[test]
fn fills_have_the_asked_shape_dtype_and_value() {
    for dtype in [0.0, 1.0, 3.0, 4.0] {
        let call = OpCall::new("fill", vec![], &[("value", 3.0), ("dtype", dtype)]).with_rest(&[3.0, 5.0]);
        call.check(0.0);
        assert_eq!(call.oracle()[0].shape, [3, 5]);
    }
    let call = OpCall::new("fill", vec![], &[("value", 3.0)]).with_rest(&[1.5]);
    assert_eq!(call.run(&mut crate::oracle::OracleBackend::default()).unwrap_err().code, "ERR_SHAPE_MISMATCH");
}
