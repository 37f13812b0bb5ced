//! Energy sources: what can be read on this machine, and what part of it each source covers.

pub mod amdsmi;
pub mod bmc;
pub mod cpu_table;
pub mod cpu_time;
pub mod descriptor;
pub mod discover;
pub mod dynamic;
pub mod hwmon;
pub mod integrate;
pub mod ipmi;
pub mod memory;
pub mod nvml;
pub mod perf;
pub mod powercap;
pub mod redfish;
pub mod scope_tree;
pub mod threaded;

use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;
pub use descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};

/// One raw value and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawReading {
    /// Monotonic nanoseconds, taken right after the read.
    pub monotonic_ns: u64,
    /// Cumulative count in the source's unit, before wrap handling.
    pub raw: u128,
    /// What passed since the reading before is not known: this one is a new starting point.
    pub restart: bool,
}

impl RawReading {
    /// A reading that continues the one before.
    pub fn new(monotonic_ns: u64, raw: u128) -> Self {
        Self { monotonic_ns, raw, restart: false }
    }
}

/// Reads one cumulative source.
pub trait SourceReader: Send {
    /// Read once. `usage` is this tick's view of the machine, which models need.
    ///
    /// # Errors
    /// The reason as text. A failed read is no sample: the next good one covers the time.
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String>;

    /// Everything since the last call, in order, added to `into`; may be nothing. A reader with a thread of its own
    /// overrides it.
    fn drain(&mut self, usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        into.push(self.read(usage));
    }

    /// No reading will be asked for any more but the [`Self::last`]. Does not wait.
    fn end(&mut self) {}

    /// The last readings, after [`Self::end`]. A reader that asks seldom asks once more, and waits for it a bounded time.
    fn last(&mut self, usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        self.drain(usage, into);
    }

    /// What a counter moves by at least, nanojoules, where that matters: what it shows can lag behind by so much.
    fn step_nanojoules(&self) -> u128 {
        0
    }

    /// Whether readings follow from `usage` alone: a model. It is asked once the whole of `usage` is known.
    fn is_model(&self) -> bool {
        false
    }
}

/// How the active part of a source's energy is divided between this process and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// By CPU time of this process, of the sampler thread and of everyone else.
    CpuTime,
    /// By resident memory of this process; the rest of the memory counts as idle.
    ResidentMemory,
    /// A device of its own, of which this process has `own` of `of` equal parts.
    Device {
        /// Parts of this process.
        own: u32,
        /// Parts of the device.
        of: u32,
    },
}

impl Attribution {
    /// A device that no other program uses.
    pub const WHOLE_DEVICE: Self = Self::Device { own: 1, of: 1 };
}

/// A source ready to be sampled.
pub struct OpenSource {
    /// What the source is.
    pub descriptor: SourceDescriptor,
    /// Unit of its counts.
    pub unit: EnergyUnit,
    /// Wrap state.
    pub counter: WrappingCounter,
    /// Division rule.
    pub attribution: Attribution,
    /// Power with nothing running, where the source's model knows it.
    pub idle_nanowatts: Option<u128>,
    /// The reader.
    pub reader: Box<dyn SourceReader>,
}
