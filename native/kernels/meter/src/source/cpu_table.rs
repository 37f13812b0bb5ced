//! Watts per hardware thread by processor: a small cited table for machines without an energy counter.
//!
//! Two origins, both facts that carry no copyright of their own:
//! - `CCF`: "max watts" per thread from Cloud Carbon Footprint `ccf-coefficients`, output of 2026-03 (Apache-2.0),
//!   computed there from SPECpower_ssj2008 results.
//! - `data sheet`: thermal design power from the maker's product page divided by hardware threads.

/// What `/proc/cpuinfo` says about the first processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuIdentity {
    /// `GenuineIntel`, `AuthenticAMD`, or empty.
    pub vendor: String,
    /// Marketing name.
    pub name: String,
    /// Family, decimal as printed.
    pub family: u32,
    /// Model, decimal as printed.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Whether the feature flags hold `amx_bf16`.
    pub has_amx: bool,
    /// 64-bit Arm.
    pub is_arm: bool,
}

/// Power of one hardware thread at full load, and where the number is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadPower {
    /// Milliwatts of thermal design power per hardware thread.
    pub design_milliwatts: u64,
    /// Row and citation, for the report.
    pub citation: String,
    /// Half-width of the interval in thousandths: 400 where the processor is known, 600 where it is not.
    pub uncertainty_permille: u32,
}

/// (part of the name, TDP in watts, hardware threads)
const DATA_SHEETS: [(&str, u64, u64); 11] = [
    ("EPYC 9755", 500, 256),
    ("EPYC 9655", 400, 192),
    ("EPYC 9575F", 400, 128),
    ("EPYC 9555", 360, 128),
    ("Xeon(R) 6980P", 500, 256),
    ("Ryzen 9 9950X", 170, 32),
    ("Ryzen 9 7950X", 170, 32),
    ("Ryzen 9 5950X", 105, 32),
    ("Ryzen 7 7800X3D", 120, 16),
    ("i7-8700K", 95, 12),
    ("i5-1135G7", 28, 8),
];

/// CCF "max watts" per thread in milliwatts.
fn ccf_maximum(architecture: &str) -> Option<u64> {
    let rows = [
        ("Sandy Bridge", 8631),
        ("Ivy Bridge", 5557),
        ("Haswell", 5595),
        ("Broadwell", 3685),
        ("Skylake", 4104),
        ("Cascade Lake", 4063),
        ("Coffee Lake", 5422),
        ("Ice Lake", 3758),
        ("Sapphire Rapids", 4160),
        ("Emerald Rapids", 4482),
        ("Granite Rapids", 2527),
        ("EPYC 1st Gen", 2604),
        ("EPYC 2nd Gen", 1693),
        ("EPYC 3rd Gen", 1957),
        ("EPYC 4th Gen", 2282),
    ];
    rows.iter().find(|(name, _)| *name == architecture).map(|(_, milliwatts)| *milliwatts)
}

/// Mean of the rows above: the guess for a processor that is in no table.
const UNKNOWN_MAXIMUM: u64 = 4035;

/// Load factor of the curve at 100 % load, in thousandths: "max watts" is 1.02 TDP.
const FULL_LOAD_PERMILLE: u64 = 1020;

fn architecture_of(cpu: &CpuIdentity) -> Option<&'static str> {
    let family_and_model = (cpu.vendor.as_str(), cpu.family, cpu.model);
    Some(match family_and_model {
        ("GenuineIntel", 6, 0x2D) => "Sandy Bridge",
        ("GenuineIntel", 6, 0x3E) => "Ivy Bridge",
        ("GenuineIntel", 6, 0x3F) => "Haswell",
        ("GenuineIntel", 6, 0x4F | 0x56) => "Broadwell",
        ("GenuineIntel", 6, 0x55) if cpu.stepping >= 5 => "Cascade Lake",
        ("GenuineIntel", 6, 0x55) => "Skylake",
        ("GenuineIntel", 6, 0x9E | 0x8E) => "Coffee Lake",
        ("GenuineIntel", 6, 0x6A | 0x6C) => "Ice Lake",
        ("GenuineIntel", 6, 0x8F) => "Sapphire Rapids",
        ("GenuineIntel", 6, 0xCF) => "Emerald Rapids",
        ("GenuineIntel", 6, 0xAD | 0xAE) => "Granite Rapids",
        ("AuthenticAMD", 0x17, 0x00..=0x0F) => "EPYC 1st Gen",
        ("AuthenticAMD", 0x17, 0x30..=0x3F) => "EPYC 2nd Gen",
        ("AuthenticAMD", 0x19, 0x00..=0x0F) => "EPYC 3rd Gen",
        ("AuthenticAMD", 0x19, 0x10..=0x1F | 0xA0..=0xAF) => "EPYC 4th Gen",
        // Clouds mask the model number; AMX exists from this generation on.
        ("GenuineIntel", 6, _) if cpu.has_amx => "Sapphire Rapids",
        _ => return None,
    })
}

/// The row for a processor. Never fails: an unknown one gets the table's mean, says so and gets a wider interval.
pub fn thread_power(cpu: &CpuIdentity) -> ThreadPower {
    if let Some((name, watts, threads)) = DATA_SHEETS.iter().find(|(name, ..)| cpu.name.contains(name)) {
        return ThreadPower {
            design_milliwatts: watts * 1000 / threads,
            citation: format!("{name}: {watts} W TDP over {threads} threads (data sheet)"),
            uncertainty_permille: 400,
        };
    }
    let by_ccf = |maximum: u64, citation: String, uncertainty_permille: u32| ThreadPower {
        design_milliwatts: maximum * 1000 / FULL_LOAD_PERMILLE,
        citation,
        uncertainty_permille,
    };
    if let Some((name, maximum)) = architecture_of(cpu).and_then(|name| Some((name, ccf_maximum(name)?))) {
        return by_ccf(
            maximum,
            format!("{name}: {maximum} mW per thread at full load (CCF coefficients 2026-03, Apache-2.0)"),
            400,
        );
    }
    if cpu.vendor == "AuthenticAMD" && cpu.family == 0x1A && cpu.name.contains("EPYC") {
        // The CCF row of this generation mixes in small desktop parts; the middle server part stands for it.
        return ThreadPower {
            design_milliwatts: 360_000 / 128,
            citation: "EPYC 5th Gen, taken as EPYC 9555: 360 W TDP over 128 threads (data sheet)".to_owned(),
            uncertainty_permille: 600,
        };
    }
    if cpu.is_arm {
        return by_ccf(
            1693,
            "Arm server, with EPYC 2nd Gen standing for it as CCF does: 1693 mW per thread (CCF coefficients 2026-03, Apache-2.0)".to_owned(),
            600,
        );
    }
    by_ccf(
        UNKNOWN_MAXIMUM,
        format!(
            "processor not in the table ({:?}): mean of {UNKNOWN_MAXIMUM} mW per thread (CCF coefficients 2026-03, Apache-2.0)",
            cpu.name
        ),
        600,
    )
}

/// Read the identity from the text of `/proc/cpuinfo`.
pub fn parse_cpuinfo(text: &str) -> CpuIdentity {
    let mut cpu = CpuIdentity { is_arm: cfg!(target_arch = "aarch64"), ..CpuIdentity::default() };
    // One processor is enough; the first block ends at the first empty line.
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        let number = || value.parse().unwrap_or(0);
        match key.trim() {
            "vendor_id" => cpu.vendor = value.to_owned(),
            "model name" => cpu.name = value.to_owned(),
            "cpu family" => cpu.family = number(),
            "model" => cpu.model = number(),
            "stepping" => cpu.stepping = number(),
            "flags" => cpu.has_amx = value.split(' ').any(|flag| flag == "amx_bf16"),
            _ => {}
        }
    }
    cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_rows_by_name_architecture_and_feature() {
        let cpu = parse_cpuinfo(
            "vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t: 2\nmodel name\t: AMD EPYC 9755 128-Core Processor\n\nvendor_id: other",
        );
        assert_eq!(thread_power(&cpu).design_milliwatts, 500_000 / 256);
        let masked = parse_cpuinfo(
            "vendor_id : GenuineIntel\ncpu family : 6\nmodel : 167\nmodel name : Intel(R) Xeon(R) Processor\nflags : fpu amx_bf16 avx2",
        );
        assert_eq!(thread_power(&masked).design_milliwatts, 4160 * 1000 / 1020);
        let unknown = thread_power(&parse_cpuinfo("model name : Something\n"));
        assert_eq!(unknown.uncertainty_permille, 600);
        assert!(unknown.citation.contains("not in the table") || cfg!(target_arch = "aarch64"));
    }
}
