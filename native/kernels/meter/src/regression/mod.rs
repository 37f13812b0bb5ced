//! Overlap regression with ramp segments: how a counter interval is split over the phases inside it.
//!
//! A counter that moves every 100 ms says nothing about what happened inside an interval. Splitting by time smears a
//! hot phase into its cool neighbour, by the same sign at every step, so that no averaging removes it. Here intervals
//! are rows, and columns are (class of phase × time since it took over: 0–10, 10–30, over 30 ms, and longer ramps where the
//! residuals show them; linear inside a segment); the powers that explain a window of rows best, ΔE ≈ Σ P·m, split each row in proportion to P·m. A row's parts add up to the row
//! whatever the powers are: conservation never rests on the fit.

pub mod fit;
pub mod linear;
pub mod report;
pub mod row;
pub mod window;

/// Ends of the ramp segments, nanoseconds since the class took over; after the last one power is steady.
pub const RAMP_ENDS_NS: [u64; 6] = [10_000_000, 30_000_000, 60_000_000, 100_000_000, 160_000_000, 250_000_000];

/// Columns of one class at most: power at the start and at the end of each ramp segment.
pub const KNOTS: usize = RAMP_ENDS_NS.len() + 1;

/// Ramps a fit may have, by their knots; between two of them power is linear, after the last one steady. It takes the one
/// that the residuals call for, and the next one says how far the shape that was taken may be off.
pub const SHAPES: [&[u8]; 4] = [&[0, 1, 2], &[0, 1, 2, 4], &[0, 1, 2, 4, 6], &[0, 1, 2, 3, 4, 5, 6]];

/// Rows that a fit looks back over: two minutes of a counter that moves every 100 ms.
pub const WINDOW_ROWS: usize = 1200;

/// Classes with columns of their own; the smallest beyond share one set.
pub const CLASSES_FITTED: usize = 24;

/// Above this condition number the smallest classes are reported as merged.
pub const CONDITION_LIMIT: f64 = 150.0;

/// Two-sided 95 % of a normal distribution, and a tenth more: ramps are not steps, so the model is not the machine.
pub const Z95: f64 = 1.1 * 1.959_964;
