//! Powers by class and ramp knot from a window of rows, with their covariance.

use std::collections::BTreeMap;

use super::linear::{condition, non_negative};
use super::row::{Cell, Row};
use super::{CLASSES_FITTED, KNOTS, RAMP_ENDS_NS, SHAPES};
use crate::path_table::ClassId;
use crate::token_hash::TokenMap;

/// Neighbouring knots of a ramp differ by this much of the mean power: the strength of the ridge between them.
const RIDGE_SHARE: f64 = 0.7;

/// Powers lie around the mean within this many times the mean, before anything is known.
const PRIOR_SHARE: f64 = 3.0;

/// Relative noise assumed before the residuals tell.
const FIRST_NOISE: f64 = 0.05;

/// Rounds of fitting noise and powers in turn.
const ROUNDS: usize = 4;

/// What a window of rows says about powers.
#[derive(Debug, Clone)]
pub struct Fit {
    /// Columns of each class.
    knots: usize,
    /// Where each knot of a cell lies between them.
    places: [Place; KNOTS],
    /// First column of each class.
    columns: TokenMap<ClassId, usize>,
    /// Watts by column.
    powers: Vec<f64>,
    /// Their covariance.
    covariance: Vec<f64>,
    /// Standard deviation of a row around its estimate, relative to it.
    pub noise: f64,
    /// Root mean square of the residuals, joules.
    pub residual: f64,
    /// Condition number of the scaled design, without the ridge that makes it solvable.
    pub condition: f64,
    /// Rows used.
    pub rows: usize,
    /// Seconds by class.
    pub seconds: BTreeMap<ClassId, f64>,
    /// Gram matrix of the last round, prior included.
    gram: Vec<f64>,
    /// Weight of the ridge in it.
    ridge: f64,
}

/// A knot of a cell among the columns of a class: power there is linear between the column `left` and the next one.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    left: usize,
    /// Weight of the next column.
    right: f64,
}

fn places(shape: &[u8]) -> [Place; KNOTS] {
    let at = |knot: u8| if knot == 0 { 0.0 } else { RAMP_ENDS_NS[usize::from(knot) - 1] as f64 };
    std::array::from_fn(|knot| {
        let left = shape.iter().rposition(|known| usize::from(*known) <= knot).unwrap_or(0);
        let right = shape.get(left + 1).map_or(0.0, |next| {
            let from = at(shape[left]);
            (at(knot as u8) - from) / (at(*next) - from)
        });
        Place { left, right }
    })
}

/// See [`Fit::lever`].
pub struct Lever {
    /// The row's energy over the square of its estimate.
    scale: f64,
    /// Seconds by column.
    all: Vec<f64>,
    /// Covariance times `all`.
    turned: Vec<f64>,
    /// `all` times that.
    variance: f64,
}

/// One row against a fit.
pub struct Estimate {
    /// Joules by cell.
    pub cells: Vec<f64>,
    /// Joules by share.
    pub shares: Vec<f64>,
    /// Their sum.
    pub whole: f64,
}

impl Estimate {
    /// Whether one power explains the whole row: then time splits it, exactly.
    pub fn is_even(&self, row: &Row) -> bool {
        let powers = || row.cells.iter().zip(&self.cells).map(|(cell, energy)| energy / cell.seconds);
        let (low, high) =
            powers().fold((f64::INFINITY, 0.0_f64), |(low, high), power| (low.min(power), high.max(power)));
        high - low <= 1e-6 * high
    }
}

fn joules(row: &Row) -> f64 {
    row.nanojoules as f64 / 1e9
}

/// Seconds by class, and the first column of each; the smallest classes beyond the limit share one.
fn assign_columns<'a>(
    rows: impl Iterator<Item = &'a Row>,
    knots: usize,
) -> (BTreeMap<ClassId, f64>, TokenMap<ClassId, usize>) {
    let mut seconds: BTreeMap<ClassId, f64> = BTreeMap::new();
    for cell in rows.flat_map(|row| &row.cells) {
        *seconds.entry(cell.class).or_default() += cell.seconds;
    }
    let mut order: Vec<(ClassId, f64)> = seconds.iter().map(|(class, time)| (*class, *time)).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let column = |(index, (class, _)): (usize, (ClassId, f64))| (class, index.min(CLASSES_FITTED - 1) * knots);
    (seconds, order.into_iter().enumerate().map(column).collect())
}

impl Fit {
    /// Fit the rows with the shape of ramp that they call for; `None` while they are fewer than the unknowns. Beside it the
    /// fit with the next richer shape, or the next poorer where there is none.
    pub fn new<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Option<(Self, Option<Self>)> {
        // Bayesian information criterion: another knot must earn its columns.
        let cost = |fit: &Self| {
            let count = fit.rows as f64;
            2.0 * count * fit.noise.ln() + fit.size() as f64 * count.ln()
        };
        let mut fits: Vec<Self> = SHAPES.iter().filter_map(|shape| Self::with_shape(rows.clone(), shape)).collect();
        let best = (0..fits.len()).min_by(|a, b| cost(&fits[*a]).total_cmp(&cost(&fits[*b])))?;
        let beside = if best + 1 < fits.len() { Some(best + 1) } else { best.checked_sub(1) };
        let beside = beside.map(|other| fits[other].clone());
        let mut best = fits.swap_remove(best);
        best.condition = condition(&best.without_ridge(), best.size());
        Some((best, beside))
    }

    fn with_shape<'a>(rows: impl Iterator<Item = &'a Row> + Clone, shape: &[u8]) -> Option<Self> {
        let knots = shape.len();
        let (seconds, columns) = assign_columns(rows.clone(), knots);
        let size = columns.values().max().map_or(0, |last| last + knots);
        let count = rows.clone().count();
        let total: f64 = rows.clone().map(joules).sum();
        let duration: f64 = seconds.values().sum();
        if count < 12 || count <= columns.len() || total <= 0.0 || duration <= 0.0 {
            return None;
        }
        let (mean_power, mean_row) = (total / duration, total / count as f64);
        let mut fit = Self {
            knots,
            places: places(shape),
            columns,
            powers: vec![mean_power; size],
            covariance: Vec::new(),
            noise: FIRST_NOISE,
            residual: 0.0,
            condition: 1.0,
            rows: count,
            seconds,
            gram: Vec::new(),
            ridge: (RIDGE_SHARE * mean_power).powi(-2),
        };
        let designs: Vec<(Vec<(usize, f64)>, f64)> = rows.map(|row| (fit.design(row), joules(row))).collect();
        for _ in 0..ROUNDS {
            let mut gram = vec![0.0; size * size];
            let mut right = vec![0.0; size];
            for (design, energy) in &designs {
                let weight = 1.0 / (fit.variance(design, mean_row) * fit.noise * fit.noise);
                for (column, time) in design {
                    right[*column] += weight * energy * time;
                    for (other, other_time) in design {
                        gram[column * size + other] += weight * time * other_time;
                    }
                }
            }
            fit.add_prior(&mut gram, &mut right, mean_power);
            (fit.powers, fit.covariance) = non_negative(&gram, &right)?;
            fit.gram = gram;
            let mut weighted = 0.0;
            let mut plain = 0.0;
            for (design, energy) in &designs {
                let residual = energy - fit.predict(design);
                weighted += residual * residual / fit.variance(design, mean_row);
                plain += residual * residual;
            }
            let freedom = count.saturating_sub(size).max(count / 4).max(1) as f64;
            fit.noise = (weighted / freedom).sqrt().max(1e-4);
            fit.residual = (plain / count as f64).sqrt();
        }
        Some(fit)
    }

    /// The columns a cell's time falls to, with their parts of it.
    fn times(&self, first: usize, cell: &Cell) -> impl Iterator<Item = (usize, f64)> + use<> {
        let Place { left, right } = self.places[usize::from(cell.knot)];
        let column = first + left;
        let next = (right > 0.0).then_some((column + 1, cell.seconds * right));
        std::iter::once((column, cell.seconds * (1.0 - right))).chain(next)
    }

    /// Columns of each class.
    pub fn knots(&self) -> usize {
        self.knots
    }

    fn design(&self, row: &Row) -> Vec<(usize, f64)> {
        let mut design: Vec<(usize, f64)> = Vec::with_capacity(row.cells.len());
        for cell in &row.cells {
            for (column, seconds) in self.times(self.columns[&cell.class], cell) {
                match design.iter_mut().find(|(known, _)| *known == column) {
                    Some((_, time)) => *time += seconds,
                    None => design.push((column, seconds)),
                }
            }
        }
        design
    }

    fn predict(&self, design: &[(usize, f64)]) -> f64 {
        design.iter().map(|(column, time)| self.powers[*column] * time).sum()
    }

    /// Variance of a row in units of `noise²`: noise grows with energy, with a floor so that cheap rows do not rule.
    fn variance(&self, design: &[(usize, f64)], mean_row: f64) -> f64 {
        self.predict(design).powi(2) + (0.2 * mean_row).powi(2)
    }

    /// Gram matrix of the data, the ridge between knots taken off again.
    fn without_ridge(&self) -> Vec<f64> {
        let size = self.size();
        let mut gram = self.gram.clone();
        for column in (0..size).filter(|column| column % self.knots > 0) {
            let before = column - 1;
            gram[column * size + column] -= self.ridge;
            gram[before * size + before] -= self.ridge;
            gram[column * size + before] += self.ridge;
            gram[before * size + column] += self.ridge;
        }
        gram
    }

    fn add_prior(&self, gram: &mut [f64], right: &mut [f64], mean_power: f64) {
        let size = right.len();
        let weak = (PRIOR_SHARE * mean_power).powi(-2);
        let ridge = self.ridge;
        for column in 0..size {
            gram[column * size + column] += weak;
            right[column] += weak * mean_power;
            if column % self.knots > 0 {
                let before = column - 1;
                gram[column * size + column] += ridge;
                gram[before * size + before] += ridge;
                gram[column * size + before] -= ridge;
                gram[before * size + column] -= ridge;
            }
        }
    }

    /// First column of a class.
    pub fn column(&self, class: ClassId) -> Option<usize> {
        self.columns.get(&class).copied()
    }

    /// Watts at a class's last knot: its power once the ramp is over.
    pub fn steady_watts(&self, class: ClassId) -> Option<f64> {
        self.column(class).map(|column| self.powers[column + self.knots - 1])
    }

    /// Number of unknowns.
    pub fn size(&self) -> usize {
        self.powers.len()
    }

    /// Gram matrix of the data.
    pub fn gram(&self) -> Vec<f64> {
        self.without_ridge()
    }

    /// Estimate a row; `None` when it has a class the fit has not seen, or no energy is expected at all.
    pub fn estimate(&self, row: &Row) -> Option<Estimate> {
        let mut cells = Vec::with_capacity(row.cells.len());
        let mut shares = vec![0.0; row.shares.len()];
        for cell in &row.cells {
            let times = self.times(self.column(cell.class)?, cell);
            let energy = times.map(|(column, seconds)| self.powers[column] * seconds).sum();
            shares[cell.share as usize] += energy;
            cells.push(energy);
        }
        let whole: f64 = shares.iter().sum();
        (whole > 0.0).then_some(Estimate { cells, shares, whole })
    }

    /// How a row's estimate hangs on the powers as a whole.
    pub fn lever(&self, row: &Row, estimate: &Estimate) -> Lever {
        let size = self.size();
        let mut all = vec![0.0; size];
        for cell in &row.cells {
            self.times(self.columns[&cell.class], cell).for_each(|(column, seconds)| all[column] += seconds);
        }
        let mut turned = vec![0.0; size];
        for column in (0..size).filter(|column| all[*column] != 0.0) {
            let covariances = &self.covariance[column * size..(column + 1) * size];
            turned.iter_mut().zip(covariances).for_each(|(sum, value)| *sum += all[column] * value);
        }
        let variance = all.iter().zip(&turned).map(|(time, value)| time * value).sum();
        Lever { scale: joules(row) / (estimate.whole * estimate.whole), all, turned, variance }
    }

    /// Variance (joules²) of the part of a row that `shares` get, by the powers and by the row's own noise. The row's
    /// energy is known, so a part that is all of the row or nothing has none. `times` is scratch.
    pub fn part_variance(
        &self,
        row: &Row,
        estimate: &Estimate,
        lever: &Lever,
        shares: &[u32],
        times: &mut Vec<(usize, f64)>,
    ) -> f64 {
        times.clear();
        let mut part = 0.0;
        for share in shares {
            part += estimate.shares[*share as usize];
            for cell in row.cells_of(*share as usize) {
                times.extend(self.times(self.columns[&cell.class], cell));
            }
        }
        // The part is whole·share; its gradient is scale·(whole·times − part·all).
        let size = self.size();
        let (mut inner, mut outer) = (0.0, 0.0);
        for (column, time) in times.iter() {
            outer += time * lever.turned[*column];
            for (other, other_time) in times.iter() {
                inner += time * other_time * self.covariance[column * size + other];
            }
        }
        let (whole, scale) = (estimate.whole, lever.scale);
        let by_powers = whole * whole * inner - 2.0 * whole * part * outer + part * part * lever.variance;
        scale * scale * by_powers.max(0.0) + self.own_variance(scale, part, whole - part)
    }

    fn own_variance(&self, scale: f64, part: f64, rest: f64) -> f64 {
        2.0 * (self.noise * scale * part * rest).powi(2)
    }

    /// Add how a class's part of a row changes with the powers to `gradient`; returns the variance of that part by the
    /// row's own noise (joules²).
    pub fn add_gradient(
        &self,
        row: &Row,
        estimate: &Estimate,
        lever: &Lever,
        class: ClassId,
        part: f64,
        gradient: &mut [f64],
    ) -> f64 {
        gradient.iter_mut().zip(&lever.all).for_each(|(sum, time)| *sum -= lever.scale * part * time);
        for cell in row.cells.iter().filter(|cell| cell.class == class) {
            self.times(self.columns[&cell.class], cell)
                .for_each(|(column, seconds)| gradient[column] += lever.scale * estimate.whole * seconds);
        }
        self.own_variance(lever.scale, part, estimate.whole - part)
    }

    /// gᵀΣg.
    pub fn variance_along(&self, gradient: &[f64]) -> f64 {
        let size = self.size();
        let mut sum = 0.0;
        for row in (0..size).filter(|row| gradient[*row] != 0.0) {
            for column in (0..size).filter(|column| gradient[*column] != 0.0) {
                sum += gradient[row] * self.covariance[row * size + column] * gradient[column];
            }
        }
        sum.max(0.0)
    }
}
