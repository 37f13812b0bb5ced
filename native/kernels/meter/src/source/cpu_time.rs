//! Processor power modelled from CPU time, for machines without a readable counter (most virtual machines).

use super::cpu_table::ThreadPower;
use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};
use super::{Attribution, OpenSource, RawReading, SourceReader};
use crate::counter::WrappingCounter;
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// Share of TDP by load, both in millionths. Teads Engineering, "Building an AWS EC2 carbon emissions dataset" (2021):
/// 0.12, 0.32, 0.75 and 1.02 of TDP at 0, 10, 50 and 100 % load; linear in between.
const LOAD_CURVE: [(u128, u128); 4] = [(0, 120_000), (100_000, 320_000), (500_000, 750_000), (1_000_000, 1_020_000)];

/// Share of TDP, in millionths, at a load in millionths.
pub fn load_factor(load: u128) -> u128 {
    let load = load.min(1_000_000);
    for pair in LOAD_CURVE.windows(2) {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        if load <= to {
            return low + (high - low) * (load - from) / (to - from);
        }
    }
    LOAD_CURVE[3].1
}

struct CpuTimeModel {
    design_nanowatts: u128,
    total_count: u128,
    last: Option<MachineUsage>,
}

impl SourceReader for CpuTimeModel {
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String> {
        if let Some(last) = self.last {
            let elapsed = u128::from(usage.monotonic_ns.saturating_sub(last.monotonic_ns));
            let busy = u128::from(usage.process_cpu_ns.saturating_sub(last.process_cpu_ns))
                + u128::from(usage.others_cpu_ns.saturating_sub(last.others_cpu_ns));
            let capacity = elapsed * u128::from(usage.cpu_count);
            let load = (busy * 1_000_000).checked_div(capacity).unwrap_or(0);
            let power = self.design_nanowatts * load_factor(load) / 1_000_000;
            self.total_count += power * elapsed * 1000;
        }
        self.last = Some(*usage);
        Ok(RawReading::new(usage.monotonic_ns, self.total_count))
    }

    fn is_model(&self) -> bool {
        true
    }
}

/// The model of this machine's processor.
pub fn open(power: &ThreadPower, cpu_count: u64, reason: String) -> OpenSource {
    let design_nanowatts = u128::from(power.design_milliwatts) * 1_000_000 * u128::from(cpu_count);
    OpenSource {
        descriptor: SourceDescriptor {
            id: "cpu_time_model".to_owned(),
            kind: SourceKind::CpuTimeModel,
            scope: Scope::Package,
            label: "processor (model)".to_owned(),
            parent: None,
            provenance: Provenance::Modelled,
            state: SourceState::Included,
            reason,
            method: format!(
                "CPU time x Teads load curve (0.12/0.32/0.75/1.02 of TDP at 0/10/50/100 %) x {:.1} W TDP for {cpu_count} threads; {}",
                design_nanowatts as f64 / 1e9,
                power.citation
            ),
            uncertainty_permille: power.uncertainty_permille,
            modulus_nanojoules: None,
        },
        unit: EnergyUnit::MODEL,
        counter: WrappingCounter::new(None, None),
        attribution: Attribution::CpuTime,
        idle_nanowatts: Some(design_nanowatts * load_factor(0) / 1_000_000),
        reader: Box::new(CpuTimeModel { design_nanowatts, total_count: 0, last: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_passes_through_its_points() {
        assert_eq!(load_factor(0), 120_000);
        assert_eq!(load_factor(100_000), 320_000);
        assert_eq!(load_factor(300_000), 535_000);
        assert_eq!(load_factor(500_000), 750_000);
        assert_eq!(load_factor(2_000_000), 1_020_000);
    }

    #[test]
    fn half_load_for_a_second_is_three_quarters_of_tdp() {
        let power = ThreadPower { design_milliwatts: 4000, citation: String::new(), uncertainty_permille: 400 };
        let mut source = open(&power, 2, String::new());
        let start = MachineUsage { cpu_count: 2, ..MachineUsage::default() };
        source.reader.read(&start).unwrap();
        let end = MachineUsage {
            monotonic_ns: 1_000_000_000,
            process_cpu_ns: 600_000_000,
            others_cpu_ns: 400_000_000,
            ..start
        };
        let raw = source.reader.read(&end).unwrap().raw;
        assert_eq!(source.unit.cumulative_nanojoules(raw), 6_000_000_000);
    }
}
