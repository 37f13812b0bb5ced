//! 4-bit weights: quantize, dequantize, and to and from the parts that checkpoints store.

use super::{InferCall, Inferred, OpDeclaration, attribute, input, optional, required};
use crate::cpu::quant4::check_block;
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::{QuantLayout, TensorSpec};

/// Declarations of this file.
///
/// `fp4` chooses FP4 instead of NF4; `block` is the number of weights that share an absmax (a power of
/// two in 32..=4096); `nestedBlock` the number of absmax values that share a nested absmax, 0 without
/// double quantization. Blocks run over the row-major weight and may cross rows.
pub const OPS: &[OpDeclaration] = &[
    OpDeclaration {
        name: "quantize4",
        inputs: &[input("x")],
        variadic: &[],
        attributes: &[attribute("fp4", 0.0), attribute("block", 64.0), attribute("nestedBlock", 256.0)],
        rest: None,
        outputs: &["weight"],
        mutates: &[],
        infer: quantize,
    },
    // To float32, or bfloat16 (the float32 value rounded).
    OpDeclaration {
        name: "dequantize4",
        inputs: &[input("weight")],
        variadic: &[],
        attributes: &[attribute("bfloat16", 0.0)],
        rest: None,
        outputs: &["y"],
        mutates: &[],
        infer: dequantize,
    },
    // codes uint8 (two weights per byte, even index in the high nibble); absmax float32, or uint8 with
    // nestedAbsmax float32, map float32 [256] and offset. `shape` is the logical shape of the weight.
    OpDeclaration {
        name: "quant4FromParts",
        inputs: &[input("codes"), input("absmax"), optional("nestedAbsmax"), optional("map")],
        variadic: &[],
        attributes: &[
            attribute("fp4", 0.0),
            required("block"),
            attribute("nestedBlock", 256.0),
            attribute("offset", 0.0),
        ],
        rest: Some("shape"),
        outputs: &["weight"],
        mutates: &[],
        infer: from_parts,
    },
    // The inverse; the last three outputs exist with double quantization only, offset is float32 [1].
    OpDeclaration {
        name: "quant4Parts",
        inputs: &[input("weight")],
        variadic: &[],
        attributes: &[],
        rest: None,
        outputs: &["codes", "absmax", "nestedAbsmax", "map", "offset"],
        mutates: &[],
        infer: parts,
    },
];

fn layout(call: &InferCall<'_>, nested: bool) -> Result<(DType, QuantLayout)> {
    let block = call.attributes.expect_integer("block", 32.0, 4096.0)? as usize;
    check_block(block)?;
    let nested_block = call.attributes.expect_integer("nestedBlock", 0.0, 4096.0)? as usize;
    if nested_block != 0 && !nested_block.is_power_of_two() {
        return Err(KernelError::argument(
            call.name(),
            format!("nestedBlock must be 0 or a power of two, got {nested_block}"),
        ));
    }
    let dtype = if call.attributes.flag("fp4") { DType::FP4 } else { DType::NF4 };
    Ok((dtype, QuantLayout { block, nested_block: if nested { nested_block } else { 0 } }))
}

fn moved(call: &InferCall<'_>, outputs: Vec<TensorSpec>, flops: u64, workspace_bytes: usize) -> Result<Inferred> {
    let mut bytes = 0;
    for spec in call.inputs.iter().flatten().copied().chain(&outputs) {
        bytes += spec.bytes()? as u64;
    }
    Ok(Inferred { outputs, workspace_bytes, flops, bytes })
}

fn quantize(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.input("x");
    if !matches!(x.dtype, DType::F32 | DType::BF16 | DType::F16) {
        return Err(KernelError::dtype(call.name(), format!("x must be float32, bfloat16 or float16, got {x}")));
    }
    let (dtype, layout) = layout(call, true)?;
    let outputs = vec![TensorSpec::quant4(dtype, x.shape.clone(), layout)];
    let blocks = x.elements().div_ceil(layout.block);
    moved(call, outputs, 2 * x.elements() as u64, 8 * blocks)
}

fn quantized<'a>(call: &InferCall<'a>) -> Result<(&'a TensorSpec, QuantLayout)> {
    let weight = call.input("weight");
    match weight.quant {
        Some(layout) if weight.dtype.is_quantized() => Ok((weight, layout)),
        _ => Err(KernelError::dtype(call.name(), format!("weight must be nf4 or fp4, got {weight}"))),
    }
}

fn dequantize(call: &InferCall<'_>) -> Result<Inferred> {
    let (weight, _) = quantized(call)?;
    let dtype = if call.attributes.flag("bfloat16") { DType::BF16 } else { DType::F32 };
    moved(call, vec![TensorSpec::new(dtype, weight.shape.clone())], weight.elements() as u64, 0)
}

fn from_parts(call: &InferCall<'_>) -> Result<Inferred> {
    let nested = call.optional("nestedAbsmax").is_some();
    let (dtype, layout) = layout(call, nested)?;
    if nested != call.optional("map").is_some() || (nested && layout.nested_block == 0) {
        return Err(KernelError::argument(
            call.name(),
            "double quantization needs nestedAbsmax, map and a nestedBlock above 0",
        ));
    }
    let mut shape = Vec::new();
    for extent in call.attributes.rest {
        if extent.fract() != 0.0 || *extent < 0.0 {
            return Err(KernelError::argument(call.name(), format!("shape must hold whole numbers, got {extent}")));
        }
        shape.push(*extent as usize);
    }
    let weight = TensorSpec::quant4(dtype, shape, layout);
    let blocks = weight.elements().div_ceil(layout.block);
    let expect = |name: &str, dtype: DType, count: usize| {
        let spec = call.typed(name, dtype)?;
        if spec.elements() == count {
            return Ok(());
        }
        Err(KernelError::shape(call.name(), format!("{name} must hold {count} values for {weight}, got {spec}")))
    };
    expect("codes", DType::U8, weight.elements().div_ceil(2))?;
    expect("absmax", if nested { DType::U8 } else { DType::F32 }, blocks)?;
    if nested {
        expect("nestedAbsmax", DType::F32, blocks.div_ceil(layout.nested_block))?;
        expect("map", DType::F32, 256)?;
    }
    moved(call, vec![weight], 0, 0)
}

fn parts(call: &InferCall<'_>) -> Result<Inferred> {
    let (weight, layout) = quantized(call)?;
    let blocks = weight.elements().div_ceil(layout.block);
    let mut outputs = vec![TensorSpec::new(DType::U8, [weight.elements().div_ceil(2), 1])];
    if layout.nested_block == 0 {
        outputs.push(TensorSpec::f32([blocks]));
    } else {
        outputs.push(TensorSpec::new(DType::U8, [blocks]));
        outputs.push(TensorSpec::f32([blocks.div_ceil(layout.nested_block)]));
        outputs.push(TensorSpec::f32([256]));
        outputs.push(TensorSpec::f32([1]));
    }
    moved(call, outputs, 0, 0)
}
