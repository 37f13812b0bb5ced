//! Power over time with an exact integral: targets by phase, reached exponentially.

use super::Numbers;

/// One kind of phase in a step.
#[derive(Debug, Clone, Copy)]
pub struct PhaseShape {
    /// Name.
    pub name: &'static str,
    /// Power once it is reached.
    pub watts: f64,
    /// Part of the step's time.
    pub share: f64,
}

/// A training step as measured on GPUs: a cool input phase beside hot compute.
pub const TRAINING_STEP: [PhaseShape; 4] = [
    PhaseShape { name: "data", watts: 150.0, share: 0.05 },
    PhaseShape { name: "forward", watts: 560.0, share: 0.28 },
    PhaseShape { name: "backward", watts: 650.0, share: 0.55 },
    PhaseShape { name: "optimizer", watts: 380.0, share: 0.12 },
];

/// How a trace is made.
#[derive(Debug, Clone, Copy)]
pub struct TraceOptions {
    /// Mean length of a step.
    pub step_ms: f64,
    /// Length of the trace.
    pub seconds: f64,
    /// Time constant of the approach to a phase's power.
    pub ramp_ms: f64,
    /// Standard deviation of a phase's power, relative.
    pub power_noise: f64,
    /// Power changes around its target this often inside a phase; longer than any phase for one value per phase.
    pub noise_every_ms: f64,
    /// Standard deviation of a phase's length, relative.
    pub length_jitter: f64,
    /// Seed.
    pub seed: u64,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            step_ms: 1000.0,
            seconds: 120.0,
            ramp_ms: 10.0,
            power_noise: 0.05,
            noise_every_ms: f64::INFINITY,
            length_jitter: 0.03,
            seed: 0,
        }
    }
}

/// One phase of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TracePhase {
    /// Index into the shapes.
    pub shape: usize,
    /// Begin.
    pub begin_ns: u64,
    /// End.
    pub end_ns: u64,
}

struct Piece {
    start_ns: u64,
    /// Energy before it, power at its start, and the power it approaches.
    joules: f64,
    watts: f64,
    target: f64,
}

/// See the module's description.
pub struct Trace {
    /// Phases, one after the other.
    pub phases: Vec<TracePhase>,
    pieces: Vec<Piece>,
    ramp_seconds: f64,
}

impl Trace {
    /// A trace of repeated steps.
    pub fn new(shapes: &[PhaseShape], options: &TraceOptions) -> Self {
        let mut numbers = Numbers::new(options.seed);
        let mut trace = Self { phases: Vec::new(), pieces: Vec::new(), ramp_seconds: options.ramp_ms / 1000.0 };
        let mut now = 0_u64;
        let mut state = (0.0, shapes[0].watts);
        'steps: loop {
            for (shape, phase) in shapes.iter().enumerate() {
                let length = options.step_ms * phase.share * (1.0 + options.length_jitter * numbers.normal());
                let end = now + (length.max(0.5) * 1e6) as u64;
                trace.phases.push(TracePhase { shape, begin_ns: now, end_ns: end });
                while now < end {
                    let until = end.min(now.saturating_add((options.noise_every_ms * 1e6).min(1e18) as u64));
                    let target = phase.watts * (1.0 + options.power_noise * numbers.normal());
                    trace.pieces.push(Piece { start_ns: now, joules: state.0, watts: state.1, target });
                    state = trace.at(trace.pieces.len() - 1, until);
                    now = until;
                }
                if now as f64 >= options.seconds * 1e9 {
                    break 'steps;
                }
            }
        }
        trace
    }

    fn at(&self, piece: usize, at_ns: u64) -> (f64, f64) {
        let Piece { start_ns, joules, watts, target } = self.pieces[piece];
        let elapsed = (at_ns - start_ns) as f64 / 1e9;
        let decay = (-elapsed / self.ramp_seconds).exp();
        let above = watts - target;
        (joules + target * elapsed + above * self.ramp_seconds * (1.0 - decay), target + above * decay)
    }

    /// Joules from the start to `at_ns`.
    pub fn joules(&self, at_ns: u64) -> f64 {
        let piece = self.pieces.partition_point(|piece| piece.start_ns <= at_ns).saturating_sub(1);
        self.at(piece, at_ns).0
    }

    /// End of the last phase.
    pub fn end_ns(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.end_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integral_agrees_with_small_steps() {
        let options = TraceOptions { seconds: 2.0, ..TraceOptions::default() };
        let trace = Trace::new(&TRAINING_STEP, &options);
        let mut power = TRAINING_STEP[0].watts;
        let mut sum = 0.0;
        let dt = 1e-6;
        for step in 0..1_000_000_u64 {
            let now = step * 1000;
            let piece = trace.pieces.iter().rev().find(|piece| piece.start_ns <= now).unwrap();
            sum += power * dt;
            power += (piece.target - power) * dt / 0.01;
        }
        assert!((sum / trace.joules(1_000_000_000) - 1.0).abs() < 1e-4);
    }
}
