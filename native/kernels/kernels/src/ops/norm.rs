//! `rmsNorm` and `layerNorm` with their backward ops, over the last dimension.

use super::{InferCall, Inferred, OpDeclaration, attribute, input, optional};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    // s = x (+ residual); y = s·inverseRms·(weight + weightOffset). x is float32 or bfloat16; y is what
    // `outputBfloat16` asks for, s float32.
    OpDeclaration {
        name: "rmsNorm",
        inputs: &[input("x"), input("weight"), optional("residual")],
        variadic: &[],
        attributes: &[attribute("epsilon", 1e-6), attribute("weightOffset", 0.0), attribute("outputBfloat16", 0.0)],
        rest: None,
        outputs: &["y", "inverseRms", "sum"],
        mutates: &[],
        infer: rms_norm,
    },
    // x is what was normalised (the sum, with a residual); residualGradient is added to dx. dy and x are float32 or
    // bfloat16; dx is what `outputBfloat16` asks for.
    OpDeclaration {
        name: "rmsNormBackward",
        inputs: &[input("dy"), input("x"), input("weight"), input("inverseRms"), optional("residualGradient")],
        variadic: &[],
        attributes: &[attribute("needWeight", 1.0), attribute("weightOffset", 0.0), attribute("outputBfloat16", 0.0)],
        rest: None,
        outputs: &["dx", "dWeight"],
        mutates: &[],
        infer: rms_norm_backward,
    },
    OpDeclaration {
        name: "layerNorm",
        inputs: &[input("x"), input("weight"), optional("bias")],
        variadic: &[],
        attributes: &[attribute("epsilon", 1e-5)],
        rest: None,
        outputs: &["y", "mean", "inverseStd"],
        mutates: &[],
        infer: layer_norm,
    },
    OpDeclaration {
        name: "layerNormBackward",
        inputs: &[input("dy"), input("x"), input("weight"), input("mean"), input("inverseStd")],
        variadic: &[],
        attributes: &[attribute("needWeight", 1.0)],
        rest: None,
        outputs: &["dx", "dWeight", "dBias"],
        mutates: &[],
        infer: layer_norm_backward,
    },
];

/// Checks x [.., D] f32 and weight [D]; returns (rows, D).
fn rows(call: &InferCall<'_>) -> Result<(usize, usize)> {
    let x = call.stored("x")?;
    if x.shape.is_empty() || x.last() == 0 {
        return Err(KernelError::shape(call.name(), format!("x needs a last dimension of at least 1, got {x}")));
    }
    call.float("weight")?;
    call.expect_shape("weight", &[x.last()])?;
    Ok((x.rows(), x.last()))
}

fn same(call: &InferCall<'_>, names: &[&str], shape: &[usize]) -> Result<()> {
    for name in names {
        call.stored(name)?;
        call.expect_shape(name, shape)?;
    }
    Ok(())
}

/// Bytes of partial weight gradients, as the CPU partitions them.
fn partial_bytes(rows: usize, columns: usize, tensors: usize) -> usize {
    let per_part = rows.div_ceil(16).max(16);
    4 * tensors * columns * rows.div_ceil(per_part)
}

fn rms_norm(call: &InferCall<'_>) -> Result<Inferred> {
    let (rows, columns) = rows(call)?;
    let shape = call.input("x").shape.clone();
    let mut outputs = vec![TensorSpec::new(call.asked_output(), shape.clone()), TensorSpec::f32([rows])];
    if call.optional("residual").is_some() {
        same(call, &["residual"], &shape)?;
        outputs.push(TensorSpec::f32(shape));
    }
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: 4 * (rows * columns) as u64, bytes })
}

fn rms_norm_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let (rows, columns) = rows(call)?;
    let shape = call.input("x").shape.clone();
    same(call, &["dy"], &shape)?;
    call.typed("inverseRms", DType::F32)?;
    call.expect_shape("inverseRms", &[rows])?;
    if call.optional("residualGradient").is_some() {
        same(call, &["residualGradient"], &shape)?;
    }
    let mut outputs = vec![TensorSpec::new(call.asked_output(), shape)];
    let mut workspace_bytes = 0;
    if call.attributes.flag("needWeight") {
        outputs.push(TensorSpec::f32([columns]));
        workspace_bytes = partial_bytes(rows, columns, 1);
    }
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes, flops: 10 * (rows * columns) as u64, bytes })
}

fn layer_norm(call: &InferCall<'_>) -> Result<Inferred> {
    let (rows, columns) = rows(call)?;
    if call.optional("bias").is_some() {
        call.float("bias")?;
        call.expect_shape("bias", &[columns])?;
    }
    let shape = call.input("x").shape.clone();
    let outputs = vec![TensorSpec::f32(shape), TensorSpec::f32([rows]), TensorSpec::f32([rows])];
    let elements = (rows * columns) as u64;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: 7 * elements, bytes: 8 * elements })
}

fn layer_norm_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let (rows, columns) = rows(call)?;
    let shape = call.input("x").shape.clone();
    same(call, &["dy"], &shape)?;
    for name in ["mean", "inverseStd"] {
        call.typed(name, DType::F32)?;
        call.expect_shape(name, &[rows])?;
    }
    let mut outputs = vec![TensorSpec::f32(shape)];
    let mut workspace_bytes = 0;
    if call.attributes.flag("needWeight") {
        outputs.extend([TensorSpec::f32([columns]), TensorSpec::f32([columns])]);
        workspace_bytes = partial_bytes(rows, columns, 2);
    }
    let elements = (rows * columns) as u64;
    Ok(Inferred { outputs, workspace_bytes, flops: 12 * elements, bytes: 12 * elements })
}
