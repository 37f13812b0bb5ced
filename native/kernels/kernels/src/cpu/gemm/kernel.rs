//! The table of micro-kernels: one entry per instruction set and compute dtype.

use crate::cpu::gemm::{tile_amx, tile_portable, tile_x86};
use crate::cpu::isa::Isa;

/// The dtype that the inputs of a product are rounded to. Sums are f32 in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeDtype {
    /// Inputs stay 32-bit floats.
    F32,
    /// Inputs are rounded to bfloat16 (nearest, ties to even).
    Bf16,
}

impl ComputeDtype {
    /// Both values.
    pub const ALL: [ComputeDtype; 2] = [ComputeDtype::F32, ComputeDtype::Bf16];
}

/// What one 32-bit word of a packed panel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelWord {
    /// One f32.
    F32,
    /// One f32 whose value was rounded to bfloat16.
    RoundedF32,
    /// Two bfloat16 values of consecutive k; the lower half is the smaller k.
    Bf16Pair,
}

impl PanelWord {
    /// Values of k per word.
    pub const fn depth(self) -> usize {
        match self {
            PanelWord::F32 | PanelWord::RoundedF32 => 1,
            PanelWord::Bf16Pair => 2,
        }
    }
}

/// How a row panel of `height` rows lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowLayout {
    /// Step after step of K: `height` words.
    Steps,
    /// Sixteen steps after sixteen steps: `height` rows of 16 words, `height` rounded up to 16. What tile registers load.
    Tiles,
}

impl RowLayout {
    /// Rows and steps of K are stored in multiples of this.
    pub const fn multiple(self) -> usize {
        match self {
            RowLayout::Steps => 1,
            RowLayout::Tiles => 16,
        }
    }
}

/// Steps of K of a row panel and a column panel.
#[derive(Clone, Copy)]
pub struct Part {
    /// Words of K.
    pub steps: usize,
    /// Groups of as many words as the tile has rows.
    pub a: *const u32,
    /// Groups of as many words as the tile has columns.
    pub b: *const u32,
    /// Factor of what is added up until then, this part included.
    pub factor: f32,
}

/// What becomes of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is overwritten.
    Overwrite,
    /// It is overwritten past the caches: whole lines.
    Stream,
    /// Sums are added to it.
    Accumulate,
}

/// Multiplies row panels by column panels into a tile of C: `(parts, c, stride, write)`; part after part, sum = factor ·
/// (sum + a · b), then `c[r][j] = sum (+ c[r][j] when accumulating)`, rows `stride` elements apart.
///
/// # Safety
/// The pointers must cover those extents and the instruction set must be present; where C is streamed, its rows must begin
/// at lines of 64 bytes.
pub type TileFn = unsafe fn(&[Part], *mut f32, usize, Write);

/// A register-tiled kernel and the panel layout it reads.
#[derive(Clone, Copy)]
pub struct MicroKernel {
    /// Instruction set used for packing as well.
    pub isa: Isa,
    /// Name for benchmarks.
    pub name: &'static str,
    /// Largest row-panel height.
    pub rows: usize,
    /// How row panels lie in memory.
    pub layout: RowLayout,
    /// Full column-panel width; a last panel of at most half of it is packed at half width.
    pub columns: usize,
    /// Word layout of both panels.
    pub word: PanelWord,
    /// Words of K per block, at most: a column panel of this depth, of tiles a slab, stays in the second cache. Fewer blocks
    /// read and write C less often; that a panel leaves the nearest cache costs less.
    pub block_words: usize,
    /// Bytes of row panels that one pass over the columns keeps near the core: half of its second cache. With
    /// [`RowLayout::Tiles`], one panel at a time passes.
    pub row_block_bytes: usize,
    /// Whether large results are written past the caches.
    pub streams: bool,
    /// `tiles[height - 1][0 | 1]` for half and full width; none where rows lie in [`RowLayout::Tiles`].
    pub tiles: &'static [[TileFn; 2]],
}

impl MicroKernel {
    /// The kernel for an instruction set and compute dtype.
    ///
    /// # Panics
    /// When this machine lacks `isa`.
    pub fn select(isa: Isa, compute: ComputeDtype) -> MicroKernel {
        assert!(isa <= Isa::detect(), "this machine lacks {}", isa.name());
        let word = match compute {
            ComputeDtype::F32 => PanelWord::F32,
            ComputeDtype::Bf16 if isa.has_native_bf16() => PanelWord::Bf16Pair,
            ComputeDtype::Bf16 => PanelWord::RoundedF32,
        };
        let base = match isa {
            Isa::Portable => tile_portable::KERNEL,
            Isa::Avx2 => tile_x86::AVX2,
            Isa::Avx512 => tile_x86::AVX512,
            Isa::AmxBf16 if word == PanelWord::Bf16Pair => tile_amx::AMX_BF16,
            Isa::Avx512Bf16 if word == PanelWord::Bf16Pair => tile_x86::AVX512_BF16,
            Isa::Avx512Bf16 | Isa::AmxBf16 => tile_x86::AVX512,
        };
        MicroKernel { isa, word, ..base }
    }

    /// Words of K per block for a product of depth `depth`: equal blocks, a multiple of 64 values of k
    /// so that quantization blocks are not cut. Depends on the depth only, hence so does the order of sums.
    pub fn block_words_for(&self, depth: usize) -> usize {
        let words = depth.div_ceil(self.word.depth());
        let blocks = words.div_ceil(self.block_words).max(1);
        let multiple = 64 / self.word.depth();
        words.div_ceil(blocks).next_multiple_of(multiple)
    }
}
