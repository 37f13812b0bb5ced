//! Token embedding and its gradient.

use super::{InferCall, Inferred, OpDeclaration, attribute, input, required};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    // ids i32 [T], weight [V, D] of any float dtype → y [T, D] = scale·weight[ids].
    OpDeclaration {
        name: "embedding",
        inputs: &[input("ids"), input("weight")],
        variadic: &[],
        attributes: &[attribute("scale", 1.0)],
        rest: None,
        outputs: &["y"],
        mutates: &[],
        infer: embedding,
    },
    // Dense dWeight [rows, D], summed in token order.
    OpDeclaration {
        name: "embeddingBackward",
        inputs: &[input("dy"), input("ids")],
        variadic: &[],
        attributes: &[required("rows"), attribute("scale", 1.0)],
        rest: None,
        outputs: &["dWeight"],
        mutates: &[],
        infer: embedding_backward,
    },
];

fn ids(call: &InferCall<'_>) -> Result<usize> {
    let ids = call.typed("ids", DType::I32)?;
    if ids.shape.len() != 1 {
        return Err(KernelError::shape(call.name(), format!("ids must have one dimension, got {ids}")));
    }
    Ok(ids.shape[0])
}

fn embedding(call: &InferCall<'_>) -> Result<Inferred> {
    let tokens = ids(call)?;
    let weight = call.float("weight")?;
    if weight.shape.len() != 2 || weight.dtype == DType::F64 {
        return Err(KernelError::shape(
            "embedding",
            format!("weight must be [V, D] in f32, bf16 or f16, got {weight}"),
        ));
    }
    let elements = tokens * weight.shape[1];
    Ok(Inferred {
        outputs: vec![TensorSpec::f32([tokens, weight.shape[1]])],
        workspace_bytes: 0,
        flops: elements as u64,
        bytes: (elements * (4 + weight.dtype.size().unwrap_or(4))) as u64,
    })
}

fn embedding_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let tokens = ids(call)?;
    let dy = call.stored("dy")?;
    if dy.shape.len() != 2 {
        return Err(KernelError::shape("embeddingBackward", format!("dy must be [T, D], got {dy}")));
    }
    call.expect_shape("dy", &[tokens, dy.shape[1]])?;
    let rows = call.attributes.expect_integer("rows", 1.0, 1e9)? as usize;
    let elements = tokens * dy.shape[1];
    Ok(Inferred {
        outputs: vec![TensorSpec::f32([rows, dy.shape[1]])],
        workspace_bytes: 0,
        flops: 2 * elements as u64,
        bytes: (12 * elements + 4 * rows * dy.shape[1]) as u64,
    })
}
