//! From the root of a service to the numbers of its chassis. Controllers answer slowly, so little is asked.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::failure::{Failure, Result};
use super::options::{Access, Preference};
use super::reading::{Measured, Place, Quantity, Route, power_routes, quantity_of, routes};
use crate::source::bmc::power_track;

/// The walk ends after this long with what it has.
const LONGEST_WALK: Duration = Duration::from_secs(20);

/// Resources of a collection that are looked at.
const MOST_CHASSIS: usize = 64;
const MOST_SENSORS: usize = 12;

/// A counter with finer steps than this is taken even where a power is readable: at 200 W it moves twice a second.
pub const FINE_STEP_NANOJOULES: u128 = 100_000_000_000;

/// A chassis that tells its power or energy.
#[derive(Debug, Clone, PartialEq)]
pub struct Chassis {
    /// Its id in the service.
    pub id: String,
    /// Its path.
    pub path: String,
    /// Name for a person.
    pub name: String,
    /// Path of the chassis around it.
    pub contained_by: Option<String>,
    /// Paths of the computers in it.
    pub systems: Vec<String>,
    /// The number to ask for, and what it was.
    pub route: Route,
    /// See `route`.
    pub first: Measured,
    /// Why the counter was not taken, where there is one.
    pub note: String,
}

/// A computer as the service describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// UUID of the board.
    pub uuid: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Name in the network.
    pub host: Option<String>,
}

type Found = (Route, Measured);

/// The path a link leads to.
fn link(value: Option<&Value>) -> Option<String> {
    Some(value?.get("@odata.id")?.as_str()?.to_owned())
}

fn links(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(|one| link(Some(one))).collect()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A resource that need not be there.
fn get_optional(client: &mut Client, path: Option<String>) -> Result<Option<(String, Value)>> {
    let Some(path) = path else { return Ok(None) };
    match client.get(&path) {
        Ok(resource) => Ok(Some((path, resource))),
        // Linked and not there, not implemented, or broken: other resources may do.
        Err(failure) if failure.code == "ERR_ENERGY_REDFISH_ANSWER" => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The first route that gives a number which can be one.
fn first(routes: Vec<Route>, resource: &Value) -> Option<Found> {
    routes.into_iter().find_map(|route| {
        let measured = route.read(resource).ok()?;
        let is_usable = match route.quantity {
            Quantity::Power => power_track::check(measured.value).is_ok(),
            // A machine that runs has used some: 0 is a counter that is not there.
            _ => measured.value > 0.0,
        };
        is_usable.then_some((route, measured))
    })
}

/// The number of an excerpt: from its sensor where that is named and answers, for it knows times and accuracy.
fn from_excerpt(
    client: &mut Client,
    (path, metrics): (&str, &Value),
    key: &'static str,
    quantity: Quantity,
) -> Result<Option<Found>> {
    let Some(excerpt) = metrics.get(key) else { return Ok(None) };
    let source = excerpt.get("DataSourceUri").and_then(Value::as_str).map(str::to_owned);
    if let Some((path, sensor)) = get_optional(client, source)?
        && let Some(found) = first(routes(&path, &Place::Sensor, quantity), &sensor)
    {
        return Ok(Some(found));
    }
    Ok(first(routes(path, &Place::Excerpt(key), quantity), metrics))
}

/// A sensor of the whole chassis among its sensors.
fn from_sensors(client: &mut Client, collection: Option<String>) -> Result<(Option<Found>, Option<Found>)> {
    let Some((_, collection)) = get_optional(client, collection)? else { return Ok((None, None)) };
    let names_power = |path: &str| {
        let path = path.to_ascii_lowercase();
        path.contains("power") || path.contains("watt") || path.contains("energy") || path.contains("pwr")
    };
    let members = links(collection.get("Members"));
    let (mut energies, mut powers): (Vec<Found>, Vec<Found>) = (Vec::new(), Vec::new());
    for path in members.into_iter().filter(|path| names_power(path)).take(MOST_SENSORS) {
        let Some((path, sensor)) = get_optional(client, Some(path))? else { continue };
        // One of a part is not the chassis's.
        let is_whole = matches!(text(&sensor, "PhysicalContext").as_deref(), None | Some("Chassis" | "SystemBoard"));
        let Some(quantity) = quantity_of(&sensor).filter(|_| is_whole) else { continue };
        let found = first(routes(&path, &Place::Sensor, quantity), &sensor);
        if quantity.is_energy() { energies.extend(found) } else { powers.extend(found) }
    }
    // Of two it is not known which holds the other.
    let only = |mut found: Vec<Found>| if found.len() == 1 { found.pop() } else { None };
    Ok((only(energies), only(powers)))
}

fn choose(prefer: Preference, energy: Option<Found>, power: Option<Found>) -> Option<(Found, String)> {
    let is_coarse = |(route, measured): &Found| measured.step_nanojoules(route.quantity) > FINE_STEP_NANOJOULES;
    match (energy, power) {
        (Some(energy), Some(power)) if prefer == Preference::Auto && is_coarse(&energy) => {
            let step = energy.1.step_nanojoules(energy.0.quantity) as f64 / 1e9;
            let note = format!(
                "its energy counter counts in steps of {step:.0} J, one in {:.1} s at the present {:.0} W: power is integrated instead (prefer: counter takes it all the same)",
                step / power.1.value,
                power.1.value
            );
            Some((power, note))
        }
        (_, Some(power)) if prefer == Preference::Power => Some((power, String::new())),
        (Some(energy), _) => Some((energy, String::new())),
        (None, Some(power)) => Some((power, String::new())),
        (None, None) => None,
    }
}

/// The number to take from a chassis; `None` where it tells none.
fn number_of(client: &mut Client, chassis: &Value, prefer: Preference) -> Result<Option<(Found, String)>> {
    let (mut energy, mut power) = (None, None);
    if let Some((path, metrics)) = get_optional(client, link(chassis.get("EnvironmentMetrics")))? {
        let at = (path.as_str(), &metrics);
        energy = from_excerpt(client, at, "EnergyJoules", Quantity::Joules)?;
        if energy.is_none() {
            energy = from_excerpt(client, at, "EnergykWh", Quantity::KilowattHours)?;
        }
        power = from_excerpt(client, at, "PowerWatts", Quantity::Power)?;
    }
    if power.is_none()
        && let Some((path, older)) = get_optional(client, link(chassis.get("Power")))?
    {
        power = first(power_routes(&path, &older), &older);
    }
    if power.is_none() && energy.is_none() {
        (energy, power) = from_sensors(client, link(chassis.get("Sensors")))?;
    }
    Ok(choose(prefer, energy, power))
}

/// All chassis of the service that tell their power, and the ids of the others.
///
/// # Errors
/// What makes the service unusable: address, certificate, credentials.
pub fn walk(client: &mut Client, access: &Access) -> Result<(Vec<Chassis>, Vec<String>)> {
    let until = Instant::now() + LONGEST_WALK;
    let root = client.get("/redfish/v1/").map_err(|failure| match failure.status {
        Some(404) => Failure::answer("there is no Redfish service at this address (no /redfish/v1/)"),
        _ => failure,
    })?;
    let collection = link(root.get("Chassis")).unwrap_or_else(|| "/redfish/v1/Chassis".to_owned());
    let members = links(client.get(&collection)?.get("Members"));
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for path in members.into_iter().take(MOST_CHASSIS) {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let is_wanted = access.chassis.is_empty() || access.chassis.contains(&last);
        if !is_wanted || Instant::now() > until {
            others.push(last);
            continue;
        }
        let Some((path, chassis)) = get_optional(client, Some(path))? else { continue };
        let id = text(&chassis, "Id").unwrap_or_else(|| last.clone());
        let Some(((route, measured), note)) = number_of(client, &chassis, access.prefer)? else {
            others.push(last);
            continue;
        };
        let of = |key: &str| chassis.get("Links").and_then(|links| links.get(key));
        found.push(Chassis {
            name: text(&chassis, "Name").unwrap_or_else(|| id.clone()),
            contained_by: link(of("ContainedBy")),
            systems: links(of("ComputerSystems")),
            id: last,
            path,
            route,
            first: measured,
            note,
        });
    }
    Ok((found, others))
}

/// How the service describes a computer.
///
/// # Errors
/// As [`Client::get`].
pub fn identity_of(client: &mut Client, system: &str) -> Result<Identity> {
    let system = client.get(system)?;
    Ok(Identity { uuid: text(&system, "UUID"), serial: text(&system, "SerialNumber"), host: text(&system, "HostName") })
}
