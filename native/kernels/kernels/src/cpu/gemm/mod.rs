//! Matrix products: packed, blocked, register-tiled; weights of any format are unpacked while packing.

pub mod buffer;
mod chunks;
pub mod driver;
pub mod few_rows;
#[cfg(target_arch = "x86_64")]
mod few_rows_bf16;
mod few_rows_dense;
#[cfg(target_arch = "x86_64")]
mod few_rows_quant4;
#[cfg(target_arch = "x86_64")]
mod few_rows_quant4_avx2;
#[cfg(target_arch = "x86_64")]
mod few_rows_quant4_vnni;
pub mod kernel;
pub mod matrix;
pub mod pack;
mod pack_columns;
#[cfg(target_arch = "x86_64")]
mod pack_columns_avx2;
#[cfg(target_arch = "x86_64")]
mod pack_tiles;
pub mod product;
#[cfg(target_arch = "x86_64")]
mod product_tiles;
pub mod row_load;
pub mod skinny;
#[cfg(target_arch = "x86_64")]
mod skinny_avx2;
pub mod target;
mod tile_amx;
mod tile_portable;
mod tile_x86;
pub mod transpose;
#[cfg(target_arch = "x86_64")]
mod transpose_widen;

pub use driver::{Factor, Gemm, packed_bytes_bound};
pub use kernel::{ComputeDtype, MicroKernel};
pub use matrix::{Elements, Matrix};
pub use pack::{Lanes, Operand};
pub use product::{PackedRows, Start, Term, pack_rows, packed_words, packs_factor, product};
pub use target::{Results, Target};

#[cfg(test)]
pub mod tests;
