//! Tensor specifications: dtype, shape and, for 4-bit weights, the block layout.

use crate::dtype::DType;
use crate::error::{KernelError, Result};

/// Block layout of a 4-bit weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantLayout {
    /// Elements that share one absmax.
    pub block: usize,
    /// Absmax values that share one nested absmax; 0 without double quantization.
    pub nested_block: usize,
}

impl QuantLayout {
    /// Bytes of codes, scales and tables for `elements` weights.
    pub fn bytes(self, elements: usize) -> usize {
        let codes = elements.div_ceil(2);
        let blocks = elements.div_ceil(self.block);
        if self.nested_block == 0 {
            codes + 4 * blocks
        } else {
            // u8 scale codes, f32 nested absmax, the 256-entry map and the offset.
            codes + blocks + 4 * blocks.div_ceil(self.nested_block) + 4 * 256 + 4
        }
    }
}

/// Dtype and shape of a tensor; always contiguous and row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Element type or weight format.
    pub dtype: DType,
    /// Extents, outermost first. A scalar is `[1]`.
    pub shape: Vec<usize>,
    /// Block layout; set exactly when `dtype` is a 4-bit format.
    pub quant: Option<QuantLayout>,
}

impl TensorSpec {
    /// A plain (not quantized) specification.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into(), quant: None }
    }

    /// An `f32` specification.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(DType::F32, shape)
    }

    /// A 4-bit weight.
    pub fn quant4(dtype: DType, shape: impl Into<Vec<usize>>, layout: QuantLayout) -> Self {
        Self { dtype, shape: shape.into(), quant: Some(layout) }
    }

    /// Number of logical elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Extent of the last dimension.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all extents but the last.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Bytes of the storage, scales and tables included.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` when the product of extents overflows, `ERR_DTYPE_MISMATCH` for a 4-bit
    /// format without its layout.
    pub fn bytes(&self) -> Result<usize> {
        let overflow = || KernelError::shape("bytes", format!("{:?} overflows the address space", self.shape));
        let elements =
            self.shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent)).ok_or_else(overflow)?;
        match (self.dtype.size(), self.quant) {
            (Some(size), _) => elements.checked_mul(size).ok_or_else(overflow),
            (None, Some(layout)) => Ok(layout.bytes(elements)),
            (None, None) => Err(KernelError::dtype("bytes", format!("{} needs a block layout", self.dtype.name()))),
        }
    }
}

impl std::fmt::Display for TensorSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{:?}", self.dtype.name(), self.shape)
    }
}
