//! Checks of the arguments of a call.

use super::{DeviceId, Entry, TensorId, TensorTable};
use crate::error::{KernelError, Result};
use crate::ops::OpDeclaration;

impl TensorTable {
    /// The operands of a call, in its order: present where they must be, on its device, and none of those that are written
    /// in place beside another in the same memory.
    pub(super) fn operands(
        &self,
        device: DeviceId,
        op: &'static OpDeclaration,
        ids: &[Option<TensorId>],
    ) -> Result<Vec<Option<Entry>>> {
        check_arity(op, ids)?;
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            let entry = id.map(|id| self.entry(id).cloned()).transpose()?;
            if let Some(entry) = &entry
                && entry.device != device
            {
                return Err(KernelError::new(
                    "ERR_DEVICE_MISMATCH",
                    format!(
                        "{}: {} lives on {}, the op runs on {}",
                        op.name, entry.spec, self.devices[entry.device].name, self.devices[device].name
                    ),
                ));
            }
            entries.push(entry);
        }
        for (index, entry) in entries.iter().enumerate().filter(|(index, _)| op.is_mutated(*index)) {
            let Some(entry) = entry else { continue };
            let alias = |(other, candidate): (usize, &Option<Entry>)| {
                other != index && candidate.as_ref().is_some_and(|other| overlaps(entry, other))
            };
            if entries.iter().enumerate().any(alias) {
                return Err(KernelError::new(
                    "ERR_ALIASED_OPERANDS",
                    format!("{}: operand {index} is written in place and shares memory with another operand", op.name),
                ));
            }
        }
        Ok(entries)
    }
}

fn overlaps(left: &Entry, right: &Entry) -> bool {
    left.storage == right.storage
        && left.offset < right.offset + right.spec.elements()
        && right.offset < left.offset + left.spec.elements()
}

fn check_arity(op: &'static OpDeclaration, ids: &[Option<TensorId>]) -> Result<()> {
    let named = op.inputs.len();
    let tail = ids.len().saturating_sub(named);
    let fits = if op.variadic.is_empty() { tail == 0 } else { tail.is_multiple_of(op.variadic.len()) };
    if ids.len() < named || !fits {
        return Err(KernelError::argument(
            op.name,
            format!("takes {named} inputs plus groups of {}, got {}", op.variadic.len(), ids.len()),
        ));
    }
    for (index, id) in ids.iter().enumerate() {
        if id.is_none() && op.inputs.get(index).is_none_or(|input| !input.optional) {
            let name = op.inputs.get(index).map_or("variadic input", |input| input.name);
            return Err(KernelError::argument(op.name, format!("input {name} is required")));
        }
    }
    Ok(())
}

/// Attribute values with defaults where none is given.
pub(super) fn fill_defaults(op: &'static OpDeclaration, values: &[f64]) -> Result<Vec<f64>> {
    if values.len() > op.attributes.len() {
        return Err(KernelError::argument(
            op.name,
            format!("takes {} attributes, got {}", op.attributes.len(), values.len()),
        ));
    }
    let given = |index: usize| values.get(index).copied().filter(|value| !value.is_nan());
    let fill = |(index, attribute): (usize, &crate::ops::Attribute)| {
        given(index)
            .or(attribute.default)
            .ok_or_else(|| KernelError::argument(op.name, format!("attribute {} is required", attribute.name)))
    };
    op.attributes.iter().enumerate().map(fill).collect()
}
