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

#[cfg(test)]
mod tests {
    use super::{keep_threshold, philox4x32, uniform_at};

    /// Vectors of the Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
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
}
