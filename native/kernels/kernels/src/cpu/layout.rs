//! Ops that move elements: joins, slices, gathers, scatters, transposition.

use super::embedding::{check_ids, scatter_add};
use super::operand::as_f32;
use super::pool::SharedMut;
use super::storage::CpuStorage;
use super::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::error::{KernelError, Result};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("concat", concat),
    ("concatColumns", concat_columns),
    ("sliceColumns", slice_columns),
    ("gatherRows", gather_rows),
    ("scatterAddRows", scatter_add_rows),
    ("transpose", transpose),
];

/// Bytes per task.
const CHUNK: usize = 1 << 18;

/// The bytes of an output of any plain dtype.
///
/// # Safety
/// The view must be an output of the running call and no other slice of it may be alive.
#[allow(clippy::mut_from_ref)]
unsafe fn output_bytes<'a>(view: &CpuView<'a>) -> Result<&'a mut [u8]> {
    let CpuStorage::Host(_) = view.storage else {
        return Err(KernelError::dtype("layout", format!("{} has no plain bytes", view.spec)));
    };
    let bytes = view.bytes()?;
    // SAFETY: outputs are owned host buffers; uniqueness by the caller's contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_ptr().cast_mut(), bytes.len()) })
}

fn element_bytes(view: &CpuView<'_>) -> usize {
    view.spec.dtype.size().unwrap_or(1)
}

fn concat(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    // SAFETY: the output of this call.
    let mut rest = unsafe { output_bytes(&call.outputs[0])? };
    for view in call.variadic() {
        let source = view.bytes()?;
        let (target, tail) = rest.split_at_mut(source.len());
        let shared = SharedMut::new(target);
        context.pool.for_chunks(source.len(), CHUNK, &|start, end| {
            // SAFETY: tasks own disjoint ranges.
            unsafe { shared.slice(start, end) }.copy_from_slice(&source[start..end]);
        });
        rest = tail;
    }
    Ok(())
}

/// Copies `bytes` of every row between two row-major byte matrices.
fn copy_columns(
    context: &CpuContext,
    rows: usize,
    bytes: usize,
    (source, source_start, source_row): (&[u8], usize, usize),
    (target, target_start, target_row): (&SharedMut<u8>, usize, usize),
) {
    context.pool.for_chunks(rows, (CHUNK / bytes.max(1)).max(1), &|first, last| {
        for row in first..last {
            let from = row * source_row + source_start;
            let to = row * target_row + target_start;
            // SAFETY: rows and column ranges of one call are disjoint.
            unsafe { target.slice(to, to + bytes) }.copy_from_slice(&source[from..from + bytes]);
        }
    });
}

fn concat_columns(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let output = call.outputs[0];
    let size = element_bytes(&output);
    // SAFETY: the output of this call.
    let target = SharedMut::new(unsafe { output_bytes(&output)? });
    let row = output.spec.last() * size;
    let mut start = 0;
    for view in call.variadic() {
        let bytes = view.spec.last() * size;
        copy_columns(context, output.spec.rows(), bytes, (view.bytes()?, 0, bytes), (&target, start, row));
        start += bytes;
    }
    Ok(())
}

fn slice_columns(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (view, output) = (call.input("x"), call.outputs[0]);
    let size = element_bytes(&view);
    let (bytes, start) = (output.spec.last() * size, call.attributes.count("start") * size);
    // SAFETY: the output of this call.
    let target = SharedMut::new(unsafe { output_bytes(&output)? });
    let source = (view.bytes()?, start, view.spec.last() * size);
    copy_columns(context, output.spec.rows(), bytes, source, (&target, 0, bytes));
    Ok(())
}

fn gather_rows(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let view = call.input("x");
    let indices = call.input("indices").slice::<i32>()?;
    check_ids("gatherRows", indices, view.spec.shape[0])?;
    let row = view.spec.shape[1..].iter().product::<usize>() * element_bytes(&view);
    let source = view.bytes()?;
    // SAFETY: the output of this call.
    let target = SharedMut::new(unsafe { output_bytes(&call.outputs[0])? });
    context.pool.for_chunks(indices.len(), (CHUNK / row.max(1)).max(1), &|first, last| {
        for at in first..last {
            let from = indices[at] as usize * row;
            // SAFETY: tasks own disjoint rows.
            unsafe { target.slice(at * row, (at + 1) * row) }.copy_from_slice(&source[from..from + row]);
        }
    });
    Ok(())
}

fn scatter_add_rows(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let output = call.outputs[0];
    let indices = call.input("indices").slice::<i32>()?;
    check_ids("scatterAddRows", indices, output.spec.shape[0])?;
    let dim = output.spec.shape[1..].iter().product();
    // SAFETY: the output of this call.
    let total = unsafe { output.slice_mut::<f32>()? };
    scatter_add(context, indices, &as_f32(&call.input("x"))?, dim, 1.0, total, true);
    Ok(())
}

/// Moves 32 × 32 blocks, so that both sides stay in L1.
fn transpose(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    fn blocks<T: Copy + Send + Sync>(context: &CpuContext, rows: usize, columns: usize, x: &[u8], y: &mut [u8]) {
        let count = rows * columns;
        assert!(x.len() == count * size_of::<T>() && y.len() == x.len());
        // SAFETY: storage is 64-byte aligned (or checked when mapped) and holds `count` elements of the
        // size of T, for which every bit pattern is valid.
        let (x, y) = unsafe {
            (
                std::slice::from_raw_parts(x.as_ptr().cast::<T>(), count),
                std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<T>(), count),
            )
        };
        let shared = SharedMut::new(y);
        context.pool.for_chunks(columns, 32, &|first, last| {
            for block in (0..rows).step_by(32) {
                let end = (block + 32).min(rows);
                for column in first..last {
                    // SAFETY: tasks own disjoint output rows.
                    let y = unsafe { shared.slice(column * rows + block, column * rows + end) };
                    for (row, y) in (block..end).zip(y) {
                        *y = x[row * columns + column];
                    }
                }
            }
        });
    }
    let (view, output) = (call.input("x"), call.outputs[0]);
    let (rows, columns) = (view.spec.shape[0], view.spec.shape[1]);
    // SAFETY: the output of this call.
    let (x, y) = (view.bytes()?, unsafe { output_bytes(&output)? });
    match element_bytes(&view) {
        1 => blocks::<u8>(context, rows, columns, x, y),
        2 => blocks::<u16>(context, rows, columns, x, y),
        4 => blocks::<u32>(context, rows, columns, x, y),
        _ => blocks::<u64>(context, rows, columns, x, y),
    }
    Ok(())
}
