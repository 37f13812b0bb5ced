//! Stochastic gradient descent as torch.optim.SGD computes it (dampening 0).

use super::{chunks, gradient_factor, in_place};
use crate::cpu::{CpuCall, CpuContext};
use crate::error::Result;

/// One step over all groups of (param, grad) or (param, grad, momentum).
///
/// # Errors
/// Those of operand access.
pub fn step(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let op = call.attributes.op;
    let with_momentum = op.variadic.len() == 3;
    let rate = call.attributes.float("learningRate");
    let decay = call.attributes.float("weightDecay");
    let factor = gradient_factor(call)?;
    let (momentum, nesterov) = if with_momentum {
        (call.attributes.float("momentum"), call.attributes.flag("nesterov"))
    } else {
        (0.0, false)
    };
    let mut groups = Vec::new();
    for views in call.variadic().chunks_exact(op.variadic.len()) {
        // SAFETY: param and momentum are declared as written by this op.
        let (parameter, buffer) =
            unsafe { (in_place::<f32>(&views[0])?, views.get(2).map(|view| in_place::<f32>(view)).transpose()?) };
        groups.push((parameter, views[1].slice::<f32>()?, buffer));
    }
    let tasks = chunks(groups.iter().map(|group| group.1.len()));
    context.pool.run(tasks.len(), &|task| {
        let (group, start, end) = tasks[task];
        let (parameter, gradient, buffer) = groups[group];
        // SAFETY: tasks own disjoint ranges of distinct tensors.
        let p = unsafe { parameter.slice(start, end) };
        let gradient = &gradient[start..end];
        match buffer {
            None => {
                for (p, g) in p.iter_mut().zip(gradient) {
                    *p -= rate * (g * factor + decay * *p);
                }
            }
            Some(buffer) => {
                // SAFETY: as above.
                let buffer = unsafe { buffer.slice(start, end) };
                for ((p, g), b) in p.iter_mut().zip(gradient).zip(buffer) {
                    let g = g * factor + decay * *p;
                    *b = momentum * *b + g;
                    *p -= rate * if nesterov { g + momentum * *b } else { *b };
                }
            }
        }
    });
    Ok(())
}
