//! One driver for every element-wise kernel: any number of inputs (with broadcasting) and outputs.

use super::span::Stored;
use super::{Kernel, Simd, dispatch};
use crate::cpu::{CpuContext, CpuView};
use crate::dtype::DType;
use crate::error::Result;
use half::bf16;

/// Elements per task: 64 KiB of f32 per operand, small enough for L2, large enough to hide dispatch.
pub const CHUNK: usize = 16_384;

/// A function of one element of each of `I` inputs giving `O` outputs.
pub trait Pointwise<const I: usize, const O: usize>: Copy + Sync {
    /// Applies the function to one vector. Implementations are `#[inline(always)]`.
    fn apply<S: Simd>(self, simd: S, inputs: [S::F; I]) -> [S::F; O];
}

/// How an input is indexed over an output of `rows` × `columns`.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// One value per element.
    Full(&'a [f32]),
    /// One value per element, stored in bf16.
    Bf16(&'a [bf16]),
    /// One value for all.
    Scalar(f32),
    /// One value per column (a bias or weight over the last dimension).
    Row(&'a [f32]),
    /// One value per row.
    Column(&'a [f32]),
}

/// First element of a result.
#[derive(Clone, Copy)]
pub enum Output {
    /// Stored as computed.
    F32(*mut f32),
    /// Rounded to nearest even.
    Bf16(*mut bf16),
}

impl Output {
    /// # Safety
    /// The element lies inside the result.
    unsafe fn add(self, elements: usize) -> Self {
        // SAFETY: by the caller.
        unsafe {
            match self {
                Self::F32(at) => Self::F32(at.add(elements)),
                Self::Bf16(at) => Self::Bf16(at.add(elements)),
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Source {
    F32(*const f32),
    Bf16(*const bf16),
    Same(*const f32),
}

/// `MIXED`: some operand is bf16; without, the loop has no branch for it.
struct Span<const I: usize, const O: usize, const MIXED: bool, P> {
    function: P,
    inputs: [Source; I],
    outputs: [Output; O],
    len: usize,
}

impl<const I: usize, const O: usize, const MIXED: bool, P: Pointwise<I, O>> Kernel for Span<I, O, MIXED, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = 0;
        while at < self.len {
            let count = (self.len - at).min(S::LANES);
            let mut values = [s.splat(0.0); I];
            for (value, source) in values.iter_mut().zip(self.inputs) {
                // SAFETY: `run_pointwise` checked that moving sources hold `len` elements and others one.
                *value = unsafe {
                    match source {
                        Source::Same(value) => s.splat(*value),
                        Source::Bf16(values) if MIXED => bf16::load(s, values.add(at), count),
                        Source::F32(values) => f32::load(s, values.add(at), count),
                        Source::Bf16(_) => unreachable!("counted in MIXED"),
                    }
                };
            }
            let results = self.function.apply(s, values);
            for (result, output) in results.into_iter().zip(self.outputs) {
                // SAFETY: outputs hold `len` elements; each element is written by one task only.
                unsafe {
                    match output {
                        Output::Bf16(values) if MIXED => bf16::store(s, values.add(at), count, result),
                        Output::F32(values) => f32::store(s, values.add(at), count, result),
                        Output::Bf16(_) => unreachable!("counted in MIXED"),
                    }
                }
            }
            at += S::LANES;
        }
    }
}

#[derive(Clone, Copy)]
struct Shared<T>(T);
// SAFETY: carries pointers into operands that outlive the pool's run; tasks write disjoint ranges.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn get(&self) -> T {
        self.0
    }
}

/// outputs[o][i] = function(inputs[·][i])[o] over `rows` × `columns` elements.
///
/// Outputs may be the memory of a `Full` or `Bf16` input (in place): an element is read before it is written and
/// by the same task. That is why outputs are pointers.
///
/// # Safety
/// Each output must be valid for `rows · columns` writes for the duration of the call.
///
/// # Panics
/// When an input's length does not fit its kind.
pub unsafe fn run_pointwise<const I: usize, const O: usize, P: Pointwise<I, O>>(
    context: &CpuContext,
    rows: usize,
    columns: usize,
    function: P,
    inputs: [Operand<'_>; I],
    outputs: [Output; O],
) {
    let total = rows * columns;
    let mut by_row = false;
    for operand in &inputs {
        match operand {
            Operand::Full(values) => assert_eq!(values.len(), total, "operand length"),
            Operand::Bf16(values) => assert_eq!(values.len(), total, "operand length"),
            Operand::Scalar(_) => {}
            Operand::Row(values) => {
                assert_eq!(values.len(), columns, "row operand length");
                by_row = true;
            }
            Operand::Column(values) => {
                assert_eq!(values.len(), rows, "column operand length");
                by_row = true;
            }
        }
    }
    let is_mixed = inputs.iter().any(|operand| matches!(operand, Operand::Bf16(_)))
        || outputs.iter().any(|output| matches!(output, Output::Bf16(_)));
    let source = |operand: &Operand<'_>, row: usize, start: usize| match operand {
        Operand::Full(values) => Source::F32(values[start..].as_ptr()),
        Operand::Bf16(values) => Source::Bf16(values[start..].as_ptr()),
        Operand::Scalar(value) => Source::Same(value),
        Operand::Row(values) => Source::F32(values.as_ptr()),
        Operand::Column(values) => Source::Same(&values[row]),
    };
    let outputs = Shared(outputs);
    let span = |row: usize, start: usize, len: usize| {
        let inputs = std::array::from_fn(|index| source(&inputs[index], row, start));
        // SAFETY: start < total, so the pointers stay inside the outputs.
        let outputs = outputs.get().map(|output| unsafe { output.add(start) });
        if is_mixed {
            dispatch(context.isa, Span::<I, O, true, P> { function, inputs, outputs, len });
        } else {
            dispatch(context.isa, Span::<I, O, false, P> { function, inputs, outputs, len });
        }
    };
    if total == 0 {
        return;
    }
    if by_row {
        context.pool.for_chunks(rows, (CHUNK / columns).max(1), &|first, last| {
            for row in first..last {
                span(row, row * columns, columns);
            }
        });
    } else {
        context.pool.for_chunks(total, CHUNK, &|start, end| span(0, start, end - start));
    }
}

/// `run_pointwise` without broadcasting rows, over the views of a call: equal lengths.
///
/// # Errors
/// `ERR_DTYPE_MISMATCH` for a view that is neither f32 nor bf16, `ERR_READ_ONLY` for an output in a mapped file.
///
/// # Safety
/// The outputs must be outputs of the running call.
///
/// # Panics
/// When a length differs from the first output's.
pub unsafe fn map<const I: usize, const O: usize, P: Pointwise<I, O>>(
    context: &CpuContext,
    function: P,
    inputs: [CpuView<'_>; I],
    outputs: [CpuView<'_>; O],
) -> Result<()> {
    let len = outputs[0].spec.elements();
    assert!(outputs.iter().all(|output| output.spec.elements() == len), "output lengths");
    let mut sources = [Operand::Scalar(0.0); I];
    for (source, view) in sources.iter_mut().zip(&inputs) {
        *source = full(view)?;
    }
    let mut targets = [Output::F32(std::ptr::null_mut()); O];
    for (target, view) in targets.iter_mut().zip(&outputs) {
        // SAFETY: by the caller.
        *target = unsafe { output(view)? };
    }
    // SAFETY: the pointers come from exclusive slices of `len` elements.
    unsafe { run_pointwise(context, 1, len, function, sources, targets) };
    Ok(())
}

/// A view with one value per element.
///
/// # Errors
/// `ERR_DTYPE_MISMATCH` when it is neither f32 nor bf16.
pub fn full<'a>(view: &CpuView<'a>) -> Result<Operand<'a>> {
    Ok(if view.spec.dtype == DType::BF16 { Operand::Bf16(view.slice()?) } else { Operand::Full(view.slice()?) })
}

/// The memory of a result.
///
/// # Errors
/// As [`map`].
///
/// # Safety
/// The view must be an output or a declared in-place input of the running call.
pub unsafe fn output(view: &CpuView<'_>) -> Result<Output> {
    // SAFETY: by the caller.
    unsafe {
        Ok(if view.spec.dtype == DType::BF16 {
            Output::Bf16(view.slice_mut()?.as_mut_ptr())
        } else {
            Output::F32(view.slice_mut()?.as_mut_ptr())
        })
    }
}

/// Declares a `Pointwise` type: `pointwise!(Name { field: f32 }, |s, [a, b]| [expression]);` with the
/// fields in scope as vectors' scalars through `self`.
#[macro_export]
macro_rules! pointwise {
    ($(#[$meta:meta])* $name:ident { $($field:ident),* }, |$this:ident, $s:ident, [$($input:ident),+]| [$($output:expr),+]) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub struct $name { $(pub $field: f32),* }
        impl $crate::cpu::simd::pointwise::Pointwise<{ [$(stringify!($input)),+].len() }, { [$(stringify!($output)),+].len() }> for $name {
            #[inline(always)]
            fn apply<S: $crate::cpu::simd::Simd>(
                self,
                $s: S,
                [$($input),+]: [S::F; [$(stringify!($input)),+].len()],
            ) -> [S::F; [$(stringify!($output)),+].len()] {
                let $this = self;
                let _ = $this;
                [$($output),+]
            }
        }
    };
}
