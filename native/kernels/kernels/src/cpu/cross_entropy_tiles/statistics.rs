//! Softmax statistics of rows, slice by slice of the vocabulary.

use crate::cpu::cross_entropy_tiles::Plan;
use crate::cpu::cross_entropy_tiles::softmax::UNSEEN;
use crate::cpu::pool::SharedMut;
use std::f64::consts::LN_2;

/// Softmax statistics of every row in every slice, over all entries but the targets.
pub struct Statistics {
    /// The integer n that numerators exp(l)·2⁻ⁿ refer to.
    reference: Vec<f32>,
    largest: Vec<f32>,
    target: Vec<f32>,
    sum: Vec<f64>,
}

/// What a row is worth.
#[derive(Clone, Copy)]
pub struct Row {
    /// ln p(target).
    pub log_prob: f64,
    /// ln Σ exp(l).
    pub log_sum_exp: f64,
    /// The target's logit.
    pub target: f32,
    /// Whether no logit is above the target's.
    pub correct: bool,
}

/// [`Statistics`] of which each unit takes its own rows.
#[derive(Clone, Copy)]
pub struct SharedStatistics {
    pub reference: SharedMut<f32>,
    pub largest: SharedMut<f32>,
    pub target: SharedMut<f32>,
    pub sum: SharedMut<f64>,
}

impl Statistics {
    pub fn new(count: usize) -> Self {
        Self {
            reference: vec![UNSEEN; count],
            largest: vec![f32::NEG_INFINITY; count],
            target: vec![f32::NAN; count],
            sum: vec![0.0; count],
        }
    }

    pub fn share(&mut self) -> SharedStatistics {
        SharedStatistics {
            reference: SharedMut::new(&mut self.reference),
            largest: SharedMut::new(&mut self.largest),
            target: SharedMut::new(&mut self.target),
            sum: SharedMut::new(&mut self.sum),
        }
    }

    /// Positions of a row in its slices.
    fn places(plan: &Plan, row: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        (row..plan.slices * plan.padded).step_by(plan.padded)
    }

    /// A row over the whole vocabulary.
    pub fn row(&self, plan: &Plan, row: usize) -> Row {
        let places = Self::places(plan, row);
        let largest = places.clone().map(|at| self.largest[at]).fold(f32::NEG_INFINITY, f32::max);
        let target = places.clone().map(|at| self.target[at]).find(|value| !value.is_nan()).unwrap_or(f32::NAN);
        let reference = places.clone().map(|at| self.reference[at]).fold(UNSEEN, f32::max);
        let others: f64 = places.map(|at| self.sum[at] * f64::from(self.reference[at] - reference).exp2()).sum();
        // ln of the others' share against the target's; what is small beside the larger of both keeps its digits.
        let ratio = others.ln() + f64::from(reference) * LN_2 - f64::from(target);
        let log_prob = -(ratio.max(0.0) + (-ratio.abs()).exp().ln_1p());
        Row { log_prob, log_sum_exp: f64::from(target) - log_prob, target, correct: target >= largest }
    }

    /// By what the numerators of each slice must be multiplied to be probabilities.
    pub fn scales(&self, plan: &Plan, row: usize, log_sum_exp: f64) -> impl Iterator<Item = f32> {
        Self::places(plan, row).map(move |at| (f64::from(self.reference[at]) * LN_2 - log_sum_exp).exp() as f32)
    }
}
