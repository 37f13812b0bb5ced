//! When to ask a management controller again: not faster than it measures, not more than it can bear.

use std::time::Duration;

/// Longest wait after failures that may pass.
const LONGEST: Duration = Duration::from_secs(30);

/// First and longest wait after refused credentials: controllers lock accounts after a few failed logins.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// What the last answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered,
    /// None; the controller may have said when to come back.
    Failed(Option<Duration>),
    /// The credentials were refused.
    Refused,
}

/// See the module's description.
#[derive(Debug, Clone)]
pub struct PollPace {
    period: Duration,
    failures: u32,
}

impl PollPace {
    /// Ask every `period`.
    pub fn new(period: Duration) -> Self {
        Self { period, failures: 0 }
    }

    /// The sensor measures no more often than this.
    pub fn at_least(&mut self, interval: Duration) {
        self.period = self.period.max(interval.min(Duration::from_secs(600)));
    }

    /// The present period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Time from the beginning of the last call, which took `took`, to the next one.
    pub fn after(&mut self, outcome: Outcome, took: Duration) -> Duration {
        if outcome == Outcome::Answered {
            self.failures = 0;
            // A slow controller is busy half of the time at most.
            return self.period.max(took * 2);
        }
        self.failures += 1;
        let doubled =
            |first: Duration, longest: Duration| (first * 2_u32.pow((self.failures - 1).min(10))).min(longest);
        match outcome {
            Outcome::Refused => doubled(REFUSED.0, REFUSED.1),
            Outcome::Failed(Some(wished)) => wished.clamp(self.period, REFUSED.1),
            _ => doubled(self.period, LONGEST.max(self.period)).max(took),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_back_off_and_an_answer_ends_it() {
        let second = Duration::from_secs(1);
        let mut pace = PollPace::new(second);
        assert_eq!(pace.after(Outcome::Answered, second / 100), second);
        assert_eq!(pace.after(Outcome::Answered, second), second * 2);
        let waits: Vec<u64> = (0..7).map(|_| pace.after(Outcome::Failed(None), second / 100).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.after(Outcome::Failed(Some(second * 90)), second), second * 90);
        assert_eq!(pace.after(Outcome::Answered, second / 100), second);
        assert_eq!(pace.after(Outcome::Refused, second / 100).as_secs(), 60);
        assert_eq!(pace.after(Outcome::Refused, second / 100).as_secs(), 120);
        pace.at_least(second * 20);
        assert_eq!(pace.after(Outcome::Answered, second), second * 20);
    }
}
