//! The tensor table and its engines as one class.

use crate::files::NativeFile;
use napi::JsDeferred;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::collections::HashMap;
use std::sync::OnceLock;
use swift_kernels::cpu::CpuBackend;
use swift_kernels::cpu::isa::Isa;
use swift_kernels::cpu::pool::Pool;
use swift_kernels::dtype::DType;
use swift_kernels::engine::{Engine, MarkSink};
use swift_kernels::error::KernelError;
use swift_kernels::ops;
use swift_kernels::oracle::OracleBackend;
use swift_kernels::recording::OpRecord;
use swift_kernels::shape::TensorSpec;
use swift_kernels::table::{Created, Program, TensorTable};

pub(crate) fn to_napi(error: KernelError) -> Error {
    Error::from_reason(error.to_string())
}

fn invalid(message: String) -> Error {
    Error::from_reason(format!("ERR_INVALID_ARGUMENT: {message}"))
}

/// Where marks that a stream reached are delivered; the meter installs its own at start.
static MARK_SINK: OnceLock<MarkSink> = OnceLock::new();

/// Installs the receiver of stream marks (first call wins).
#[allow(dead_code)]
pub(crate) fn set_mark_sink(sink: MarkSink) {
    let _ = MARK_SINK.set(sink);
}

fn ignore_mark(_token: u64, _edge: u8) {}

fn to_spec(dtype: u32, shape: &[f64]) -> Result<TensorSpec> {
    let dtype = DType::from_code(dtype).ok_or_else(|| invalid(format!("unknown dtype code {dtype}")))?;
    let extent = |value: &f64| {
        if value.fract() == 0.0 && *value >= 0.0 && *value < 9.0e15 {
            Ok(*value as usize)
        } else {
            Err(invalid(format!("extent {value} is not a non-negative integer")))
        }
    };
    Ok(TensorSpec::new(dtype, shape.iter().map(extent).collect::<Result<Vec<_>>>()?))
}

/// Figures of one device; arrays are indexed by dtype code or category.
#[napi(object)]
pub struct NativeStats {
    pub live_bytes: f64,
    pub peak_bytes: f64,
    pub live_by_dtype: Vec<f64>,
    pub peak_by_dtype: Vec<f64>,
    pub live_by_category: Vec<f64>,
    pub at_peak_by_category: Vec<f64>,
    pub workspace_at_peak: f64,
    pub live_storages: f64,
    pub flops: f64,
    pub bytes_moved: f64,
    pub ops: f64,
}

/// One live tensor in a leak report.
#[napi(object)]
pub struct NativeLive {
    pub id: f64,
    pub description: String,
}

/// One op that ran while times were recorded.
#[napi(object)]
pub struct NativeOpTime {
    pub name: String,
    pub operands: String,
    pub start_ms: f64,
    pub duration_ms: f64,
    pub flops: f64,
    pub bytes: f64,
}

/// What the processor offers and what is used.
#[napi(object)]
pub struct NativeCpu {
    pub isa: String,
    pub available: Vec<String>,
    pub native_bfloat16: bool,
    pub threads: u32,
}

/// Instruction set and threads of the CPU device. Throws `ERR_ISA_…` for a bad `SWIFT_ISA`.
#[napi]
pub fn cpu_info() -> Result<NativeCpu> {
    let isa = Isa::select().map_err(to_napi)?;
    Ok(NativeCpu {
        isa: isa.name().to_string(),
        available: Isa::available().into_iter().map(|isa| isa.name().to_string()).collect(),
        native_bfloat16: isa.has_native_bf16(),
        threads: u32::try_from(Pool::global().threads()).unwrap_or(u32::MAX),
    })
}

/// The declared ops as JSON: `[{ name, inputs: [{ name, optional }], variadic, attributes: [{ name, default }],
/// rest, outputs, mutates }]`; the index of an entry is its op code.
#[napi]
pub fn op_table() -> String {
    swift_kernels::ops::table_json()
}

/// Tensor table with the engines of its devices.
#[napi]
pub struct NativeRuntime {
    table: TensorTable,
    /// Where calls leave their numbers and find their results: one array for all, because handing over an array
    /// costs more than most calls.
    buffer: Option<Float64Array>,
    programs: HashMap<u32, Program>,
    next_program: u32,
}

#[napi]
impl NativeRuntime {
    /// An empty table without devices.
    #[allow(clippy::new_without_default)]
    #[napi(constructor)]
    pub fn new() -> Self {
        Self { table: TensorTable::default(), buffer: None, programs: HashMap::new(), next_program: 1 }
    }

    /// Starts a device and returns its index: `cpu`, `cpu:<isa>` (one instruction set, for tests), `oracle` or
    /// `meta`.
    #[napi]
    pub fn open_device(&mut self, name: String) -> Result<u32> {
        let engine = match name.as_str() {
            "cpu" => Some(Engine::start("cpu", CpuBackend::new).map_err(to_napi)?),
            "oracle" => Some(Engine::start("oracle", || Ok(OracleBackend::default())).map_err(to_napi)?),
            "meta" => None,
            other if other.starts_with("cpu:") => {
                let isa = Isa::by_name(&other[4..]).map_err(to_napi)?;
                Some(Engine::start("cpu", move || Ok(CpuBackend::with_isa(isa))).map_err(to_napi)?)
            }
            other => {
                return Err(Error::from_reason(format!(
                    "ERR_DEVICE_UNKNOWN: device {other:?} was asked for; this build has cpu, oracle and meta"
                )));
            }
        };
        Ok(self.table.add_device(&name, engine) as u32)
    }

    /// Installs the array through which `dispatch` and `releaseAll` take and return numbers. The caller grows it by
    /// installing a longer one.
    #[napi]
    pub fn set_buffer(&mut self, buffer: Float64Array) {
        self.buffer = Some(buffer);
    }

    /// Runs an op. The buffer begins with `ids` tensor ids (0 = left out), `values` attribute values (NaN = default) and
    /// `rest` trailing numbers; `[id, dtype, block, nestedBlock, rank, ...shape]` per output replaces them. Returns the
    /// number of outputs.
    #[napi]
    pub fn dispatch(&mut self, device: u32, op: u32, ids: u32, values: u32, rest: u32) -> Result<u32> {
        let op = *ops::table().get(op as usize).ok_or_else(|| invalid(format!("unknown op code {op}")))?;
        let table = &mut self.table;
        let buffer = buffer_of(&mut self.buffer)?;
        let (ids, values) = (ids as usize, values as usize);
        let total = ids + values + rest as usize;
        let given = buffer.get(..total).ok_or_else(too_small)?;
        let (ids, numbers) = given.split_at(ids);
        let (values, rest) = numbers.split_at(values);
        let ids: Vec<Option<u64>> = ids.iter().map(|id| (*id != 0.0).then_some(*id as u64)).collect();
        let created = table.dispatch(device as usize, op, &ids, values, rest).map_err(to_napi)?;
        describe(&created, buffer)
    }

    /// Records the calls from here on as a program whose inputs are the first `count` ids of the buffer; they run as
    /// always.
    #[napi]
    pub fn begin_program(&mut self, device: u32, count: u32) -> Result<()> {
        let ids = ids_of(buffer_of(&mut self.buffer)?, count)?;
        self.table.begin_program(device as usize, &ids).map_err(to_napi)
    }

    /// Ends the recording, whose outputs are the first `count` ids of the buffer, and returns the number of the program.
    #[napi]
    pub fn end_program(&mut self, count: u32) -> Result<u32> {
        let ids = ids_of(buffer_of(&mut self.buffer)?, count)?;
        let program = self.table.end_program(&ids).map_err(to_napi)?;
        let number = self.next_program;
        self.next_program += 1;
        self.programs.insert(number, program);
        Ok(number)
    }

    /// Drops a recording under way.
    #[napi]
    pub fn cancel_program(&mut self) {
        self.table.cancel_program();
    }

    /// Runs a program with the first `count` ids of the buffer as its inputs. Outputs are described as by `dispatch`.
    #[napi]
    pub fn run_program(&mut self, program: u32, count: u32) -> Result<u32> {
        let buffer = buffer_of(&mut self.buffer)?;
        let ids = ids_of(buffer, count)?;
        let program =
            self.programs.get(&program).ok_or_else(|| invalid(format!("program {program} does not exist")))?;
        let created = self.table.run_program(program, &ids).map_err(to_napi)?;
        describe(&created, buffer)
    }

    /// Forgets a program.
    #[napi]
    pub fn drop_program(&mut self, program: u32) {
        self.programs.remove(&program);
    }

    /// Releases the first `count` handles of the buffer.
    #[napi]
    pub fn release_all(&mut self, count: u32) -> Result<()> {
        let buffer = buffer_of(&mut self.buffer)?;
        for id in buffer.get(..count as usize).ok_or_else(too_small)? {
            self.table.release(*id as u64).map_err(to_napi)?;
        }
        Ok(())
    }

    /// Creates a tensor from bytes (copied during the call).
    #[napi]
    pub fn upload(&mut self, device: u32, dtype: u32, shape: &[f64], bytes: &[u8]) -> Result<f64> {
        let spec = to_spec(dtype, shape)?;
        Ok(self.table.upload(device as usize, spec, bytes).map_err(to_napi)?.id as f64)
    }

    /// Creates a tensor over a region of a mapped file.
    #[napi]
    pub fn map(&mut self, device: u32, dtype: u32, shape: &[f64], file: &NativeFile, byte_offset: f64) -> Result<f64> {
        let spec = to_spec(dtype, shape)?;
        let made = self.table.map(device as usize, spec, &file.file, byte_offset as usize).map_err(to_napi)?;
        Ok(made.id as f64)
    }

    /// A new handle to the same memory, reshaped and starting `offset` elements in.
    #[napi]
    pub fn view(&mut self, id: f64, shape: &[f64], offset: f64) -> Result<f64> {
        let shape = to_spec(0, shape)?.shape;
        Ok(self.table.view(id as u64, Some(shape), offset as usize).map_err(to_napi)?.id as f64)
    }

    /// Releases a handle.
    #[napi]
    pub fn release(&mut self, id: f64) -> Result<()> {
        self.table.release(id as u64).map_err(to_napi)
    }

    /// Copies a tensor to the host; rejects with the error of any earlier op that failed.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn read<'env>(&self, env: &'env Env, id: f64) -> Result<Object<'env>> {
        let (deferred, promise) = deferred::<Uint8Array>(env)?;
        self.table
            .read(id as u64, Box::new(move |result| settle(deferred, result.map(Uint8Array::new))))
            .map_err(to_napi)?;
        Ok(promise)
    }

    /// Gives memory that a device keeps for later tensors back to the system, in stream order.
    #[napi]
    pub fn trim(&self, device: u32) {
        self.table.trim(device as usize);
    }

    /// Resolves when everything queued on the device is done; rejects as `read` does.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn flush<'env>(&self, env: &'env Env, device: u32) -> Result<Object<'env>> {
        let (deferred, promise) = deferred::<()>(env)?;
        self.table.flush(device as usize, Box::new(move |result| settle(deferred, result)));
        Ok(promise)
    }

    /// Queues a mark (edge 0 = begin, 1 = end) in stream order.
    #[napi]
    pub fn mark(&self, device: u32, token: f64, edge: u32) {
        let sink = MARK_SINK.get().copied().unwrap_or(ignore_mark);
        self.table.mark(device as usize, token as u64, edge as u8, sink);
    }

    /// Resolves with the times of the ops recorded so far, in stream order, and records the ops queued after this
    /// call (`on`) or stops. Nothing is recorded, and nothing costs, before the first call.
    #[napi(ts_return_type = "Promise<NativeOpTime[]>")]
    pub fn record_ops<'env>(&mut self, env: &'env Env, device: u32, on: bool) -> Result<Object<'env>> {
        let (deferred, promise) = deferred::<Vec<NativeOpTime>>(env)?;
        let reply = move |records: Vec<OpRecord>| settle(deferred, Ok(records.into_iter().map(to_time).collect()));
        self.table.record(device as usize, on, Box::new(reply));
        Ok(promise)
    }

    /// Figures of a device.
    #[napi]
    pub fn stats(&self, device: u32) -> NativeStats {
        let stats = self.table.stats(device as usize);
        let numbers = |values: &[usize]| values.iter().map(|value| *value as f64).collect();
        NativeStats {
            live_bytes: stats.live_bytes as f64,
            peak_bytes: stats.peak_bytes as f64,
            live_by_dtype: numbers(&stats.live_by_dtype),
            peak_by_dtype: numbers(&stats.peak_by_dtype),
            live_by_category: numbers(&stats.live_by_category),
            at_peak_by_category: numbers(&stats.at_peak_by_category),
            workspace_at_peak: stats.workspace_at_peak as f64,
            live_storages: stats.live_storages as f64,
            flops: stats.flops as f64,
            bytes_moved: stats.bytes_moved as f64,
            ops: stats.ops as f64,
        }
    }

    /// Restarts peak, FLOPs, bytes and op counts of a device.
    #[napi]
    pub fn reset_stats(&mut self, device: u32) {
        self.table.reset_stats(device as usize);
    }

    /// Bounds the live bytes of a device; 0 removes the bound.
    #[napi]
    pub fn set_limit(&mut self, device: u32, bytes: f64) {
        self.table.set_limit(device as usize, bytes as usize);
    }

    /// Category of later allocations.
    #[napi]
    pub fn set_category(&mut self, category: u32) {
        self.table.set_category(category as u8);
    }

    /// Live tensors of a device.
    #[napi]
    pub fn live(&self, device: u32) -> Vec<NativeLive> {
        let live = self.table.live(device as usize).into_iter();
        live.map(|(id, spec)| NativeLive { id: id as f64, description: spec.to_string() }).collect()
    }
}

fn too_small() -> Error {
    invalid("the call buffer is too small".into())
}

/// Writes `[id, dtype, block, nestedBlock, rank, ...shape]` per output and returns their number.
fn describe(created: &[Created], buffer: &mut [f64]) -> Result<u32> {
    let mut out = buffer.iter_mut();
    for made in created {
        let quant = made.spec.quant;
        let head = [
            made.id as f64,
            f64::from(made.spec.dtype as u8),
            quant.map_or(0.0, |layout| layout.block as f64),
            quant.map_or(0.0, |layout| layout.nested_block as f64),
            made.spec.shape.len() as f64,
        ];
        for value in head.into_iter().chain(made.spec.shape.iter().map(|extent| *extent as f64)) {
            *out.next().ok_or_else(too_small)? = value;
        }
    }
    Ok(created.len() as u32)
}

fn ids_of(buffer: &[f64], count: u32) -> Result<Vec<u64>> {
    Ok(buffer.get(..count as usize).ok_or_else(too_small)?.iter().map(|id| *id as u64).collect())
}

fn buffer_of(buffer: &mut Option<Float64Array>) -> Result<&mut [f64]> {
    let buffer = buffer.as_mut().ok_or_else(|| invalid("no call buffer is installed".into()))?;
    // SAFETY: only JavaScript's thread calls, and it waits meanwhile; the buffer is not shared with workers.
    Ok(unsafe { buffer.as_mut() })
}

fn to_time(record: OpRecord) -> NativeOpTime {
    NativeOpTime {
        name: record.name.to_string(),
        operands: record.operands,
        start_ms: record.start_ns as f64 * 1e-6,
        duration_ms: record.duration_ns as f64 * 1e-6,
        flops: record.flops as f64,
        bytes: record.bytes as f64,
    }
}

type Resolver<T> = Box<dyn FnOnce(Env) -> Result<T>>;

fn deferred<T: ToNapiValue>(env: &Env) -> Result<(JsDeferred<T, Resolver<T>>, Object<'_>)> {
    env.create_deferred::<T, Resolver<T>>()
}

fn settle<T: ToNapiValue + Send + 'static>(
    deferred: JsDeferred<T, Resolver<T>>,
    result: std::result::Result<T, KernelError>,
) {
    match result {
        Ok(value) => deferred.resolve(Box::new(move |_| Ok(value))),
        Err(error) => deferred.reject(to_napi(error)),
    }
}
