//! 4-bit block-quantized weights as bitsandbytes stores them (NF4 and FP4, optional double quantization).

use crate::cpu::quant4_codes::Codes;
use crate::cpu::quant4_map::{FP4_VALUES, NF4_VALUES};
use crate::cpu::simd::prefetch;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::QuantLayout;

/// The 16-entry codebook of a 4-bit weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant4Kind {
    /// 4-bit NormalFloat.
    Nf4,
    /// 4-bit float in the bit order of bitsandbytes.
    Fp4,
}

impl Quant4Kind {
    /// The kind of a dtype; `None` for any other dtype.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::NF4 => Some(Quant4Kind::Nf4),
            DType::FP4 => Some(Quant4Kind::Fp4),
            _ => None,
        }
    }

    /// Value of each code, relative to the block's absmax.
    pub fn values(self) -> &'static [f32; 16] {
        match self {
            Quant4Kind::Nf4 => &NF4_VALUES,
            Quant4Kind::Fp4 => &FP4_VALUES,
        }
    }
}

/// Scales of the blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    /// One f32 absmax per block.
    Plain(Vec<f32>),
    /// Double quantization: absmax = map[code] · nested absmax + offset.
    Nested {
        /// One code per block.
        codes: Vec<u8>,
        /// One f32 per `block` codes.
        absmax: Vec<f32>,
        /// Mean of the absmax values before quantization.
        offset: f32,
        /// The 256-entry dynamic map.
        map: Box<[f32; 256]>,
        /// Codes that share one nested absmax.
        block: usize,
    },
}

/// A 4-bit weight: consecutive elements of the row-major weight, even index in the high nibble.
#[derive(Clone, Debug, PartialEq)]
pub struct Quant4 {
    /// Codebook.
    pub kind: Quant4Kind,
    /// Number of weights.
    pub elements: usize,
    /// Weights that share one absmax: a power of two in 32..=4096.
    pub block: usize,
    /// `ceil(elements / 2)` bytes.
    pub codes: Codes,
    /// Block scales.
    pub scales: Scales,
}

impl Quant4 {
    /// Checks that the parts belong together.
    ///
    /// # Errors
    /// `ERR_INVALID_ARGUMENT` for a block size outside the domain, `ERR_SHAPE_MISMATCH` for parts whose
    /// lengths do not fit the number of elements.
    pub fn validate(&self) -> Result<()> {
        check_block(self.block)?;
        let blocks = self.elements.div_ceil(self.block);
        let expect = |what: &str, found: usize, expected: usize| {
            if found == expected {
                return Ok(());
            }
            Err(KernelError::shape(
                "quant4",
                format!("{} weights in blocks of {} need {expected} {what}, found {found}", self.elements, self.block),
            ))
        };
        expect("code bytes", self.codes.len(), self.elements.div_ceil(2))?;
        match &self.scales {
            Scales::Plain(absmax) => expect("absmax values", absmax.len(), blocks),
            Scales::Nested { codes, absmax, block, .. } => {
                if !block.is_power_of_two() {
                    return Err(KernelError::argument("quant4", format!("nested block {block} is not a power of two")));
                }
                expect("absmax codes", codes.len(), blocks)?;
                expect("nested absmax values", absmax.len(), blocks.div_ceil(*block))
            }
        }
    }

    /// Block layout, as tensor specifications carry it.
    pub fn layout(&self) -> QuantLayout {
        let nested_block = match &self.scales {
            Scales::Plain(_) => 0,
            Scales::Nested { block, .. } => *block,
        };
        QuantLayout { block: self.block, nested_block }
    }

    /// A view for kernels.
    pub fn view(&self) -> Quant4View<'_> {
        Quant4View { weight: self, values: self.kind.values(), shift: self.block.trailing_zeros() }
    }

    /// Absmax of every block, as f32.
    pub fn absmax(&self) -> Vec<f32> {
        let view = self.view();
        (0..self.elements.div_ceil(self.block)).map(|block| view.scale(block)).collect()
    }
}

/// Rejects block sizes that bitsandbytes cannot read.
///
/// # Errors
/// `ERR_INVALID_ARGUMENT`.
pub fn check_block(block: usize) -> Result<()> {
    if block.is_power_of_two() && (32..=4096).contains(&block) {
        return Ok(());
    }
    Err(KernelError::argument("quant4", format!("block size must be a power of two in 32..=4096, got {block}")))
}

/// Borrowed [`Scales::Nested`].
#[derive(Clone, Copy)]
pub struct NestedScales<'a> {
    /// One code per block.
    pub codes: &'a [u8],
    /// One f32 per `block` codes.
    pub absmax: &'a [f32],
    /// Mean of the absmax values before quantization.
    pub offset: f32,
    /// The 256-entry dynamic map.
    pub map: &'a [f32; 256],
    /// Codes that share one nested absmax.
    pub block: usize,
}

/// A borrowed 4-bit weight with what kernels look up precomputed.
#[derive(Clone, Copy)]
pub struct Quant4View<'a> {
    weight: &'a Quant4,
    values: &'static [f32; 16],
    shift: u32,
}

impl<'a> Quant4View<'a> {
    /// Number of weights.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.weight.elements
    }

    /// Weights per block.
    pub fn block(&self) -> usize {
        self.weight.block
    }

    /// log2 of the block size.
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// Packed codes.
    pub fn codes(&self) -> &'a [u8] {
        &self.weight.codes
    }

    /// The codebook.
    pub fn values(&self) -> &'static [f32; 16] {
        self.values
    }

    /// Bytes per block scale.
    pub fn scale_bytes(&self) -> usize {
        match self.weight.scales {
            Scales::Plain(_) => 4,
            Scales::Nested { .. } => 1,
        }
    }

    /// The parts of double-quantized scales; `None` for plain ones.
    pub fn nested(&self) -> Option<NestedScales<'a>> {
        match &self.weight.scales {
            Scales::Plain(_) => None,
            Scales::Nested { codes, absmax, offset, map, block } => {
                Some(NestedScales { codes, absmax, offset: *offset, map, block: *block })
            }
        }
    }

    /// Absmax of block `index`. Product and sum are rounded separately, as bitsandbytes does.
    #[inline(always)]
    pub fn scale(&self, index: usize) -> f32 {
        match &self.weight.scales {
            Scales::Plain(absmax) => absmax[index],
            Scales::Nested { codes, absmax, offset, map, block } => {
                map[usize::from(codes[index])] * absmax[index >> block.trailing_zeros()] + offset
            }
        }
    }

    /// Absmax of the blocks from `first` on, as [`Self::scale`] gives them.
    pub fn scales(&self, first: usize, target: &mut [f32]) {
        match &self.weight.scales {
            Scales::Plain(absmax) => target.copy_from_slice(&absmax[first..first + target.len()]),
            Scales::Nested { codes, absmax, offset, map, block } => {
                let (mut codes, mut target) = (&codes[first..first + target.len()], target);
                let mut at = first;
                while !target.is_empty() {
                    let count = (block - at % block).min(target.len());
                    let (front, back) = target.split_at_mut(count);
                    let (these, later) = codes.split_at(count);
                    let absmax = absmax[at / block];
                    for (to, code) in front.iter_mut().zip(these) {
                        *to = map[usize::from(*code)] * absmax + offset;
                    }
                    (target, codes, at) = (back, later, at + count);
                }
            }
        }
    }

    /// Weight `index`.
    #[inline(always)]
    pub fn value(&self, index: usize) -> f32 {
        let byte = self.weight.codes[index / 2];
        let code = if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
        self.values[usize::from(code)] * self.scale(index >> self.shift)
    }
}

/// Bytes of codes of scales between those that are read and those that are asked for.
pub const SCALES_AHEAD: usize = 512;

/// Looks scales up row after row: of double-quantized ones it keeps the 256 values of the current nested block, so that a
/// scale costs two loads.
pub struct ScaleReader<'a> {
    view: Quant4View<'a>,
    nested: usize,
    table: [f32; 256],
}

impl<'a> ScaleReader<'a> {
    /// A reader of the scales of a weight.
    pub fn new(view: Quant4View<'a>) -> Self {
        Self { view, nested: usize::MAX, table: [0.0; 256] }
    }

    /// Scales of the weights `first`, `first + step`, `first + 2 · step` and so on, as [`Quant4View::scale`] gives them.
    pub fn read(&mut self, first: usize, step: usize, target: &mut [f32]) {
        let shift = self.view.shift;
        match &self.view.weight.scales {
            Scales::Plain(absmax) => {
                for (index, to) in target.iter_mut().enumerate() {
                    *to = absmax[(first + index * step) >> shift];
                }
            }
            Scales::Nested { codes, block, .. } => {
                let nested_shift = shift + block.trailing_zeros();
                let (mut at, mut target) = (first, target);
                while !target.is_empty() {
                    // Weights up to the end of the nested block.
                    let end = ((at >> nested_shift) + 1) << nested_shift;
                    let count = (end - at).div_ceil(step).min(target.len());
                    self.turn_to(at >> nested_shift);
                    let (front, back) = target.split_at_mut(count);
                    if step == self.view.block() {
                        let codes = &codes[at >> shift..(at >> shift) + count];
                        // They are a stream of their own, a thirty-second of the weights': too slow for the processor to
                        // see it coming.
                        for line in (0..count).step_by(64) {
                            prefetch(codes.as_ptr().wrapping_add(SCALES_AHEAD + line));
                        }
                        front.iter_mut().zip(codes).for_each(|(to, code)| *to = self.table[usize::from(*code)]);
                    } else {
                        for (index, to) in front.iter_mut().enumerate() {
                            *to = self.table[usize::from(codes[(at + index * step) >> shift])];
                        }
                    }
                    (at, target) = (at + count * step, back);
                }
            }
        }
    }

    fn turn_to(&mut self, nested: usize) {
        let Scales::Nested { absmax, offset, map, .. } = &self.view.weight.scales else { return };
        if self.nested != nested {
            self.nested = nested;
            let absmax = absmax[nested];
            self.table.iter_mut().zip(&map[..]).for_each(|(to, value)| *to = value * absmax + offset);
        }
    }
}
