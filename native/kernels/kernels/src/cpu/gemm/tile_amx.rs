//! The kernel for tile registers (AMX): 32x32, four accumulators, 32 values of k per `tdpbf16ps`.

use crate::cpu::gemm::kernel::{MicroKernel, PanelWord, RowLayout};
use crate::cpu::isa::Isa;

/// AMX-BF16, 32x32, 32 k per step.
#[cfg(target_arch = "x86_64")]
pub const AMX_BF16: MicroKernel = MicroKernel {
    isa: Isa::AmxBf16,
    name: "amxbf16 32x32",
    rows: 32,
    columns: 32,
    layout: RowLayout::Tiles,
    word: PanelWord::Bf16Pair,
    block_words: 512,
    row_block_bytes: 512 << 10,
    streams: false,
    tiles: &[],
};

#[cfg(not(target_arch = "x86_64"))]
pub use super::tile_portable::KERNEL as AMX_BF16;
