//! Multi-tensor optimizer steps, gradient norm and clipping.

use super::{Attribute, InferCall, Inferred, OpDeclaration, attribute, optional, required};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Elements that share one absmax of the 8-bit optimizer states.
pub const STATE_BLOCK: usize = 256;

/// Attributes shared by the Adam ops. The effective gradient is grad·gradScale, and with the input
/// `norm` and maxNorm > 0 also times min(1, maxNorm/(norm + 1e-6)): clipping without a pass of its own.
/// `seed` keys the stochastic rounding of bf16 parameters; 0 rounds to nearest even.
const ADAM: &[Attribute] = &[
    required("learningRate"),
    attribute("beta1", 0.9),
    attribute("beta2", 0.999),
    attribute("epsilon", 1e-8),
    attribute("weightDecay", 0.0),
    required("step"),
    attribute("gradScale", 1.0),
    attribute("maxNorm", 0.0),
    attribute("seed", 0.0),
];

const fn base(name: &'static str) -> OpDeclaration {
    OpDeclaration {
        name,
        inputs: &[],
        variadic: &["grad"],
        attributes: &[],
        rest: None,
        outputs: &[],
        mutates: &[],
        infer: adam,
    }
}

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    // torch.optim.AdamW: decoupled decay first, bias-corrected moments, epsilon outside the root.
    // Groups of (param f32|bf16, grad f32, m f32, v f32); step counts from 1.
    OpDeclaration {
        inputs: const { &[optional("norm")] },
        variadic: &["param", "grad", "m", "v"],
        attributes: ADAM,
        mutates: &["param", "m", "v"],
        ..base("adamW")
    },
    // The same with block-wise 8-bit states: mCodes and vCodes u8 of param's shape, mScales and vScales
    // f32 [⌈n/256⌉]; zeroed states are codes of 0 (signed map entry 127, unsigned 0) with scale 0.
    OpDeclaration {
        inputs: const { &[optional("norm")] },
        variadic: &["param", "grad", "mCodes", "mScales", "vCodes", "vScales"],
        attributes: ADAM,
        mutates: &["param", "mCodes", "mScales", "vCodes", "vScales"],
        infer: adam8,
        ..base("adamW8bit")
    },
    // torch.optim.SGD without and with momentum (dampening 0; momentum buffers start at 0).
    OpDeclaration {
        inputs: const { &[optional("norm")] },
        variadic: &["param", "grad"],
        attributes: const {
            &[
                required("learningRate"),
                attribute("weightDecay", 0.0),
                attribute("gradScale", 1.0),
                attribute("maxNorm", 0.0),
            ]
        },
        mutates: &["param"],
        infer: sgd,
        ..base("sgd")
    },
    OpDeclaration {
        inputs: const { &[optional("norm")] },
        variadic: &["param", "grad", "momentum"],
        attributes: const {
            &[
                required("learningRate"),
                attribute("momentum", 0.9),
                attribute("nesterov", 0.0),
                attribute("weightDecay", 0.0),
                attribute("gradScale", 1.0),
                attribute("maxNorm", 0.0),
            ]
        },
        mutates: &["param", "momentum"],
        infer: sgd,
        ..base("sgdMomentum")
    },
    // Euclidean norm over all gradients, [1].
    OpDeclaration { outputs: &["norm"], infer: scalar, ..base("gradNorm") },
    // 1 when every element of every tensor is finite, else 0; [1].
    OpDeclaration { outputs: &["finite"], infer: scalar, ..base("allFinite") },
    // grad *= min(1, maxNorm/(norm + 1e-6)) in place; norm [1] stays on the device.
    OpDeclaration {
        inputs: const { &[super::input("norm")] },
        attributes: const { &[required("maxNorm")] },
        mutates: &["grad"],
        infer: clip,
        ..base("clipScale")
    },
];

/// Checks the optional or required `norm` and the attributes that every step shares.
fn common(call: &InferCall<'_>) -> Result<()> {
    let named = call.attributes.op.inputs.iter().any(|input| input.name == "norm");
    let norm = if named { call.optional("norm") } else { None };
    if let Some(norm) = norm.filter(|norm| norm.dtype != DType::F32 || norm.elements() != 1) {
        return Err(KernelError::shape(call.name(), format!("norm must be float32 [1], got {norm}")));
    }
    if call.attributes.op.attributes.iter().any(|attribute| attribute.name == "step") {
        call.attributes.expect_integer("step", 1.0, 9e15)?;
    }
    Ok(())
}

/// The variadic tensors in groups of `size`, each of which must be of one element count.
fn groups<'a>(call: &InferCall<'a>, size: usize) -> Result<Vec<Vec<&'a TensorSpec>>> {
    let tensors: Vec<&TensorSpec> = call.variadic().collect();
    if !tensors.len().is_multiple_of(size) {
        return Err(KernelError::shape(call.name(), format!("{} tensors are not groups of {size}", tensors.len())));
    }
    Ok(tensors.chunks_exact(size).map(<[_]>::to_vec).collect())
}

fn check(call: &InferCall<'_>, spec: &TensorSpec, role: &str, dtypes: &[DType], elements: usize) -> Result<()> {
    if !dtypes.contains(&spec.dtype) {
        let names: Vec<_> = dtypes.iter().map(|dtype| dtype.name()).collect();
        return Err(KernelError::dtype(call.name(), format!("{role} must be {}, got {spec}", names.join(" or "))));
    }
    if spec.elements() != elements {
        return Err(KernelError::shape(call.name(), format!("{role} must hold {elements} elements, got {spec}")));
    }
    Ok(())
}

fn cost(elements: usize, flops: usize, bytes: usize) -> Inferred {
    Inferred { outputs: vec![], workspace_bytes: 0, flops: (elements * flops) as u64, bytes: (elements * bytes) as u64 }
}

fn adam(call: &InferCall<'_>) -> Result<Inferred> {
    common(call)?;
    let mut total = 0;
    for group in groups(call, 4)? {
        let elements = group[0].elements();
        check(call, group[0], "param", &[DType::F32, DType::BF16], elements)?;
        for (spec, role) in group[1..].iter().zip(["grad", "m", "v"]) {
            check(call, spec, role, &[DType::F32], elements)?;
        }
        total += elements;
    }
    Ok(cost(total, 15, 28))
}

fn adam8(call: &InferCall<'_>) -> Result<Inferred> {
    common(call)?;
    let mut total = 0;
    for group in groups(call, 6)? {
        let elements = group[0].elements();
        check(call, group[0], "param", &[DType::F32, DType::BF16], elements)?;
        check(call, group[1], "grad", &[DType::F32], elements)?;
        for (index, role) in [(2, "mCodes"), (4, "vCodes")] {
            check(call, group[index], role, &[DType::U8], elements)?;
        }
        for (index, role) in [(3, "mScales"), (5, "vScales")] {
            check(call, group[index], role, &[DType::F32], elements.div_ceil(STATE_BLOCK))?;
        }
        total += elements;
    }
    Ok(cost(total, 30, 16))
}

fn sgd(call: &InferCall<'_>) -> Result<Inferred> {
    common(call)?;
    let size = call.attributes.op.variadic.len();
    let mut total = 0;
    for group in groups(call, size)? {
        let elements = group[0].elements();
        for (spec, role) in group.iter().zip(call.attributes.op.variadic) {
            check(call, spec, role, &[DType::F32], elements)?;
        }
        total += elements;
    }
    Ok(cost(total, 2 * size, 4 * (2 * size - 1)))
}

fn scalar(call: &InferCall<'_>) -> Result<Inferred> {
    let mut total = 0;
    for spec in call.variadic() {
        check(call, spec, "grad", &[DType::F32], spec.elements())?;
        total += spec.elements();
    }
    Ok(Inferred { outputs: vec![TensorSpec::f32([1])], ..cost(total, 2, 4) })
}

fn clip(call: &InferCall<'_>) -> Result<Inferred> {
    common(call)?;
    let total = scalar(call)?.bytes as usize / 4;
    Ok(cost(total, 1, 8))
}
