//! Runs ops on a device with host values: what the parity and gradient tests are made of.

use crate::backend::{Backend, Call, View};
use crate::cpu::CpuBackend;
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::{Attributes, InferCall, find};
use crate::oracle::OracleBackend;
use crate::shape::TensorSpec;
use half::{bf16, f16};

/// A tensor on the host; values are exact in its dtype once [`Tensor::rounded`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dtype.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values.
    pub values: Vec<f64>,
}

impl Tensor {
    /// An f32 tensor.
    pub fn f32(shape: &[usize], values: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { dtype: DType::F32, shape: shape.to_vec(), values }.rounded()
    }

    /// An i32 tensor of one dimension.
    pub fn i32(values: &[i32]) -> Self {
        Self { dtype: DType::I32, shape: vec![values.len()], values: values.iter().map(|v| f64::from(*v)).collect() }
    }

    /// The same values in another dtype, rounded to it.
    pub fn cast(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self.rounded()
    }

    fn rounded(mut self) -> Self {
        for value in &mut self.values {
            *value = match self.dtype {
                DType::F32 => f64::from(*value as f32),
                DType::BF16 => bf16::from_f64(*value).to_f64(),
                DType::F16 => f16::from_f64(*value).to_f64(),
                _ => *value,
            };
        }
        self
    }

    /// Specification.
    pub fn spec(&self) -> TensorSpec {
        TensorSpec::new(self.dtype, self.shape.clone())
    }

    fn bytes(&self, dtype: DType) -> Vec<u8> {
        self.values
            .iter()
            .flat_map(|value| match dtype {
                DType::F32 => (*value as f32).to_le_bytes().to_vec(),
                DType::BF16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
                DType::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
                DType::I32 => (*value as i32).to_le_bytes().to_vec(),
                DType::F64 => value.to_le_bytes().to_vec(),
                DType::U8 => vec![*value as u8],
                DType::I8 => vec![(*value as i8) as u8],
                DType::I64 => (*value as i64).to_le_bytes().to_vec(),
                DType::NF4 | DType::FP4 => unreachable!("tests of this harness use plain tensors"),
            })
            .collect()
    }
}

/// A device under test.
pub trait Device: Backend {
    /// Dtype in which this device takes and gives values declared as `dtype`.
    fn wire(dtype: DType) -> DType;
}

impl Device for CpuBackend {
    fn wire(dtype: DType) -> DType {
        dtype
    }
}

impl Device for OracleBackend {
    fn wire(dtype: DType) -> DType {
        if dtype.is_float() { DType::F64 } else { dtype }
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|raw| convert(*raw)).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |raw| f64::from(f32::from_le_bytes(raw))),
        DType::BF16 => each(bytes, |raw| bf16::from_le_bytes(raw).to_f64()),
        DType::F16 => each(bytes, |raw| f16::from_le_bytes(raw).to_f64()),
        DType::I32 => each(bytes, |raw| f64::from(i32::from_le_bytes(raw))),
        DType::I64 => each(bytes, |raw| i64::from_le_bytes(raw) as f64),
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::I8 => each(bytes, |raw: [u8; 1]| f64::from(raw[0] as i8)),
        _ => bytes.iter().map(|byte| f64::from(*byte)).collect(),
    }
}

/// One op call: inputs by position (named ones first, `None` leaves an optional one out).
#[derive(Clone)]
pub struct OpCall {
    /// Op name.
    pub op: &'static str,
    /// Inputs.
    pub inputs: Vec<Option<Tensor>>,
    /// Attributes by name; the others take their defaults.
    pub attributes: Vec<(&'static str, f64)>,
    /// Trailing numbers.
    pub rest: Vec<f64>,
}

impl OpCall {
    /// A call with all inputs present.
    pub fn new(op: &'static str, inputs: Vec<Tensor>, attributes: &[(&'static str, f64)]) -> Self {
        Self { op, inputs: inputs.into_iter().map(Some).collect(), attributes: attributes.to_vec(), rest: vec![] }
    }

    /// Adds the trailing numbers.
    pub fn with_rest(mut self, rest: &[f64]) -> Self {
        self.rest = rest.to_vec();
        self
    }

    /// Adds an input that may be left out.
    pub fn with_input(mut self, input: Option<Tensor>) -> Self {
        self.inputs.push(input);
        self
    }

    /// Runs on `device`; returns the outputs followed by the inputs that the op writes in place.
    pub fn run<D: Device>(&self, device: &mut D) -> Result<Vec<Tensor>> {
        let op = find(self.op).unwrap_or_else(|| panic!("{} is not declared", self.op));
        let mut inputs = self.inputs.clone();
        while inputs.len() < op.inputs.len() {
            assert!(op.inputs[inputs.len()].optional, "{} needs {}", op.name, op.inputs[inputs.len()].name);
            inputs.push(None);
        }
        for (name, _) in &self.attributes {
            assert!(op.attributes.iter().any(|attribute| attribute.name == *name), "{} has no {name}", op.name);
        }
        let values: Vec<f64> = op
            .attributes
            .iter()
            .map(|attribute| {
                let given = self.attributes.iter().find(|(name, _)| *name == attribute.name).map(|(_, value)| *value);
                given.or(attribute.default).unwrap_or_else(|| panic!("{} needs {}", op.name, attribute.name))
            })
            .collect();
        let attributes = Attributes { op, values: &values, rest: &self.rest };
        let specs: Vec<Option<TensorSpec>> = inputs.iter().map(|input| input.as_ref().map(Tensor::spec)).collect();
        let borrowed: Vec<Option<&TensorSpec>> = specs.iter().map(Option::as_ref).collect();
        let inferred = (op.infer)(&InferCall { inputs: &borrowed, attributes })?;
        let mut storages = Vec::new();
        for input in &inputs {
            storages.push(match input {
                None => None,
                Some(tensor) => {
                    let wire = D::wire(tensor.dtype);
                    Some(device.upload(&TensorSpec::new(wire, tensor.shape.clone()), &tensor.bytes(wire))?)
                }
            });
        }
        let outputs = inferred.outputs.iter().map(|spec| device.allocate(spec)).collect::<Result<Vec<_>>>()?;
        let view = |(spec, storage)| View { spec, storage, offset: 0 };
        let call = Call {
            inputs: specs
                .iter()
                .zip(&storages)
                .map(|(spec, storage)| spec.as_ref().zip(storage.as_ref()).map(view))
                .collect(),
            outputs: inferred.outputs.iter().zip(&outputs).map(view).collect(),
            attributes,
        };
        device.execute(&call)?;
        let mut results = Vec::new();
        let written = (0..inputs.len()).filter(|index| op.is_mutated(*index)).filter_map(|index| call.inputs[index]);
        for view in call.outputs.iter().copied().chain(written) {
            let values = decode(D::wire(view.spec.dtype), &device.download(view)?);
            results.push(Tensor { dtype: view.spec.dtype, shape: view.spec.shape.clone(), values });
        }
        Ok(results)
    }

    /// Runs on the oracle.
    pub fn oracle(&self) -> Vec<Tensor> {
        self.run(&mut OracleBackend::default()).unwrap_or_else(|error| panic!("oracle {}: {error}", self.op))
    }

    /// Compares every instruction set of this machine with the oracle: |difference| ≤
    /// `tolerance` · (|expected| + scale of the tensor), NaN and infinities in the same places.
    pub fn check(&self, tolerance: f64) {
        self.check_from(tolerance, 0.0);
    }

    /// As `check` with a tensor scale of at least `floor`: for differences that cancel, whose error is
    /// that of their terms.
    pub fn check_from(&self, tolerance: f64, floor: f64) {
        let expected = self.oracle();
        for isa in Isa::available() {
            let found = self
                .run(&mut CpuBackend::with_isa(isa))
                .unwrap_or_else(|error| panic!("{} {}: {error}", isa.name(), self.op));
            assert_eq!(found.len(), expected.len(), "{} outputs", self.op);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.shape, expected.shape, "{} output {index}", self.op);
                compare_from(&format!("{} {} output {index}", isa.name(), self.op), found, expected, tolerance, floor);
            }
        }
    }
}

/// See [`OpCall::check`].
pub fn compare(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    compare_from(what, found, expected, tolerance, 0.0);
}

/// See [`OpCall::check_from`].
pub fn compare_from(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64, floor: f64) {
    let finite = expected.values.iter().filter(|value| value.is_finite());
    let count = finite.clone().count().max(1) as f64;
    let scale = (finite.map(|value| value * value).sum::<f64>() / count).sqrt().max(floor);
    for (at, (found, expected)) in found.values.iter().zip(&expected.values).enumerate() {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        let close = (found - expected).abs() <= tolerance * (expected.abs() + scale);
        assert!(same || close, "{what} [{at}]: {found}, expected {expected} (scale {scale})");
    }
}

/// Seeded test values.
pub struct Values(u64);

impl Values {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next value in 0..1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next integer in 0..bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// An f32 tensor of values in −1..1, times `scale`.
    pub fn tensor(&mut self, shape: &[usize], scale: f64) -> Tensor {
        let values = (0..shape.iter().product()).map(|_| (2.0 * self.unit() - 1.0) * scale).collect();
        Tensor::f32(shape, values)
    }
}

/// Checks an op pair on the oracle: the gradient that `backward` returns for `forward`'s inputs
/// `wanted` against central differences of Σ weights·outputs, with relative error 1e-6.
///
/// `backward` builds the backward call from (forward inputs, forward outputs, output gradients); its
/// outputs are the gradients of `wanted`, in order.
pub fn check_gradient(
    forward: &OpCall,
    wanted: &[usize],
    differentiable: usize,
    backward: impl Fn(&[Option<Tensor>], &[Tensor], &[Tensor]) -> OpCall,
) {
    let outputs = forward.oracle();
    let mut values = Values::new(77);
    let weights: Vec<Tensor> =
        outputs[..differentiable].iter().map(|output| values.tensor(&output.shape, 1.0)).collect();
    let gradients = backward(&forward.inputs, &outputs, &weights).oracle();
    let objective = |call: &OpCall| -> f64 {
        let outputs = call.oracle();
        weights
            .iter()
            .zip(&outputs)
            .map(|(weight, output)| weight.values.iter().zip(&output.values).map(|(w, y)| w * y).sum::<f64>())
            .sum()
    };
    for (gradient, input) in gradients.iter().zip(wanted) {
        let base = forward.inputs[*input].as_ref().expect("a differentiated input is present");
        assert_eq!(gradient.shape, base.shape, "{} gradient of input {input}", forward.op);
        for at in 0..base.values.len() {
            let step = 1e-5 * base.values[at].abs().max(1.0);
            let moved = |delta: f64| {
                let mut call = forward.clone();
                call.inputs[*input].as_mut().expect("present").values[at] += delta;
                objective(&call)
            };
            let numeric = (moved(step) - moved(-step)) / (2.0 * step);
            let error = (gradient.values[at] - numeric).abs();
            assert!(
                error <= 1e-6 * numeric.abs().max(1.0),
                "{} d input {input}[{at}]: {} but differences give {numeric}",
                forward.op,
                gradient.values[at]
            );
        }
    }
}
