//! Energy sources: what can be read on this machine, and what part of it each source covers.

pub mod cpu_table;
pub mod cpu_time;
pub mod descriptor;
pub mod discover;
pub mod memory;
pub mod perf;
pub mod powercap;
pub mod scope_tree;

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
}

/// Reads one cumulative source.
pub trait SourceReader: Send {
    /// Read once. `usage` is this tick's view of the machine, which models need.
    ///
    /// # Errors
    /// The reason as text. A failed read is no sample: the next good one covers the time.
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String>;
}

/// How the active part of a source's energy is divided between this process and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// By CPU time of this process, of the sampler thread and of everyone else.
    CpuTime,
    /// By resident memory of this process; the rest of the memory counts as idle.
    ResidentMemory,
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
