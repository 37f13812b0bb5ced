//! A hash for keys that this crate numbers itself: tokens, paths, tracks. Nobody outside chooses them, so one multiplication
//! is enough, where the standard one is made against chosen keys and costs more than the look-up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers of our own.
pub type TokenMap<K, V> = HashMap<K, V, BuildHasherDefault<TokenHasher>>;

/// See the module's description.
#[derive(Debug, Default, Clone, Copy)]
pub struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the high bits are the good ones, and the table takes low bits too.
        let product = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_follow_each_other_spread() {
        let hash = |value: u64| {
            let mut hasher = TokenHasher::default();
            hasher.write_u64(value);
            hasher.finish()
        };
        for bits in [7, 10] {
            let low: std::collections::BTreeSet<u64> = (0..1 << bits).map(|n| hash(n * 16) % (1 << bits)).collect();
            assert!(low.len() > (1 << bits) / 2, "{} of {}", low.len(), 1 << bits);
        }
        let high: std::collections::BTreeSet<u64> = (0..128).map(|n| hash(n * 16) >> 57).collect();
        assert!(high.len() > 40, "{}", high.len());
    }
}
