//! Activations: `silu`, `gelu`, `relu`, `sigmoid`-gated `swiglu` and `geglu`, with their backward ops.

use super::{Attributes, InferCall, Inferred, OpDeclaration, attribute, input};
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::TensorSpec;

/// Which function an op of this file computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// Exact GELU.
    GeluErf,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// The function of a call: by the op's name, and for GELU by its attribute `tanh`.
    ///
    /// # Errors
    /// None today; a `Result` so that an attribute with more values stays a coded error.
    pub fn of(attributes: &Attributes<'_>) -> Result<Self> {
        Ok(match attributes.op.name {
            "relu" | "reluBackward" => Self::Relu,
            "silu" | "siluBackward" | "swiglu" | "swigluBackward" => Self::Silu,
            _ if attributes.flag("tanh") => Self::GeluTanh,
            _ => Self::GeluErf,
        })
    }

    /// Nominal FLOPs per element of the function alone; transcendental functions count ten.
    pub const FLOPS: u64 = 12;
}

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    unary("silu", &[]),
    unary_backward("siluBackward", &[]),
    unary("gelu", &[attribute("tanh", 0.0)]),
    unary_backward("geluBackward", &[attribute("tanh", 0.0)]),
    unary("relu", &[]),
    unary_backward("reluBackward", &[]),
    gated("swiglu", &[]),
    gated_backward("swigluBackward", &[]),
    gated("geglu", &[attribute("tanh", 1.0)]),
    gated_backward("gegluBackward", &[attribute("tanh", 1.0)]),
];

const fn base(name: &'static str, attributes: &'static [super::Attribute]) -> OpDeclaration {
    OpDeclaration {
        name,
        inputs: &[],
        variadic: &[],
        attributes,
        rest: None,
        outputs: &[],
        mutates: &[],
        infer: infer_one,
    }
}

const fn unary(name: &'static str, attributes: &'static [super::Attribute]) -> OpDeclaration {
    OpDeclaration { inputs: const { &[input("x")] }, outputs: &["y"], ..base(name, attributes) }
}

const fn unary_backward(name: &'static str, attributes: &'static [super::Attribute]) -> OpDeclaration {
    OpDeclaration { inputs: const { &[input("dy"), input("x")] }, outputs: &["dx"], ..base(name, attributes) }
}

const fn gated(name: &'static str, attributes: &'static [super::Attribute]) -> OpDeclaration {
    OpDeclaration { inputs: const { &[input("gate"), input("up")] }, outputs: &["y"], ..base(name, attributes) }
}

const fn gated_backward(name: &'static str, attributes: &'static [super::Attribute]) -> OpDeclaration {
    OpDeclaration {
        inputs: const { &[input("dy"), input("gate"), input("up")] },
        outputs: &["dGate", "dUp"],
        infer: infer_two,
        ..base(name, attributes)
    }
}

fn infer_one(call: &InferCall<'_>) -> Result<Inferred> {
    infer(call, 1)
}

fn infer_two(call: &InferCall<'_>) -> Result<Inferred> {
    infer(call, 2)
}

/// All inputs of one shape; `outputs` of the same, stored in bfloat16 where all inputs are.
fn infer(call: &InferCall<'_>, outputs: usize) -> Result<Inferred> {
    let inputs = call.attributes.op.inputs;
    let shape = &call.input(inputs[0].name).shape;
    let mut dtype = DType::BF16;
    for each in inputs {
        if call.stored(each.name)?.dtype == DType::F32 {
            dtype = DType::F32;
        }
        call.expect_shape(each.name, shape)?;
    }
    let elements: usize = shape.iter().product();
    let outputs = vec![TensorSpec::new(dtype, shape.clone()); outputs];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: elements as u64 * Activation::FLOPS, bytes })
}
