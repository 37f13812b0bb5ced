//! `linear` and its gradients as plain loops in f64. The `bfloat16` attribute is ignored: the oracle is
//! what rounded computations are compared to.

use crate::error::Result;
use crate::oracle::{OracleCall, OracleKernel, OracleView};
use crate::rng::{keep_threshold, uniform_at};

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("linear", linear),
    ("linearTogether", together),
    ("linearInputGradient", input_gradient),
    ("linearLoraGradient", lora_gradient),
    ("linearWeightGradient", weight_gradient),
    ("linearBiasGradient", bias_gradient),
];

/// A dense row-major matrix in f64.
pub struct Dense {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Values.
    pub values: Vec<f64>,
}

impl Dense {
    /// Reads a float tensor or a 4-bit weight; leading dimensions are joined.
    ///
    /// # Errors
    /// Errors of the view.
    pub fn of(view: &OracleView<'_>) -> Result<Self> {
        let (rows, columns) = (view.spec.rows(), view.spec.last());
        let values = if view.spec.dtype.is_quantized() {
            let weight = view.quant4()?.view();
            (0..rows * columns).map(|index| f64::from(weight.value(view.offset + index))).collect()
        } else {
            view.values()?.to_vec()
        };
        Ok(Self { rows, columns, values })
    }

    /// Element (`row`, `column`).
    pub fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    /// The matrix made of `value(row, column)`.
    pub fn from_fn(rows: usize, columns: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|index| value(index / columns, index % columns)).collect();
        Self { rows, columns, values }
    }

    /// self · other.
    pub fn times(&self, other: &Dense) -> Dense {
        assert_eq!(self.columns, other.rows);
        Dense::from_fn(self.rows, other.columns, |i, j| (0..self.columns).map(|p| self.at(i, p) * other.at(p, j)).sum())
    }

    /// The transpose.
    pub fn transposed(&self) -> Dense {
        Dense::from_fn(self.columns, self.rows, |i, j| self.at(j, i))
    }
}

/// The factors of the LoRA branch and its attributes.
struct Branch {
    a: Dense,
    b: Dense,
    scale: f64,
    dropout: f64,
    seed: u64,
}

fn branch(call: &OracleCall<'_>) -> Result<Option<Branch>> {
    let (Some(a), Some(b)) = (call.optional("loraA"), call.optional("loraB")) else {
        return Ok(None);
    };
    Ok(Some(Branch {
        a: Dense::of(&a)?,
        b: Dense::of(&b)?,
        scale: call.attributes.number("scale"),
        dropout: call.attributes.number("dropout"),
        seed: call.attributes.integer("seed"),
    }))
}

impl Branch {
    /// mask ⊙ values: the mask is a function of (seed, element index).
    fn masked(&self, values: &Dense) -> Dense {
        let threshold = keep_threshold(self.dropout);
        Dense::from_fn(values.rows, values.columns, |i, j| {
            let index = (i * values.columns + j) as u64;
            if uniform_at(self.seed, index) >= threshold { values.at(i, j) / (1.0 - self.dropout) } else { 0.0 }
        })
    }
}

fn store(call: &OracleCall<'_>, index: usize, values: &[f64]) -> Result<()> {
    // SAFETY: an output of the running call; each is written once.
    unsafe { call.outputs[index].values_mut()? }.copy_from_slice(values);
    Ok(())
}

fn linear(call: &OracleCall<'_>) -> Result<()> {
    let x = Dense::of(&call.input("x"))?;
    let mut y = x.times(&Dense::of(&call.input("weight"))?.transposed());
    if let Some(bias) = call.optional("bias") {
        let bias = bias.values()?;
        y = Dense::from_fn(y.rows, y.columns, |i, j| y.at(i, j) + bias[j]);
    }
    if let Some(branch) = branch(call)? {
        let xa = branch.masked(&x).times(&branch.a.transposed());
        let low_rank = xa.times(&branch.b.transposed());
        y = Dense::from_fn(y.rows, y.columns, |i, j| y.at(i, j) + branch.scale * low_rank.at(i, j));
        store(call, 1, &xa.values)?;
    }
    store(call, 0, &y.values)
}

fn together(call: &OracleCall<'_>) -> Result<()> {
    let x = Dense::of(&call.input("x"))?;
    for (index, (name, bias)) in [("weight0", "bias0"), ("weight1", "bias1"), ("weight2", "bias2")].iter().enumerate() {
        let Some(weight) = call.optional(name) else { continue };
        let mut y = x.times(&Dense::of(&weight)?.transposed());
        if let Some(bias) = call.optional(bias) {
            let bias = bias.values()?;
            y = Dense::from_fn(y.rows, y.columns, |i, j| y.at(i, j) + bias[j]);
        }
        store(call, index, &y.values)?;
    }
    Ok(())
}

fn input_gradient(call: &OracleCall<'_>) -> Result<()> {
    let dy = Dense::of(&call.input("dy"))?;
    let mut dx = dy.times(&Dense::of(&call.input("weight"))?);
    if let Some(branch) = branch(call)? {
        let u = dy.times(&branch.b);
        let through = branch.masked(&u.times(&branch.a));
        dx = Dense::from_fn(dx.rows, dx.columns, |i, j| dx.at(i, j) + branch.scale * through.at(i, j));
        store(call, 1, &u.values)?;
    }
    store(call, 0, &dx.values)
}

fn lora_gradient(call: &OracleCall<'_>) -> Result<()> {
    let (dy, x) = (Dense::of(&call.input("dy"))?, Dense::of(&call.input("x"))?);
    let branch = branch(call)?.expect("both factors are checked at dispatch");
    let scaled = |matrix: Dense| matrix.values.iter().map(|value| branch.scale * value).collect::<Vec<_>>();
    let u = dy.times(&branch.b);
    store(call, 0, &scaled(u.transposed().times(&branch.masked(&x))))?;
    store(call, 1, &scaled(dy.transposed().times(&Dense::of(&call.input("xa"))?)))
}

fn weight_gradient(call: &OracleCall<'_>) -> Result<()> {
    let (dy, x) = (Dense::of(&call.input("dy"))?, Dense::of(&call.input("x"))?);
    store(call, 0, &dy.transposed().times(&x).values)
}

fn bias_gradient(call: &OracleCall<'_>) -> Result<()> {
    let dy = Dense::of(&call.input("dy"))?;
    let sums: Vec<f64> = (0..dy.columns).map(|j| (0..dy.rows).map(|i| dy.at(i, j)).sum()).collect();
    store(call, 0, &sums)
}
