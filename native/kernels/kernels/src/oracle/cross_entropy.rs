//! Cross-entropy and token log-probabilities of the head as plain loops in f64, logits stored whole.

use crate::error::Result;
use crate::oracle::linear::Dense;
use crate::oracle::{OracleCall, OracleKernel};

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] =
    &[("linearCrossEntropy", cross_entropy), ("logProbs", log_probs), ("logProbsBackward", log_probs_backward)];

/// Logits of every row, their slopes with respect to raw logits, and the targets that count.
struct Head {
    hidden: Dense,
    weight: Dense,
    logits: Dense,
    slopes: Dense,
    targets: Vec<Option<usize>>,
}

/// Softmax of one row.
struct Row {
    log_sum_exp: f64,
    log_p: Vec<f64>,
    entropy: f64,
}

impl Head {
    fn of(call: &OracleCall<'_>) -> Result<Self> {
        let number = |name: &str| call.attributes.number(name);
        let (scale, cap, temperature) = (number("logitScale"), number("softCap"), number("temperature"));
        let hidden = Dense::of(&call.input("hidden"))?;
        let weight = Dense::of(&call.input("weight"))?;
        let raw = hidden.times(&weight.transposed());
        let tanh = |z: f64| if cap > 0.0 { (scale * z / cap).tanh() } else { 0.0 };
        let logits = Dense::from_fn(raw.rows, raw.columns, |i, j| {
            let z = raw.at(i, j);
            (if cap > 0.0 { cap * tanh(z) } else { scale * z }) / temperature
        });
        let slopes =
            Dense::from_fn(raw.rows, raw.columns, |i, j| scale * (1.0 - tanh(raw.at(i, j)).powi(2)) / temperature);
        let ignore = number("ignoreIndex");
        let targets = call.input("targets").values()?;
        let targets = targets.iter().map(|target| (*target != ignore).then_some(*target as usize)).collect();
        Ok(Self { hidden, weight, logits, slopes, targets })
    }

    fn row(&self, index: usize) -> Row {
        let logits: Vec<f64> = (0..self.logits.columns).map(|j| self.logits.at(index, j)).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = largest + logits.iter().map(|l| (l - largest).exp()).sum::<f64>().ln();
        let log_p: Vec<f64> = logits.iter().map(|l| l - log_sum_exp).collect();
        let entropy = -log_p.iter().map(|log_p| log_p.exp() * log_p).sum::<f64>();
        Row { log_sum_exp, log_p, entropy }
    }

    /// Gradients of Σ (a·ln p(target) + b·entropy) with respect to hidden states and weight.
    fn gradients(&self, upstream: impl Fn(usize) -> (f64, f64)) -> (Dense, Dense) {
        let rows: Vec<Row> = (0..self.hidden.rows).map(|index| self.row(index)).collect();
        let d_raw = Dense::from_fn(self.logits.rows, self.logits.columns, |i, j| {
            let Some(target) = self.targets[i] else {
                return 0.0;
            };
            let ((a, b), log_p) = (upstream(i), rows[i].log_p[j]);
            let hit = f64::from(u8::from(target == j));
            (a * (hit - log_p.exp()) - b * log_p.exp() * (log_p + rows[i].entropy)) * self.slopes.at(i, j)
        });
        (d_raw.times(&self.weight), d_raw.transposed().times(&self.hidden))
    }
}

fn store(call: &OracleCall<'_>, index: usize, values: &[f64]) -> Result<()> {
    if let Some(view) = call.outputs.get(index) {
        // SAFETY: an output of the running call; each is written once.
        unsafe { view.values_mut()? }.copy_from_slice(values);
    }
    Ok(())
}

fn cross_entropy(call: &OracleCall<'_>) -> Result<()> {
    let head = Head::of(call)?;
    let weights = call.optional("tokenWeights").map(|view| view.values()).transpose()?;
    let weight_of = |index: usize| weights.map_or(1.0, |weights| weights[index]);
    let (mut loss, mut correct) = (0.0, 0.0);
    for (index, target) in head.targets.iter().enumerate() {
        if let Some(target) = target {
            let row = head.row(index);
            loss -= weight_of(index) * row.log_p[*target];
            correct += f64::from(u8::from(row.log_p.iter().all(|other| *other <= row.log_p[*target])));
        }
    }
    store(call, 0, &[loss])?;
    store(call, 1, &[correct])?;
    if call.outputs.len() > 2 {
        let (d_hidden, d_weight) = head.gradients(|index| (-weight_of(index), 0.0));
        store(call, 2, &d_hidden.values)?;
        store(call, 3, &d_weight.values)?;
    }
    Ok(())
}

fn log_probs(call: &OracleCall<'_>) -> Result<()> {
    let head = Head::of(call)?;
    let mut outputs = [vec![], vec![], vec![]];
    for (index, target) in head.targets.iter().enumerate() {
        let row = head.row(index);
        let values = target.map_or([0.0; 3], |target| [row.log_p[target], row.log_sum_exp, row.entropy]);
        outputs.iter_mut().zip(values).for_each(|(output, value)| output.push(value));
    }
    (0..3).try_for_each(|index| store(call, index, &outputs[index]))
}

fn log_probs_backward(call: &OracleCall<'_>) -> Result<()> {
    let head = Head::of(call)?;
    let d_log_probs = call.input("dLogProbs").values()?;
    let d_entropy = call.optional("dEntropy").map(|view| view.values()).transpose()?;
    let (d_hidden, d_weight) =
        head.gradients(|index| (d_log_probs[index], d_entropy.map_or(0.0, |values| values[index])));
    store(call, 0, &d_hidden.values)?;
    store(call, 1, &d_weight.values)
}
