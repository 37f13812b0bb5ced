//! Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11).
//!
//! A number is a function of (seed, element index) only, so results depend neither on the number of
//! threads nor on the order of evaluation, and backward can repeat what forward drew.

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// One block of four 32-bit words for a 128-bit counter and a 64-bit key.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let low = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let high = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
    }
    counter
}

/// The four words of elements `4 * block .. 4 * block + 4` under `seed`.
#[inline(always)]
pub fn words_of_block(seed: u64, block: u64) -> [u32; 4] {
    philox4x32([block as u32, (block >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

/// Uniform 32-bit word of element `index` under `seed`.
pub fn uniform_at(seed: u64, index: u64) -> u32 {
    words_of_block(seed, index / 4)[(index % 4) as usize]
}

/// The smallest word that is kept when elements are dropped with probability `p` in 0..1.
pub fn keep_threshold(p: f64) -> u32 {
    (p * 4_294_967_296.0).round().min(4_294_967_295.0) as u32
}

/// A uniform number in [0, 1) with 24 bits.
#[inline(always)]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Standard normal number of element `index` under `seed`: Box–Muller on the word pair that elements
/// 2i and 2i + 1 share, in f64.
pub fn normal_at(seed: u64, index: u64) -> f64 {
    let words = words_of_block(seed, index / 4);
    let pair = (index % 4 / 2 * 2) as usize;
    let radius = (-2.0 * ((f64::from(words[pair]) + 1.0) / 4_294_967_296.0).ln()).sqrt();
    let angle = f64::from(words[pair + 1]) / 4_294_967_296.0 * std::f64::consts::TAU;
    radius * if index.is_multiple_of(2) { angle.cos() } else { angle.sin() }
}

#[cfg(test)]
mod tests {
    use super::{keep_threshold, normal_at, philox4x32, uniform_at, unit};

    /// Vectors of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_share_of_kept_elements_matches_the_probability() {
        let threshold = keep_threshold(0.3);
        let kept = (0..100_000).filter(|index| uniform_at(7, *index) >= threshold).count();
        // Standard deviation of a binomial with n 1e5, p 0.7: 145; five of them.
        assert!((69_275..70_725).contains(&kept), "{kept}");
        assert_eq!(keep_threshold(0.0), 0);
    }

    #[test]
    fn normal_and_uniform_numbers_have_the_right_moments() {
        let count = 200_000u64;
        let moments = |draw: &dyn Fn(u64) -> f64| {
            let (mut sum, mut square, mut fourth) = (0.0, 0.0, 0.0);
            for index in 0..count {
                let x = draw(index);
                (sum, square, fourth) = (sum + x, square + x * x, fourth + x * x * x * x);
            }
            (sum / count as f64, square / count as f64, fourth / count as f64)
        };
        let (mean, variance, fourth) = moments(&|index| normal_at(3, index));
        // Five deviations: 1/√n, √(2/n), √(96/n).
        assert!(
            mean.abs() < 0.0112 && (variance - 1.0).abs() < 0.0159 && (fourth - 3.0).abs() < 0.11,
            "{mean} {variance} {fourth}"
        );
        let (mean, square, _) = moments(&|index| f64::from(unit(uniform_at(4, index))));
        assert!((mean - 0.5).abs() < 0.0033 && (square - 1.0 / 3.0).abs() < 0.0034, "{mean} {square}");
        assert!(unit(u32::MAX) < 1.0 && unit(0) == 0.0);
    }
}
