//! "Get Power Reading" of the Data Center Manageability Interface, as bytes: DCMI specification 1.5, section 6.6.1.

/// Network function of group extensions.
pub const NETFN_GROUP_EXTENSION: u8 = 0x2C;

/// Command within DCMI.
pub const GET_POWER_READING: u8 = 0x02;

/// The group extension of DCMI; first byte of requests and, after the completion code, of answers.
const GROUP_DCMI: u8 = 0xDC;

/// Mode 01h: system power statistics. Attributes and the last byte are reserved.
pub const REQUEST: [u8; 4] = [GROUP_DCMI, 0x01, 0x00, 0x00];

/// Completion code, group extension, four powers, time, period, state.
const ANSWER_BYTES: usize = 19;

/// Bit of the state byte: power is being measured.
const MEASUREMENT_ACTIVE: u8 = 1 << 6;

/// All bits set.
const NO_READING: u16 = u16::MAX;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerReading {
    /// Present power.
    pub watts: u16,
    /// Lowest, highest and mean power over `period_ms`.
    pub statistics: (u16, u16, u16),
    /// When, seconds since 1970 of the controller's clock; 0 where it has none.
    pub time_s: u32,
    /// Stretch of the statistics.
    pub period_ms: u32,
}

/// Why there is no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The controller was busy or late: ask again.
    Later(u8),
    /// It has no such command, or does not grant it: asking again is no use.
    Never(u8),
    /// It has the command and measures nothing.
    Inactive,
    /// A power that no running server draws.
    Nonsense(u16),
    /// Not an answer to this request.
    Malformed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, into: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Later(code) | Self::Never(code) => {
                let meaning = match code {
                    0xC0 => "node busy",
                    0xC1 => "invalid command: no DCMI power readings on this machine",
                    0xC3 => "timeout in the controller",
                    0xC6..=0xC9 | 0xCC => "it does not take this request",
                    0xCE | 0xD0..=0xD3 => "no answer at present",
                    0xD4 => "insufficient privilege",
                    0xD5 => "not supported in its present state",
                    0xD6 => "the command is disabled",
                    _ => "unspecified",
                };
                let name =
                    if matches!(self, Self::Never(_)) { "ERR_ENERGY_IPMI_UNSUPPORTED" } else { "ERR_ENERGY_IPMI_BUSY" };
                write!(into, "{name}: DCMI Get Power Reading ended with completion code {code:02X}h ({meaning})")
            }
            Self::Inactive => write!(
                into,
                "ERR_ENERGY_IPMI_INACTIVE: the controller says that power measurement is not active; switch it on in its web page or firmware (often \"power management\" or \"power monitoring\")"
            ),
            Self::Nonsense(watts) => write!(
                into,
                "ERR_ENERGY_IPMI_VALUE: the controller gave {watts} W, which a running server does not draw: its sensor is off or broken"
            ),
            Self::Malformed => write!(into, "ERR_ENERGY_IPMI_ANSWER: the answer is not one to DCMI Get Power Reading"),
        }
    }
}

/// Codes after which another try may succeed: IPMI 2.0, table 5-2.
fn may_pass(code: u8) -> bool {
    matches!(code, 0xC0 | 0xC3 | 0xC4 | 0xCE | 0xD0..=0xD3 | 0xD5 | 0xFF)
}

/// Take an answer apart, completion code first.
///
/// # Errors
/// Why it is no reading.
pub fn parse(answer: &[u8]) -> Result<PowerReading, Refusal> {
    match answer.first() {
        Some(0) => {}
        Some(&code) if may_pass(code) => return Err(Refusal::Later(code)),
        Some(&code) => return Err(Refusal::Never(code)),
        None => return Err(Refusal::Malformed),
    }
    // Later revisions may append.
    if answer.len() < ANSWER_BYTES || answer[1] != GROUP_DCMI {
        return Err(Refusal::Malformed);
    }
    let short = |at: usize| u16::from_le_bytes([answer[at], answer[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    if answer[18] & MEASUREMENT_ACTIVE == 0 {
        return Err(Refusal::Inactive);
    }
    let watts = short(2);
    if watts == 0 || watts == NO_READING {
        return Err(Refusal::Nonsense(watts));
    }
    Ok(PowerReading { watts, statistics: (short(4), short(6), short(8)), time_s: long(10), period_ms: long(14) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 214 W now, 2 to 468 and 184 on average over 1,000 ms at 2024-05-05 13:06:44 UTC, active: the values of a published
    /// `ipmitool dcmi power reading`.
    pub const RECORDED: [u8; 19] =
        [0x00, 0xDC, 0xD6, 0x00, 0x02, 0x00, 0xD4, 0x01, 0xB8, 0x00, 0x64, 0x84, 0x37, 0x66, 0xE8, 0x03, 0, 0, 0x40];

    #[test]
    fn a_recorded_answer() {
        let reading = parse(&RECORDED).unwrap();
        assert_eq!(reading.watts, 214);
        assert_eq!(reading.statistics, (2, 468, 184));
        assert_eq!((reading.time_s, reading.period_ms), (1_714_914_404, 1000));
    }

    #[test]
    fn what_is_no_reading() {
        let with = |changes: &[(usize, u8)]| {
            let mut bytes = RECORDED;
            changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
            parse(&bytes).unwrap_err()
        };
        assert_eq!(with(&[(18, 0)]), Refusal::Inactive);
        assert_eq!(with(&[(2, 0)]), Refusal::Nonsense(0));
        assert_eq!(with(&[(2, 0xFF), (3, 0xFF)]), Refusal::Nonsense(65_535));
        assert_eq!(with(&[(1, 0xDD)]), Refusal::Malformed);
        assert_eq!(parse(&RECORDED[..18]), Err(Refusal::Malformed));
        assert_eq!(parse(&[]), Err(Refusal::Malformed));
        assert_eq!(parse(&[0xC0, 0xDC]), Err(Refusal::Later(0xC0)));
        assert_eq!(parse(&[0xC1]), Err(Refusal::Never(0xC1)));
        assert!(parse(&[0xD4]).unwrap_err().to_string().contains("insufficient privilege"));
        assert!(parse(&[&RECORDED[..], &[1, 2]].concat()).is_ok(), "a later revision's longer answer");
    }
}
