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

/// Multiplies one row panel by one column panel into a tile of C:
/// `(steps, a, b, alpha, c, stride, accumulate)`.
/// `a` holds `steps` groups of R words, `b` `steps` groups of the tile's width;
/// `c[r][j] = alpha * sum (+ c[r][j] when accumulating)`, rows `stride` elements apart.
///
/// # Safety
/// The pointers must cover those extents and the instruction set must be present.
pub type TileFn = unsafe fn(usize, *const u32, *const u32, f32, *mut f32, usize, bool);

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
    /// Words of K per block: a column panel of this depth stays in the nearest caches, of tiles a slab in the second one.
    pub block_words: usize,
    /// Bytes of row panels that one pass over the columns keeps near the core: half of its second cache. With
    /// [`RowLayout::Tiles`], one panel at a time passes.
    pub row_block_bytes: usize,
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
