//! Access to the operands and attributes of one call.

use super::declare::OpDeclaration;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Numeric attributes of a call, defaults filled in.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// The op they belong to.
    pub op: &'static OpDeclaration,
    /// One value per declared attribute.
    pub values: &'a [f64],
    /// The trailing list of numbers.
    pub rest: &'a [f64],
}

impl Attributes<'_> {
    /// Value of attribute `name`.
    ///
    /// # Panics
    /// When the op declares no such attribute (a fault of the declaration).
    pub fn number(&self, name: &str) -> f64 {
        let index = self.op.attributes.iter().position(|attribute| attribute.name == name);
        self.values[index.unwrap_or_else(|| panic!("{} declares no attribute {name}", self.op.name))]
    }

    /// Attribute as `f32`.
    pub fn float(&self, name: &str) -> f32 {
        self.number(name) as f32
    }

    /// Attribute as a flag (non-zero is true).
    pub fn flag(&self, name: &str) -> bool {
        self.number(name) != 0.0
    }

    /// Attribute as a non-negative integer.
    pub fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    /// Attribute as a 64-bit seed or index.
    pub fn integer(&self, name: &str) -> u64 {
        self.number(name) as u64
    }

    /// Rejects an attribute that is not an integer in `low..=high`.
    ///
    /// # Errors
    /// `ERR_INVALID_ARGUMENT`.
    pub fn expect_integer(&self, name: &str, low: f64, high: f64) -> Result<u64> {
        let value = self.number(name);
        if value.fract() != 0.0 || !(low..=high).contains(&value) {
            return Err(KernelError::argument(
                self.op.name,
                format!("{name} must be an integer in {low}..={high}, got {value}"),
            ));
        }
        Ok(value as u64)
    }
}

/// A call as shape inference sees it: specifications only.
#[derive(Clone, Copy)]
pub struct InferCall<'a> {
    /// Specifications of the inputs, named ones first, then the variadic groups.
    pub inputs: &'a [Option<&'a TensorSpec>],
    /// Attributes.
    pub attributes: Attributes<'a>,
}

impl<'a> InferCall<'a> {
    /// Name of the op.
    pub fn name(&self) -> &'static str {
        self.attributes.op.name
    }

    fn index(&self, name: &str) -> usize {
        let op = self.attributes.op;
        op.inputs
            .iter()
            .position(|input| input.name == name)
            .unwrap_or_else(|| panic!("{} declares no input {name}", op.name))
    }

    /// Specification of a required input.
    pub fn input(&self, name: &str) -> &'a TensorSpec {
        self.inputs[self.index(name)].expect("required inputs are checked before inference")
    }

    /// Specification of an optional input.
    pub fn optional(&self, name: &str) -> Option<&'a TensorSpec> {
        self.inputs[self.index(name)]
    }

    /// The inputs after the named ones.
    pub fn variadic(&self) -> impl Iterator<Item = &'a TensorSpec> + '_ {
        self.inputs[self.attributes.op.inputs.len()..]
            .iter()
            .map(|spec| spec.expect("variadic inputs are never left out"))
    }

    /// A required input that must have `dtype`.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH`.
    pub fn typed(&self, name: &str, dtype: DType) -> Result<&'a TensorSpec> {
        let spec = self.input(name);
        if spec.dtype != dtype {
            return Err(KernelError::dtype(self.name(), format!("{name} must be {}, got {spec}", dtype.name())));
        }
        Ok(spec)
    }

    /// A required activation: float32, or stored in bfloat16.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH`.
    pub fn stored(&self, name: &str) -> Result<&'a TensorSpec> {
        let spec = self.input(name);
        if !matches!(spec.dtype, DType::F32 | DType::BF16) {
            return Err(KernelError::dtype(self.name(), format!("{name} must be float32 or bfloat16, got {spec}")));
        }
        Ok(spec)
    }

    /// What an op stores its results in that keeps the dtype of its operands: bfloat16 where all of them are.
    pub fn stored_alike(&self, names: &[&str]) -> DType {
        let is_rounded = names.iter().all(|name| self.input(name).dtype == DType::BF16);
        if is_rounded { DType::BF16 } else { DType::F32 }
    }

    /// What attribute `outputBfloat16` asks a result to be stored in.
    pub fn asked_output(&self) -> DType {
        if self.attributes.flag("outputBfloat16") { DType::BF16 } else { DType::F32 }
    }

    /// Bytes that one pass over all inputs and `outputs` moves.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` for a tensor whose bytes cannot be counted.
    pub fn moved_bytes(&self, outputs: &[TensorSpec]) -> Result<u64> {
        let mut bytes = 0;
        for spec in self.inputs.iter().flatten().copied().chain(outputs) {
            bytes += spec.bytes()? as u64;
        }
        Ok(bytes)
    }

    /// A required dense floating-point input.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH`.
    pub fn float(&self, name: &str) -> Result<&'a TensorSpec> {
        let spec = self.input(name);
        if !spec.dtype.is_float() {
            return Err(KernelError::dtype(self.name(), format!("{name} must be a float tensor, got {spec}")));
        }
        Ok(spec)
    }

    /// Checks a shape.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` naming the input, what was expected and what was found.
    pub fn expect_shape(&self, name: &str, expected: &[usize]) -> Result<()> {
        let spec = self.input(name);
        if spec.shape != expected {
            return Err(KernelError::shape(self.name(), format!("{name} must have shape {expected:?}, got {spec}")));
        }
        Ok(())
    }
}
