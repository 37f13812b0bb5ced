//! Power of the whole server from its management controller, through IPMI and DCMI.

pub mod dcmi;
#[cfg(target_os = "linux")]
pub mod device;
pub mod transport;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bmc::accuracy;
use super::bmc::descriptor::server_power;
use super::bmc::pace::{Outcome, PollPace};
use super::bmc::polled::{PolledReader, Polling};
use super::bmc::power_track::{PowerReading, PowerTrack};
use super::descriptor::{SourceDescriptor, SourceKind, SourceState};
use super::{Attribution, OpenSource, RawReading, integrate};
use crate::clock::monotonic_nanoseconds;
use crate::counter::WrappingCounter;
use dcmi::Refusal;
use transport::Transport;

/// Where the kernel puts the device.
const DEVICES: [&str; 3] = ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"];

/// Controllers update once a second at best.
const PERIOD: Duration = Duration::from_secs(1);

/// A command takes 5 to 100 ms on most interfaces and up to seconds on a busy one.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Tries at the start, where a busy controller is no reason to do without it.
const TRIES: usize = 3;

/// A controller as found.
pub struct Controller {
    /// What it is.
    pub descriptor: SourceDescriptor,
    transport: Option<Box<dyn Transport>>,
}

/// The device file: `named`, else the first that exists; `none` names no device.
pub fn device_path(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(path.to_owned()),
        None => DEVICES.iter().map(PathBuf::from).find(|path| path.exists()),
    }
}

/// The controller behind a device file; empty on systems without such files.
#[cfg(target_os = "linux")]
pub fn controllers(named: Option<&Path>) -> Vec<Controller> {
    let Some(path) = device_path(named) else { return Vec::new() };
    let opened = device::Device::open(&path).map(|device| Box::new(device) as Box<dyn Transport>);
    vec![ask(&path.display().to_string(), opened)]
}

/// The OpenIPMI device exists on Linux only.
#[cfg(not(target_os = "linux"))]
pub fn controllers(_named: Option<&Path>) -> Vec<Controller> {
    Vec::new()
}

fn read(transport: &mut dyn Transport) -> Result<Result<dcmi::PowerReading, Refusal>, String> {
    let answer = transport.exchange(dcmi::NETFN_GROUP_EXTENSION, dcmi::GET_POWER_READING, &dcmi::REQUEST, TIMEOUT)?;
    Ok(dcmi::parse(&answer))
}

/// Ask a controller once whether it tells its power.
pub fn ask(name: &str, opened: Result<Box<dyn Transport>, String>) -> Controller {
    let mut descriptor = server_power("ipmi:dcmi".to_owned(), SourceKind::Ipmi, "server power (IPMI DCMI)");
    let answer = opened.and_then(|mut transport| {
        let mut last = String::new();
        for _ in 0..TRIES {
            match read(transport.as_mut()) {
                Ok(Ok(reading)) => return Ok((transport, reading)),
                Ok(Err(refusal @ Refusal::Later(_))) => last = refusal.to_string(),
                Ok(Err(refusal)) => return Err(refusal.to_string()),
                // It had its time.
                Err(reason) => return Err(reason),
            }
        }
        Err(last)
    });
    match answer {
        Ok((transport, reading)) => {
            descriptor.state = SourceState::Included;
            descriptor.uncertainty_permille = accuracy::default_permille(Some(f64::from(reading.watts)));
            descriptor.method = format!(
                "IPMI DCMI Get Power Reading through {name}, every {} s, trapezoids; accuracy: {}",
                PERIOD.as_secs(),
                accuracy::DEFAULT_SOURCE
            );
            Controller { descriptor, transport: Some(transport) }
        }
        Err(reason) => {
            descriptor.reason = reason;
            Controller { descriptor, transport: None }
        }
    }
}

struct DcmiPolling {
    name: String,
    transport: Box<dyn Transport>,
    track: PowerTrack,
    pace: PollPace,
}

impl Polling for DcmiPolling {
    fn poll(&mut self, _is_last: bool, into: &mut Vec<Result<RawReading, String>>) -> Duration {
        let began = Instant::now();
        let before = monotonic_nanoseconds();
        let answer = read(self.transport.as_mut());
        let arrived = before.midpoint(monotonic_nanoseconds());
        let taken = answer.and_then(|answer| answer.map_err(|refusal| refusal.to_string())).and_then(|reading| {
            // A controller without a clock says 0, or counts seconds since its own start: both tell readings apart.
            let stamp_ns = (reading.time_s > 0).then(|| i128::from(reading.time_s) * 1_000_000_000);
            self.track.take(PowerReading { watts: f64::from(reading.watts), stamp_ns }, arrived)
        });
        let outcome = if taken.is_ok() { Outcome::Answered } else { Outcome::Failed(None) };
        into.extend(taken.map_err(|reason| format!("{}: {reason}", self.name)).transpose());
        self.pace.after(outcome, began.elapsed())
    }
}

/// Open a controller for sampling.
///
/// # Errors
/// The reason as text.
pub fn open(controller: Controller) -> Result<OpenSource, String> {
    let Controller { descriptor, transport } = controller;
    let Some(transport) = transport else { return Err(descriptor.reason) };
    let name = descriptor.id.clone();
    let polling =
        DcmiPolling { name: name.clone(), transport, track: PowerTrack::new(PERIOD), pace: PollPace::new(PERIOD) };
    Ok(OpenSource {
        descriptor,
        unit: integrate::UNIT,
        counter: WrappingCounter::new(None, None),
        attribution: Attribution::CpuTime,
        idle_nanowatts: None,
        reader: Box::new(PolledReader::new(&name, 0, Box::new(polling))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Provenance, Scope};

    /// Answers in order, the last one for ever.
    struct Recorded(Vec<Result<Vec<u8>, String>>);

    impl Transport for Recorded {
        fn exchange(&mut self, netfn: u8, command: u8, data: &[u8], _timeout: Duration) -> Result<Vec<u8>, String> {
            assert_eq!((netfn, command, data), (0x2C, 0x02, &[0xDC, 0x01, 0x00, 0x00][..]));
            if self.0.len() > 1 { self.0.remove(0) } else { self.0[0].clone() }
        }
    }

    fn answer(watts: u16, time_s: u32) -> Result<Vec<u8>, String> {
        let (watts, time) = (watts.to_le_bytes(), time_s.to_le_bytes());
        Ok([&[0, 0xDC][..], &watts, &watts, &watts, &watts, &time, &[0xE8, 3, 0, 0], &[0x40]].concat())
    }

    fn found(answers: Vec<Result<Vec<u8>, String>>) -> Controller {
        ask("a recording", Ok(Box::new(Recorded(answers))))
    }

    #[test]
    fn a_controller_that_tells_its_power_is_the_wall() {
        let controller = found(vec![Ok(vec![0xC0, 0xDC]), answer(400, 7)]);
        let SourceDescriptor { scope, state, provenance, uncertainty_permille, .. } = controller.descriptor;
        assert_eq!((scope, state, provenance), (Scope::Wall, SourceState::Included, Provenance::IntegratedPower));
        assert_eq!(uncertainty_permille, 50);
    }

    #[test]
    fn one_that_does_not_says_why() {
        for (answers, code) in [
            (vec![Ok(vec![0xC1])], "ERR_ENERGY_IPMI_UNSUPPORTED"),
            (vec![Ok(vec![0xC0])], "ERR_ENERGY_IPMI_BUSY"),
            (vec![answer(0, 7)], "ERR_ENERGY_IPMI_VALUE"),
            (vec![answer(65_535, 7)], "ERR_ENERGY_IPMI_VALUE"),
            (vec![Err("ERR_ENERGY_IPMI_TIMEOUT: late".to_owned())], "ERR_ENERGY_IPMI_TIMEOUT"),
        ] {
            let controller = found(answers);
            assert_eq!(controller.descriptor.state, SourceState::Unavailable);
            assert!(controller.descriptor.reason.starts_with(code), "{}", controller.descriptor.reason);
            assert!(open(controller).is_err());
        }
        let locked = ask(
            "/dev/ipmi0",
            Err(transport::open_failure(Path::new("/dev/ipmi0"), &std::io::ErrorKind::PermissionDenied.into())),
        );
        assert!(locked.descriptor.reason.starts_with("ERR_ENERGY_IPMI_PERMISSION"), "{}", locked.descriptor.reason);
    }

    #[test]
    fn failures_and_repeats_are_no_samples() {
        let mut polling = DcmiPolling {
            name: "ipmi:dcmi".to_owned(),
            transport: Box::new(Recorded(vec![
                answer(100, 1_000),
                answer(100, 1_000),
                answer(65_535, 1_001),
                Ok(vec![0xC3]),
                answer(300, 1_001),
            ])),
            track: PowerTrack::new(PERIOD),
            pace: PollPace::new(PERIOD),
        };
        let mut readings = Vec::new();
        let waits: Vec<Duration> = (0..5).map(|_| polling.poll(false, &mut readings)).collect();
        let texts: Vec<_> = readings.iter().filter_map(|reading| reading.as_ref().err()).collect();
        assert_eq!((readings.len(), texts.len()), (4, 2), "{readings:?}");
        assert!(texts[0].contains("ERR_ENERGY_IPMI_VALUE") || texts[0].contains("65535"), "{texts:?}");
        assert!(texts[1].contains("C3h"), "{texts:?}");
        assert_eq!(waits, [1, 1, 1, 2, 1].map(Duration::from_secs));
    }

    #[test]
    fn no_device_is_no_source() {
        assert_eq!(device_path(Some(Path::new("none"))), None);
        let missing = controllers(Some(Path::new("/nowhere/ipmi0")));
        #[cfg(target_os = "linux")]
        assert!(missing[0].descriptor.reason.starts_with("ERR_ENERGY_IPMI_DEVICE"), "{}", missing[0].descriptor.reason);
        #[cfg(not(target_os = "linux"))]
        assert!(missing.is_empty());
    }
}
