//! The ops of the language-model head on the CPU.

use crate::cpu::cross_entropy::{Head, Token, Upstream, token_log_probs, token_log_probs_backward};
use crate::cpu::cross_entropy_rows::LogitTransform;
use crate::cpu::linear_ops::{gemm, matrix};
use crate::cpu::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] =
    &[("linearCrossEntropy", cross_entropy), ("logProbs", log_probs), ("logProbsBackward", log_probs_backward)];

fn head<'a>(call: &CpuCall<'a>) -> Result<Head<'a>> {
    Ok(Head {
        hidden: matrix(&call.input("hidden"))?,
        weight: matrix(&call.input("weight"))?,
        targets: call.input("targets").slice::<i32>()?,
        ignore: call.attributes.number("ignoreIndex") as i32,
        transform: LogitTransform {
            scale: call.attributes.float("logitScale"),
            soft_cap: call.attributes.float("softCap"),
            temperature: call.attributes.float("temperature"),
        },
    })
}

fn output<'a>(call: &CpuCall<'a>, index: usize) -> Result<Option<&'a mut [f32]>> {
    // SAFETY: an output of the running call; each index is taken once.
    call.outputs.get(index).map(|view| unsafe { view.slice_mut::<f32>() }).transpose()
}

fn cross_entropy(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (gemm, head) = (gemm(context, call), head(call)?);
    let weights = call.optional("tokenWeights").map(|view| view.slice::<f32>()).transpose()?;
    let weight_of = |token: &Token| weights.map_or(1.0, |weights| weights[token.row]);
    let (mut d_hidden, d_weight) = (output(call, 2)?, output(call, 3)?);
    // With a weight gradient the second sweep makes both gradients.
    let first = if d_weight.is_none() { d_hidden.take() } else { None };
    let tokens = token_log_probs(&gemm, &head, false, weights, first)?;
    if d_weight.is_some() {
        let upstream: Vec<Upstream> = tokens
            .iter()
            .map(|token| Upstream {
                row: token.row,
                log_sum_exp: token.log_sum_exp,
                d_log_prob: -weight_of(token),
                entropy: None,
            })
            .collect();
        token_log_probs_backward(&gemm, &head, &upstream, d_hidden, d_weight);
    }
    let loss: f64 = tokens.iter().map(|token| -f64::from(weight_of(token)) * f64::from(token.log_prob)).sum();
    let correct = tokens.iter().filter(|token| token.correct).count();
    output(call, 0)?.expect("declared")[0] = loss as f32;
    output(call, 1)?.expect("declared")[0] = correct as f32;
    Ok(())
}

fn log_probs(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let with_entropy = call.outputs.len() > 2;
    let tokens = token_log_probs(&gemm(context, call), &head(call)?, with_entropy, None, None)?;
    let fields: [fn(&Token) -> f32; 3] = [|token| token.log_prob, |token| token.log_sum_exp, |token| token.entropy];
    for (index, field) in fields.into_iter().enumerate() {
        let Some(target) = output(call, index)? else {
            break;
        };
        target.fill(0.0);
        tokens.iter().for_each(|token| target[token.row] = field(token));
    }
    Ok(())
}

fn log_probs_backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let head = head(call)?;
    let d_log_probs = call.input("dLogProbs").slice::<f32>()?;
    let log_sum_exp = call.input("logSumExp").slice::<f32>()?;
    let entropy = match (call.optional("dEntropy"), call.optional("entropy")) {
        (Some(upstream), Some(value)) => Some((upstream.slice::<f32>()?, value.slice::<f32>()?)),
        _ => None,
    };
    let upstream: Vec<Upstream> = head
        .kept_rows()?
        .into_iter()
        .map(|row| Upstream {
            row,
            log_sum_exp: log_sum_exp[row],
            d_log_prob: d_log_probs[row],
            entropy: entropy.map(|(upstream, value)| (upstream[row], value[row])),
        })
        .collect();
    token_log_probs_backward(&gemm(context, call), &head, &upstream, output(call, 0)?, output(call, 1)?);
    Ok(())
}
