//! The machine's limits for benchmarks: each call measures for a fraction of a second and blocks until it is done.

use crate::compute::to_napi;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use swift_kernels::cpu::gemm::kernel::PanelWord;
use swift_kernels::cpu::isa::Isa;
use swift_kernels::cpu::pool::Pool;
use swift_kernels::cpu::roofline;

/// Rate of the int8 dot product.
#[napi(object)]
pub struct NativeInt8Peak {
    pub instruction: String,
    pub gops: f64,
}

fn with_pool<T>(all_threads: bool, body: impl FnOnce(&Pool) -> T) -> T {
    // A pool of one runs on the calling thread and starts none.
    if all_threads { body(Pool::global()) } else { body(&Pool::new(1)) }
}

/// GFLOP/s of multiply-adds from registers with the widest instruction of `isa` (of its bfloat16 dot product with
/// `bfloat16`); one thread, or all of the CPU device. Throws `ERR_ISA_…` for an instruction set this machine lacks.
#[napi]
pub fn roofline_peak(isa: String, bfloat16: bool, all_threads: bool) -> Result<f64> {
    let isa = Isa::by_name(&isa).map_err(to_napi)?;
    if bfloat16 && !isa.has_native_bf16() {
        return Err(Error::from_reason(format!(
            "ERR_ISA_UNAVAILABLE: the bfloat16 peak of {} was asked for; it has no bfloat16 product",
            isa.name()
        )));
    }
    let word = if bfloat16 { PanelWord::Bf16Pair } else { PanelWord::F32 };
    Ok(with_pool(all_threads, |pool| roofline::peak_gflops(pool, isa, word)))
}

/// GOP/s of the int8 dot product from registers; null where this machine has none.
#[napi]
pub fn roofline_int8(all_threads: bool) -> Option<NativeInt8Peak> {
    let found = with_pool(all_threads, roofline::peak_int8_gops);
    found.map(|(instruction, gops)| NativeInt8Peak { instruction: instruction.to_string(), gops })
}

/// Bytes per second of one pass over `bytes` of memory: read, or with `copy` read and written (both counted).
#[napi]
pub fn roofline_bandwidth(copy: bool, all_threads: bool, bytes: f64) -> f64 {
    let bytes = bytes as usize;
    with_pool(all_threads, |pool| {
        if copy { roofline::copy_bandwidth(pool, bytes) } else { roofline::read_bandwidth(pool, bytes) }
    })
}
