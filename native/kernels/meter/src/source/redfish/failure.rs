//! Why a controller could not be asked, or what it answered instead.

use std::time::Duration;

use crate::source::bmc::pace::Outcome;

/// Its text begins with its code and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Stable code, `ERR_ENERGY_REDFISH_…`.
    pub code: &'static str,
    /// What was asked, what was found, what to do.
    pub message: String,
    /// Status of the answer, where there was one.
    pub status: Option<u16>,
    /// When the controller wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// Result of asking.
pub type Result<T> = std::result::Result<T, Failure>;

/// The credentials were refused.
pub const CREDENTIALS: &str = "ERR_ENERGY_REDFISH_CREDENTIALS";

impl Failure {
    /// A failure without an answer.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: None, retry_after: None }
    }

    /// An option or environment variable that cannot be used.
    pub fn option(message: impl Into<String>) -> Self {
        Self::new("ERR_ENERGY_REDFISH_OPTION", message)
    }

    /// An answer that does not hold what it should.
    pub fn answer(message: impl Into<String>) -> Self {
        Self::new("ERR_ENERGY_REDFISH_ANSWER", message)
    }

    /// What it means for the next poll.
    pub fn outcome(&self) -> Outcome {
        if self.code == CREDENTIALS { Outcome::Refused } else { Outcome::Failed(self.retry_after) }
    }
}
