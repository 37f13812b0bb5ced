//! Reductions, softmax and layout ops in f64.

use super::{OracleCall, OracleKernel};
use crate::cpu::embedding::check_ids;
use crate::error::Result;
use crate::ops::{Broadcast, Over};

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("sum", |call| reduce(call, |values| values.iter().sum())),
    ("mean", |call| reduce(call, |values| values.iter().sum::<f64>() / values.len() as f64)),
    ("max", |call| reduce(call, highest)),
    ("argmax", argmax),
    ("sumTo", sum_to),
    ("softmax", |call| softmax(call, false)),
    ("logSoftmax", |call| softmax(call, true)),
    ("softmaxBackward", |call| softmax_backward(call, false)),
    ("logSoftmaxBackward", |call| softmax_backward(call, true)),
    ("concat", concat),
    ("concatColumns", concat_columns),
    ("sliceColumns", slice_columns),
    ("gatherRows", gather_rows),
    ("scatterAddRows", scatter_add_rows),
    ("transpose", transpose),
];

fn highest(values: &[f64]) -> f64 {
    values.iter().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > *b { a } else { *b })
}

fn reduce(call: &OracleCall<'_>, fold: impl Fn(&[f64]) -> f64) -> Result<()> {
    let view = call.input("x");
    let x = view.values()?;
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    match Over::of(&call.attributes)? {
        Over::All => y[0] = fold(x),
        Over::Last => {
            for (row, y) in x.chunks_exact(view.spec.last()).zip(y) {
                *y = fold(row);
            }
        }
        Over::First => {
            let columns = y.len();
            for (column, y) in y.iter_mut().enumerate() {
                *y = fold(&x.iter().skip(column).step_by(columns).copied().collect::<Vec<_>>());
            }
        }
    }
    Ok(())
}

fn argmax(call: &OracleCall<'_>) -> Result<()> {
    let view = call.input("x");
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (row, y) in view.values()?.chunks_exact(view.spec.last()).zip(y) {
        let best = highest(row);
        *y = row.iter().position(|v| *v == best || (v.is_nan() && best.is_nan())).unwrap_or(0) as f64;
    }
    Ok(())
}

fn sum_to(call: &OracleCall<'_>) -> Result<()> {
    let (view, output) = (call.input("x"), call.outputs[0]);
    // SAFETY: the output of this call.
    let y = unsafe { output.values_mut()? };
    y.fill(0.0);
    let columns = view.spec.last();
    for (index, value) in view.values()?.iter().enumerate() {
        let at = match Broadcast::of(&output.spec.shape, &view.spec.shape) {
            Some(Broadcast::Scalar) => 0,
            Some(Broadcast::Row) => index % columns,
            Some(Broadcast::Column) => index / columns,
            _ => index,
        };
        y[at] += value;
    }
    Ok(())
}

fn softmax(call: &OracleCall<'_>, logarithm: bool) -> Result<()> {
    let view = call.input("x");
    let columns = view.spec.last();
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (x, y) in view.values()?.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let high = highest(x);
        let total: f64 = x.iter().map(|x| (x - high).exp()).sum();
        for (x, y) in x.iter().zip(y) {
            *y = if logarithm { x - high - total.ln() } else { (x - high).exp() / total };
        }
    }
    Ok(())
}

fn softmax_backward(call: &OracleCall<'_>, logarithm: bool) -> Result<()> {
    let (dy, view) = (call.input("dy").values()?, call.input("y"));
    let columns = view.spec.last();
    // SAFETY: the output of this call.
    let dx = unsafe { call.outputs[0].values_mut()? };
    for (row, y) in view.values()?.chunks_exact(columns).enumerate() {
        let dy = &dy[row * columns..(row + 1) * columns];
        let sum: f64 = dy.iter().zip(y).map(|(dy, y)| if logarithm { *dy } else { dy * y }).sum();
        for column in 0..columns {
            dx[row * columns + column] =
                if logarithm { dy[column] - y[column].exp() * sum } else { y[column] * (dy[column] - sum) };
        }
    }
    Ok(())
}

fn concat(call: &OracleCall<'_>) -> Result<()> {
    let mut all = Vec::new();
    for view in call.variadic() {
        all.extend_from_slice(view.values()?);
    }
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()? }.copy_from_slice(&all);
    Ok(())
}

fn concat_columns(call: &OracleCall<'_>) -> Result<()> {
    let output = call.outputs[0];
    let mut all = Vec::new();
    for row in 0..output.spec.rows() {
        for view in call.variadic() {
            let columns = view.spec.last();
            all.extend_from_slice(&view.values()?[row * columns..(row + 1) * columns]);
        }
    }
    // SAFETY: the output of this call.
    unsafe { output.values_mut()? }.copy_from_slice(&all);
    Ok(())
}

fn slice_columns(call: &OracleCall<'_>) -> Result<()> {
    let (view, output) = (call.input("x"), call.outputs[0]);
    let (start, count) = (call.attributes.count("start"), output.spec.last());
    // SAFETY: the output of this call.
    let y = unsafe { output.values_mut()? };
    for (index, y) in y.iter_mut().enumerate() {
        *y = view.values()?[index / count * view.spec.last() + start + index % count];
    }
    Ok(())
}

fn indices(call: &OracleCall<'_>, rows: usize) -> Result<Vec<usize>> {
    let indices: Vec<i32> = call.input("indices").values()?.iter().map(|index| *index as i32).collect();
    check_ids(call.attributes.op.name, &indices, rows)?;
    Ok(indices.into_iter().map(|index| index as usize).collect())
}

fn gather_rows(call: &OracleCall<'_>) -> Result<()> {
    let view = call.input("x");
    let row: usize = view.spec.shape[1..].iter().product();
    let mut all = Vec::new();
    for index in indices(call, view.spec.shape[0])? {
        all.extend_from_slice(&view.values()?[index * row..(index + 1) * row]);
    }
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()? }.copy_from_slice(&all);
    Ok(())
}

fn scatter_add_rows(call: &OracleCall<'_>) -> Result<()> {
    let output = call.outputs[0];
    let row: usize = output.spec.shape[1..].iter().product();
    // SAFETY: the output of this call.
    let y = unsafe { output.values_mut()? };
    y.fill(0.0);
    for (at, index) in indices(call, output.spec.shape[0])?.into_iter().enumerate() {
        for column in 0..row {
            y[index * row + column] += call.input("x").values()?[at * row + column];
        }
    }
    Ok(())
}

fn transpose(call: &OracleCall<'_>) -> Result<()> {
    let view = call.input("x");
    let (rows, columns) = (view.spec.shape[0], view.spec.shape[1]);
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (index, value) in view.values()?.iter().enumerate() {
        y[index % columns * rows + index / columns] = *value;
    }
    Ok(())
}
