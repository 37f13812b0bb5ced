//! A reader whose polls take a second or never return: its thread asks, the sampler only collects.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::monotonic_nanoseconds;
use crate::source::{RawReading, SourceReader};
use crate::usage::MachineUsage;

/// A call under way for this long is a failed read; the transports' own limits are shorter.
const SILENT_NS: u64 = 15_000_000_000;

/// How long the end of a ledger waits for a last reading and for the farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Asked from the thread. Dropped there, too.
pub trait Polling: Send {
    /// Ask once; whatever is new goes into `into`. `is_last`: nothing is asked afterwards. Returns the time from the
    /// beginning of this call to the next.
    fn poll(&mut self, is_last: bool, into: &mut Vec<Result<RawReading, String>>) -> Duration;
}

#[derive(Default)]
struct Exchange {
    readings: Vec<Result<RawReading, String>>,
    /// When the call under way began.
    asking_since: Option<u64>,
    stop: bool,
    ended: bool,
}

#[derive(Default)]
struct Meeting {
    exchange: Mutex<Exchange>,
    bell: Condvar,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's description.
pub struct PolledReader {
    name: String,
    start: Option<Box<dyn Polling>>,
    step_nanojoules: u128,
    meeting: Arc<Meeting>,
}

/// Says that the thread is over, whatever ended it.
struct Ended(Arc<Meeting>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut exchange = self.0.lock();
        exchange.ended = true;
        exchange.asking_since = None;
        drop(exchange);
        self.0.bell.notify_all();
    }
}

fn run(mut polling: Box<dyn Polling>, meeting: &Meeting) {
    let mut found = Vec::new();
    loop {
        let is_last = {
            let mut exchange = meeting.lock();
            exchange.asking_since = Some(monotonic_nanoseconds());
            exchange.stop
        };
        let began = Instant::now();
        let wait = polling.poll(is_last, &mut found);
        let mut exchange = meeting.lock();
        exchange.asking_since = None;
        exchange.readings.append(&mut found);
        if is_last {
            return;
        }
        while !exchange.stop {
            let rest = wait.saturating_sub(began.elapsed());
            if rest.is_zero() {
                break;
            }
            exchange = meeting.bell.wait_timeout(exchange, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl PolledReader {
    /// A reader whose thread starts with its first use. `step_nanojoules`: what its counter moves by at least; 0 for
    /// powers.
    pub fn new(name: &str, step_nanojoules: u128, polling: Box<dyn Polling>) -> Self {
        Self { name: name.to_owned(), start: Some(polling), step_nanojoules, meeting: Arc::default() }
    }
}

impl SourceReader for PolledReader {
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String> {
        let mut readings = Vec::new();
        self.drain(usage, &mut readings);
        readings.pop().unwrap_or_else(|| Err(format!("{}: no new reading", self.name)))
    }

    fn drain(&mut self, _usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        if let Some(polling) = self.start.take() {
            let meeting = Arc::clone(&self.meeting);
            let thread = std::thread::Builder::new().name("swift-source".to_owned());
            let started = thread.spawn(move || {
                let ended = Ended(meeting);
                run(polling, &ended.0);
            });
            if let Err(error) = started {
                self.meeting.lock().ended = true;
                into.push(Err(format!("{}: its reader cannot start: {error}", self.name)));
                return;
            }
        }
        let mut exchange = self.meeting.lock();
        into.append(&mut exchange.readings);
        let silent = exchange.asking_since.map_or(0, |since| monotonic_nanoseconds().saturating_sub(since));
        if silent > SILENT_NS {
            into.push(Err(format!("{}: a call has not returned for {:.0} s", self.name, silent as f64 / 1e9)));
        }
    }

    fn end(&mut self) {
        self.meeting.lock().stop = true;
        self.meeting.bell.notify_all();
    }

    fn last(&mut self, usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        if self.start.is_none() {
            let until = Instant::now() + FAREWELL;
            let mut exchange = self.meeting.lock();
            while !exchange.ended && Instant::now() < until {
                let rest = until.saturating_duration_since(Instant::now());
                exchange = self.meeting.bell.wait_timeout(exchange, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        // A reader that was never used has nothing to say.
        if self.start.is_none() {
            self.drain(usage, into);
        }
    }

    fn step_nanojoules(&self) -> u128 {
        self.step_nanojoules
    }
}

impl Drop for PolledReader {
    fn drop(&mut self) {
        // Not joined: a call that hangs must not hold up the program's end.
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Counting(u128, mpsc::Sender<bool>);

    impl Polling for Counting {
        fn poll(&mut self, is_last: bool, into: &mut Vec<Result<RawReading, String>>) -> Duration {
            self.0 += 1;
            let _ = self.1.send(is_last);
            into.push(Ok(RawReading::new(monotonic_nanoseconds(), self.0)));
            Duration::from_secs(3600)
        }
    }

    #[test]
    fn the_end_does_not_wait_for_the_next_poll() {
        let (sender, asked) = mpsc::channel();
        let mut reader = PolledReader::new("hourly", 0, Box::new(Counting(0, sender)));
        let mut found = Vec::new();
        reader.drain(&MachineUsage::default(), &mut found);
        assert!(!asked.recv().unwrap());
        reader.end();
        reader.last(&MachineUsage::default(), &mut found);
        assert!(asked.recv().unwrap(), "the last poll knows that it is");
        assert!(asked.recv().is_err(), "what polls is dropped with its thread");
        assert_eq!(found.iter().flatten().map(|reading| reading.raw).collect::<Vec<_>>(), [1, 2]);
    }

    struct Hanging(mpsc::Receiver<()>);

    impl Polling for Hanging {
        fn poll(&mut self, _is_last: bool, _into: &mut Vec<Result<RawReading, String>>) -> Duration {
            let _ = self.0.recv();
            Duration::ZERO
        }
    }

    #[test]
    fn a_call_that_hangs_delays_no_sample_and_the_end_by_a_bounded_time() {
        let (release, hang) = mpsc::channel();
        let mut reader = PolledReader::new("hung", 0, Box::new(Hanging(hang)));
        let mut found = Vec::new();
        for _ in 0..1000 {
            reader.drain(&MachineUsage::default(), &mut found);
        }
        reader.end();
        reader.last(&MachineUsage::default(), &mut found);
        assert!(found.is_empty());
        drop(release);
    }
}
