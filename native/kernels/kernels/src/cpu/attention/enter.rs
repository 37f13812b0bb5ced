//! New tokens enter a cache: heads are normed and rotated, queries are given back, keys and values are written.
//!
//! One op where `rmsNorm`, `rope` and `kvAppend` are five: for a single token each of them takes less time than the way
//! to the next.

use super::cache::write_rows;
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::norm::norm_rows;
use crate::cpu::operand::as_f32;
use crate::cpu::pool::SharedMut;
use crate::cpu::rope::{Table, rotate};
use crate::cpu::{CpuCall, CpuContext};
use crate::error::Result;
use std::cell::Cell;

thread_local! {
    static TURNED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static NORMED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// Elements per task.
const CHUNK: usize = 16_384;

/// y = rotated normed q; the cache gets rotated normed k, and v, rounded to its dtype.
///
/// # Errors
/// `ERR_INDEX_OUT_OF_RANGE` for a slot or position outside the cache.
pub fn enter(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (slots, positions) = (call.input("slots").slice::<i32>()?, call.input("positions").slice::<i32>()?);
    let (q, k) = (call.input("q"), call.input("k"));
    let (tokens, dim) = (q.spec.shape[0], q.spec.shape[2]);
    let (query_row, key_row) = (q.spec.shape[1] * dim, k.spec.shape[1] * dim);
    let (q, k, v) = (q.slice::<f32>()?, k.slice::<f32>()?, call.input("v").slice::<f32>()?);
    let norm = |name: &str| call.optional(name).map(|view| as_f32(&view)).transpose();
    let (q_norm, k_norm) = (norm("qNorm")?, norm("kNorm")?);
    let epsilon = call.attributes.float("epsilon");
    let frequencies = as_f32(&call.input("inverseFrequencies"))?;
    let table = Table::of(context.pool, positions, &frequencies, call.attributes.number("attentionScale"));
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    let mut buffer = TURNED.take();
    let turned = buffer.floats(tokens * key_row);
    let keys = SharedMut::new(turned);
    context.pool.for_chunks(tokens, (CHUNK / (query_row + key_row).max(1)).max(1), &|first, last| {
        let mut scratch = NORMED.take();
        let normed = scratch.floats(query_row.max(key_row));
        for token in first..last {
            // SAFETY: tasks own disjoint tokens.
            let (to_query, to_key) = unsafe {
                (
                    y.slice(token * query_row, (token + 1) * query_row),
                    keys.slice(token * key_row, (token + 1) * key_row),
                )
            };
            for (x, weight, to) in [(q, &q_norm, to_query), (k, &k_norm, to_key)] {
                let x = &x[token * to.len()..(token + 1) * to.len()];
                let x = match weight {
                    Some(weight) => {
                        let normed = &mut normed[..x.len()];
                        norm_rows(context.isa, x, weight, epsilon, normed);
                        &*normed
                    }
                    None => x,
                };
                rotate(context.isa, x, dim, table.angles(token), false, to);
            }
        }
        NORMED.set(scratch);
    });
    // In order, so that of two tokens in one place the last stays.
    let written = write_rows(context, &call.input("cacheK"), turned, slots, positions)
        .and_then(|()| write_rows(context, &call.input("cacheV"), v, slots, positions));
    TURNED.set(buffer);
    written
}
