//! Reductions, softmax and layout ops.

use super::elementwise::shape_of;
use super::{Attribute, Broadcast, InferCall, Inferred, Input, OpDeclaration, attribute, input, required};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// What a reduction runs over, attribute `over`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// 0: all elements, to shape [1].
    All,
    /// 1: the last dimension, which disappears.
    Last,
    /// 2: the first dimension, which disappears.
    First,
}

impl Over {
    /// The extent that attribute `over` asks for.
    ///
    /// # Errors
    /// `ERR_INVALID_ARGUMENT` for another number.
    pub fn of(attributes: &super::Attributes<'_>) -> Result<Self> {
        Ok([Self::All, Self::Last, Self::First][attributes.expect_integer("over", 0.0, 2.0)? as usize])
    }
}

const X: &[Input] = &[input("x")];
const DY_Y: &[Input] = &[input("dy"), input("y")];

const fn op(
    name: &'static str,
    inputs: &'static [Input],
    attributes: &'static [Attribute],
    infer: fn(&InferCall<'_>) -> Result<Inferred>,
) -> OpDeclaration {
    OpDeclaration { name, inputs, variadic: &[], attributes, rest: None, outputs: &["y"], mutates: &[], infer }
}

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    op("sum", X, &[attribute("over", 0.0)], reduce),
    op("mean", X, &[attribute("over", 0.0)], reduce),
    op("max", X, &[attribute("over", 0.0)], reduce),
    // Lowest index of the largest element of each row; i32.
    op("argmax", X, &[], argmax),
    // Sums a gradient back to a broadcast operand's shape (one value, one per column, one per row).
    OpDeclaration { rest: Some("shape"), ..op("sumTo", X, &[], sum_to) },
    op("softmax", X, &[], rows),
    op("logSoftmax", X, &[], rows),
    OpDeclaration { outputs: &["dx"], ..op("softmaxBackward", DY_Y, &[], rows_backward) },
    OpDeclaration { outputs: &["dx"], ..op("logSoftmaxBackward", DY_Y, &[], rows_backward) },
    // Joins along the first dimension.
    OpDeclaration { variadic: &["x"], ..op("concat", &[], &[], concat) },
    // Joins [rows, ·] tensors along the last dimension.
    OpDeclaration { variadic: &["x"], ..op("concatColumns", &[], &[], concat_columns) },
    // Elements start .. start + count of the last dimension.
    op("sliceColumns", X, &[required("start"), required("count")], slice_columns),
    // Rows (first dimension) by index.
    op("gatherRows", &[input("x"), input("indices")], &[], gather_rows),
    // Sum of x's rows into `rows` rows by index, in order.
    op("scatterAddRows", &[input("x"), input("indices")], &[required("rows")], scatter_add_rows),
    // [R, C] → [C, R].
    op("transpose", X, &[], transpose),
];

fn reduce(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    let shape = match Over::of(&call.attributes)? {
        Over::All => vec![],
        Over::Last => x.shape[..x.shape.len().saturating_sub(1)].to_vec(),
        Over::First => x.shape.iter().skip(1).copied().collect(),
    };
    if call.name() == "max" && x.elements() == 0 {
        return Err(KernelError::shape("max", format!("{x} has no elements")));
    }
    let shape = if shape.is_empty() { vec![1] } else { shape };
    let elements = x.elements();
    Ok(Inferred {
        outputs: vec![TensorSpec::f32(shape)],
        workspace_bytes: 0,
        flops: elements as u64,
        bytes: 4 * elements as u64,
    })
}

fn argmax(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    if x.last() == 0 {
        return Err(KernelError::shape("argmax", format!("{x} has empty rows")));
    }
    let bytes = 4 * x.elements() as u64;
    Ok(Inferred { outputs: vec![TensorSpec::new(DType::I32, [x.rows()])], workspace_bytes: 0, flops: 0, bytes })
}

fn sum_to(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    let shape = shape_of(call)?;
    if Broadcast::of(&shape, &x.shape).is_none() {
        return Err(KernelError::shape("sumTo", format!("{x} cannot be summed to {shape:?}")));
    }
    let elements = x.elements() as u64;
    Ok(Inferred { outputs: vec![TensorSpec::f32(shape)], workspace_bytes: 0, flops: elements, bytes: 4 * elements })
}

fn rows(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    let elements = x.elements() as u64;
    Ok(Inferred {
        outputs: vec![TensorSpec::f32(x.shape.clone())],
        workspace_bytes: 0,
        flops: 12 * elements,
        bytes: 8 * elements,
    })
}

fn rows_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let y = call.stored("y")?;
    call.stored("dy")?;
    call.expect_shape("dy", &y.shape)?;
    let elements = y.elements() as u64;
    Ok(Inferred {
        outputs: vec![TensorSpec::f32(y.shape.clone())],
        workspace_bytes: 0,
        flops: 4 * elements,
        bytes: 12 * elements,
    })
}

/// Moves bytes: `output` from inputs of the same element type.
fn moved(output: TensorSpec) -> Result<Inferred> {
    let bytes = 2 * output.bytes()? as u64;
    Ok(Inferred { outputs: vec![output], workspace_bytes: 0, flops: 0, bytes })
}

fn plain<'a>(call: &InferCall<'_>, spec: &'a TensorSpec) -> Result<&'a TensorSpec> {
    if spec.dtype.size().is_none() || spec.shape.is_empty() {
        return Err(KernelError::dtype(call.name(), format!("{spec} is not a plain tensor")));
    }
    Ok(spec)
}

/// The first of the variadic inputs, after checking that all agree in dtype and in `part` of the shape.
fn agreeing<'a>(call: &InferCall<'a>, part: fn(&[usize]) -> &[usize]) -> Result<&'a TensorSpec> {
    let first =
        call.variadic().next().ok_or_else(|| KernelError::shape(call.name(), "at least one tensor is needed"))?;
    for spec in call.variadic() {
        plain(call, spec)?;
        if spec.dtype != first.dtype || part(&spec.shape) != part(&first.shape) {
            return Err(KernelError::shape(call.name(), format!("{spec} does not join {first}")));
        }
    }
    Ok(first)
}

fn concat(call: &InferCall<'_>) -> Result<Inferred> {
    let first = agreeing(call, |shape| &shape[1..])?;
    let mut shape = first.shape.clone();
    shape[0] = call.variadic().map(|spec| spec.shape[0]).sum();
    moved(TensorSpec::new(first.dtype, shape))
}

fn concat_columns(call: &InferCall<'_>) -> Result<Inferred> {
    let first = agreeing(call, |shape| &shape[..shape.len() - 1])?;
    let mut shape = first.shape.clone();
    *shape.last_mut().expect("plain tensors have a dimension") = call.variadic().map(TensorSpec::last).sum();
    moved(TensorSpec::new(first.dtype, shape))
}

fn slice_columns(call: &InferCall<'_>) -> Result<Inferred> {
    let x = plain(call, call.input("x"))?;
    let start = call.attributes.expect_integer("start", 0.0, x.last() as f64)? as usize;
    let count = call.attributes.expect_integer("count", 0.0, (x.last() - start) as f64)? as usize;
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("plain tensors have a dimension") = count;
    moved(TensorSpec::new(x.dtype, shape))
}

fn indices(call: &InferCall<'_>) -> Result<usize> {
    let indices = call.typed("indices", DType::I32)?;
    if indices.shape.len() != 1 {
        return Err(KernelError::shape(call.name(), format!("indices must have one dimension, got {indices}")));
    }
    Ok(indices.shape[0])
}

fn gather_rows(call: &InferCall<'_>) -> Result<Inferred> {
    let x = plain(call, call.input("x"))?;
    let mut shape = x.shape.clone();
    shape[0] = indices(call)?;
    moved(TensorSpec::new(x.dtype, shape))
}

fn scatter_add_rows(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    let count = indices(call)?;
    let mut shape = plain(call, x)?.shape.clone();
    if shape[0] != count {
        return Err(KernelError::shape("scatterAddRows", format!("x {x} needs one row per index, of {count}")));
    }
    shape[0] = call.attributes.expect_integer("rows", 0.0, 1e9)? as usize;
    let bytes = 12 * x.elements() as u64;
    let flops = x.elements() as u64;
    Ok(Inferred { outputs: vec![TensorSpec::f32(shape)], workspace_bytes: 0, flops, bytes })
}

fn transpose(call: &InferCall<'_>) -> Result<Inferred> {
    let x = plain(call, call.input("x"))?;
    let [rows, columns] = x.shape[..] else {
        return Err(KernelError::shape("transpose", format!("x must have two dimensions, got {x}")));
    };
    moved(TensorSpec::new(x.dtype, [columns, rows]))
}
