//! The ops of 4-bit weights. The storage is the same on every device, so quantization is too; its
//! reference is bitsandbytes' own output, kept under `tests/goldens/bnb`.

use crate::cpu::gemm::Elements;
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use crate::cpu::quant4::{Quant4, Scales};
use crate::cpu::quant4_ops::kind_of;
use crate::cpu::quant4_quantize::quantize4;
use crate::dtype::DType;
use crate::error::Result;
use crate::oracle::{OracleCall, OracleKernel};
use half::bf16;

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] =
    &[("quantize4", quantize), ("dequantize4", dequantize), ("quant4FromParts", from_parts), ("quant4Parts", parts)];

fn quantize(call: &OracleCall<'_>) -> Result<()> {
    let values: Vec<f32> = call.input("x").values()?.iter().map(|value| *value as f32).collect();
    let nested = Some(call.attributes.count("nestedBlock")).filter(|block| *block > 0);
    let (kind, block) = (kind_of(&call.attributes), call.attributes.count("block"));
    let elements = Elements::F32(&values);
    let weight = quantize4(Pool::global(), Isa::Portable, kind, &elements, values.len(), block, nested)?;
    // SAFETY: an output of the running call.
    unsafe { call.outputs[0].set_quant4(weight) }
}

fn dequantize(call: &OracleCall<'_>) -> Result<()> {
    let weight = call.input("weight").quant4()?.view();
    let round = call.outputs[0].spec.dtype == DType::BF16;
    // SAFETY: an output of the running call.
    for (index, target) in unsafe { call.outputs[0].values_mut()? }.iter_mut().enumerate() {
        let value = weight.value(index);
        *target = if round { bf16::from_f32(value).to_f64() } else { f64::from(value) };
    }
    Ok(())
}

fn from_parts(call: &OracleCall<'_>) -> Result<()> {
    let bytes =
        |name: &str| -> Result<Vec<u8>> { Ok(call.input(name).values()?.iter().map(|value| *value as u8).collect()) };
    let floats = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
    let scales = match (call.optional("nestedAbsmax"), call.optional("map")) {
        (Some(nested), Some(map)) => Scales::Nested {
            codes: bytes("absmax")?,
            absmax: floats(nested.values()?),
            offset: call.attributes.float("offset"),
            map: Box::new(floats(map.values()?).try_into().expect("256 entries are checked at dispatch")),
            block: call.attributes.count("nestedBlock"),
        },
        _ => Scales::Plain(floats(call.input("absmax").values()?)),
    };
    let weight = Quant4 {
        kind: kind_of(&call.attributes),
        elements: call.outputs[0].spec.elements(),
        block: call.attributes.count("block"),
        codes: bytes("codes")?.into(),
        scales,
    };
    weight.validate()?;
    // SAFETY: an output of the running call.
    unsafe { call.outputs[0].set_quant4(weight) }
}

fn parts(call: &OracleCall<'_>) -> Result<()> {
    let weight = call.input("weight").quant4()?;
    let store = |index: usize, values: &mut dyn Iterator<Item = f64>| -> Result<()> {
        // SAFETY: an output of the running call; each is written once.
        for (target, value) in unsafe { call.outputs[index].values_mut()? }.iter_mut().zip(values) {
            *target = value;
        }
        Ok(())
    };
    store(0, &mut weight.codes.iter().map(|byte| f64::from(*byte)))?;
    match &weight.scales {
        Scales::Plain(absmax) => store(1, &mut absmax.iter().map(|value| f64::from(*value))),
        Scales::Nested { codes, absmax, offset, map, .. } => {
            store(1, &mut codes.iter().map(|byte| f64::from(*byte)))?;
            store(2, &mut absmax.iter().map(|value| f64::from(*value)))?;
            store(3, &mut map.iter().map(|value| f64::from(*value)))?;
            store(4, &mut std::iter::once(f64::from(*offset)))
        }
    }
}
