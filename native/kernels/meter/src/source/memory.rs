//! Memory power modelled from its size, where no DRAM counter is readable.

use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::{Attribution, OpenSource, RawReading, SourceReader};
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// 0.000392 kWh per GB-hour, which is 0.392 W/GB: Cloud Carbon Footprint methodology (Apache-2.0), the mean of two
/// makers' calculators. In nanowatts per 1,000 bytes.
const NANOWATTS_PER_KILOBYTE: u128 = 392;

struct MemoryModel {
    nanowatts: u128,
    start_ns: Option<u64>,
}

impl SourceReader for MemoryModel {
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String> {
        let start = *self.start_ns.get_or_insert(usage.monotonic_ns);
        let elapsed = u128::from(usage.monotonic_ns.saturating_sub(start));
        Ok(RawReading::new(usage.monotonic_ns, self.nanowatts * elapsed * 1000))
    }

    fn is_model(&self) -> bool {
        true
    }
}

/// The model of this machine's memory; `None` where its size is unknown.
pub fn open(memory_bytes: u64, reason: String) -> Option<OpenSource> {
    if memory_bytes == 0 {
        return None;
    }
    let nanowatts = u128::from(memory_bytes) * NANOWATTS_PER_KILOBYTE / 1000;
    Some(OpenSource {
        descriptor: SourceDescriptor {
            id: "memory_model".to_owned(),
            kind: SourceKind::MemoryModel,
            scope: Scope::Dram,
            label: "memory (model)".to_owned(),
            parent: None,
            provenance: Provenance::Modelled,
            state: SourceState::Included,
            reason,
            method: format!(
                "{:.1} GB x 0.392 W/GB (Cloud Carbon Footprint methodology, Apache-2.0); the process's resident share is its own, the rest idle",
                memory_bytes as f64 / 1e9
            ),
            uncertainty_permille: 500,
            modulus_nanojoules: None,
        },
        unit: EnergyUnit::MODEL,
        counter: WrappingCounter::new(None, None),
        attribution: Attribution::ResidentMemory,
        idle_nanowatts: None,
        reader: Box::new(MemoryModel { nanowatts, start_ns: None }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_gigabytes_draw_four_watts() {
        let mut source = open(10_000_000_000, String::new()).unwrap();
        source.reader.read(&MachineUsage::default()).unwrap();
        let later = MachineUsage { monotonic_ns: 1_000_000_000, ..MachineUsage::default() };
        let raw = source.reader.read(&later).unwrap().raw;
        assert_eq!(source.unit.cumulative_nanojoules(raw), 3_920_000_000);
    }
}
