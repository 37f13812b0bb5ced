//! Element-wise ops with broadcasting, dropout, casts and fills.

use super::{Attribute, InferCall, Inferred, Input, OpDeclaration, attribute, input, required};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// How an operand is laid over the output of an element-wise op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// One value per element.
    Full,
    /// One value.
    Scalar,
    /// One value per column: shape [D], or 1s followed by D.
    Row,
    /// One value per row: the output's shape with a last extent of 1, or without the last extent.
    Column,
}

impl Broadcast {
    /// How `operand` is laid over `output`; `None` when it does not fit.
    pub fn of(operand: &[usize], output: &[usize]) -> Option<Self> {
        let elements: usize = operand.iter().product();
        let (last, leading) = output.split_last()?;
        if operand == output {
            Some(Self::Full)
        } else if elements == 1 {
            Some(Self::Scalar)
        } else if operand.last() == Some(last) && elements == *last {
            Some(Self::Row)
        } else if operand == leading || (operand.split_last() == Some((&1, leading))) {
            Some(Self::Column)
        } else {
            None
        }
    }
}

const A_B: &[Input] = &[input("a"), input("b")];
const X: &[Input] = &[input("x")];

const fn op(
    name: &'static str,
    inputs: &'static [Input],
    attributes: &'static [Attribute],
    infer: fn(&InferCall<'_>) -> Result<Inferred>,
) -> OpDeclaration {
    OpDeclaration { name, inputs, variadic: &[], attributes, rest: None, outputs: &["y"], mutates: &[], infer }
}

/// Declarations of this file. Operands are float32 or bfloat16, results float32; `addScaled` keeps the dtype of y.
pub const OPS: &[OpDeclaration] = &[
    op("add", A_B, &[], broadcast),
    op("sub", A_B, &[], broadcast),
    op("mul", A_B, &[], broadcast),
    op("div", A_B, &[], broadcast),
    op("maximum", A_B, &[], broadcast),
    op("minimum", A_B, &[], broadcast),
    // 1 where the comparison holds, else 0 (f32).
    op("equal", A_B, &[], broadcast),
    op("less", A_B, &[], broadcast),
    op("lessEqual", A_B, &[], broadcast),
    // condition ≠ 0 ? a : b.
    op("where", &[input("condition"), input("a"), input("b")], &[], broadcast),
    op("neg", X, &[], unary),
    op("exp", X, &[], unary),
    op("log", X, &[], unary),
    op("sqrt", X, &[], unary),
    op("abs", X, &[], unary),
    op("sigmoid", X, &[], unary),
    op("tanh", X, &[], unary),
    op("clamp", X, &[required("low"), required("high")], unary),
    // x to the power `exponent`.
    op("pow", X, &[required("exponent")], unary),
    // factor·x + bias.
    op("scale", X, &[required("factor"), attribute("bias", 0.0)], unary),
    // Zeroes elements with probability p, divides the others by 1 − p. The mask is a function of (seed,
    // offset + element index): the backward op is the same op on dy.
    op("dropout", X, &[required("p"), required("seed"), attribute("offset", 0.0)], dropout),
    op("dropoutBackward", &[input("dy")], &[required("p"), required("seed"), attribute("offset", 0.0)], dropout),
    // y += factor·x in place.
    OpDeclaration {
        outputs: &[],
        mutates: &["y"],
        ..op("addScaled", &[input("y"), input("x")], &[attribute("factor", 1.0)], add_scaled)
    },
    // Conversion to the dtype with the numeric code `dtype`; floats round to nearest even, integers
    // truncate and saturate.
    op("cast", X, &[required("dtype")], cast),
    // A tensor of shape `shape` filled with `value`.
    OpDeclaration { rest: Some("shape"), ..op("fill", &[], &[required("value"), attribute("dtype", 0.0)], fill) },
];

/// The inputs' common output shape; the result is float32.
fn broadcast(call: &InferCall<'_>) -> Result<Inferred> {
    let inputs = call.attributes.op.inputs;
    let mut output: &[usize] = &[];
    let mut largest = 0;
    for each in inputs {
        let spec = call.stored(each.name)?;
        if spec.elements() > largest || (spec.elements() == largest && spec.shape.len() > output.len()) {
            (largest, output) = (spec.elements(), &spec.shape);
        }
    }
    for each in inputs {
        let spec = call.input(each.name);
        if Broadcast::of(&spec.shape, output).is_none() {
            return Err(KernelError::shape(
                call.name(),
                format!(
                    "{} {spec} is neither of shape {output:?}, nor one value, one per column or one per row of it",
                    each.name
                ),
            ));
        }
    }
    let outputs = vec![TensorSpec::f32(output)];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: largest as u64, bytes })
}

fn unary(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    let outputs = vec![TensorSpec::f32(x.shape.clone())];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: x.elements() as u64, bytes })
}

fn dropout(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored(call.attributes.op.inputs[0].name)?;
    let p = call.attributes.number("p");
    if !(0.0..1.0).contains(&p) {
        return Err(KernelError::argument(call.name(), format!("p must be in 0..1 (1 excluded), got {p}")));
    }
    let outputs = vec![TensorSpec::f32(x.shape.clone())];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: x.elements() as u64, bytes })
}

fn add_scaled(call: &InferCall<'_>) -> Result<Inferred> {
    let y = call.stored("y")?;
    call.stored("x")?;
    call.expect_shape("x", &y.shape)?;
    // y is read and written.
    let bytes = call.moved_bytes(std::slice::from_ref(y))?;
    Ok(Inferred { outputs: vec![], workspace_bytes: 0, flops: 2 * y.elements() as u64, bytes })
}

/// The plain dtype that attribute `dtype` asks for.
fn target(call: &InferCall<'_>) -> Result<(DType, usize)> {
    let code = call.attributes.number("dtype");
    let dtype = DType::from_code(code as u32).filter(|_| code >= 0.0 && code.fract() == 0.0);
    dtype.and_then(|dtype| dtype.size().map(|size| (dtype, size))).ok_or_else(|| {
        KernelError::argument(call.name(), format!("dtype {code} is not the code of a plain element type"))
    })
}

fn cast(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.input("x");
    let (dtype, size) = target(call)?;
    let Some(from) = x.dtype.size() else {
        return Err(KernelError::dtype("cast", format!("{x} is block-quantized; use its dequantize op")));
    };
    let bytes = (x.elements() * (size + from)) as u64;
    Ok(Inferred { outputs: vec![TensorSpec::new(dtype, x.shape.clone())], workspace_bytes: 0, flops: 0, bytes })
}

/// The shape in the trailing numbers.
pub fn shape_of(call: &InferCall<'_>) -> Result<Vec<usize>> {
    let extents = call.attributes.rest;
    if extents.is_empty() || extents.iter().any(|extent| *extent < 0.0 || extent.fract() != 0.0) {
        return Err(KernelError::shape(
            call.name(),
            format!("shape needs non-negative integer extents, got {extents:?}"),
        ));
    }
    Ok(extents.iter().map(|extent| *extent as usize).collect())
}

fn fill(call: &InferCall<'_>) -> Result<Inferred> {
    let (dtype, _) = target(call)?;
    let spec = TensorSpec::new(dtype, shape_of(call)?);
    let bytes = spec.bytes()? as u64;
    Ok(Inferred { outputs: vec![spec], workspace_bytes: 0, flops: 0, bytes })
}
