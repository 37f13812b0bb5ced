//! The CPU device: fused kernels with run-time dispatch over instruction sets.

pub mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
pub mod attention;
pub mod buffer_cache;
pub mod cast;
mod cores;
pub mod cross_entropy;
pub mod cross_entropy_ops;
pub mod cross_entropy_rows;
#[cfg(target_arch = "x86_64")]
mod cross_entropy_tiles;
pub mod dropout_mask;
pub mod elementwise;
pub mod embedding;
pub mod gemm;
pub mod greedy;
pub mod isa;
pub mod layer_norm;
pub mod layout;
pub mod linear;
pub mod linear_ops;
pub mod norm;
pub mod operand;
pub mod optimizer;
pub mod pool;
pub mod quant4;
pub mod quant4_codes;
#[cfg(test)]
mod quant4_goldens;
pub mod quant4_map;
pub mod quant4_ops;
pub mod quant4_quantize;
#[cfg(target_arch = "x86_64")]
mod quant4_scales_avx512;
pub mod random;
pub mod reduce;
pub mod roofline;
pub mod rope;
pub mod sampling;
pub mod simd;
pub mod storage;
pub mod torch_sum;

pub use storage::{CpuCall, CpuStorage, CpuView};

use crate::backend::{Backend, View};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::files::MappedFile;
use crate::ops::OpDeclaration;
use crate::shape::TensorSpec;
use buffer_cache::BufferCache;
use isa::Isa;
use pool::Pool;
use std::collections::HashMap;
use std::sync::Arc;

/// What every CPU kernel gets besides its operands.
pub struct CpuContext {
    /// Threads.
    pub pool: &'static Pool,
    /// Instruction set.
    pub isa: Isa,
}

/// Implementation of one op.
pub type CpuKernel = fn(&CpuContext, &CpuCall<'_>) -> Result<()>;

/// Implementations by op name; each module with kernels contributes one slice.
const KERNELS: &[&[(&str, CpuKernel)]] = &[
    activation::KERNELS,
    attention::KERNELS,
    cast::KERNELS,
    cross_entropy_ops::KERNELS,
    elementwise::KERNELS,
    embedding::KERNELS,
    layer_norm::KERNELS,
    layout::KERNELS,
    linear_ops::KERNELS,
    norm::KERNELS,
    optimizer::KERNELS,
    quant4_ops::KERNELS,
    random::KERNELS,
    reduce::KERNELS,
    rope::KERNELS,
    sampling::KERNELS,
];

/// The CPU device.
pub struct CpuBackend {
    context: CpuContext,
    kernels: HashMap<&'static str, CpuKernel>,
    cache: BufferCache,
}

impl CpuBackend {
    /// A CPU device on the process-wide pool with the selected instruction set. The calling thread, the engine's, keeps
    /// to a core of its own from then on ([`Pool::stay`]).
    ///
    /// # Errors
    /// Errors of [`Isa::select`].
    pub fn new() -> Result<Self> {
        let isa = Isa::select()?;
        Pool::global().stay();
        Ok(Self::with_isa(isa))
    }

    /// A CPU device with a given instruction set (tests run every level of the machine).
    pub fn with_isa(isa: Isa) -> Self {
        Self {
            context: CpuContext { pool: Pool::global(), isa },
            kernels: KERNELS.iter().flat_map(|group| group.iter().copied()).collect(),
            cache: BufferCache::default(),
        }
    }
}

impl Backend for CpuBackend {
    type Storage = CpuStorage;

    fn allocate(&mut self, spec: &TensorSpec) -> Result<CpuStorage> {
        if spec.dtype.is_quantized() {
            return Ok(CpuStorage::quantized());
        }
        Ok(CpuStorage::Host(self.cache.take(spec.bytes()?)?))
    }

    fn release(&mut self, storage: CpuStorage) {
        match storage {
            CpuStorage::Host(buffer) => self.cache.give(buffer),
            // Of a weight that was quantized or copied, nobody reads the original again.
            CpuStorage::Mapped { file, byte_offset, bytes } => file.leave(byte_offset, bytes),
            CpuStorage::Quantized(_) => {}
        }
    }

    fn trim(&mut self) {
        self.cache.trim();
    }

    fn upload(&mut self, spec: &TensorSpec, bytes: &[u8]) -> Result<CpuStorage> {
        plain(spec)?;
        let buffer = self.cache.take(bytes.len())?;
        // SAFETY: the buffer was just made with `bytes.len()` bytes and nobody else sees it yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.pointer(), bytes.len()) };
        Ok(CpuStorage::Host(buffer))
    }

    fn map(&mut self, spec: &TensorSpec, file: &Arc<MappedFile>, byte_offset: usize) -> Result<CpuStorage> {
        plain(spec)?;
        let bytes = &file.bytes()[byte_offset..byte_offset + spec.bytes()?];
        if !(bytes.as_ptr() as usize).is_multiple_of(spec.dtype.size().unwrap_or(1)) {
            return self.upload(spec, bytes);
        }
        Ok(CpuStorage::Mapped { file: Arc::clone(file), byte_offset, bytes: bytes.len() })
    }

    fn download(&mut self, view: View<'_, CpuStorage>) -> Result<Vec<u8>> {
        Ok(view.bytes()?.to_vec())
    }

    fn execute(&mut self, call: &CpuCall<'_>) -> Result<()> {
        let name = call.attributes.op.name;
        let kernel = self.kernels.get(name).ok_or_else(|| {
            KernelError::new("ERR_OP_UNSUPPORTED", format!("the cpu device does not implement {name}"))
        })?;
        kernel(&self.context, call)
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }

    fn supports(&self, op: &OpDeclaration) -> bool {
        self.kernels.contains_key(op.name)
    }
}

fn plain(spec: &TensorSpec) -> Result<()> {
    if spec.dtype.is_quantized() {
        return Err(KernelError::dtype(
            "upload",
            format!("{} is built from its parts by an op, not from raw bytes", DType::name(spec.dtype)),
        ));
    }
    Ok(())
}
