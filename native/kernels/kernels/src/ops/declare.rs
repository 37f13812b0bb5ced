//! The shape of an op declaration.

use super::call::InferCall;
use crate::error::Result;
use crate::shape::TensorSpec;

/// A named tensor input.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Name used by TypeScript callers.
    pub name: &'static str,
    /// Whether the caller may leave it out.
    pub optional: bool,
}

/// A named numeric attribute (flags are 0/1, enums small integers, seeds below 2^53).
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Name used by TypeScript callers.
    pub name: &'static str,
    /// Value used when the caller leaves it out; `None` makes it required.
    pub default: Option<f64>,
}

/// What `infer` returns.
#[derive(Clone, Debug, Default)]
pub struct Inferred {
    /// Specifications of the outputs that this call produces, in declared order.
    pub outputs: Vec<TensorSpec>,
    /// Scratch bytes the op needs while it runs.
    pub workspace_bytes: usize,
    /// Floating-point operations (a multiply-add counts two).
    pub flops: u64,
    /// Bytes read and written at least once.
    pub bytes: u64,
}

/// One op.
#[derive(Debug)]
pub struct OpDeclaration {
    /// Unique name in camelCase, as TypeScript spells it.
    pub name: &'static str,
    /// Named inputs, in call order.
    pub inputs: &'static [Input],
    /// Names of a group of inputs that repeats after the named ones (multi-tensor ops); empty without.
    pub variadic: &'static [&'static str],
    /// Numeric attributes, in call order.
    pub attributes: &'static [Attribute],
    /// Name of a list of numbers that follows the attributes (extents, axes); `None` without.
    pub rest: Option<&'static str>,
    /// Names of the outputs. `infer` may return fewer (trailing ones left out).
    pub outputs: &'static [&'static str],
    /// Names of inputs (or of the variadic group) that the op writes in place.
    pub mutates: &'static [&'static str],
    /// Validates a call and infers outputs and costs.
    pub infer: fn(&InferCall<'_>) -> Result<Inferred>,
}

/// A required input.
pub const fn input(name: &'static str) -> Input {
    Input { name, optional: false }
}

/// An optional input.
pub const fn optional(name: &'static str) -> Input {
    Input { name, optional: true }
}

/// An attribute with a default.
pub const fn attribute(name: &'static str, default: f64) -> Attribute {
    Attribute { name, default: Some(default) }
}

/// A required attribute.
pub const fn required(name: &'static str) -> Attribute {
    Attribute { name, default: None }
}

impl OpDeclaration {
    /// Whether input `index` of a call (named inputs first, then the variadic groups) is written.
    pub fn is_mutated(&self, index: usize) -> bool {
        let name = match index.checked_sub(self.inputs.len()) {
            None => self.inputs[index].name,
            Some(tail) if !self.variadic.is_empty() => self.variadic[tail % self.variadic.len()],
            Some(_) => return false,
        };
        self.mutates.contains(&name)
    }
}
