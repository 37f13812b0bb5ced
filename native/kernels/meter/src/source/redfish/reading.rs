//! What resources say about power and energy: `Sensor`, its excerpts in `EnvironmentMetrics`, and the older `Power`.

use std::time::Duration;

use serde_json::Value;

use super::failure::{Failure, Result};
use super::time::{parse_duration, parse_time};
use crate::source::bmc::accuracy::whole;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Watts.
    Power,
    /// Joules since some time.
    Joules,
    /// Kilowatt-hours since some time.
    KilowattHours,
}

impl Quantity {
    /// Whether it is a counter.
    pub fn is_energy(self) -> bool {
        self != Self::Power
    }

    /// Nanojoules in one.
    fn nanojoules(self) -> f64 {
        match self {
            Self::KilowattHours => 3.6e15,
            _ => 1e9,
        }
    }
}

/// Where a number stands in a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A resource `Sensor`.
    Sensor,
    /// An excerpt of one, under this key.
    Excerpt(&'static str),
    /// `PowerControl[index].PowerConsumedWatts`.
    PowerControl(usize),
    /// `PowerControl[index].PowerMetrics.AverageConsumedWatts`, over at most a minute.
    PowerMetrics(usize),
}

/// A number that can be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Resource.
    pub path: String,
    /// Number in it.
    pub place: Place,
    /// What it counts.
    pub quantity: Quantity,
    /// `LifetimeReading` instead of `Reading`, which can be reset.
    pub lifetime: bool,
}

/// A number with what is known about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// In the unit of its quantity.
    pub value: f64,
    /// When it was measured, nanoseconds of the controller's clock.
    pub stamp_ns: Option<i128>,
    /// How often it is measured.
    pub period: Option<Duration>,
    /// Accuracy where the resource states it, thousandths of the value.
    pub permille: Option<u32>,
    /// Smallest step of the number as it is written, in its unit.
    pub step: f64,
}

impl Measured {
    /// Cumulative nanojoules of an energy.
    pub fn nanojoules(&self, quantity: Quantity) -> u128 {
        (self.value * quantity.nanojoules()).round() as u128
    }

    /// Step of an energy, nanojoules.
    pub fn step_nanojoules(&self, quantity: Quantity) -> u128 {
        (self.step * quantity.nanojoules()).round().max(1.0) as u128
    }
}

/// A finite number; some makers write it as text.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    number.is_finite().then_some(number)
}

/// 0.001 for `12.345`: trailing zeros are lost, so this is the step or coarser.
fn step_of(value: &Value) -> f64 {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
    if text.contains(['e', 'E']) {
        return f64::EPSILON * number(value).unwrap_or(1.0).abs();
    }
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.trim_end_matches('0').len());
    10_f64.powi(-(decimals.min(300) as i32))
}

fn measured(holder: &Value, key: &str) -> Option<Measured> {
    let raw = holder.get(key)?;
    let value = number(raw)?;
    let percent =
        holder.get("Accuracy").and_then(number).filter(|percent| *percent > 0.0).map(|percent| percent * 10.0);
    // In the units of the reading, from Sensor 1.8 on.
    let absolute = holder.get("ReadingAccuracy").and_then(number).filter(|_| value > 0.0);
    let stated = absolute.filter(|off| *off > 0.0).map(|off| off / value * 1000.0);
    let text = |key: &str| holder.get(key).and_then(Value::as_str);
    Some(Measured {
        value,
        stamp_ns: text("ReadingTime").and_then(parse_time),
        period: text("SensingInterval").and_then(parse_duration),
        permille: stated.or(percent).map(whole),
        step: step_of(raw),
    })
}

impl Route {
    /// The number in a resource.
    ///
    /// # Errors
    /// `ERR_ENERGY_REDFISH_ANSWER` where it is not there.
    pub fn read(&self, resource: &Value) -> Result<Measured> {
        let control = |index: usize| resource.get("PowerControl").and_then(|controls| controls.get(index));
        let key = if self.lifetime { "LifetimeReading" } else { "Reading" };
        let found = match self.place {
            Place::Sensor => measured(resource, key),
            // Excerpts may be bare numbers in early implementations.
            Place::Excerpt(excerpt) => match resource.get(excerpt) {
                Some(holder) if holder.is_object() => measured(holder, key),
                Some(_) => measured(resource, excerpt),
                None => None,
            },
            Place::PowerControl(index) => control(index).and_then(|control| measured(control, "PowerConsumedWatts")),
            Place::PowerMetrics(index) => {
                control(index).and_then(|control| control.get("PowerMetrics")).and_then(|metrics| {
                    let minutes = metrics.get("IntervalInMin").and_then(number).unwrap_or(1.0).clamp(0.0, 1.0);
                    let period = Some(Duration::from_secs_f64(60.0 * minutes));
                    measured(metrics, "AverageConsumedWatts").map(|mean| Measured { period, ..mean })
                })
            }
        };
        found
            .filter(|found| found.value >= 0.0)
            .ok_or_else(|| Failure::answer(format!("{} has no reading at present ({})", self.path, self.describe())))
    }

    /// Name of the number, for a person.
    pub fn describe(&self) -> String {
        let lifetime = if self.lifetime { ", over its life" } else { "" };
        match self.place {
            Place::Sensor => format!("Sensor{lifetime}"),
            Place::Excerpt(key) => format!("{key}{lifetime}"),
            Place::PowerControl(index) => format!("PowerControl[{index}].PowerConsumedWatts"),
            Place::PowerMetrics(index) => format!("PowerControl[{index}].PowerMetrics.AverageConsumedWatts"),
        }
    }
}

/// Routes to the number of a resource or excerpt: over its life first, for that is never reset.
pub fn routes(path: &str, place: &Place, quantity: Quantity) -> Vec<Route> {
    let route = |lifetime| Route { path: path.to_owned(), place: place.clone(), quantity, lifetime };
    if quantity.is_energy() { vec![route(true), route(false)] } else { vec![route(false)] }
}

/// What a sensor counts, by its type or its units.
pub fn quantity_of(sensor: &Value) -> Option<Quantity> {
    let text = |key: &str| sensor.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("ReadingType"), text("ReadingUnits")) {
        ("Power", "W" | "Watts" | "") | ("", "W" | "Watts") => Some(Quantity::Power),
        ("EnergyJoules", _) | ("", "J") => Some(Quantity::Joules),
        ("EnergykWh", _) | ("", "kW.h" | "kWh") => Some(Quantity::KilowattHours),
        _ => None,
    }
}

/// Routes into the older `Power`: the control of the whole chassis, not of a part of it.
pub fn power_routes(path: &str, power: &Value) -> Vec<Route> {
    let controls = power.get("PowerControl").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_whole = |control: &Value| {
        let context = control.get("PhysicalContext").and_then(Value::as_str);
        context.is_none_or(|context| matches!(context, "Chassis" | "SystemBoard" | "PowerSupply" | "PowerSubsystem"))
    };
    let wholes: Vec<usize> = (0..controls.len()).filter(|index| is_whole(&controls[*index])).collect();
    let route = |place| Route { path: path.to_owned(), place, quantity: Quantity::Power, lifetime: false };
    let instants = wholes.iter().map(|index| route(Place::PowerControl(*index)));
    // A mean over minutes tells nothing about a run.
    let is_short = |index: &&usize| {
        let metrics = controls[**index].get("PowerMetrics");
        metrics.and_then(|metrics| metrics.get("IntervalInMin")).and_then(number).is_some_and(|minutes| minutes <= 1.0)
    };
    let means = wholes.iter().filter(is_short).map(|index| route(Place::PowerMetrics(*index)));
    instants.chain(means).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sensor_says_when_how_often_and_how_well() {
        let sensor = json!({ "Reading": 374, "ReadingType": "Power", "ReadingUnits": "W", "ReadingTime": "2026-11-24T10:00:00Z",
            "SensingInterval": "PT2S", "Accuracy": 0.25 });
        assert_eq!(quantity_of(&sensor), Some(Quantity::Power));
        let read = routes("/redfish/v1/s", &Place::Sensor, Quantity::Power)[0].read(&sensor).unwrap();
        assert_eq!(
            (read.value, read.period, read.permille, read.step),
            (374.0, Some(Duration::from_secs(2)), Some(3), 1.0)
        );
        assert!(read.stamp_ns.is_some());
        let newer = json!({ "Reading": 200.0, "ReadingAccuracy": 3.0 });
        assert_eq!(routes("/s", &Place::Sensor, Quantity::Power)[0].read(&newer).unwrap().permille, Some(15));
    }

    #[test]
    fn energies_are_exact_in_their_written_digits() {
        let metrics = json!({ "EnergykWh": { "Reading": 7.25, "LifetimeReading": 21_465.123_4 }, "EnergyJoules": { "Reading": 12.0 } });
        let all = routes("/m", &Place::Excerpt("EnergykWh"), Quantity::KilowattHours);
        let lifetime = all[0].read(&metrics).unwrap();
        assert_eq!(lifetime.nanojoules(Quantity::KilowattHours) / 1_000_000, 77_274_444_240_000);
        assert_eq!(lifetime.step_nanojoules(Quantity::KilowattHours), 360_000_000_000);
        assert_eq!(all[1].read(&metrics).unwrap().step_nanojoules(Quantity::KilowattHours), 36_000_000_000_000);
        let joules = routes("/m", &Place::Excerpt("EnergyJoules"), Quantity::Joules);
        assert!(joules[0].read(&metrics).is_err(), "no lifetime");
        assert_eq!(joules[1].read(&metrics).unwrap().step_nanojoules(Quantity::Joules), 1_000_000_000);
    }

    #[test]
    fn the_older_power_of_the_whole_chassis() {
        let power = json!({ "PowerControl": [
            { "PhysicalContext": "CPU", "PowerConsumedWatts": 90 },
            { "PowerConsumedWatts": null, "PowerMetrics": { "IntervalInMin": 0.083333333333333, "AverageConsumedWatts": 344 } },
            { "PhysicalContext": "Chassis", "PowerConsumedWatts": "312" },
            { "PowerMetrics": { "IntervalInMin": 30, "AverageConsumedWatts": 319 } } ] });
        let read: Vec<_> =
            power_routes("/p", &power).iter().map(|route| route.read(&power).map(|one| one.value)).collect();
        assert_eq!(read.iter().flatten().copied().collect::<Vec<_>>(), [312.0, 344.0]);
        assert_eq!(read.len(), 4, "{read:?}");
        let mean = power_routes("/p", &power)[3].read(&power).unwrap();
        assert_eq!(mean.period.map(|period| period.as_secs_f64().round()), Some(5.0), "as controllers of AMI have it");
    }

    #[test]
    fn what_is_no_number_is_no_reading() {
        for reading in [json!(null), json!("n/a"), json!(-1), json!({}), json!(true)] {
            let failed = routes("/s", &Place::Sensor, Quantity::Power)[0].read(&json!({ "Reading": reading }));
            assert_eq!(failed.unwrap_err().code, "ERR_ENERGY_REDFISH_ANSWER");
        }
    }
}
