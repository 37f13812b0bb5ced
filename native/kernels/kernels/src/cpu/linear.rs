//! `linear`: y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ, and its gradients.
//!
//! The LoRA branch is one more block of K in the product with W, so y is written once; without dropout
//! the packed x serves both x·Aᵀ and x·Wᵀ. Only the gradients that are asked for are computed.

use crate::cpu::dropout_mask::apply_dropout;
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::{Factor, Gemm, Matrix, Operand, PackedRows, Start, Target, Term};
use crate::cpu::gemm::{pack_rows, packed_words, product};
use crate::cpu::pool::SharedMut;
use std::cell::RefCell;

/// The low-rank branch of a linear layer.
#[derive(Clone, Copy)]
pub struct LoraBranch<'a> {
    /// A `[R, K]`.
    pub a: Matrix<'a>,
    /// B `[N, R]`.
    pub b: Matrix<'a>,
    /// Scaling s (α/r, or α/√r for rsLoRA).
    pub scale: f32,
    /// Probability of zeroing an element of the branch's input, in 0..1.
    pub dropout: f64,
    /// Seed of the dropout mask; an element's draw depends on (seed, row · K + column).
    pub seed: u64,
}

/// Gradients to compute; each replaces what its slice holds.
#[derive(Default)]
pub struct LinearGradients<'a> {
    /// dx `[M, K]`.
    pub x: Option<&'a mut [f32]>,
    /// dW `[N, K]`.
    pub weight: Option<&'a mut [f32]>,
    /// Gradient of the bias `[N]`.
    pub bias: Option<&'a mut [f32]>,
    /// dA `[R, K]`.
    pub a: Option<&'a mut [f32]>,
    /// dB `[N, R]`.
    pub b: Option<&'a mut [f32]>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

#[derive(Default)]
struct Buffers {
    x: WordBuffer,
    xa: WordBuffer,
    dropped: WordBuffer,
    upstream: WordBuffer,
}

/// Computes y `[M, N]` from x `[M, K]` and W `[N, K]`; with a LoRA branch also xa = dropout(x)·Aᵀ
/// `[M, R]`, which backward needs.
///
/// # Panics
/// When extents disagree.
pub fn linear_forward(
    gemm: &Gemm<'_>,
    x: &Matrix<'_>,
    weight: &Matrix<'_>,
    bias: Option<&[f32]>,
    lora: Option<&LoraBranch<'_>>,
    y: &mut [f32],
    xa: &mut [f32],
) {
    let (m, n) = (x.rows, weight.rows);
    let start = bias.map_or(Start::Overwrite, Start::Bias);
    let Some(lora) = lora else {
        let factor = Factor { left: Operand::rows(*x), right: Operand::rows(*weight), alpha: 1.0 };
        return gemm.multiply(&[factor], start, y);
    };
    let rank = lora.a.rows;
    let step = gemm.block_rows(x.columns + rank);
    BUFFERS.with_borrow_mut(|buffers| {
        for begin in (0..m).step_by(step) {
            let end = (begin + step).min(m);
            let rows = end - begin;
            let block = x.row_range(begin, end);
            let xa = &mut xa[begin * rank..end * rank];
            let words = buffers.x.words(packed_words(&gemm.kernel, rows, x.columns));
            if lora.dropout > 0.0 {
                let dropped = buffers.dropped.floats(rows * x.columns);
                apply_dropout(gemm, &block, begin, lora, dropped);
                let packed = pack(gemm, Matrix::f32(dropped, rows, x.columns), words);
                let term = Term { rows: &packed, columns: Operand::rows(lora.a), alpha: 1.0 };
                product(&gemm.kernel, gemm.pool, &[term], Start::Overwrite, &Target::new(xa, rows, rank));
            }
            let packed_x = pack(gemm, block, words);
            if lora.dropout == 0.0 {
                let term = Term { rows: &packed_x, columns: Operand::rows(lora.a), alpha: 1.0 };
                product(&gemm.kernel, gemm.pool, &[term], Start::Overwrite, &Target::new(xa, rows, rank));
            }
            let words = buffers.xa.words(packed_words(&gemm.kernel, rows, rank));
            let packed_xa = pack(gemm, Matrix::f32(xa, rows, rank), words);
            let terms = [
                Term { rows: &packed_x, columns: Operand::rows(*weight), alpha: 1.0 },
                Term { rows: &packed_xa, columns: Operand::rows(lora.b), alpha: lora.scale },
            ];
            let target = Target::new(&mut y[begin * n..end * n], rows, n);
            product(&gemm.kernel, gemm.pool, &terms, start, &target);
        }
    });
}

fn pack<'a>(gemm: &Gemm<'_>, matrix: Matrix<'_>, words: &'a mut [u32]) -> PackedRows<'a> {
    pack_rows(&gemm.kernel, gemm.pool, &Operand::rows(matrix), words)
}

/// Computes the asked gradients from dy `[M, N]`; `x` is needed for `weight` and `a`, `xa` for `b`.
///
/// # Panics
/// When extents disagree, or a needed operand is missing.
pub fn linear_backward(
    gemm: &Gemm<'_>,
    dy: &Matrix<'_>,
    x: Option<&Matrix<'_>>,
    weight: &Matrix<'_>,
    lora: Option<&LoraBranch<'_>>,
    xa: Option<&Matrix<'_>>,
    gradients: LinearGradients<'_>,
) {
    let m = dy.rows;
    BUFFERS.with_borrow_mut(|buffers| {
        let Buffers { upstream, dropped, .. } = buffers;
        // u = dy·B [M, R], shared by dx and dA.
        let upstream = lora.filter(|_| gradients.x.is_some() || gradients.a.is_some()).map(|lora| {
            let u = upstream.floats(m * lora.a.rows);
            let factor = Factor { left: Operand::rows(*dy), right: Operand::columns(lora.b), alpha: 1.0 };
            gemm.multiply(&[factor], Start::Overwrite, u);
            Matrix::f32(u, m, lora.a.rows)
        });
        if let Some(dx) = gradients.x {
            input_gradient(gemm, dy, weight, lora.zip(upstream.as_ref()), dx);
        }
        if let (Some(da), Some(lora), Some(u)) = (gradients.a, lora, upstream) {
            let x = x.expect("dA needs x");
            let source = if lora.dropout > 0.0 {
                let dropped = dropped.floats(m * x.columns);
                apply_dropout(gemm, x, 0, lora, dropped);
                Matrix::f32(dropped, m, x.columns)
            } else {
                *x
            };
            let factor = Factor { left: Operand::columns(u), right: Operand::columns(source), alpha: lora.scale };
            gemm.multiply(&[factor], Start::Overwrite, da);
        }
        if let (Some(db), Some(lora)) = (gradients.b, lora) {
            let xa = xa.expect("dB needs xa");
            let factor = Factor { left: Operand::columns(*dy), right: Operand::columns(*xa), alpha: lora.scale };
            gemm.multiply(&[factor], Start::Overwrite, db);
        }
    });
    if let Some(dw) = gradients.weight {
        let x = x.expect("dW needs x");
        let factor = Factor { left: Operand::columns(*dy), right: Operand::columns(*x), alpha: 1.0 };
        gemm.multiply(&[factor], Start::Overwrite, dw);
    }
    if let Some(target) = gradients.bias {
        bias_gradient(gemm, dy, target);
    }
}

/// dx = dy·W + mask ⊙ (s·u·A): one product with an extra block of K where there is no mask.
fn input_gradient(
    gemm: &Gemm<'_>,
    dy: &Matrix<'_>,
    weight: &Matrix<'_>,
    branch: Option<(&LoraBranch<'_>, &Matrix<'_>)>,
    dx: &mut [f32],
) {
    let main = Factor { left: Operand::rows(*dy), right: Operand::columns(*weight), alpha: 1.0 };
    let Some((lora, u)) = branch else {
        return gemm.multiply(&[main], Start::Overwrite, dx);
    };
    let low_rank = Factor { left: Operand::rows(*u), right: Operand::columns(lora.a), alpha: lora.scale };
    if lora.dropout == 0.0 {
        return gemm.multiply(&[main, low_rank], Start::Overwrite, dx);
    }
    gemm.multiply(&[low_rank], Start::Overwrite, dx);
    crate::cpu::dropout_mask::mask_in_place(gemm, lora, dx);
    gemm.multiply(&[main], Start::Accumulate, dx);
}

/// Column sums of dy in blocks of rows: the order of sums depends on the shape only.
fn bias_gradient(gemm: &Gemm<'_>, dy: &Matrix<'_>, target: &mut [f32]) {
    const COLUMNS: usize = 256;
    const ROWS: usize = 64;
    let shared = SharedMut::new(target);
    gemm.pool.for_chunks(dy.columns, COLUMNS, &|start, end| {
        // SAFETY: chunks are disjoint.
        let sums = unsafe { shared.slice(start, end) };
        sums.fill(0.0);
        let mut row = [0.0f32; COLUMNS];
        let mut partial = [0.0f32; COLUMNS];
        for begin in (0..dy.rows).step_by(ROWS) {
            partial.fill(0.0);
            for index in begin..(begin + ROWS).min(dy.rows) {
                let row = &mut row[..end - start];
                crate::cpu::gemm::row_load::load_f32(gemm.kernel.isa, dy, index, start, row);
                partial.iter_mut().zip(&*row).for_each(|(sum, value)| *sum += value);
            }
            sums.iter_mut().zip(&partial).for_each(|(sum, value)| *sum += value);
        }
    });
}
