//! Integer division of one amount over weights, without losing or inventing a nanojoule.

/// Divide `amount` in proportion to `weights` by largest remainder; ties go to the lower index, so the result does
/// not depend on anything but its inputs. The parts always add up to `amount` (invariant I1). With no weight at all
/// the first part takes everything.
pub fn largest_remainder(amount: u128, weights: &[u128]) -> Vec<u128> {
    if weights.is_empty() {
        return Vec::new();
    }
    if weights.len() == 1 {
        return vec![amount];
    }
    let mut total: u128 = weights.iter().sum();
    let mut scaled: Vec<u128> = weights.to_vec();
    // Products must stay below 2¹²⁸; weights are durations, so dropping their low bits costs nothing.
    while total > 0 && amount.checked_mul(total).is_none() {
        scaled.iter_mut().for_each(|weight| *weight >>= 8);
        total = scaled.iter().sum();
    }
    if total == 0 {
        let mut parts = vec![0; weights.len()];
        parts[0] = amount;
        return parts;
    }
    let mut parts: Vec<u128> = scaled.iter().map(|weight| amount * weight / total).collect();
    let missing = amount - parts.iter().sum::<u128>();
    if missing > 0 {
        // From here on the weights are not needed: their place takes the remainders.
        for (rest, part) in scaled.iter_mut().zip(&parts) {
            *rest = amount * *rest - part * total;
        }
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_unstable_by_key(|&index| (std::cmp::Reverse(scaled[index]), index));
        for &index in order.iter().take(missing as usize) {
            parts[index] += 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_whatever_the_weights() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 20
        };
        for round in 0..2000 {
            let count = 1 + (next() % 9) as usize;
            let weights: Vec<u128> =
                (0..count).map(|_| u128::from(next()) * if round % 3 == 0 { 1 << 60 } else { 1 }).collect();
            let amount = u128::from(next()) * u128::from(next());
            let parts = largest_remainder(amount, &weights);
            assert_eq!(parts.iter().sum::<u128>(), amount, "{weights:?}");
        }
    }

    #[test]
    fn ties_and_empty_weights_are_deterministic() {
        assert_eq!(largest_remainder(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(largest_remainder(7, &[0, 0]), [7, 0]);
        assert_eq!(largest_remainder(7, &[]), Vec::<u128>::new());
    }
}
