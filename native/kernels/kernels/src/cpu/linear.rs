//! `linear`: y = x·Wᵀ + b + s·(dropout(x)·Aᵀ)·Bᵀ, and its gradients.
//!
//! The LoRA branch is one more block of K in the product with W, so y is written once; without dropout
//! the packed x serves both x·Aᵀ and x·Wᵀ. Only the gradients that are asked for are computed.

use crate::cpu::dropout_mask::{apply_dropout, mask_in_place};
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::few_rows::{FEW_ROWS, Product, few_rows, few_rows_together};
use crate::cpu::gemm::kernel::RowLayout;
use crate::cpu::gemm::row_load::load_f32;
use crate::cpu::gemm::skinny::{Order, skinny};
use crate::cpu::gemm::{Elements, Factor, Gemm, Matrix, Operand, PackedRows, Results, Start, Target, Term};
use crate::cpu::gemm::{pack_rows, packed_words, packs_factor, product};
use crate::cpu::isa::Isa;
use crate::cpu::pool::SharedMut;
use std::cell::RefCell;
use std::ops::Range;

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

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
}

thread_local! {
    /// A narrow product on its way to where it belongs.
    static PRODUCT: RefCell<WordBuffer> = const { RefCell::new(WordBuffer::new()) };
}

#[derive(Default)]
struct Buffers {
    x: WordBuffer,
    xa: WordBuffer,
    dropped: WordBuffer,
}

/// Elements of a weight that every thread packs for itself, so that its rows need nobody else's.
const SHARED_WEIGHT: usize = 1 << 19;

/// Whether each thread takes a share of the rows from beginning to end: between the steps of a small product, which takes
/// microseconds, threads would wait for each other and fetch what the others packed. With AVX2 that gained nothing.
fn shares_rows(gemm: &Gemm<'_>, rows: usize, weight: &Matrix<'_>) -> bool {
    gemm.kernel.isa >= Isa::Avx512
        && gemm.pool.threads() > 1
        && rows >= gemm.kernel.rows * gemm.pool.threads()
        && weight.rows * weight.columns <= SHARED_WEIGHT
}

/// Calls `work` with rows of every share, and with products of one thread.
fn share_rows(gemm: &Gemm<'_>, rows: usize, work: &(dyn Fn(&Gemm<'_>, Range<usize>) + Sync)) {
    let panels = rows.div_ceil(gemm.kernel.rows);
    let shares = gemm.pool.threads();
    let row = |share: usize| (share * panels / shares * gemm.kernel.rows).min(rows);
    let alone = gemm.alone();
    gemm.pool.run(shares, &|share| work(&alone, row(share)..row(share + 1)));
}

/// Whether results are rounded on their way from the registers: where tiles multiply and the branch's factor is part of its
/// packed rows.
fn rounds_inside(gemm: &Gemm<'_>, rows: usize, lora: Option<&LoraBranch<'_>>) -> bool {
    let inside = |scale: f32| packs_factor(&gemm.kernel, &Operand::rows(Matrix::f32(&[], 0, 0)), scale);
    gemm.kernel.layout == RowLayout::Tiles && rows > FEW_ROWS && lora.is_none_or(|lora| inside(lora.scale))
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
    mut y: Results<'_>,
    xa: &mut [f32],
) {
    let (m, n) = (x.rows, weight.rows);
    if matches!(y, Results::Bf16(_)) && !rounds_inside(gemm, m, lora) {
        return y.unrounded(gemm.pool, gemm.kernel.isa, |sums| {
            linear_forward(gemm, x, weight, bias, lora, Results::F32(sums), xa);
        });
    }
    let start = bias.map_or(Start::Overwrite, Start::Bias);
    let plain = matches!(x.elements, Elements::F32(_)) && x.stride == x.columns;
    if let (true, Results::F32(y)) = (m <= FEW_ROWS && plain && lora.is_none_or(|lora| lora.dropout == 0.0), &mut y) {
        let product = Product { weight: *weight, alpha: 1.0, start, c: y };
        let Some(lora) = lora else { return few_rows_together(gemm, x, &mut [product]) };
        let low_rank = Product { weight: lora.a, alpha: 1.0, start: Start::Overwrite, c: xa };
        few_rows_together(gemm, x, &mut [product, low_rank]);
        return few_rows(gemm, &Matrix::f32(xa, m, lora.a.rows), &lora.b, lora.scale, Start::Accumulate, y);
    }
    if shares_rows(gemm, m, weight) && lora.is_none_or(|lora| lora.dropout == 0.0) {
        let rank = lora.map_or(0, |lora| lora.a.rows);
        let (y, xa) = (y.share(), SharedMut::new(xa));
        return share_rows(gemm, m, &|gemm, rows| {
            // SAFETY: shares are disjoint.
            let (y, xa) =
                unsafe { (y.slice(rows.start * n, rows.end * n), xa.slice(rows.start * rank, rows.end * rank)) };
            linear_forward(gemm, &x.row_range(rows.start, rows.end), weight, bias, lora, y, xa);
        });
    }
    let Some(lora) = lora else {
        let factor = Factor { left: Operand::rows(*x), right: Operand::rows(*weight), alpha: 1.0 };
        return gemm.multiply_into(&[factor], start, y);
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
                let packed = pack(gemm, Matrix::f32(dropped, rows, x.columns), 1.0, words);
                let term = Term { rows: &packed, columns: Operand::rows(lora.a) };
                product(&gemm.kernel, gemm.pool, &[term], Start::Overwrite, &Target::new(xa, rows, rank));
            }
            let packed_x = pack(gemm, block, 1.0, words);
            if lora.dropout == 0.0 {
                let term = Term { rows: &packed_x, columns: Operand::rows(lora.a) };
                product(&gemm.kernel, gemm.pool, &[term], Start::Overwrite, &Target::new(xa, rows, rank));
            }
            let words = buffers.xa.words(packed_words(&gemm.kernel, rows, rank));
            let packed_xa = pack(gemm, Matrix::f32(xa, rows, rank), lora.scale, words);
            let terms = [
                Term { rows: &packed_x, columns: Operand::rows(*weight) },
                Term { rows: &packed_xa, columns: Operand::rows(lora.b) },
            ];
            let target = Target::of(y.range(begin * n, end * n), rows, n);
            product(&gemm.kernel, gemm.pool, &terms, start, &target);
        }
    });
}

/// One of several layers of the same x.
pub struct Layer<'a> {
    /// W `[N, K]`.
    pub weight: Matrix<'a>,
    /// b `[N]`.
    pub bias: Option<&'a [f32]>,
    /// `[M, N]`.
    pub y: &'a mut [f32],
}

/// Computes y = x·Wᵀ + b for several layers of the same x `[M, K]`.
///
/// # Panics
/// When extents disagree.
pub fn linear_together(gemm: &Gemm<'_>, x: &Matrix<'_>, layers: &mut [Layer<'_>]) {
    let plain = matches!(x.elements, Elements::F32(_)) && x.stride == x.columns;
    if x.rows > FEW_ROWS || !plain {
        for Layer { weight, bias, y } in layers {
            linear_forward(gemm, x, weight, *bias, None, Results::F32(y), &mut []);
        }
        return;
    }
    let mut products: Vec<Product<'_>> = layers
        .iter_mut()
        .map(|Layer { weight, bias, y }| {
            let start = bias.map_or(Start::Overwrite, Start::Bias);
            Product { weight: *weight, alpha: 1.0, start, c: y }
        })
        .collect();
    few_rows_together(gemm, x, &mut products);
}

fn pack<'a>(gemm: &Gemm<'_>, matrix: Matrix<'_>, alpha: f32, words: &'a mut [u32]) -> PackedRows<'a> {
    pack_rows(&gemm.kernel, gemm.pool, &Operand::rows(matrix), alpha, words)
}

/// Computes dx `[M, K]` from dy `[M, N]`; with a LoRA branch also u = dy·B `[M, R]`, which the branch's
/// own gradients share. dx = dy·W + mask ⊙ (s·u·A): without a mask one product with an extra block of K.
///
/// # Panics
/// When extents disagree.
pub fn linear_input_gradient(
    gemm: &Gemm<'_>,
    dy: &Matrix<'_>,
    weight: &Matrix<'_>,
    lora: Option<&LoraBranch<'_>>,
    mut dx: Results<'_>,
    u: &mut [f32],
) {
    let masks = lora.is_some_and(|lora| lora.dropout > 0.0);
    if matches!(dx, Results::Bf16(_)) && (masks || !rounds_inside(gemm, dy.rows, lora)) {
        return dx.unrounded(gemm.pool, gemm.kernel.isa, |sums| {
            linear_input_gradient(gemm, dy, weight, lora, Results::F32(sums), u);
        });
    }
    if shares_rows(gemm, dy.rows, weight) && lora.is_none_or(|lora| lora.dropout == 0.0) {
        let (k, rank) = (weight.columns, lora.map_or(0, |lora| lora.a.rows));
        let (dx, u) = (dx.share(), SharedMut::new(u));
        return share_rows(gemm, dy.rows, &|gemm, rows| {
            // SAFETY: shares are disjoint.
            let (dx, u) =
                unsafe { (dx.slice(rows.start * k, rows.end * k), u.slice(rows.start * rank, rows.end * rank)) };
            linear_input_gradient(gemm, &dy.row_range(rows.start, rows.end), weight, lora, dx, u);
        });
    }
    let main = Factor { left: Operand::rows(*dy), right: Operand::columns(*weight), alpha: 1.0 };
    let Some(lora) = lora else {
        return gemm.multiply_into(&[main], Start::Overwrite, dx);
    };
    let (m, k, rank) = (dy.rows, weight.columns, lora.a.rows);
    if let (true, Results::F32(dx)) = (masks, &mut dx) {
        upstream(gemm, dy, lora, u);
        let u = Matrix::f32(u, m, rank);
        let low_rank = Factor { left: Operand::rows(u), right: Operand::columns(lora.a), alpha: lora.scale };
        gemm.multiply(&[low_rank], Start::Overwrite, dx);
        mask_in_place(gemm, lora, dx);
        return gemm.multiply(&[main], Start::Accumulate, dx);
    }
    let step = gemm.block_rows(dy.columns + rank);
    BUFFERS.with_borrow_mut(|buffers| {
        for begin in (0..m).step_by(step) {
            let end = (begin + step).min(m);
            let rows = end - begin;
            let u = &mut u[begin * rank..end * rank];
            let words = buffers.x.words(packed_words(&gemm.kernel, rows, dy.columns));
            let packed_dy = pack(gemm, dy.row_range(begin, end), 1.0, words);
            let term = Term { rows: &packed_dy, columns: Operand::columns(lora.b) };
            product(&gemm.kernel, gemm.pool, &[term], Start::Overwrite, &Target::new(u, rows, rank));
            let words = buffers.xa.words(packed_words(&gemm.kernel, rows, rank));
            let packed_u = pack(gemm, Matrix::f32(u, rows, rank), lora.scale, words);
            let terms = [
                Term { rows: &packed_dy, columns: Operand::columns(*weight) },
                Term { rows: &packed_u, columns: Operand::columns(lora.a) },
            ];
            let target = Target::of(dx.range(begin * k, end * k), rows, k);
            product(&gemm.kernel, gemm.pool, &terms, Start::Overwrite, &target);
        }
    });
}

/// u = dy·B `[M, R]`.
pub fn upstream(gemm: &Gemm<'_>, dy: &Matrix<'_>, lora: &LoraBranch<'_>, u: &mut [f32]) {
    let factor = Factor { left: Operand::rows(*dy), right: Operand::columns(lora.b), alpha: 1.0 };
    gemm.multiply(&[factor], Start::Overwrite, u);
}

/// Computes dA = s·uᵀ·dropout(x) `[R, K]` and dB = s·dyᵀ·xa `[N, R]`.
///
/// # Panics
/// When extents disagree.
pub fn linear_lora_gradient(
    gemm: &Gemm<'_>,
    dy: &Matrix<'_>,
    x: &Matrix<'_>,
    xa: &[f32],
    u: &[f32],
    lora: &LoraBranch<'_>,
    da: &mut [f32],
    db: &mut [f32],
) {
    let (m, rank) = (dy.rows, lora.a.rows);
    let u = Matrix::f32(u, m, rank);
    if gemm.kernel.layout == RowLayout::Tiles && rank <= NARROW_RANK {
        let xa = Matrix::f32(xa, m, rank);
        if lora.dropout == 0.0 {
            return narrow_gradients(gemm, &[(&u, x), (&xa, dy)], lora.scale, [da, db]);
        }
        return BUFFERS.with_borrow_mut(|buffers| {
            let dropped = buffers.dropped.floats(m * x.columns);
            apply_dropout(gemm, x, 0, lora, dropped);
            let dropped = Matrix::f32(dropped, m, x.columns);
            narrow_gradients(gemm, &[(&u, &dropped), (&xa, dy)], lora.scale, [da, db]);
        });
    }
    let times_u = |source: Matrix<'_>, da: &mut [f32]| {
        if skinny(gemm, &u, &source, lora.scale, da, Order::Rows) {
            return;
        }
        let factor = Factor { left: Operand::columns(u), right: Operand::columns(source), alpha: lora.scale };
        gemm.multiply(&[factor], Start::Overwrite, da);
    };
    if lora.dropout > 0.0 {
        BUFFERS.with_borrow_mut(|buffers| {
            let dropped = buffers.dropped.floats(m * x.columns);
            apply_dropout(gemm, x, 0, lora, dropped);
            times_u(Matrix::f32(dropped, m, x.columns), da);
        });
    } else {
        times_u(*x, da);
    }
    let xa = Matrix::f32(xa, m, rank);
    if skinny(gemm, &xa, dy, lora.scale, db, Order::Columns) {
        return;
    }
    let factor = Factor { left: Operand::columns(*dy), right: Operand::columns(xa), alpha: lora.scale };
    gemm.multiply(&[factor], Start::Overwrite, db);
}

/// Widest branch whose gradients are [`narrow_gradients`]: each task packs the narrow side anew.
const NARROW_RANK: usize = 64;

/// Columns of a task of [`narrow_gradients`], at most.
const NARROW_COLUMNS: usize = 256;

/// dA = scale·uᵀ·x `[R, K]` and dB = scale·(xaᵀ·dy)ᵀ `[N, R]` for the pairs (u, x) and (xa, dy): columns of both wide
/// sides are shared out together, and each is read once, in long stretches of its rows.
fn narrow_gradients(gemm: &Gemm<'_>, pairs: &[(&Matrix<'_>, &Matrix<'_>); 2], scale: f32, targets: [&mut [f32]; 2]) {
    let rank = pairs[0].0.columns;
    let [da, db] = targets.map(SharedMut::new);
    // Two shares a thread of each side at least, in whole column panels.
    let unit = gemm.kernel.columns;
    let width = pairs.map(|(_, wide)| {
        wide.columns.div_ceil(2 * gemm.pool.threads()).next_multiple_of(unit).clamp(unit, NARROW_COLUMNS)
    });
    let counts = [0, 1].map(|index| pairs[index].1.columns.div_ceil(width[index]));
    let alone = gemm.alone();
    gemm.pool.run(counts[0] + counts[1], &|task| {
        let (index, part) = if task < counts[0] { (0, task) } else { (1, task - counts[0]) };
        let (narrow, wide) = pairs[index];
        let begin = part * width[index];
        let end = (begin + width[index]).min(wide.columns);
        PRODUCT.with_borrow_mut(|buffer| {
            let product = buffer.floats(rank * (end - begin));
            let right = Operand::columns(wide.column_range(begin, end));
            let factor = Factor { left: Operand::columns(*narrow), right, alpha: scale };
            alone.multiply(&[factor], Start::Overwrite, product);
            for (row, values) in product.chunks_exact(end - begin).enumerate() {
                if index == 0 {
                    let first = row * wide.columns;
                    // SAFETY: each task has its own columns.
                    unsafe { da.slice(first + begin, first + end) }.copy_from_slice(values);
                } else {
                    // SAFETY: each task has its own rows.
                    let target = unsafe { db.slice(begin * rank, end * rank) };
                    target[row..].iter_mut().step_by(rank).zip(values).for_each(|(to, from)| *to = *from);
                }
            }
        });
    });
}

/// Computes dW = dyᵀ·x `[N, K]`.
///
/// # Panics
/// When extents disagree.
pub fn linear_weight_gradient(gemm: &Gemm<'_>, dy: &Matrix<'_>, x: &Matrix<'_>, dw: &mut [f32]) {
    let factor = Factor { left: Operand::columns(*dy), right: Operand::columns(*x), alpha: 1.0 };
    gemm.multiply(&[factor], Start::Overwrite, dw);
}

/// Computes the bias gradient `[N]`: column sums of dy in blocks of rows: the order of sums depends on the shape only.
pub fn linear_bias_gradient(gemm: &Gemm<'_>, dy: &Matrix<'_>, target: &mut [f32]) {
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
                load_f32(gemm.kernel.isa, dy, index, start, row);
                partial.iter_mut().zip(&*row).for_each(|(sum, value)| *sum += value);
            }
            sums.iter_mut().zip(&partial).for_each(|(sum, value)| *sum += value);
        }
    });
}
