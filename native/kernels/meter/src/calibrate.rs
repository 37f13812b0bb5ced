//! A ledger against a meter at the plug: the affine relation between what sensors say and what the machine draws.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::error::{MeterError, Result};
use crate::journal::gains::{GainPoint, GainSeries, gains};

/// Pairs needed: fewer give a line through noise.
const FEWEST_PAIRS: usize = 10;

/// Meter = gain × ledger + offset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    /// Slope.
    pub gain: f64,
    /// Watts that the ledger's sources do not see.
    pub offset_watts: f64,
    /// Root mean square of what the line does not explain.
    pub residual_watts: f64,
    /// The same in thousandths of the meter's mean.
    pub residual_permille: f64,
    /// Seconds compared.
    pub pairs: u64,
    /// Lowest power of the ledger among them.
    pub low_watts: f64,
    /// Highest.
    pub high_watts: f64,
}

fn refuse(what: String, remedy: &str) -> MeterError {
    MeterError::new("ERR_ENERGY_CALIBRATION", format!("{what}; {remedy}"))
}

/// Fit (ledger watts, meter watts).
///
/// # Errors
/// `ERR_ENERGY_CALIBRATION` for fewer than ten pairs, or power that hardly changes.
pub fn fit(pairs: &[(f64, f64)]) -> Result<Calibration> {
    if pairs.len() < FEWEST_PAIRS {
        return Err(refuse(
            format!("ledger and meter have {} seconds in common, {FEWEST_PAIRS} are needed", pairs.len()),
            "check that both clocks agree and that both ran at the same time",
        ));
    }
    let count = pairs.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (ledger, meter) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
    let spread = mean(&|pair| (pair.0 - ledger).powi(2));
    if spread.sqrt() < 0.02 * ledger {
        return Err(refuse(
            format!("power stayed within {:.1} % of {ledger:.1} W", 100.0 * spread.sqrt() / ledger.max(1e-9)),
            "run idle and loaded stretches while the meter records: one level cannot give a slope",
        ));
    }
    let gain = mean(&|pair| (pair.0 - ledger) * (pair.1 - meter)) / spread;
    let offset_watts = meter - gain * ledger;
    let residual_watts = mean(&|pair| (pair.1 - gain * pair.0 - offset_watts).powi(2)).sqrt();
    Ok(Calibration {
        gain,
        offset_watts,
        residual_watts,
        residual_permille: 1000.0 * residual_watts / meter.abs().max(1e-9),
        pairs: pairs.len() as u64,
        low_watts: pairs.iter().map(|pair| pair.0).fold(f64::INFINITY, f64::min),
        high_watts: pairs.iter().map(|pair| pair.0).fold(0.0, f64::max),
    })
}

/// Rows of (milliseconds since 1970, watts). A first line that is not numbers is a heading.
///
/// # Errors
/// `ERR_ENERGY_CALIBRATION` naming the first line that is not two numbers, or that goes back in time.
pub fn parse_meter(text: &str) -> Result<Vec<(f64, f64)>> {
    let mut rows: Vec<(f64, f64)> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut fields = line.split([',', ';', '\t']).map(|field| field.trim().parse::<f64>());
        let row = match (fields.next(), fields.next()) {
            (Some(Ok(time)), Some(Ok(watts))) if time.is_finite() && watts.is_finite() && watts >= 0.0 => {
                // Seconds of this century are below 10¹¹, milliseconds above.
                (if time < 1e11 { time * 1000.0 } else { time }, watts)
            }
            _ if number == 0 => continue,
            _ => {
                let what = format!("line {} of the meter's file is {line:?}", number + 1);
                return Err(refuse(what, "write the time since 1970 and the power in watts, separated by a comma"));
            }
        };
        if rows.last().is_some_and(|last| last.0 >= row.0) {
            let what = format!("line {} of the meter's file does not follow the one before in time", number + 1);
            return Err(refuse(what, "sort the file by time and drop repeated lines"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Length of the stretches that are compared: a commit's, and longer ones where the run has enough of them, because a
/// counter's last move may lie a little before the commit that holds it.
fn stretch_ms(metered_ms: u64) -> u64 {
    if metered_ms >= 300_000 { 5000 } else { 900 }
}

/// Compare the included sources of a ledger with a meter's file, stretch by stretch.
///
/// # Errors
/// `ERR_ENERGY_CALIBRATION`, `ERR_LEDGER_IO`, and those of [`gains`].
pub fn calibrate(folder: &Path, csv: &Path, rank: u32) -> Result<Calibration> {
    let text = std::fs::read_to_string(csv).map_err(|error| MeterError::io("read the meter's file", csv, &error))?;
    let meter = parse_meter(&text)?;
    let GainSeries { points, .. } = gains(folder, rank, 100_000)?;
    let used: BTreeSet<usize> = points.iter().flat_map(|point| &point.gains).map(|gain| gain.source).collect();
    let longest = stretch_ms(points.iter().map(|point| point.end_unix_ms - point.start_unix_ms).sum());
    let mut pairs = Vec::new();
    let mut next = 0;
    while let Some(first) = points.get(next) {
        let same = points[next..]
            .iter()
            .take_while(|point| point.part == first.part && point.start_unix_ms < first.start_unix_ms + longest);
        let stretch = &points[next..next + same.count().max(1)];
        next += stretch.len();
        let (start, end) = (first.start_unix_ms as f64, stretch.last().map_or(0, |last| last.end_unix_ms) as f64);
        // A stretch without energy of a source is a gap of it: its neighbours do not stand for it.
        let complete =
            |point: &GainPoint| used.iter().all(|source| point.gains.iter().any(|gain| gain.source == *source));
        if end - start < 500.0 || !stretch.iter().all(complete) {
            continue;
        }
        let gained = stretch.iter().flat_map(|point| &point.gains);
        let nanojoules: i128 = gained.map(|gain| gain.nanojoules.parse::<i128>().unwrap_or(0)).sum();
        let inside: Vec<f64> = meter.iter().filter(|row| row.0 > start && row.0 <= end).map(|row| row.1).collect();
        if !inside.is_empty() {
            let watts = nanojoules as f64 / 1e6 / (end - start);
            pairs.push((watts, inside.iter().sum::<f64>() / inside.len() as f64));
        }
    }
    fit(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_gain_offset_and_residual() {
        let pairs: Vec<(f64, f64)> = (0..100)
            .map(|at| {
                let ledger = 50.0 + f64::from(at);
                (ledger, 1.2 * ledger + 40.0 + if at % 2 == 0 { 0.5 } else { -0.5 })
            })
            .collect();
        let found = fit(&pairs).unwrap();
        assert!((found.gain - 1.2).abs() < 1e-3 && (found.offset_watts - 40.0).abs() < 0.1, "{found:?}");
        assert!((found.residual_watts - 0.5).abs() < 0.01);
        assert_eq!(fit(&pairs[..9]).unwrap_err().code, "ERR_ENERGY_CALIBRATION");
        assert_eq!(fit(&[(100.0, 120.0); 20]).unwrap_err().code, "ERR_ENERGY_CALIBRATION");
    }

    #[test]
    fn reads_seconds_and_milliseconds_and_refuses_nonsense() {
        let rows = parse_meter("time,watts\n1750000000.5,100\n1750000001.5,110\n").unwrap();
        assert_eq!(rows, [(1_750_000_000_500.0, 100.0), (1_750_000_001_500.0, 110.0)]);
        assert_eq!(parse_meter("1750000000000;1").unwrap().len(), 1);
        for bad in ["t,w\n1,x", "t,w\n5,1\n4,1", "t,w\n1,-3", "t,w\nnan,1"] {
            assert_eq!(parse_meter(bad).unwrap_err().code, "ERR_ENERGY_CALIBRATION", "{bad}");
        }
    }
}
