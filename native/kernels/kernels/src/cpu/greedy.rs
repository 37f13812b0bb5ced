//! The likeliest token and its log-probability, by all threads: logits are read where they lie.

use super::CpuContext;
use super::pool::SharedMut;
use super::reduce::{Fold, Reduction};
use super::simd::math::exp;
use super::simd::span::get;
use super::simd::{Kernel, Simd, dispatch};

/// Logits per task; fixed, so that sums do not depend on the number of threads.
const PART: usize = 8192;

/// Logits whose weights are added in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;

#[derive(Clone, Copy, Default)]
struct Part {
    highest: f32,
    /// Sum of e^(x − highest).
    total: f64,
}

/// Id and log-probability of the largest logit of each row; `None` where NaN or infinity leaves no distribution. Of equal
/// logits the lowest id is taken.
pub fn greedy(context: &CpuContext, logits: &[f32], vocabulary: usize) -> Vec<Option<(usize, f32)>> {
    let rows = logits.len() / vocabulary;
    let per_row = vocabulary.div_ceil(PART);
    let mut parts = vec![Part::default(); rows * per_row];
    let shared = SharedMut::new(&mut parts);
    context.pool.run(rows * per_row, &|index| {
        let (row, start) = (index / per_row, index % per_row * PART);
        let x = &logits[row * vocabulary..(row + 1) * vocabulary][start..(start + PART).min(vocabulary)];
        let part = dispatch(context.isa, OnePart(x));
        // SAFETY: tasks own one part each.
        unsafe { shared.slice(index, index + 1)[0] = part };
    });
    let one = |row: usize| {
        let parts = &parts[row * per_row..(row + 1) * per_row];
        if parts.iter().any(|part| part.highest.is_nan()) {
            return None;
        }
        let highest = parts.iter().fold(f32::NEG_INFINITY, |highest, part| highest.max(part.highest));
        if !highest.is_finite() {
            return None;
        }
        let total: f64 = parts.iter().map(|part| part.total * f64::from(part.highest - highest).exp()).sum();
        let start = parts.iter().position(|part| part.highest == highest)? * PART;
        let row = &logits[row * vocabulary..(row + 1) * vocabulary];
        let id = start + row[start..].iter().position(|logit| *logit == highest)?;
        Some((id, -total.ln() as f32))
    };
    (0..rows).map(one).collect()
}

struct OnePart<'a>(&'a [f32]);

impl Kernel for OnePart<'_> {
    type Output = Part;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Part {
        let highest = s.call(Fold(self.0, Reduction::Max));
        let mut total = 0.0;
        if highest.is_finite() {
            for block in self.0.chunks(BLOCK) {
                let mut sums = s.splat(0.0);
                let whole = block.len() / S::LANES * S::LANES;
                for at in (0..whole).step_by(S::LANES) {
                    sums = s.add(sums, exp(s, s.sub(get(s, block, at, S::LANES), s.splat(highest))));
                }
                total += f64::from(s.sum(sums));
                total += block[whole..].iter().map(|logit| f64::from(logit - highest).exp()).sum::<f64>();
            }
        }
        Part { highest, total }
    }
}
