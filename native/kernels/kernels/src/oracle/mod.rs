//! The oracle device: every op in plain f64, the reference that the fast devices are compared to.
//!
//! Every float tensor is stored as f64 whatever its declared dtype, so gradients can be checked by
//! finite differences; integers are exact in f64 as well.

mod activation;
mod attention;
mod cross_entropy;
mod elementwise;
mod linear;
mod norm;
mod optimizer;
mod quant4;
mod random;
mod reduce;

use crate::backend::{Backend, Call, View};
use crate::cpu::quant4::Quant4;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::files::MappedFile;
use crate::ops::OpDeclaration;
use crate::shape::TensorSpec;
use half::{bf16, f16};
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Memory of one oracle tensor.
pub enum OracleStorage {
    /// Plain values.
    Values(UnsafeCell<Vec<f64>>),
    /// A 4-bit weight.
    Quantized(UnsafeCell<Option<Quant4>>),
}

/// An oracle operand.
pub type OracleView<'a> = View<'a, OracleStorage>;

/// An oracle op call.
pub type OracleCall<'a> = Call<'a, OracleStorage>;

/// Implementation of one op.
pub type OracleKernel = fn(&OracleCall<'_>) -> Result<()>;

/// Implementations by op name; each module contributes one slice.
const KERNELS: &[&[(&str, OracleKernel)]] = &[
    activation::KERNELS,
    attention::KERNELS,
    cross_entropy::KERNELS,
    elementwise::KERNELS,
    linear::KERNELS,
    norm::KERNELS,
    optimizer::KERNELS,
    quant4::KERNELS,
    random::KERNELS,
    reduce::KERNELS,
];

/// The oracle device.
pub struct OracleBackend {
    kernels: HashMap<&'static str, OracleKernel>,
}

impl Default for OracleBackend {
    fn default() -> Self {
        Self { kernels: KERNELS.iter().flat_map(|group| group.iter().copied()).collect() }
    }
}

impl<'a> View<'a, OracleStorage> {
    /// The values of the view.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for a 4-bit weight.
    pub fn values(&self) -> Result<&'a [f64]> {
        match self.storage {
            OracleStorage::Values(cell) => {
                // SAFETY: calls run one at a time; a mutable slice exists only inside the call that writes.
                let values = unsafe { &*cell.get() };
                Ok(&values[self.offset..self.offset + self.spec.elements()])
            }
            OracleStorage::Quantized(_) => Err(KernelError::dtype("oracle", "a 4-bit weight has no plain values")),
        }
    }

    /// The values of an output or in-place input.
    ///
    /// # Safety
    /// As for the CPU's `slice_mut`.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for a 4-bit weight.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn values_mut(&self) -> Result<&'a mut [f64]> {
        match self.storage {
            OracleStorage::Values(cell) => {
                // SAFETY: uniqueness by the caller's contract.
                Ok(&mut unsafe { &mut *cell.get() }[self.offset..self.offset + self.spec.elements()])
            }
            OracleStorage::Quantized(_) => Err(KernelError::dtype("oracle", "a 4-bit weight has no plain values")),
        }
    }

    /// The 4-bit weight of the view.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for another storage.
    pub fn quant4(&self) -> Result<&'a Quant4> {
        match self.storage {
            // SAFETY: written only by the op that creates it.
            OracleStorage::Quantized(cell) => unsafe { &*cell.get() }
                .as_ref()
                .ok_or_else(|| KernelError::new("ERR_TENSOR_MISSING", "the 4-bit weight was never filled")),
            OracleStorage::Values(_) => Err(KernelError::dtype("oracle", "not a 4-bit weight")),
        }
    }

    /// Fills the 4-bit weight of an output.
    ///
    /// # Safety
    /// The view must be an output of the running call.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for another storage.
    pub unsafe fn set_quant4(&self, weight: Quant4) -> Result<()> {
        match self.storage {
            OracleStorage::Quantized(cell) => {
                // SAFETY: an output is seen by its own call only.
                unsafe { *cell.get() = Some(weight) };
                Ok(())
            }
            OracleStorage::Values(_) => Err(KernelError::dtype("oracle", "not a 4-bit weight")),
        }
    }
}

/// Decodes raw little-endian bytes of `dtype` into f64.
fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |raw| f64::from(f32::from_le_bytes(raw))),
        DType::BF16 => each(bytes, |raw| bf16::from_le_bytes(raw).to_f64()),
        DType::F16 => each(bytes, |raw| f16::from_le_bytes(raw).to_f64()),
        DType::I32 => each(bytes, |raw| f64::from(i32::from_le_bytes(raw))),
        DType::I64 => each(bytes, |raw| i64::from_le_bytes(raw) as f64),
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::I8 => each(bytes, |raw| f64::from(i8::from_le_bytes(raw))),
        DType::U8 | DType::NF4 | DType::FP4 => bytes.iter().map(|byte| f64::from(*byte)).collect(),
    }
}

/// Encodes values as raw little-endian bytes; floats are always given back as f64.
fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    match dtype {
        DType::I32 => values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect(),
        DType::I64 => values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect(),
        DType::I8 => values.iter().map(|value| (*value as i8) as u8).collect(),
        DType::U8 => values.iter().map(|value| *value as u8).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

impl Backend for OracleBackend {
    type Storage = OracleStorage;

    fn allocate(&mut self, spec: &TensorSpec) -> Result<OracleStorage> {
        if spec.dtype.is_quantized() {
            return Ok(OracleStorage::Quantized(UnsafeCell::new(None)));
        }
        Ok(OracleStorage::Values(UnsafeCell::new(vec![f64::NAN; spec.elements()])))
    }

    fn release(&mut self, storage: OracleStorage) {
        drop(storage);
    }

    fn upload(&mut self, spec: &TensorSpec, bytes: &[u8]) -> Result<OracleStorage> {
        Ok(OracleStorage::Values(UnsafeCell::new(decode(spec.dtype, bytes))))
    }

    fn map(&mut self, spec: &TensorSpec, file: &Arc<MappedFile>, byte_offset: usize) -> Result<OracleStorage> {
        self.upload(spec, &file.bytes()[byte_offset..byte_offset + spec.bytes()?])
    }

    /// Floats come back as f64 bytes, whatever the declared dtype.
    fn download(&mut self, view: View<'_, OracleStorage>) -> Result<Vec<u8>> {
        Ok(encode(view.spec.dtype, view.values()?))
    }

    fn execute(&mut self, call: &OracleCall<'_>) -> Result<()> {
        let name = call.attributes.op.name;
        let kernel = self.kernels.get(name).ok_or_else(|| {
            KernelError::new("ERR_OP_UNSUPPORTED", format!("the oracle device does not implement {name}"))
        })?;
        kernel(call)
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    fn supports(&self, op: &OpDeclaration) -> bool {
        self.kernels.contains_key(op.name)
    }
}
