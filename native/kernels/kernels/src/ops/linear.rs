//! `linear` with any weight format and an optional LoRA branch, and its gradients.
//!
//! Backward is several ops, so that a caller computes only what it needs: a frozen weight costs no
//! weight gradient, a first layer no input gradient.

use super::{InferCall, Inferred, OpDeclaration, attribute, input, optional};
use crate::cpu::gemm::packed_bytes_bound;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Declarations of this file.
///
/// Shapes: x `[.., K]`, weight `[N, K]` (float32, bfloat16, float16, nf4 or fp4), bias `[N]`, loraA
/// `[R, K]`, loraB `[N, R]`, y and dy `[.., N]`, xa and u `[.., R]`. `scale` multiplies the LoRA branch;
/// `dropout` is the probability of zeroing an element of its input, drawn from (`seed`, element index);
/// `bfloat16` rounds the inputs of all products to bfloat16, sums stay float32. x and dy are float32 or bfloat16; y and
/// dx are rounded and stored as bfloat16 where `outputBfloat16` asks for it, all other results are float32.
pub const OPS: &[OpDeclaration] = &[
    // y = x·Wᵀ + bias + scale·xa·loraBᵀ with xa = dropout(x)·loraAᵀ; xa is returned with a branch only.
    OpDeclaration {
        name: "linear",
        inputs: &[input("x"), input("weight"), optional("bias"), optional("loraA"), optional("loraB")],
        variadic: &[],
        attributes: &[
            attribute("scale", 1.0),
            attribute("dropout", 0.0),
            attribute("seed", 0.0),
            attribute("bfloat16", 0.0),
            attribute("outputBfloat16", 0.0),
        ],
        rest: None,
        outputs: &["y", "xa"],
        mutates: &[],
        infer: linear,
    },
    // Up to three layers of the same x, without gradients: y0 = x·W0ᵀ + bias0 and so on.
    OpDeclaration {
        name: "linearTogether",
        inputs: &[
            input("x"),
            input("weight0"),
            input("weight1"),
            optional("weight2"),
            optional("bias0"),
            optional("bias1"),
            optional("bias2"),
        ],
        variadic: &[],
        attributes: &[attribute("bfloat16", 0.0)],
        rest: None,
        outputs: &["y0", "y1", "y2"],
        mutates: &[],
        infer: together,
    },
    // dx = dy·W + mask ⊙ (scale·u·loraA) with u = dy·loraB; u is returned with a branch only.
    OpDeclaration {
        name: "linearInputGradient",
        inputs: &[input("dy"), input("weight"), optional("loraA"), optional("loraB")],
        variadic: &[],
        attributes: &[
            attribute("scale", 1.0),
            attribute("dropout", 0.0),
            attribute("seed", 0.0),
            attribute("bfloat16", 0.0),
            attribute("outputBfloat16", 0.0),
        ],
        rest: None,
        outputs: &["dx", "u"],
        mutates: &[],
        infer: input_gradient,
    },
    // dLoraA = scale·uᵀ·dropout(x), dLoraB = scale·dyᵀ·xa; u is recomputed when it is not given.
    OpDeclaration {
        name: "linearLoraGradient",
        inputs: &[input("dy"), input("x"), input("xa"), input("loraA"), input("loraB"), optional("u")],
        variadic: &[],
        attributes: &[
            attribute("scale", 1.0),
            attribute("dropout", 0.0),
            attribute("seed", 0.0),
            attribute("bfloat16", 0.0),
        ],
        rest: None,
        outputs: &["dLoraA", "dLoraB"],
        mutates: &[],
        infer: lora_gradient,
    },
    // dWeight = dyᵀ·x.
    OpDeclaration {
        name: "linearWeightGradient",
        inputs: &[input("dy"), input("x")],
        variadic: &[],
        attributes: &[attribute("bfloat16", 0.0)],
        rest: None,
        outputs: &["dWeight"],
        mutates: &[],
        infer: weight_gradient,
    },
    // dBias = column sums of dy.
    OpDeclaration {
        name: "linearBiasGradient",
        inputs: &[input("dy")],
        variadic: &[],
        attributes: &[],
        rest: None,
        outputs: &["dBias"],
        mutates: &[],
        infer: bias_gradient,
    },
];

/// The rows of an activation `[.., D]`, float32 or bfloat16.
pub(super) fn activation(call: &InferCall<'_>, name: &str) -> Result<(usize, usize)> {
    let spec = call.stored(name)?;
    if spec.shape.is_empty() {
        return Err(KernelError::shape(call.name(), format!("{name} needs at least one dimension, got {spec}")));
    }
    Ok((spec.rows(), spec.last()))
}

/// A weight `[N, K]` in any format that products read.
pub(super) fn weight(call: &InferCall<'_>, name: &str) -> Result<(usize, usize)> {
    let spec = call.input(name);
    if !matches!(spec.dtype, DType::F32 | DType::BF16 | DType::F16 | DType::NF4 | DType::FP4) {
        return Err(KernelError::dtype(
            call.name(),
            format!("{name} must be float32, bfloat16, float16, nf4 or fp4, got {spec}"),
        ));
    }
    match spec.shape[..] {
        [n, k] => Ok((n, k)),
        _ => Err(KernelError::shape(call.name(), format!("{name} must be a matrix [out, in], got {spec}"))),
    }
}

/// Rank of the LoRA branch, if there is one: loraA `[R, K]` and loraB `[N, R]`, both or neither.
fn rank(call: &InferCall<'_>, n: usize, k: usize) -> Result<Option<usize>> {
    let dropout = call.attributes.number("dropout");
    if !(0.0..1.0).contains(&dropout) {
        return Err(KernelError::argument(call.name(), format!("dropout must be in 0..1, got {dropout}")));
    }
    call.attributes.expect_integer("seed", 0.0, 9_007_199_254_740_991.0)?;
    match (call.optional("loraA"), call.optional("loraB")) {
        (None, None) => Ok(None),
        (Some(a), Some(_)) => {
            let (rank, _) = weight(call, "loraA")?;
            weight(call, "loraB")?;
            call.expect_shape("loraA", &[rank, k])?;
            call.expect_shape("loraB", &[n, rank])?;
            if rank == 0 {
                return Err(KernelError::shape(call.name(), format!("loraA needs a rank of at least 1, got {a}")));
            }
            Ok(Some(rank))
        }
        _ => Err(KernelError::argument(call.name(), "loraA and loraB come together; one of them is missing")),
    }
}

fn with_last(dtype: DType, spec: &TensorSpec, last: usize) -> TensorSpec {
    let mut shape = spec.shape.clone();
    *shape.last_mut().expect("activations have a dimension") = last;
    TensorSpec::new(dtype, shape)
}

fn expect_columns(call: &InferCall<'_>, name: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(KernelError::shape(
        call.name(),
        format!("{name} must end in {expected} to fit the weight, got {}", call.input(name)),
    ))
}

/// Bytes of the sums of a result before they are rounded, where a device cannot round them on their way.
fn unrounded_bytes(call: &InferCall<'_>, rows: usize, columns: usize) -> usize {
    if call.asked_output() == DType::BF16 { 4 * rows * columns } else { 0 }
}

fn products(parts: &[(usize, usize, usize)]) -> u64 {
    parts.iter().map(|(m, n, k)| 2 * *m as u64 * *n as u64 * *k as u64).sum()
}

fn linear(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, columns) = activation(call, "x")?;
    let (n, k) = weight(call, "weight")?;
    expect_columns(call, "x", columns, k)?;
    if call.optional("bias").is_some() {
        call.float("bias")?;
        call.expect_shape("bias", &[n])?;
    }
    let rank = rank(call, n, k)?;
    let mut outputs = vec![with_last(call.asked_output(), call.input("x"), n)];
    let mut workspace_bytes = packed_bytes_bound(m, k + rank.unwrap_or(0)) + unrounded_bytes(call, m, n);
    let mut flops = products(&[(m, n, k)]);
    if let Some(rank) = rank {
        outputs.push(with_last(DType::F32, call.input("x"), rank));
        flops += products(&[(m, rank, k), (m, n, rank)]);
        if call.attributes.number("dropout") > 0.0 {
            workspace_bytes += packed_bytes_bound(m, k);
        }
    }
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes, flops, bytes })
}

fn together(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, columns) = activation(call, "x")?;
    let mut outputs = Vec::with_capacity(3);
    let mut flops = 0;
    for (name, bias) in [("weight0", "bias0"), ("weight1", "bias1"), ("weight2", "bias2")] {
        if call.optional(name).is_none() {
            continue;
        }
        let (n, k) = weight(call, name)?;
        expect_columns(call, "x", columns, k)?;
        if call.optional(bias).is_some() {
            call.float(bias)?;
            call.expect_shape(bias, &[n])?;
        }
        outputs.push(with_last(DType::F32, call.input("x"), n));
        flops += products(&[(m, n, k)]);
    }
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: packed_bytes_bound(m, columns), flops, bytes })
}

fn input_gradient(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, columns) = activation(call, "dy")?;
    let (n, k) = weight(call, "weight")?;
    expect_columns(call, "dy", columns, n)?;
    let rank = rank(call, n, k)?;
    let mut outputs = vec![with_last(call.asked_output(), call.input("dy"), k)];
    let mut flops = products(&[(m, k, n)]);
    if let Some(rank) = rank {
        outputs.push(with_last(DType::F32, call.input("dy"), rank));
        flops += products(&[(m, rank, n), (m, k, rank)]);
    }
    let workspace_bytes = packed_bytes_bound(m, n + rank.unwrap_or(0)) + unrounded_bytes(call, m, k);
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes, flops, bytes })
}

fn lora_gradient(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, n) = activation(call, "dy")?;
    let (rows, k) = activation(call, "x")?;
    let Some(rank) = rank(call, n, k)? else {
        return Err(KernelError::argument(call.name(), "loraA and loraB are needed"));
    };
    let (xa_rows, xa_columns) = activation(call, "xa")?;
    if rows != m || xa_rows != m || xa_columns != rank {
        return Err(KernelError::shape(
            call.name(),
            format!("dy, x and xa must have the same rows and xa the rank {rank}: {m}, {rows}, {}", call.input("xa")),
        ));
    }
    let mut flops = products(&[(rank, k, m), (n, rank, m)]);
    let mut workspace_bytes = packed_bytes_bound(n, m).max(packed_bytes_bound(rank, m));
    if let Some(u) = call.optional("u") {
        if u.dtype != DType::F32 || u.elements() != m * rank || u.last() != rank {
            return Err(KernelError::shape(call.name(), format!("u must be float32 with {m} rows of {rank}, got {u}")));
        }
    } else {
        flops += products(&[(m, rank, n)]);
        workspace_bytes += 4 * m * rank;
    }
    if call.attributes.number("dropout") > 0.0 {
        workspace_bytes += 4 * m * k;
    }
    let outputs = vec![TensorSpec::f32([rank, k]), TensorSpec::f32([n, rank])];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes, flops, bytes })
}

fn weight_gradient(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, n) = activation(call, "dy")?;
    let (rows, k) = activation(call, "x")?;
    if rows != m {
        return Err(KernelError::shape(call.name(), format!("dy has {m} rows and x {rows}")));
    }
    let outputs = vec![TensorSpec::f32([n, k])];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: packed_bytes_bound(n, m), flops: products(&[(n, k, m)]), bytes })
}

fn bias_gradient(call: &InferCall<'_>) -> Result<Inferred> {
    let (m, n) = activation(call, "dy")?;
    let outputs = vec![TensorSpec::f32([n])];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: (m * n) as u64, bytes })
}
