//! Instruction-set detection and the `SWIFT_ISA` override.

#[cfg(target_arch = "x86_64")]
use crate::cpu::amx;
use crate::error::{KernelError, Result};
use std::sync::OnceLock;

/// Instruction-set level of the CPU kernels, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, no explicit SIMD.
    Portable,
    /// AVX2 + FMA (x86-64 since 2013).
    Avx2,
    /// AVX-512 F/BW/DQ/VL.
    Avx512,
    /// AVX-512 with BF16 dot products (`vdpbf16ps`) and those of integers (VNNI), which every such processor has.
    Avx512Bf16,
    /// The same with tiles of BF16 (AMX, `tdpbf16ps`): Intel servers since 2023.
    AmxBf16,
}

impl Isa {
    /// Name accepted by `SWIFT_ISA` and printed by `swift doctor`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::AmxBf16 => "amxbf16",
        }
    }

    /// Every level, ascending.
    pub const ALL: [Isa; 5] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::AmxBf16];

    /// True where the machine multiplies bf16 natively.
    pub fn has_native_bf16(self) -> bool {
        self >= Isa::Avx512Bf16
    }

    /// The highest level this machine offers.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx512 && is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni") {
                return if amx::available() { Isa::AmxBf16 } else { Isa::Avx512Bf16 };
            }
            if avx512 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// Levels this machine can run, ascending.
    pub fn available() -> Vec<Isa> {
        let best = Self::detect();
        Self::ALL.into_iter().filter(|isa| *isa <= best).collect()
    }

    /// The level to use: `SWIFT_ISA` when set, else the best available.
    ///
    /// # Errors
    /// `ERR_ISA_UNKNOWN` for an unknown name, `ERR_ISA_UNAVAILABLE` for a level this machine lacks.
    pub fn select() -> Result<Isa> {
        static SELECTED: OnceLock<Result<Isa>> = OnceLock::new();
        SELECTED.get_or_init(|| Self::from_override(std::env::var("SWIFT_ISA").ok().as_deref())).clone()
    }

    fn from_override(requested: Option<&str>) -> Result<Isa> {
        match requested.filter(|name| !name.is_empty()) {
            None => Ok(Self::detect()),
            Some(name) => Self::by_name(name),
        }
    }

    /// The level of that name.
    ///
    /// # Errors
    /// `ERR_ISA_UNKNOWN` for an unknown name, `ERR_ISA_UNAVAILABLE` for a level this machine lacks.
    pub fn by_name(name: &str) -> Result<Isa> {
        let best = Self::detect();
        let Some(isa) = Self::ALL.into_iter().find(|isa| isa.name() == name) else {
            return Err(KernelError::new(
                "ERR_ISA_UNKNOWN",
                format!("instruction set {name} is unknown; use one of portable, avx2, avx512, avx512bf16, amxbf16"),
            ));
        };
        if isa > best {
            return Err(KernelError::new(
                "ERR_ISA_UNAVAILABLE",
                format!(
                    "instruction set {name} was asked for, this CPU offers at most {}; unset SWIFT_ISA",
                    best.name()
                ),
            ));
        }
        Ok(isa)
    }
}

#[cfg(test)]
mod tests {
    use super::Isa;

    #[test]
    fn override_is_checked_against_the_machine() {
        assert_eq!(Isa::from_override(Some("portable")).unwrap(), Isa::Portable);
        assert_eq!(Isa::from_override(None).unwrap(), Isa::detect());
        assert_eq!(Isa::from_override(Some("sse9")).unwrap_err().code, "ERR_ISA_UNKNOWN");
        for isa in Isa::ALL.into_iter().filter(|isa| *isa > Isa::detect()) {
            assert_eq!(Isa::from_override(Some(isa.name())).unwrap_err().code, "ERR_ISA_UNAVAILABLE");
        }
    }
}
