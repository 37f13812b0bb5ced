//! The language-model head: cross-entropy and token log-probabilities without stored logits.

use super::linear::{activation, weight};
use super::{Attribute, InferCall, Inferred, OpDeclaration, attribute, input, optional};
use crate::cpu::cross_entropy::workspace_bytes;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// A logit is cap(logitScale · h·W) / temperature with cap(x) = softCap·tanh(x / softCap), no cap at 0.
/// Rows whose target equals `ignoreIndex` are dropped before anything is multiplied.
const LOGITS: [Attribute; 5] = [
    attribute("logitScale", 1.0),
    attribute("softCap", 0.0),
    attribute("temperature", 1.0),
    attribute("ignoreIndex", -100.0),
    attribute("bfloat16", 0.0),
];

/// Declarations of this file.
///
/// Shapes: hidden `[T, D]` float32, weight `[V, D]` in any format of `linear`, targets int32 `[T]`,
/// tokenWeights float32 `[T]`. FLOPs count all T rows; dropped ones cost nothing.
pub const OPS: &[OpDeclaration] = &[
    // lossSum = Σ tokenWeights·CE [1]; correct = number of rows whose target has the largest logit [1];
    // dHidden = d lossSum / d hidden [T, D]; dWeight = d lossSum / d weight [V, D] (implies dHidden).
    OpDeclaration {
        name: "linearCrossEntropy",
        inputs: &[input("hidden"), input("weight"), input("targets"), optional("tokenWeights")],
        variadic: &[],
        attributes: &[
            LOGITS[0],
            LOGITS[1],
            LOGITS[2],
            LOGITS[3],
            LOGITS[4],
            attribute("needHidden", 1.0),
            attribute("needWeight", 0.0),
        ],
        rest: None,
        outputs: &["lossSum", "correct", "dHidden", "dWeight"],
        mutates: &[],
        infer: cross_entropy,
    },
    // ln p(target) [T] and ln Σ exp(logits) [T], for backward; entropy [T] in nats when needEntropy is
    // set; all 0 in dropped rows.
    OpDeclaration {
        name: "logProbs",
        inputs: &[input("hidden"), input("weight"), input("targets")],
        variadic: &[],
        attributes: &[LOGITS[0], LOGITS[1], LOGITS[2], LOGITS[3], LOGITS[4], attribute("needEntropy", 0.0)],
        rest: None,
        outputs: &["logProbs", "logSumExp", "entropy"],
        mutates: &[],
        infer: log_probs,
    },
    // Recomputes the logits; entropy and dEntropy come together.
    OpDeclaration {
        name: "logProbsBackward",
        inputs: &[
            input("dLogProbs"),
            input("hidden"),
            input("weight"),
            input("targets"),
            input("logSumExp"),
            optional("entropy"),
            optional("dEntropy"),
        ],
        variadic: &[],
        attributes: &[LOGITS[0], LOGITS[1], LOGITS[2], LOGITS[3], LOGITS[4], attribute("needWeight", 0.0)],
        rest: None,
        outputs: &["dHidden", "dWeight"],
        mutates: &[],
        infer: log_probs_backward,
    },
];

/// Checks the common operands; returns (T, D, V).
fn head(call: &InferCall<'_>) -> Result<(usize, usize, usize)> {
    let (tokens, columns) = activation(call, "hidden")?;
    let (vocabulary, width) = weight(call, "weight")?;
    if call.input("hidden").shape.len() != 2 || columns != width {
        return Err(KernelError::shape(
            call.name(),
            format!("hidden must be [T, {width}] to fit the weight, got {}", call.input("hidden")),
        ));
    }
    call.typed("targets", DType::I32)?;
    call.expect_shape("targets", &[tokens])?;
    let positive = |name: &str, allow_zero: bool| {
        let value = call.attributes.number(name);
        if value.is_finite() && (value > 0.0 || (allow_zero && value == 0.0)) {
            return Ok(());
        }
        Err(KernelError::argument(call.name(), format!("{name} must be a positive number, got {value}")))
    };
    positive("logitScale", false)?;
    positive("temperature", false)?;
    positive("softCap", true)?;
    let ignore = call.attributes.number("ignoreIndex");
    if ignore.fract() != 0.0 || ignore.abs() > f64::from(i32::MAX) {
        return Err(KernelError::argument(call.name(), format!("ignoreIndex must be an int32, got {ignore}")));
    }
    Ok((tokens, columns, vocabulary))
}

fn per_token(call: &InferCall<'_>, names: &[&str], tokens: usize) -> Result<()> {
    for name in names {
        if let Some(spec) = call.optional(name)
            && (spec.dtype != DType::F32 || spec.shape != [tokens])
        {
            return Err(KernelError::shape(call.name(), format!("{name} must be float32 [{tokens}], got {spec}")));
        }
    }
    Ok(())
}

fn inferred(
    call: &InferCall<'_>,
    outputs: Vec<TensorSpec>,
    extents: (usize, usize, usize),
    sweeps: u64,
) -> Result<Inferred> {
    let (tokens, columns, vocabulary) = extents;
    let mut bytes = 0;
    for spec in call.inputs.iter().flatten().copied().chain(&outputs) {
        bytes += spec.bytes()? as u64;
    }
    let product = 2 * tokens as u64 * columns as u64 * vocabulary as u64;
    let workspace_bytes = workspace_bytes(tokens, columns, vocabulary);
    Ok(Inferred { outputs, workspace_bytes, flops: sweeps * product, bytes })
}

fn cross_entropy(call: &InferCall<'_>) -> Result<Inferred> {
    let extents = head(call)?;
    let (tokens, columns, vocabulary) = extents;
    per_token(call, &["tokenWeights"], tokens)?;
    let need_weight = call.attributes.flag("needWeight");
    let mut outputs = vec![TensorSpec::f32([1]), TensorSpec::f32([1])];
    let mut sweeps = 1;
    if need_weight || call.attributes.flag("needHidden") {
        outputs.push(TensorSpec::f32([tokens, columns]));
        sweeps += 1;
    }
    if need_weight {
        outputs.push(TensorSpec::f32([vocabulary, columns]));
        // The logits once more, and the product itself.
        sweeps += 2;
    }
    inferred(call, outputs, extents, sweeps)
}

fn log_probs(call: &InferCall<'_>) -> Result<Inferred> {
    let extents = head(call)?;
    let count = if call.attributes.flag("needEntropy") { 3 } else { 2 };
    inferred(call, vec![TensorSpec::f32([extents.0]); count], extents, 1)
}

fn log_probs_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let extents = head(call)?;
    let (tokens, columns, vocabulary) = extents;
    per_token(call, &["dLogProbs", "logSumExp", "entropy", "dEntropy"], tokens)?;
    if call.optional("entropy").is_some() != call.optional("dEntropy").is_some() {
        return Err(KernelError::argument(call.name(), "entropy and dEntropy come together; one of them is missing"));
    }
    let mut outputs = vec![TensorSpec::f32([tokens, columns])];
    let mut sweeps = 2;
    if call.attributes.flag("needWeight") {
        outputs.push(TensorSpec::f32([vocabulary, columns]));
        sweeps += 1;
    }
    inferred(call, outputs, extents, sweeps)
}
