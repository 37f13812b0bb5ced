//! The ops of `linear` on the CPU: operands of a call to slices and matrices.

use crate::cpu::gemm::{ComputeDtype, Elements, Gemm, Matrix, Results};
use crate::cpu::linear::{
    Layer, LoraBranch, linear_bias_gradient, linear_forward, linear_input_gradient, linear_lora_gradient,
    linear_together, linear_weight_gradient, upstream,
};
use crate::cpu::operand::as_f32;
use crate::cpu::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use half::{bf16, f16};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("linear", linear),
    ("linearTogether", together),
    ("linearInputGradient", input_gradient),
    ("linearLoraGradient", lora_gradient),
    ("linearWeightGradient", weight_gradient),
    ("linearBiasGradient", bias_gradient),
];

/// The products of a call: pool and instruction set of the device, compute dtype of the call.
pub(super) fn gemm(context: &CpuContext, call: &CpuCall<'_>) -> Gemm<'static> {
    let compute = if call.attributes.flag("bfloat16") { ComputeDtype::Bf16 } else { ComputeDtype::F32 };
    Gemm::new(context.pool, context.isa, compute)
}

/// A weight of any format as a matrix of its last two extents (a vector counts as one row).
///
/// # Errors
/// `ERR_DTYPE_MISMATCH` for a dtype that products do not read.
pub fn matrix<'a>(view: &CpuView<'a>) -> Result<Matrix<'a>> {
    let (rows, columns) = (view.spec.rows(), view.spec.last());
    Ok(match view.spec.dtype {
        DType::F32 => Matrix::new(Elements::F32(view.slice::<f32>()?), rows, columns),
        DType::BF16 => Matrix::new(Elements::Bf16(view.slice::<bf16>()?), rows, columns),
        DType::F16 => Matrix::new(Elements::F16(view.slice::<f16>()?), rows, columns),
        DType::NF4 | DType::FP4 => {
            let quant = view.quant4()?.view();
            let end = view.offset + rows * columns;
            if end > quant.len() {
                return Err(KernelError::shape(
                    "operand",
                    format!("{} reaches past its {} codes", view.spec, quant.len()),
                ));
            }
            Matrix { elements: Elements::Quant4(quant), rows, columns, stride: columns, offset: view.offset }
        }
        _ => return Err(KernelError::dtype("operand", format!("{} cannot be multiplied", view.spec))),
    })
}

fn lora<'a>(call: &CpuCall<'a>) -> Result<Option<LoraBranch<'a>>> {
    let (Some(a), Some(b)) = (call.optional("loraA"), call.optional("loraB")) else {
        return Ok(None);
    };
    Ok(Some(LoraBranch {
        a: matrix(&a)?,
        b: matrix(&b)?,
        scale: call.attributes.float("scale"),
        dropout: call.attributes.number("dropout"),
        seed: call.attributes.integer("seed"),
    }))
}

fn output<'a>(call: &CpuCall<'a>, index: usize) -> Result<&'a mut [f32]> {
    match call.outputs.get(index) {
        // SAFETY: an output of the running call; each index is taken once.
        Some(view) => unsafe { view.slice_mut::<f32>() },
        None => Ok(&mut []),
    }
}

fn results<'a>(call: &CpuCall<'a>) -> Result<Results<'a>> {
    let view = &call.outputs[0];
    // SAFETY: the first output of the running call; taken once.
    unsafe {
        Ok(if view.spec.dtype == DType::BF16 {
            Results::Bf16(view.slice_mut()?)
        } else {
            Results::F32(view.slice_mut()?)
        })
    }
}

fn linear(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let bias = call.optional("bias").map(|view| as_f32(&view)).transpose()?;
    let (x, weight) = (matrix(&call.input("x"))?, matrix(&call.input("weight"))?);
    let lora = lora(call)?;
    linear_forward(&gemm(context, call), &x, &weight, bias.as_deref(), lora.as_ref(), results(call)?, output(call, 1)?);
    Ok(())
}

fn together(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let x = matrix(&call.input("x"))?;
    let mut layers = Vec::with_capacity(3);
    let biases = ["bias0", "bias1", "bias2"]
        .iter()
        .map(|name| call.optional(name).map(|view| as_f32(&view)).transpose())
        .collect::<Result<Vec<_>>>()?;
    for (index, name) in ["weight0", "weight1", "weight2"].iter().enumerate() {
        if let Some(weight) = call.optional(name) {
            layers.push(Layer { weight: matrix(&weight)?, bias: biases[index].as_deref(), y: output(call, index)? });
        }
    }
    linear_together(&gemm(context, call), &x, &mut layers);
    Ok(())
}

fn input_gradient(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (dy, weight) = (matrix(&call.input("dy"))?, matrix(&call.input("weight"))?);
    let lora = lora(call)?;
    linear_input_gradient(&gemm(context, call), &dy, &weight, lora.as_ref(), results(call)?, output(call, 1)?);
    Ok(())
}

fn lora_gradient(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let gemm = gemm(context, call);
    let (dy, x) = (matrix(&call.input("dy"))?, matrix(&call.input("x"))?);
    let lora = lora(call)?.expect("both factors are checked at dispatch");
    let xa = call.input("xa").slice::<f32>()?;
    let recomputed;
    let u = match call.optional("u") {
        Some(view) => view.slice::<f32>()?,
        None => {
            let mut values = vec![0.0; dy.rows * lora.a.rows];
            upstream(&gemm, &dy, &lora, &mut values);
            recomputed = values;
            &recomputed
        }
    };
    linear_lora_gradient(&gemm, &dy, &x, xa, u, &lora, output(call, 0)?, output(call, 1)?);
    Ok(())
}

fn weight_gradient(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (dy, x) = (matrix(&call.input("dy"))?, matrix(&call.input("x"))?);
    linear_weight_gradient(&gemm(context, call), &dy, &x, output(call, 0)?);
    Ok(())
}

fn bias_gradient(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let gemm = Gemm::new(context.pool, context.isa, ComputeDtype::F32);
    linear_bias_gradient(&gemm, &matrix(&call.input("dy"))?, output(call, 0)?);
    Ok(())
}
