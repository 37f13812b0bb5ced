//! Names, scopes and provenance of sources, as they are stored in the journal.

use serde::{Deserialize, Serialize};

/// What a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// RAPL through a perf event.
    RaplPerf,
    /// RAPL through the powercap tree.
    RaplPowercap,
    /// The memory-mapped view of a RAPL package in the powercap tree.
    RaplMmio,
    /// The platform zone of RAPL.
    Psys,
    /// Energy counter of an NVIDIA GPU.
    NvmlCounter,
    /// Power samples of an NVIDIA driver's buffer.
    NvmlSamples,
    /// Power of an NVIDIA GPU, polled.
    NvmlPower,
    /// Energy counter of an AMD GPU.
    AmdCounter,
    /// Energy or power sensor of the kernel's hardware monitor.
    Hwmon,
    /// The battery.
    Battery,
    /// Power of a server, from its management controller through IPMI DCMI.
    Ipmi,
    /// Energy or power of a chassis, from a management controller through Redfish.
    Redfish,
    /// A meter at the plug, replayed from a file.
    Meter,
    /// Power modelled from CPU time.
    CpuTimeModel,
    /// Power modelled from installed memory.
    MemoryModel,
}

/// What part of the machine a source covers. A platform holds its packages, a package its core and uncore; memory
/// stands beside the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The plug.
    Wall,
    /// Mainboard, where the platform reports it.
    Platform,
    /// A processor package.
    Package,
    /// The cores of a package.
    Core,
    /// The rest of a package, such as integrated graphics.
    Uncore,
    /// Memory.
    Dram,
    /// A module of CPU, GPU and memory with one counter.
    Module,
    /// A graphics processor with its memory.
    Gpu,
}

/// How the number came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Difference of two counter readings.
    MeasuredCounter,
    /// Power readings, integrated.
    IntegratedPower,
    /// A named model.
    Modelled,
}

/// Whether a source is part of the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Counted.
    Included,
    /// Inside an included source.
    Covered,
    /// A second view of an included source.
    Alias,
    /// Read and shown, never added: what it covers on this platform is not known.
    ShownOnly,
    /// Not readable.
    Unavailable,
}

/// One physical or modelled source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceDescriptor {
    /// Stable id within a run.
    pub id: String,
    /// What is read.
    pub kind: SourceKind,
    /// What it covers.
    pub scope: Scope,
    /// Name for a person.
    pub label: String,
    /// Source that contains this one.
    pub parent: Option<String>,
    /// How its numbers come to be.
    pub provenance: Provenance,
    /// Whether it counts.
    pub state: SourceState,
    /// Why; for an unavailable source, what would help.
    pub reason: String,
    /// Path or model with its citation.
    pub method: String,
    /// Half-width of the interval, in thousandths of the value.
    pub uncertainty_permille: u32,
    /// Wraps at this many nanojoules.
    #[serde(with = "crate::decimal::option")]
    pub modulus_nanojoules: Option<u128>,
}

impl SourceDescriptor {
    /// Whether its energy is measured, not modelled.
    pub fn is_measured(&self) -> bool {
        self.provenance != Provenance::Modelled
    }
}
