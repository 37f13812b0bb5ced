//! What the fit of a source is worth, in the form that the state shows.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::fit::Fit;
use super::linear::condition;
use super::row::Row;
use super::{CONDITION_LIMIT, Z95};
use crate::path_table::ClassId;

/// Energy of a class over the window.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassSum {
    /// The class.
    pub class: ClassId,
    /// Its energy.
    pub joules: f64,
    /// Its energy in intervals that it shares with others: only that can be wrong.
    pub mixed_joules: f64,
    /// Variance, joules².
    pub variance: f64,
}

impl ClassSum {
    /// Nothing yet.
    pub fn new(class: ClassId) -> Self {
        Self { class, joules: 0.0, mixed_joules: 0.0, variance: 0.0 }
    }

    /// Half of the 95 % interval, joules.
    pub fn half_width(&self) -> f64 {
        Z95 * self.variance.sqrt()
    }

    /// The same over the energy in shared intervals.
    pub fn relative_half_width(&self) -> f64 {
        if self.mixed_joules > 0.0 { self.half_width() / self.mixed_joules } else { 0.0 }
    }
}

/// A class in a [`FitReport`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FitClass {
    /// Path with `*` for counters; empty for time outside any phase.
    pub class: String,
    /// Seconds in the window.
    pub seconds: f64,
    /// Joules in the window.
    pub joules: f64,
    /// Half of the 95 % interval, joules.
    pub half_width_joules: f64,
    /// Power once the ramp is over.
    pub steady_watts: f64,
}

/// How the intervals of a source are split over phases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FitReport {
    /// Source id.
    pub source: String,
    /// Intervals in the window.
    pub intervals: u64,
    /// Unknown powers.
    pub unknowns: u64,
    /// Condition number of the scaled design.
    pub condition: f64,
    /// Root mean square of the residuals, joules.
    pub residual_joules: f64,
    /// Standard deviation of an interval around its estimate, relative to it.
    pub relative_noise: f64,
    /// Classes the window cannot tell apart: their sums are to be read together. Filled above a condition of 150.
    pub merged: Vec<Vec<String>>,
    /// By class.
    pub classes: Vec<FitClass>,
}

impl FitReport {
    pub(super) fn new(
        source: &str,
        fit: &Fit,
        sums: Vec<ClassSum>,
        merged: Vec<Vec<ClassId>>,
        class_name: impl Fn(ClassId) -> String,
    ) -> Self {
        let class = |sum: ClassSum| FitClass {
            class: class_name(sum.class),
            seconds: fit.seconds.get(&sum.class).copied().unwrap_or(0.0),
            joules: sum.joules,
            half_width_joules: sum.half_width(),
            steady_watts: fit.steady_watts(sum.class).unwrap_or(0.0),
        };
        Self {
            source: source.to_owned(),
            intervals: fit.rows as u64,
            unknowns: fit.size() as u64,
            condition: fit.condition,
            residual_joules: fit.residual,
            relative_noise: fit.noise,
            merged: merged.into_iter().map(|group| group.into_iter().map(&class_name).collect()).collect(),
            classes: sums.into_iter().map(class).collect(),
        }
    }
}

/// Join the class with the least time to the one it shares most intervals with, until the rest can be told apart.
/// Returns the groups of more than one class.
pub(super) fn merge_classes(fit: &Fit, rows: &VecDeque<Row>) -> Vec<Vec<ClassId>> {
    let mut groups: Vec<Vec<ClassId>> = fit.seconds.keys().map(|class| vec![*class]).collect();
    while groups.len() > 1 && grouped_condition(fit, &groups) > CONDITION_LIMIT {
        let seconds = |group: &Vec<ClassId>| group.iter().filter_map(|class| fit.seconds.get(class)).sum::<f64>();
        let Some(smallest) = (0..groups.len()).min_by(|a, b| seconds(&groups[*a]).total_cmp(&seconds(&groups[*b])))
        else {
            break;
        };
        let small = groups.remove(smallest);
        let neighbour = nearest(&small, &groups, rows);
        groups[neighbour].extend(small);
        groups[neighbour].sort_unstable();
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn nearest(small: &[ClassId], groups: &[Vec<ClassId>], rows: &VecDeque<Row>) -> usize {
    let mut shared: BTreeMap<usize, f64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.shares.iter().any(|share| small.contains(&share.class))) {
        for cell in &row.cells {
            if let Some(group) = groups.iter().position(|group| group.contains(&cell.class)) {
                *shared.entry(group).or_default() += cell.seconds;
            }
        }
    }
    shared.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(group, _)| group)
}

/// Condition number when every group has one set of powers.
fn grouped_condition(fit: &Fit, groups: &[Vec<ClassId>]) -> f64 {
    let knots = fit.knots();
    let size = groups.len() * knots;
    let full = fit.size();
    let mut target = vec![usize::MAX; full];
    for (index, group) in groups.iter().enumerate() {
        for column in group.iter().filter_map(|class| fit.column(*class)) {
            (0..knots).for_each(|knot| target[column + knot] = index * knots + knot);
        }
    }
    let whole = fit.gram();
    let mut gram = vec![0.0; size * size];
    for row in (0..full).filter(|row| target[*row] != usize::MAX) {
        for column in (0..full).filter(|column| target[*column] != usize::MAX) {
            gram[target[row] * size + target[column]] += whole[row * full + column];
        }
    }
    condition(&gram, size)
}
