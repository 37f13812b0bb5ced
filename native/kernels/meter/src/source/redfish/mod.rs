//! Power and energy of a server from its management controller, through Redfish (DMTF DSP0266).

pub mod client;
pub mod failure;
pub mod options;
pub mod own;
pub mod reading;
pub mod secret;
pub mod time;
pub mod tls;
pub mod walk;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bmc::accuracy;
use super::bmc::counter_track::CounterTrack;
use super::bmc::descriptor::server_power;
use super::bmc::pace::{Outcome, PollPace};
use super::bmc::polled::{PolledReader, Polling};
use super::bmc::power_track::{PowerReading, PowerTrack};
use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::{Attribution, OpenSource, RawReading, integrate};
use crate::clock::monotonic_nanoseconds;
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use client::{Client, Shared};
use failure::Result;
use options::{Access, RedfishOptions, Trust};
use own::Part;
use reading::{Quantity, Route};
use walk::{Chassis, Identity};

/// No chassis draws more: a plausibility bound, and a rack of the largest servers is below it.
const LARGEST_WATTS: u128 = 100_000;

/// A chassis as found.
pub struct Found {
    /// What it is.
    pub descriptor: SourceDescriptor,
    number: Option<Number>,
}

struct Number {
    client: Shared,
    route: Route,
    period: Duration,
    step_nanojoules: u128,
}

fn blank(id: String) -> SourceDescriptor {
    server_power(id, SourceKind::Redfish, "server power (Redfish)")
}

/// Whether the options ask not to check certificates: to be said loudly.
pub fn is_insecure(options: &RedfishOptions) -> bool {
    let access = options.access();
    access.is_ok_and(|access| access.is_some_and(|access| access.trust == Trust::Anyone))
}

/// All chassis that the controller tells the power of; empty where no address is given.
pub fn chassis(options: &RedfishOptions, machine: &Identity) -> Vec<Found> {
    let found = options.access().and_then(|access| match access {
        Some(access) => look(&access, machine),
        None => Ok(Vec::new()),
    });
    found.unwrap_or_else(|failure| {
        let descriptor = SourceDescriptor { reason: failure.to_string(), ..blank("redfish".to_owned()) };
        vec![Found { descriptor, number: None }]
    })
}

fn look(access: &Access, machine: &Identity) -> Result<Vec<Found>> {
    let mut client = Client::new(access)?;
    let (all, others) = walk::walk(&mut client, access)?;
    let mut own_system = None;
    let systems = own::systems(&all);
    if access.chassis.is_empty() && systems.len() > 1 {
        for system in systems {
            if own::is_same(machine, &walk::identity_of(&mut client, system)?) {
                own_system = Some(system.to_owned());
                break;
            }
        }
    }
    let parts = own::parts(&all, !access.chassis.is_empty(), own_system.as_deref());
    let client = Arc::new(Mutex::new(client));
    let mut found: Vec<Found> =
        all.iter().zip(&parts).map(|(chassis, part)| describe(chassis, part, &all, access, &client)).collect();
    let have = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
    let missing = |id: &str, reason: String| Found {
        descriptor: SourceDescriptor { reason, ..blank(id.to_owned()) },
        number: None,
    };
    for id in access.chassis.iter().filter(|id| all.iter().all(|chassis| chassis.id != **id)) {
        let reason = format!(
            "ERR_ENERGY_REDFISH_CHASSIS: no chassis {id} tells its power or energy; the other chassis are: {have}"
        );
        found.push(missing(&format!("redfish:{id}"), reason));
    }
    if found.is_empty() {
        let reason = format!(
            "ERR_ENERGY_REDFISH_CHASSIS: no chassis of this controller tells its power or energy (EnvironmentMetrics, Power or Sensors); chassis: {have}"
        );
        found.push(missing("redfish", reason));
    }
    Ok(found)
}

fn describe(chassis: &Chassis, part: &Part, all: &[Chassis], access: &Access, client: &Shared) -> Found {
    let Chassis { id, name, route, first, note, .. } = chassis;
    let period = access.poll.max(first.period.unwrap_or_default());
    let watts = (route.quantity == Quantity::Power).then_some(first.value);
    let default = accuracy::default_permille(watts);
    let is_energy = route.quantity.is_energy();
    let step_nanojoules = if is_energy { first.step_nanojoules(route.quantity) } else { 0 };
    let mut method = format!(
        "Redfish {} ({}), {} every {} s; accuracy: {}",
        route.path,
        route.describe(),
        if is_energy {
            format!("counter in steps of {} J", step_nanojoules as f64 / 1e9)
        } else {
            "trapezoids".to_owned()
        },
        period.as_secs_f64(),
        if first.permille.is_some() { "as the sensor states" } else { accuracy::DEFAULT_SOURCE },
    );
    if access.trust == Trust::Anyone && access.origin.starts_with("https") {
        method.push_str("; the controller's certificate is NOT checked (insecure)");
    }
    let (state, parent, reason) = match part {
        Part::Own => (SourceState::Included, None, note.clone()),
        Part::Inside(outer) => (SourceState::Included, Some(format!("redfish:{}", all[*outer].id)), String::new()),
        Part::Other(reason) => (SourceState::ShownOnly, None, reason.clone()),
    };
    Found {
        descriptor: SourceDescriptor {
            scope: if parent.is_some() { Scope::Platform } else { Scope::Wall },
            label: format!("{name} (Redfish)"),
            parent,
            provenance: if is_energy { Provenance::MeasuredCounter } else { Provenance::IntegratedPower },
            state,
            reason,
            method,
            uncertainty_permille: first.permille.unwrap_or(default),
            ..blank(format!("redfish:{id}"))
        },
        number: Some(Number { client: Arc::clone(client), route: route.clone(), period, step_nanojoules }),
    }
}

enum Track {
    Power(PowerTrack),
    Counter(CounterTrack),
}

struct RedfishPolling {
    name: String,
    client: Shared,
    route: Route,
    track: Track,
    pace: PollPace,
}

impl RedfishPolling {
    fn ask(&mut self, is_last: bool) -> Result<std::result::Result<Option<RawReading>, String>> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let before = monotonic_nanoseconds();
        let resource = client.get(&self.route.path)?;
        let arrived = before.midpoint(monotonic_nanoseconds());
        drop(client);
        let measured = self.route.read(&resource)?;
        let (value, stamp_ns) = (measured.value, measured.stamp_ns);
        Ok(match &mut self.track {
            Track::Power(track) => track.take(PowerReading { watts: value, stamp_ns }, arrived),
            Track::Counter(track) => {
                Ok(track.take(measured.nanojoules(self.route.quantity), stamp_ns, arrived, is_last))
            }
        })
    }
}

impl Polling for RedfishPolling {
    fn poll(&mut self, is_last: bool, into: &mut Vec<std::result::Result<RawReading, String>>) -> Duration {
        let began = Instant::now();
        let (outcome, text) = match self.ask(is_last) {
            Ok(Ok(reading)) => {
                into.extend(reading.map(Ok));
                (Outcome::Answered, None)
            }
            // It answers; what it says is no reading.
            Ok(Err(reason)) => (Outcome::Answered, Some(format!("ERR_ENERGY_REDFISH_VALUE: {reason}"))),
            Err(failure) => (failure.outcome(), Some(failure.to_string())),
        };
        into.extend(text.map(|text| Err(format!("{}: {text}", self.name))));
        self.pace.after(outcome, began.elapsed())
    }
}

/// Open a chassis for sampling.
///
/// # Errors
/// The reason as text; also for a chassis that is not this machine's.
pub fn open(found: Found) -> std::result::Result<OpenSource, String> {
    let Found { descriptor, number } = found;
    let Some(number) = number.filter(|_| descriptor.state == SourceState::Included) else {
        return Err(descriptor.reason);
    };
    let Number { client, route, period, step_nanojoules } = number;
    let is_energy = route.quantity.is_energy();
    let track = match is_energy {
        true => Track::Counter(CounterTrack::new(period)),
        false => Track::Power(PowerTrack::new(period)),
    };
    let name = descriptor.id.clone();
    let polling = RedfishPolling { name: name.clone(), client, route, track, pace: PollPace::new(period) };
    // A step may come right after the first reading; the bound leaves a fiftieth of itself for that.
    let most = (LARGEST_WATTS * 1_000_000_000).max(50 * step_nanojoules);
    let counter = WrappingCounter::new(None, is_energy.then_some(most));
    Ok(OpenSource {
        descriptor,
        unit: if is_energy { EnergyUnit::NANOJOULE } else { integrate::UNIT },
        counter,
        attribution: Attribution::CpuTime,
        idle_nanowatts: None,
        reader: Box::new(PolledReader::new(&name, step_nanojoules, Box::new(polling))),
    })
}
