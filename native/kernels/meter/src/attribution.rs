//! Who used a source's energy: this process, others, nobody (idle), or the sampler.

use crate::source::Attribution;
use crate::split::largest_remainder;
use crate::usage::MachineUsage;

/// One interval of a source, divided by tenant. The four parts add up to the interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// This process.
    pub own: u128,
    /// The machine with nothing running.
    pub idle: u128,
    /// Other processes.
    pub others: u128,
    /// The sampler thread.
    pub overhead: u128,
}

/// A busy hardware thread draws less than this. Where no idle power is known, a tenant's share of CPU time would hand
/// it the idle power of the whole machine; this keeps small tenants small.
const CEILING_WATTS_PER_THREAD: u128 = 20;

/// Divide `nanojoules` of an interval that began at `before` and ended at `after`.
pub fn divide(
    nanojoules: u128,
    rule: Attribution,
    idle_nanowatts: Option<u128>,
    exclusive: bool,
    before: &MachineUsage,
    after: &MachineUsage,
) -> Shares {
    match rule {
        Attribution::ResidentMemory => {
            let rest = after.memory_bytes.saturating_sub(after.resident_bytes);
            let parts = largest_remainder(nanojoules, &[u128::from(after.resident_bytes), u128::from(rest)]);
            Shares { own: parts[0], idle: parts[1], ..Shares::default() }
        }
        Attribution::Device { own, of } => {
            let elapsed = u128::from(after.monotonic_ns.saturating_sub(before.monotonic_ns));
            let idle = idle_nanowatts.map_or(0, |power| nanojoules.min(power * elapsed / 1_000_000_000));
            let parts = largest_remainder(nanojoules - idle, &[u128::from(own), u128::from(of.saturating_sub(own))]);
            Shares { own: parts[0], idle, others: parts[1], overhead: 0 }
        }
        Attribution::CpuTime => {
            let elapsed = u128::from(after.monotonic_ns.saturating_sub(before.monotonic_ns));
            // idle = min(Δ, P_idle·dt): a ratio of CPU use would make idle vanish at full load.
            let idle = idle_nanowatts.map_or(0, |power| nanojoules.min(power * elapsed / 1_000_000_000));
            let active = nanojoules - idle;
            let sampler = u128::from(after.sampler_cpu_ns.saturating_sub(before.sampler_cpu_ns));
            let process = u128::from(after.process_cpu_ns.saturating_sub(before.process_cpu_ns));
            let others = match exclusive {
                true => 0,
                false => u128::from(after.others_cpu_ns.saturating_sub(before.others_cpu_ns)),
            };
            let parts = largest_remainder(active, &[process.saturating_sub(sampler), others, sampler]);
            let others_nanojoules = parts[1].min(others * CEILING_WATTS_PER_THREAD);
            let overhead = parts[2].min(sampler * CEILING_WATTS_PER_THREAD);
            Shares { own: active - others_nanojoules - overhead, idle, others: others_nanojoules, overhead }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(process: u64, sampler: u64, others: u64) -> MachineUsage {
        MachineUsage {
            monotonic_ns: 1_000_000_000,
            process_cpu_ns: process,
            sampler_cpu_ns: sampler,
            others_cpu_ns: others,
            cpu_count: 4,
            resident_bytes: 25,
            memory_bytes: 100,
            asleep_ns: 0,
        }
    }

    #[test]
    fn idle_comes_off_first_and_the_rest_follows_cpu_time() {
        let shares = divide(
            30_000_000_000,
            Attribution::CpuTime,
            Some(10_000_000_000),
            false,
            &MachineUsage::default(),
            &usage(2_100_000_000, 100_000_000, 1_900_000_000),
        );
        assert_eq!(shares.idle, 10_000_000_000);
        assert_eq!(shares.own, 10_000_000_000);
        assert_eq!(shares.others, 9_500_000_000);
        assert_eq!(shares.overhead, 500_000_000);
    }

    #[test]
    fn small_tenants_do_not_inherit_the_idle_power() {
        let shares = divide(
            50_000_000_000,
            Attribution::CpuTime,
            None,
            false,
            &MachineUsage::default(),
            &usage(1_000_000, 1_000_000, 9_000_000),
        );
        assert_eq!(shares.others, 180_000_000);
        assert_eq!(shares.overhead, 20_000_000);
        assert_eq!(shares.own + shares.others + shares.overhead, 50_000_000_000);
        let alone = divide(1000, Attribution::CpuTime, None, true, &MachineUsage::default(), &usage(10, 0, 90));
        assert_eq!(alone.own, 1000);
    }

    #[test]
    fn a_slice_of_a_device_pays_for_its_slice() {
        let rule = Attribution::Device { own: 2, of: 7 };
        let shares = divide(71_000, rule, None, false, &MachineUsage::default(), &usage(0, 0, 0));
        assert_eq!((shares.own, shares.others), (20_286, 50_714));
    }

    #[test]
    fn memory_follows_residence() {
        let shares = divide(1000, Attribution::ResidentMemory, None, false, &MachineUsage::default(), &usage(0, 0, 0));
        assert_eq!((shares.own, shares.idle), (250, 750));
    }
}
