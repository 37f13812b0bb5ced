//! Random tensors and token sampling.

use super::elementwise::shape_of;
use super::{InferCall, Inferred, OpDeclaration, attribute, input, optional, required};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    // low + (high − low)·u, u in [0, 1) with 24 bits, a function of (seed, offset + element index).
    OpDeclaration {
        name: "uniform",
        inputs: &[],
        variadic: &[],
        attributes: &[required("seed"), attribute("offset", 0.0), attribute("low", 0.0), attribute("high", 1.0)],
        rest: Some("shape"),
        outputs: &["y"],
        mutates: &[],
        infer: random,
    },
    // mean + std·z, z normal (Box–Muller), a function of (seed, offset + element index).
    OpDeclaration {
        name: "normal",
        inputs: &[],
        variadic: &[],
        attributes: &[required("seed"), attribute("offset", 0.0), attribute("mean", 0.0), attribute("std", 1.0)],
        rest: Some("shape"),
        outputs: &["y"],
        mutates: &[],
        infer: random,
    },
    // 1 with probability p, else 0.
    OpDeclaration {
        name: "bernoulli",
        inputs: &[],
        variadic: &[],
        attributes: &[required("seed"), attribute("offset", 0.0), required("p")],
        rest: Some("shape"),
        outputs: &["y"],
        mutates: &[],
        infer: random,
    },
    // logits [B, V] → ids i32 [B] and the log-probability of each under the processed distribution.
    // Order: repetition penalty over history i32 [B, L] (−1 pads), temperature, top-k, top-p, min-p.
    // temperature 0 takes the largest logit (ties: lowest id). The draw is a function of (seed, step, row).
    OpDeclaration {
        name: "sample",
        inputs: &[input("logits"), optional("history")],
        variadic: &[],
        attributes: &[
            attribute("temperature", 1.0),
            attribute("topK", 0.0),
            attribute("topP", 1.0),
            attribute("minP", 0.0),
            attribute("repetitionPenalty", 1.0),
            attribute("seed", 0.0),
            attribute("step", 0.0),
        ],
        rest: None,
        outputs: &["ids", "logProbs"],
        mutates: &[],
        infer: sample,
    },
];

fn random(call: &InferCall<'_>) -> Result<Inferred> {
    let spec = TensorSpec::f32(shape_of(call)?);
    let bytes = spec.bytes()? as u64;
    Ok(Inferred { outputs: vec![spec], workspace_bytes: 0, flops: 0, bytes })
}

fn sample(call: &InferCall<'_>) -> Result<Inferred> {
    let logits = call.typed("logits", DType::F32)?;
    let [rows, vocabulary] = logits.shape[..] else {
        return Err(KernelError::shape("sample", format!("logits must be [B, V], got {logits}")));
    };
    if vocabulary == 0 {
        return Err(KernelError::shape("sample", "the vocabulary is empty"));
    }
    if let Some(history) = call.optional("history")
        && (history.dtype != DType::I32 || history.shape.len() != 2 || history.shape[0] != rows)
    {
        return Err(KernelError::shape("sample", format!("history must be int32 [{rows}, L], got {history}")));
    }
    let number = |name: &str| call.attributes.number(name);
    call.attributes.expect_integer("topK", 0.0, 1e9)?;
    for (name, valid) in [
        ("temperature", number("temperature") >= 0.0),
        ("topP", number("topP") > 0.0 && number("topP") <= 1.0),
        ("minP", (0.0..=1.0).contains(&number("minP"))),
        ("repetitionPenalty", number("repetitionPenalty") > 0.0),
    ] {
        if !valid {
            return Err(KernelError::argument("sample", format!("{name} is {}, outside its domain", number(name))));
        }
    }
    Ok(Inferred {
        outputs: vec![TensorSpec::new(DType::I32, [rows]), TensorSpec::f32([rows])],
        workspace_bytes: 0,
        flops: (rows * vocabulary * 14) as u64,
        bytes: (4 * rows * vocabulary) as u64,
    })
}
