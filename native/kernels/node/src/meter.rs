//! The energy meter for Node: conversion only. Structures cross as JSON text with integers as decimal strings; the
//! calls of a training step (`declare`, `meterMark`) take and return numbers.

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, JsError, Task};
use napi_derive::napi;
use swift_meter::{Edge, MeterError, MeterOptions};

type Result<T> = std::result::Result<T, napi::Error<&'static str>>;

fn to_error(error: MeterError) -> napi::Error<&'static str> {
    napi::Error::new(error.code, error.message)
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| napi::Error::new("ERR_ENERGY_ENCODING", error.to_string()))
}

/// Marks that a device's queue has reached: the engine thread reads the clock, so the time is that of the work.
fn take_engine_mark(token: u64, edge: u8) {
    swift_meter::mark_now(token, if edge == 0 { Edge::Begin } else { Edge::End });
}

/// An error of the meter, with its code, out of a task.
fn to_rejection(env: Env, error: MeterError) -> napi::Error {
    napi::Error::from(JsError::from(to_error(error)).into_unknown(env))
}

/// Opens a ledger on another thread: a management controller in the network may take seconds to answer.
pub struct OpenTask(String);

impl Task for OpenTask {
    type Output = std::result::Result<swift_meter::Meter, MeterError>;
    type JsValue = EnergyMeter;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let options = serde_json::from_str::<MeterOptions>(&self.0);
        let options = options.map_err(|error| MeterError::new("ERR_LEDGER_OPTION", error.to_string()));
        Ok(options.and_then(|options| swift_meter::Meter::open(&options)))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<EnergyMeter> {
        crate::compute::set_mark_sink(take_engine_mark);
        output.map(|meter| EnergyMeter { meter }).map_err(|error| to_rejection(env, error))
    }
}

/// Looks for sources on another thread.
pub struct SourcesTask(Option<String>);

impl Task for SourcesTask {
    type Output = std::result::Result<String, MeterError>;
    type JsValue = String;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(found(self.0.take()).map_err(|error| MeterError::new("ERR_LEDGER_OPTION", error)))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<String> {
        output.map_err(|error| to_rejection(env, error))
    }
}

/// Options as those of a ledger; sources as JSON.
fn found(options: Option<String>) -> std::result::Result<String, String> {
    let options: MeterOptions = options
        .map_or_else(|| Ok(MeterOptions::default()), |text| serde_json::from_str(&text))
        .map_err(|error| error.to_string())?;
    let found = swift_meter::source::discover::discover(&options.discover_options());
    serde_json::to_string(&found.descriptors).map_err(|error| error.to_string())
}

/// An open ledger.
#[napi]
pub struct EnergyMeter {
    meter: swift_meter::Meter,
}

#[napi]
impl EnergyMeter {
    /// The run's id.
    #[napi]
    pub fn run_id(&self) -> String {
        self.meter.run_id()
    }

    /// Whether the idle baseline is done.
    #[napi]
    pub fn is_ready(&self) -> bool {
        self.meter.is_ready()
    }

    /// Id of a phase path.
    #[napi]
    pub fn intern(&self, path: String) -> Result<u32> {
        self.meter.intern(&path).map_err(to_error)
    }

    /// A new phase instance; returns its token.
    #[napi]
    pub fn declare(&self, path: u32, track: u32) -> Result<i64> {
        // Tokens stay below 2^53 for the first 2^49 phases of a process.
        Ok(self.meter.declare(path, track).map_err(to_error)? as i64)
    }

    /// Energy of an ended instance as JSON; null until it is known.
    #[napi]
    pub fn try_settle(&self, token: i64) -> Result<Option<String>> {
        let settled = self.meter.try_settle(token as u64).map_err(to_error)?;
        settled.as_ref().map(to_json).transpose()
    }

    /// Whether every source has been read since `monotonicNanoseconds` (decimal text).
    #[napi]
    pub fn is_settled(&self, monotonic_nanoseconds: String) -> bool {
        monotonic_nanoseconds.parse().is_ok_and(|time| self.meter.is_settled(time))
    }

    /// Everything up to the last sample, as JSON.
    #[napi]
    pub fn state(&self) -> Result<String> {
        to_json(&self.meter.state())
    }

    /// Measured and modelled watts over the last interval.
    #[napi]
    pub fn watts(&self) -> (Option<f64>, Option<f64>) {
        self.meter.watts()
    }

    /// Ask for a durable commit; returns a ticket.
    #[napi]
    pub fn request_snapshot(&self) -> i64 {
        self.meter.request_snapshot() as i64
    }

    /// The snapshot of a ticket as JSON; null until its commit is durable.
    #[napi]
    pub fn take_snapshot(&self, ticket: i64) -> Result<Option<String>> {
        let snapshot = self.meter.take_snapshot(ticket as u64).map_err(to_error)?;
        snapshot.as_ref().map(to_json).transpose()
    }

    /// Events since the last call, as JSON.
    #[napi]
    pub fn take_events(&self) -> Result<String> {
        to_json(&self.meter.take_events())
    }

    /// Ask for the end of sampling; `close` then has little to wait for once `hasStopped`.
    #[napi]
    pub fn begin_close(&self) {
        self.meter.begin_close();
    }

    /// Whether sampling has ended.
    #[napi]
    pub fn has_stopped(&self) -> bool {
        self.meter.has_stopped()
    }

    /// Last sample, last commit, end of the threads.
    #[napi]
    pub fn close(&mut self) -> Result<()> {
        self.meter.close().map_err(to_error)
    }
}

/// Mark one end of a phase now, in the caller's time.
#[napi]
pub fn meter_mark(token: i64, begin: bool) {
    swift_meter::mark_now(token as u64, if begin { Edge::Begin } else { Edge::End });
}

/// The meter's clock, as decimal text.
#[napi]
pub fn meter_now() -> String {
    swift_meter::monotonic_nanoseconds().to_string()
}

/// Open a ledger with the options as JSON.
#[napi(ts_return_type = "Promise<EnergyMeter>")]
pub fn meter_open(options: String) -> AsyncTask<OpenTask> {
    AsyncTask::new(OpenTask(options))
}

/// The sources of this machine, as JSON; nothing is started or written. Options as JSON, those of a ledger; default: none.
#[napi]
pub fn meter_sources(options: Option<String>) -> Result<String> {
    found(options).map_err(|error| napi::Error::new("ERR_LEDGER_OPTION", error))
}

/// The same without waiting: a management controller in the network may take seconds to answer.
#[napi(ts_return_type = "Promise<string>")]
pub fn meter_find_sources(options: Option<String>) -> AsyncTask<SourcesTask> {
    AsyncTask::new(SourcesTask(options))
}

/// What each account of the ledger in a folder gained over time, in at most about `limit` stretches, as JSON.
#[napi]
pub fn meter_gains(folder: String, rank: u32, limit: u32) -> Result<String> {
    to_json(&swift_meter::journal::gains::gains(folder.as_ref(), rank, limit as usize).map_err(to_error)?)
}

/// What the ledger in a folder holds, as JSON.
#[napi]
pub fn meter_read(folder: String, rank: u32) -> Result<String> {
    to_json(&swift_meter::journal::verify::read_state(folder.as_ref(), rank).map_err(to_error)?)
}

/// Check the ledger in a folder; the result as JSON.
#[napi]
pub fn meter_verify(folder: String) -> Result<String> {
    to_json(&swift_meter::journal::verify::verify(folder.as_ref()).map_err(to_error)?)
}

/// The ledgers in several folders as one: state, ranks and notes as JSON.
#[napi]
pub fn meter_merge(folders: Vec<String>) -> Result<String> {
    let folders: Vec<std::path::PathBuf> = folders.into_iter().map(Into::into).collect();
    to_json(&swift_meter::merge::merge(&folders).map_err(to_error)?)
}

/// Compare a ledger with a meter's CSV file (time, watts); the affine fit as JSON.
#[napi]
pub fn meter_calibrate(folder: String, csv: String, rank: u32) -> Result<String> {
    to_json(&swift_meter::calibrate::calibrate(folder.as_ref(), csv.as_ref(), rank).map_err(to_error)?)
}
