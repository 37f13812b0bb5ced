//! Read-only views of the operands of a product: dense or 4-bit, any of them row-major.

use crate::cpu::quant4::Quant4View;
use half::{bf16, f16};

/// The elements behind a [`Matrix`].
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half.
    F16(&'a [f16]),
    /// NF4 or FP4 codes with block scales.
    Quant4(Quant4View<'a>),
}

/// A row-major matrix `[rows, columns]`; element (i, j) lies at `offset + i * stride + j`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements.
    pub elements: Elements<'a>,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Position of element (0, 0).
    pub offset: usize,
}

impl<'a> Matrix<'a> {
    /// A contiguous matrix.
    ///
    /// # Panics
    /// When there are fewer than `rows * columns` elements.
    pub fn new(elements: Elements<'a>, rows: usize, columns: usize) -> Self {
        Self::strided(elements, rows, columns, columns)
    }

    /// A matrix whose rows lie `stride` elements apart.
    ///
    /// # Panics
    /// When the elements do not reach the last row.
    pub fn strided(elements: Elements<'a>, rows: usize, columns: usize, stride: usize) -> Self {
        let available = match elements {
            Elements::F32(values) => values.len(),
            Elements::Bf16(values) => values.len(),
            Elements::F16(values) => values.len(),
            Elements::Quant4(view) => view.len(),
        };
        let needed = if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns };
        assert!(stride >= columns, "stride {stride} is below the row length {columns}");
        assert!(needed <= available, "matrix [{rows}, {columns}] needs {needed} elements, found {available}");
        Self { elements, rows, columns, stride, offset: 0 }
    }

    /// A contiguous f32 matrix.
    pub fn f32(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(Elements::F32(values), rows, columns)
    }

    /// Rows `start..end` of this matrix.
    ///
    /// # Panics
    /// When the range leaves the matrix.
    pub fn row_range(&self, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= self.rows, "rows {start}..{end} of {}", self.rows);
        Self { rows: end - start, offset: self.offset + start * self.stride, ..*self }
    }

    /// Columns `start..end` of this matrix.
    ///
    /// # Panics
    /// When the range leaves the matrix.
    pub fn column_range(&self, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= self.columns, "columns {start}..{end} of {}", self.columns);
        Self { columns: end - start, offset: self.offset + start, ..*self }
    }

    /// Position of element (`row`, `column`) in the elements.
    pub fn index(&self, row: usize, column: usize) -> usize {
        self.offset + row * self.stride + column
    }

    /// Bytes that one pass over the matrix reads.
    pub fn bytes(&self) -> usize {
        let count = self.rows * self.columns;
        match self.elements {
            Elements::F32(_) => count * 4,
            Elements::Bf16(_) | Elements::F16(_) => count * 2,
            Elements::Quant4(view) => count / 2 + count / view.block() * view.scale_bytes(),
        }
    }
}
