//! The rolling window of one source: keeps rows, fits them now and then, and says what each part becomes.

use std::collections::{BTreeMap, VecDeque};

use super::fit::Fit;
use super::report::{ClassSum, FitReport, merge_classes};
use super::row::Row;
use super::{CONDITION_LIMIT, WINDOW_ROWS, Z95};
use crate::path_table::ClassId;
use crate::split::largest_remainder;

/// Rows between two fits: as many as there are, so that the cost of a fit over all of them stays that of two passes per
/// row, and at most so many, so that every row is fitted again at least once before it leaves the window. All that are
/// left are fitted when totals are final.
const LONGEST_WAIT: usize = WINDOW_ROWS * 3 / 4;

/// Rows before the first fit: fewer say little.
const SHORTEST_WAIT: usize = 12;

/// Parts of one row: nanojoules and spread by share, edge by span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// (nanojoules, spread) in the order of the row's shares.
    pub shares: Vec<(u128, u128)>,
    /// In the order of the row's spans.
    pub edges: Vec<u128>,
}

/// See the module's description.
#[derive(Default)]
pub struct Window {
    rows: VecDeque<Row>,
    fit: Option<Fit>,
    since_fit: usize,
    /// Rows at the front whose parts stay as they are: a snapshot names them.
    sealed: usize,
    /// Half-width of a class's sum over its energy in mixed rows.
    relative: BTreeMap<ClassId, f64>,
    /// How far a class's energy is from what the ramp of another shape makes of it, over its energy.
    shape: BTreeMap<ClassId, f64>,
}

fn to_nanojoules(joules: f64) -> u128 {
    (joules.max(0.0) * 1e9).round() as u128
}

impl Window {
    /// Parts of a row by the present fit; by time while there is none.
    pub fn parts(&self, row: &Row) -> Parts {
        let Some((fit, estimate)) = self.fit.as_ref().and_then(|fit| Some((fit, fit.estimate(row)?))) else {
            return by_time(row);
        };
        // Joules times 2⁶⁰ over the row's: integers as fine as the estimate itself.
        let scale = (1_u64 << 60) as f64 / estimate.whole;
        let weights: Vec<u128> = estimate.shares.iter().map(|share| (share * scale) as u128).collect();
        let nanojoules = match estimate.is_even(row) {
            true => row.split_by_time(),
            false => largest_remainder(row.nanojoules, &weights),
        };
        let spread = |index: usize, part: u128| {
            let relative = self.relative.get(&row.shares[index].class).filter(|_| row.is_mixed());
            (relative.copied().unwrap_or(0.0) * part as f64).round() as u128
        };
        let mut edges = Vec::with_capacity(row.spans.len());
        if !row.spans.is_empty() {
            let lever = fit.lever(row, &estimate);
            let mut times = Vec::new();
            edges.extend(row.spans.iter().map(|span| {
                let variance = fit.part_variance(row, &estimate, &lever, row.shares_of(span), &mut times);
                to_nanojoules(Z95 * variance.sqrt())
            }));
        }
        Parts {
            edges,
            shares: nanojoules.into_iter().enumerate().map(|(index, part)| (part, spread(index, part))).collect(),
        }
    }

    /// Keep a row whose parts have been credited. Returns the one that leaves.
    pub fn push(&mut self, row: Row) -> Option<Row> {
        self.rows.push_back(row);
        self.since_fit += 1;
        if self.rows.len() <= WINDOW_ROWS {
            return None;
        }
        self.sealed = self.sealed.saturating_sub(1);
        self.rows.pop_front()
    }

    /// Whether it is time to fit again.
    pub fn is_due(&self) -> bool {
        self.since_fit >= self.rows.len().clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    /// Fit again. The rows' parts by the new fit are [`Self::parts`]; [`Self::replace`] stores them.
    pub fn fit(&mut self) -> bool {
        self.since_fit = 0;
        // Without a mixed row there is nothing to decide.
        if !self.rows.iter().any(Row::is_mixed) {
            return false;
        }
        let Some((fit, beside)) = Fit::new(self.rows.iter()) else {
            return false;
        };
        self.shape.clear();
        let other = beside.map(|beside| self.sums(&beside)).unwrap_or_default();
        let shape = self.sums(&fit).into_iter().filter_map(|sum| {
            let other = other.iter().find(|other| other.class == sum.class)?;
            (sum.joules > 0.0).then(|| (sum.class, (other.joules / sum.joules - 1.0).abs()))
        });
        self.shape = shape.collect();
        self.relative = self.sums(&fit).iter().map(|sum| (sum.class, sum.relative_half_width())).collect();
        self.fit = Some(fit);
        true
    }

    /// Whether rows have come since the last fit.
    pub fn is_stale(&self) -> bool {
        self.since_fit > 0
    }

    /// Keep what is credited for the rows so far: later fits learn from them and leave them alone.
    pub fn seal(&mut self) {
        self.sealed = self.rows.len();
    }

    /// Indices of the rows that a new fit may divide again.
    pub fn open_rows(&self) -> std::ops::Range<usize> {
        self.sealed..self.rows.len()
    }

    /// Rows of the window.
    pub fn rows(&self) -> &VecDeque<Row> {
        &self.rows
    }

    /// The row at `index`, to note what is credited.
    pub fn row_mut(&mut self, index: usize) -> &mut Row {
        &mut self.rows[index]
    }

    /// Class sums over the window, with the half-width of their 95 % interval.
    fn sums(&self, fit: &Fit) -> Vec<ClassSum> {
        let mut classes: BTreeMap<ClassId, (ClassSum, Vec<f64>)> = BTreeMap::new();
        let mut seen: Vec<ClassId> = Vec::new();
        for row in &self.rows {
            let Some(estimate) = fit.estimate(row) else { continue };
            seen.clear();
            seen.extend(row.shares.iter().map(|share| share.class));
            seen.sort_unstable();
            seen.dedup();
            let lever = (seen.len() > 1).then(|| fit.lever(row, &estimate));
            for class in &seen {
                let (sum, gradient) =
                    classes.entry(*class).or_insert_with(|| (ClassSum::new(*class), vec![0.0; fit.size()]));
                let shares = row.shares.iter().zip(&estimate.shares).filter(|(share, _)| share.class == *class);
                let part: f64 = shares.map(|(_, joules)| joules).sum();
                let joules = row.nanojoules as f64 / 1e9 * part / estimate.whole;
                sum.joules += joules;
                sum.mixed_joules += if row.is_mixed() { joules } else { 0.0 };
                if let Some(lever) = &lever {
                    sum.variance += fit.add_gradient(row, &estimate, lever, *class, part, gradient);
                }
            }
        }
        let finish = |(mut sum, gradient): (ClassSum, Vec<f64>)| {
            // Ramps are curves: a shape with other knots errs differently, by about as much.
            let shape = self.shape.get(&sum.class).map_or(0.0, |relative| relative * sum.joules);
            sum.variance += fit.variance_along(&gradient) + shape * shape;
            sum
        };
        classes.into_values().map(finish).collect()
    }

    /// What a person should know about the fit; `None` before the first.
    pub fn report(&self, source: &str, class_name: impl Fn(ClassId) -> String) -> Option<FitReport> {
        let fit = self.fit.as_ref()?;
        let merged = if fit.condition > CONDITION_LIMIT { merge_classes(fit, &self.rows) } else { Vec::new() };
        Some(FitReport::new(source, fit, self.sums(fit), merged, class_name))
    }
}

/// Without a fit: by time, with the largest error a jump of power at an edge can make.
fn by_time(row: &Row) -> Parts {
    let spread = row.time_spread();
    // The error at a boundary x after the interval's start is |P_mean − P_before|·x.
    let edges = row.spans.iter().map(|span| (row.jump * span.offsets_ns).div_ceil(1_000_000_000));
    Parts { edges: edges.collect(), shares: row.split_by_time().into_iter().map(|part| (part, spread)).collect() }
}

#[cfg(test)]
mod tests {
    use super::{Row, WINDOW_ROWS, Window};

    #[test]
    fn sealed_rows_are_not_divided_again_until_they_have_left() {
        let mut window = Window::default();
        for _ in 0..3 {
            window.push(Row::default());
        }
        assert_eq!(window.open_rows(), 0..3);
        window.seal();
        assert!(window.open_rows().is_empty());
        window.push(Row::default());
        assert_eq!(window.open_rows(), 3..4);
        for _ in 0..WINDOW_ROWS - 2 {
            window.push(Row::default());
        }
        assert_eq!(window.open_rows(), 1..WINDOW_ROWS);
    }
}
