//! One driver for every element-wise kernel: any number of inputs (with broadcasting) and outputs.

use super::{Kernel, Simd, dispatch};
use crate::cpu::CpuContext;

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
    /// One value for all.
    Scalar(f32),
    /// One value per column (a bias or weight over the last dimension).
    Row(&'a [f32]),
    /// One value per row.
    Column(&'a [f32]),
}

#[derive(Clone, Copy)]
struct Source {
    at: *const f32,
    moves: bool,
}

struct Span<const I: usize, const O: usize, P> {
    function: P,
    inputs: [Source; I],
    outputs: [*mut f32; O],
    len: usize,
}

impl<const I: usize, const O: usize, P: Pointwise<I, O>> Kernel for Span<I, O, P> {
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
                    if !source.moves {
                        s.splat(*source.at)
                    } else if count == S::LANES {
                        s.load(source.at.add(at))
                    } else {
                        s.load_part(source.at.add(at), count)
                    }
                };
            }
            let results = self.function.apply(s, values);
            for (result, output) in results.into_iter().zip(self.outputs) {
                // SAFETY: outputs hold `len` elements; each element is written by one task only.
                unsafe {
                    if count == S::LANES {
                        s.store(output.add(at), result);
                    } else {
                        s.store_part(output.add(at), count, result);
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
/// Outputs may be the memory of a `Full` input (in place): an element is read before it is written and
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
    outputs: [*mut f32; O],
) {
    let total = rows * columns;
    let mut by_row = false;
    for operand in &inputs {
        match operand {
            Operand::Full(values) => assert_eq!(values.len(), total, "operand length"),
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
    let source = |operand: &Operand<'_>, row: usize, start: usize| match operand {
        Operand::Full(values) => Source { at: values[start..].as_ptr(), moves: true },
        Operand::Scalar(value) => Source { at: value, moves: false },
        Operand::Row(values) => Source { at: values.as_ptr(), moves: true },
        Operand::Column(values) => Source { at: &values[row], moves: false },
    };
    let outputs = Shared(outputs);
    let span = |row: usize, start: usize, len: usize| {
        let mut sources = [Source { at: std::ptr::null(), moves: false }; I];
        for (slot, operand) in sources.iter_mut().zip(&inputs) {
            *slot = source(operand, row, start);
        }
        // SAFETY: start < total, so the pointers stay inside the outputs.
        let outputs = outputs.get().map(|output| unsafe { output.add(start) });
        dispatch(context.isa, Span { function, inputs: sources, outputs, len });
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

/// `run_pointwise` without broadcasting rows: equal lengths or scalars.
///
/// # Panics
/// When a length differs from the first output's.
pub fn map<const I: usize, const O: usize, P: Pointwise<I, O>>(
    context: &CpuContext,
    function: P,
    inputs: [Operand<'_>; I],
    mut outputs: [&mut [f32]; O],
) {
    let len = outputs[0].len();
    assert!(outputs.iter().all(|output| output.len() == len), "output lengths");
    let pointers = std::array::from_fn(|index| outputs[index].as_mut_ptr());
    // SAFETY: the pointers come from exclusive slices of `len` elements.
    unsafe { run_pointwise(context, 1, len, function, inputs, pointers) };
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
