//! Small dense symmetric systems, row-major, of a few dozen unknowns.

/// Lower Cholesky factor of a symmetric positive definite matrix; `None` when it is not.
pub fn cholesky(matrix: &[f64], size: usize) -> Option<Vec<f64>> {
    let mut lower = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| lower[row * size + k] * lower[column * size + k]).sum();
            let rest = matrix[row * size + column] - dot;
            if row == column {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                lower[row * size + row] = rest.sqrt();
            } else {
                lower[row * size + column] = rest / lower[column * size + column];
            }
        }
    }
    Some(lower)
}

/// Solve with a factor of [`cholesky`].
pub fn solve(lower: &[f64], size: usize, right: &[f64]) -> Vec<f64> {
    let mut x = right.to_vec();
    for row in 0..size {
        let dot: f64 = (0..row).map(|k| lower[row * size + k] * x[k]).sum();
        x[row] = (x[row] - dot) / lower[row * size + row];
    }
    for row in (0..size).rev() {
        let dot: f64 = (row + 1..size).map(|k| lower[k * size + row] * x[k]).sum();
        x[row] = (x[row] - dot) / lower[row * size + row];
    }
    x
}

/// Minimise ½xᵀHx − bᵀx with x ≥ 0. Returns x and the covariance H⁻¹ of the coordinates that are not held at zero
/// (zero rows for those). Active set: fix what is negative, free what wants to grow.
pub fn non_negative(matrix: &[f64], right: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let size = right.len();
    let mut free = vec![true; size];
    for _ in 0..3 * size + 3 {
        let index: Vec<usize> = (0..size).filter(|column| free[*column]).collect();
        let part: Vec<f64> =
            index.iter().flat_map(|row| index.iter().map(move |column| matrix[row * size + column])).collect();
        let lower = cholesky(&part, index.len())?;
        let solution = solve(&lower, index.len(), &index.iter().map(|row| right[*row]).collect::<Vec<_>>());
        let lowest = (0..index.len()).min_by(|a, b| solution[*a].total_cmp(&solution[*b]));
        if let Some(lowest) = lowest.filter(|at| solution[*at] < 0.0) {
            free[index[lowest]] = false;
            continue;
        }
        let mut x = vec![0.0; size];
        index.iter().zip(&solution).for_each(|(column, value)| x[*column] = *value);
        let pull =
            |row: usize| right[row] - (0..size).map(|column| matrix[row * size + column] * x[column]).sum::<f64>();
        let scale = right.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let wants = (0..size).filter(|row| !free[*row]).max_by(|a, b| pull(*a).total_cmp(&pull(*b)));
        if let Some(row) = wants.filter(|row| pull(*row) > 1e-9 * scale) {
            free[row] = true;
            continue;
        }
        return Some((x, inverse(&lower, &index, size)));
    }
    None
}

fn inverse(lower: &[f64], index: &[usize], size: usize) -> Vec<f64> {
    let mut whole = vec![0.0; size * size];
    for (at, column) in index.iter().enumerate() {
        let mut unit = vec![0.0; index.len()];
        unit[at] = 1.0;
        let solved = solve(lower, index.len(), &unit);
        index.iter().zip(solved).for_each(|(row, value)| whole[row * size + column] = value);
    }
    whole
}

/// Condition number of the design behind a Gram matrix, its columns scaled to one length: √(λmax/λmin).
pub fn condition(gram: &[f64], size: usize) -> f64 {
    let mut matrix = gram.to_vec();
    let lengths: Vec<f64> = (0..size).map(|at| gram[at * size + at].sqrt().max(f64::MIN_POSITIVE)).collect();
    for row in 0..size {
        for column in 0..size {
            matrix[row * size + column] /= lengths[row] * lengths[column];
        }
    }
    // Cyclic Jacobi rotations: slow in general, exact and simple at this size.
    for _ in 0..30 {
        let mut off = 0.0;
        for p in 0..size {
            for q in p + 1..size {
                let value = matrix[p * size + q];
                off += value * value;
                if value.abs() < 1e-300 {
                    continue;
                }
                let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * value);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..size {
                    let (left, right) = (matrix[k * size + p], matrix[k * size + q]);
                    matrix[k * size + p] = c * left - s * right;
                    matrix[k * size + q] = s * left + c * right;
                }
                for k in 0..size {
                    let (left, right) = (matrix[p * size + k], matrix[q * size + k]);
                    matrix[p * size + k] = c * left - s * right;
                    matrix[q * size + k] = s * left + c * right;
                }
            }
        }
        if off < 1e-18 {
            break;
        }
    }
    let values = || (0..size).map(|at| matrix[at * size + at]);
    let largest = values().fold(0.0, f64::max);
    let smallest = values().fold(f64::INFINITY, f64::min);
    (largest / smallest.max(1e-18)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_answer_is_held_at_zero() {
        // min ½(2x² + 2y² + 2xy) − (2x − 3y): without the bound y is negative.
        let (x, covariance) = non_negative(&[2.0, 1.0, 1.0, 2.0], &[2.0, -3.0]).unwrap();
        assert!((x[0] - 1.0).abs() < 1e-12 && x[1] == 0.0);
        assert!((covariance[0] - 0.5).abs() < 1e-12 && covariance[3] == 0.0);
        let (x, _) = non_negative(&[2.0, 1.0, 1.0, 2.0], &[4.0, 5.0]).unwrap();
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_condition_of_a_known_matrix() {
        // Correlation 0.6: eigenvalues 1.6 and 0.4.
        assert!((condition(&[4.0, 1.2, 1.2, 1.0], 2) - 2.0).abs() < 1e-9);
        assert!(condition(&[1.0, 1.0, 1.0, 1.0], 2) > 1e6);
    }
}
