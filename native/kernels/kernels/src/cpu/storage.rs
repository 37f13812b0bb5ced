//! Memory of CPU tensors: owned buffers, mapped file regions, 4-bit weights.

use super::buffer_cache::HostBuffer;
use super::quant4::Quant4;
use crate::backend::{Call, View};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::files::MappedFile;
use half::{bf16, f16};
use std::cell::UnsafeCell;
use std::sync::Arc;

/// Memory of one CPU tensor.
pub enum CpuStorage {
    /// Owned buffer.
    Host(HostBuffer),
    /// Read-only region of a mapped file.
    Mapped {
        /// The file.
        file: Arc<MappedFile>,
        /// First byte.
        byte_offset: usize,
        /// Length in bytes.
        bytes: usize,
    },
    /// A 4-bit weight, set by the op that makes it.
    Quantized(UnsafeCell<Option<Quant4>>),
}

/// A CPU tensor operand.
pub type CpuView<'a> = View<'a, CpuStorage>;

/// A CPU op call.
pub type CpuCall<'a> = Call<'a, CpuStorage>;

impl CpuStorage {
    /// An empty 4-bit weight.
    pub fn quantized() -> Self {
        Self::Quantized(UnsafeCell::new(None))
    }
}

/// Element types whose slices kernels may take from a storage.
pub trait Element: Copy + 'static {
    /// The matching dtype.
    const DTYPE: DType;
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => { $(impl Element for $type { const DTYPE: DType = DType::$dtype; })* };
}
element!(f32 => F32, bf16 => BF16, f16 => F16, i32 => I32, u8 => U8, i8 => I8, f64 => F64, i64 => I64);

impl<'a> View<'a, CpuStorage> {
    fn region(&self) -> Result<(*const u8, usize)> {
        let size =
            self.spec.dtype.size().ok_or_else(|| {
                KernelError::dtype("read", format!("{} has no plain bytes; take its parts", self.spec))
            })?;
        let (pointer, available) = match self.storage {
            CpuStorage::Host(buffer) => (buffer.pointer().cast_const(), buffer.bytes()),
            CpuStorage::Mapped { file, byte_offset, bytes } => (file.bytes()[*byte_offset..].as_ptr(), *bytes),
            CpuStorage::Quantized(_) => {
                return Err(KernelError::dtype("read", "a 4-bit weight has no plain bytes; take its parts"));
            }
        };
        let start = self.offset * size;
        let length = self.spec.elements() * size;
        assert!(start + length <= available, "view of {} outside its storage of {available} bytes", self.spec);
        // SAFETY: in bounds by the assertion above.
        Ok((unsafe { pointer.add(start) }, length))
    }

    /// The raw bytes of a plain tensor.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for a 4-bit weight.
    pub fn bytes(&self) -> Result<&'a [u8]> {
        let (pointer, length) = self.region()?;
        // SAFETY: `region` checked the bounds; the storage outlives the view.
        Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
    }

    /// The elements as a slice.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` when the tensor holds another type.
    pub fn slice<T: Element>(&self) -> Result<&'a [T]> {
        let pointer = self.typed::<T>()?;
        // SAFETY: `typed` checked type and bounds; buffers are 64-byte aligned, mapped regions are
        // checked for alignment when they are made, and view offsets are whole elements.
        Ok(unsafe { std::slice::from_raw_parts(pointer, self.spec.elements()) })
    }

    /// The elements as a mutable slice.
    ///
    /// # Safety
    /// The view must be an output or a declared in-place input of the running call, and no other slice
    /// of the same region may be alive.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH`, or `ERR_READ_ONLY` for memory of a mapped file.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice_mut<T: Element>(&self) -> Result<&'a mut [T]> {
        if matches!(self.storage, CpuStorage::Mapped { .. }) {
            return Err(KernelError::new(
                "ERR_READ_ONLY",
                format!("{} is mapped from a file and cannot be written; clone it first", self.spec),
            ));
        }
        let pointer = self.typed::<T>()?.cast_mut();
        // SAFETY: type and bounds as in `slice`; uniqueness by the caller's contract.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer, self.spec.elements()) })
    }

    fn typed<T: Element>(&self) -> Result<*const T> {
        if self.spec.dtype != T::DTYPE {
            return Err(KernelError::dtype(
                "operand",
                format!("the kernel reads {}, the tensor is {}", T::DTYPE.name(), self.spec),
            ));
        }
        Ok(self.region()?.0.cast())
    }

    /// The 4-bit weight behind the view.
    ///
    /// # Errors
    /// `ERR_DTYPE_MISMATCH` for another storage.
    pub fn quant4(&self) -> Result<&'a Quant4> {
        match self.storage {
            // SAFETY: written only by the op that creates it, which runs before any reader.
            CpuStorage::Quantized(cell) => unsafe { &*cell.get() }
                .as_ref()
                .ok_or_else(|| KernelError::new("ERR_TENSOR_MISSING", "the 4-bit weight was never filled")),
            _ => Err(KernelError::dtype("operand", format!("{} is not a 4-bit weight", self.spec))),
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
            CpuStorage::Quantized(cell) => {
                // SAFETY: an output is seen by its own call only.
                unsafe { *cell.get() = Some(weight) };
                Ok(())
            }
            _ => Err(KernelError::dtype("operand", format!("{} is not a 4-bit weight", self.spec))),
        }
    }
}
