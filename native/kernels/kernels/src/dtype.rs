//! Element types and composite weight formats.

/// Element type of a tensor, or the storage format of a quantized weight.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit IEEE float.
    F32 = 0,
    /// bfloat16: upper half of an f32.
    BF16 = 1,
    /// IEEE half.
    F16 = 2,
    /// 32-bit signed integer (token ids, positions, offsets).
    I32 = 3,
    /// Raw bytes and 8-bit codes.
    U8 = 4,
    /// Signed 8-bit integer.
    I8 = 5,
    /// 64-bit IEEE float (file import; the oracle's working type).
    F64 = 6,
    /// 64-bit signed integer (file import only).
    I64 = 7,
    /// 4-bit NormalFloat weight, block-wise absmax scales, optional double quantization.
    NF4 = 8,
    /// 4-bit float weight in the bitsandbytes FP4 code, scales as NF4.
    FP4 = 9,
}

impl DType {
    /// All dtypes in numeric order; the index is the code used across the binding.
    pub const ALL: [DType; 10] = [
        DType::F32,
        DType::BF16,
        DType::F16,
        DType::I32,
        DType::U8,
        DType::I8,
        DType::F64,
        DType::I64,
        DType::NF4,
        DType::FP4,
    ];

    /// Decodes the numeric code.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }

    /// Name used in TypeScript and in messages.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "float32",
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            DType::I32 => "int32",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::F64 => "float64",
            DType::I64 => "int64",
            DType::NF4 => "nf4",
            DType::FP4 => "fp4",
        }
    }

    /// Bytes per element of a plain dtype; `None` for composite formats.
    pub fn size(self) -> Option<usize> {
        match self {
            DType::F32 | DType::I32 => Some(4),
            DType::BF16 | DType::F16 => Some(2),
            DType::U8 | DType::I8 => Some(1),
            DType::F64 | DType::I64 => Some(8),
            DType::NF4 | DType::FP4 => None,
        }
    }

    /// True for dense floating-point element types.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::BF16 | DType::F16 | DType::F64)
    }

    /// True for 4-bit block-quantized weight formats.
    pub fn is_quantized(self) -> bool {
        matches!(self, DType::NF4 | DType::FP4)
    }
}
