//! How far a server's own power reading may be off.

/// Above this power a server's reading is held to a fraction of itself.
const KNEE_WATTS: f64 = 200.0;
const ABOVE_KNEE_PERMILLE: f64 = 50.0;
const BELOW_KNEE_WATTS: f64 = 10.0;

/// Where the default comes from, for descriptors.
pub const DEFAULT_SOURCE: &str =
    "default: ENERGY STAR for computer servers asks for ±5 % above 200 W and ±10 W below (one power supply)";

/// Half-width of the interval in thousandths of `watts` where the sensor states none.
pub fn default_permille(watts: Option<f64>) -> u32 {
    match watts {
        Some(watts) if watts > 0.0 && watts < KNEE_WATTS => whole(BELOW_KNEE_WATTS * 1000.0 / watts),
        _ => whole(ABOVE_KNEE_PERMILLE),
    }
}

/// A half-width as it is stored: at least 1, at most the whole value.
pub fn whole(permille: f64) -> u32 {
    permille.ceil().clamp(1.0, 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_servers_have_wide_intervals() {
        assert_eq!(default_permille(Some(400.0)), 50);
        assert_eq!(default_permille(Some(100.0)), 100);
        assert_eq!(default_permille(Some(2.0)), 1000);
        assert_eq!(default_permille(None), 50);
    }
}
