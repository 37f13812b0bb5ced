//! The ops of 4-bit weights on the CPU.

use crate::cpu::gemm::Elements;
use crate::cpu::quant4::{Quant4, Quant4Kind, Scales};
use crate::cpu::quant4_quantize::{dequantize4_bf16, dequantize4_f32, quantize4};
use crate::cpu::{CpuCall, CpuContext, CpuKernel};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::ops::Attributes;
use half::{bf16, f16};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] =
    &[("quantize4", quantize), ("dequantize4", dequantize), ("quant4FromParts", from_parts), ("quant4Parts", parts)];

/// The codebook a call asks for.
pub(crate) fn kind_of(attributes: &Attributes<'_>) -> Quant4Kind {
    if attributes.flag("fp4") { Quant4Kind::Fp4 } else { Quant4Kind::Nf4 }
}

fn quantize(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let x = call.input("x");
    let elements = match x.spec.dtype {
        DType::F32 => Elements::F32(x.slice::<f32>()?),
        DType::BF16 => Elements::Bf16(x.slice::<bf16>()?),
        DType::F16 => Elements::F16(x.slice::<f16>()?),
        _ => return Err(KernelError::dtype("quantize4", format!("x is {}", x.spec))),
    };
    let nested = Some(call.attributes.count("nestedBlock")).filter(|block| *block > 0);
    let block = call.attributes.count("block");
    let kind = kind_of(&call.attributes);
    let weight = quantize4(context.pool, context.isa, kind, &elements, x.spec.elements(), block, nested)?;
    // SAFETY: an output of the running call.
    unsafe { call.outputs[0].set_quant4(weight) }
}

fn dequantize(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let weight = call.input("weight").quant4()?;
    let output = call.outputs[0];
    match output.spec.dtype {
        // SAFETY: an output of the running call.
        DType::BF16 => dequantize4_bf16(context.pool, context.isa, weight, unsafe { output.slice_mut::<bf16>()? }),
        // SAFETY: an output of the running call.
        _ => dequantize4_f32(context.pool, context.isa, weight, unsafe { output.slice_mut::<f32>()? }),
    }
    Ok(())
}

fn from_parts(_: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let absmax = call.input("absmax");
    let scales = match (call.optional("nestedAbsmax"), call.optional("map")) {
        (Some(nested), Some(map)) => Scales::Nested {
            codes: absmax.slice::<u8>()?.to_vec(),
            absmax: nested.slice::<f32>()?.to_vec(),
            offset: call.attributes.float("offset"),
            map: Box::new(map.slice::<f32>()?.try_into().expect("256 entries are checked at dispatch")),
            block: call.attributes.count("nestedBlock"),
        },
        _ => Scales::Plain(absmax.slice::<f32>()?.to_vec()),
    };
    let weight = Quant4 {
        kind: kind_of(&call.attributes),
        elements: call.outputs[0].spec.elements(),
        block: call.attributes.count("block"),
        codes: call.input("codes").slice::<u8>()?.to_vec().into(),
        scales,
    };
    weight.validate()?;
    // SAFETY: an output of the running call.
    unsafe { call.outputs[0].set_quant4(weight) }
}

fn parts(_: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let weight = call.input("weight").quant4()?;
    let float = |index: usize, values: &[f32]| -> Result<()> {
        // SAFETY: an output of the running call; each is written once.
        unsafe { call.outputs[index].slice_mut::<f32>()? }.copy_from_slice(values);
        Ok(())
    };
    let byte = |index: usize, values: &[u8]| -> Result<()> {
        // SAFETY: as above.
        unsafe { call.outputs[index].slice_mut::<u8>()? }.copy_from_slice(values);
        Ok(())
    };
    byte(0, &weight.codes)?;
    match &weight.scales {
        Scales::Plain(absmax) => float(1, absmax),
        Scales::Nested { codes, absmax, offset, map, .. } => {
            byte(1, codes)?;
            float(2, absmax)?;
            float(3, &map[..])?;
            float(4, &[*offset])
        }
    }
}
