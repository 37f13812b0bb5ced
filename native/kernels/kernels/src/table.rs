//! The tensor table: slots with generations, storages with reference counts, byte accounts.
//!
//! It lives on the caller's thread and never waits for a device. Bytes are accounted in call order, so
//! live and peak figures are the same on every device, `meta` included, and do not depend on timing.

use crate::accounts::{Accounts, Stats};
use crate::dtype::DType;
use crate::engine::{Command, Engine, FlushReply, MarkSink, Operand, ReadReply, RecordReply, StorageId};
use crate::error::{KernelError, Result};
use crate::files::MappedFile;
use crate::ops::{Attributes, InferCall, Inferred, OpDeclaration};
use crate::recording::Recording;
use crate::shape::TensorSpec;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

mod arguments;
mod program;

use arguments::fill_defaults;
pub use program::Program;

/// Index of a device in the table.
pub type DeviceId = usize;

/// Identifies a tensor: `generation * 2^24 + slot`, exact in an f64.
pub type TensorId = u64;

const SLOT_BITS: u32 = 24;
const MAX_GENERATION: u64 = (1 << 29) - 1;

struct Slot {
    generation: u64,
    tensor: Option<Entry>,
}

#[derive(Clone)]
struct Entry {
    device: DeviceId,
    storage: StorageId,
    offset: usize,
    spec: Arc<TensorSpec>,
}

struct Storage {
    references: usize,
    bytes: usize,
    dtype: DType,
    category: u8,
}

struct Device {
    name: String,
    engine: Option<Engine>,
    accounts: Accounts,
    storages: HashMap<StorageId, Storage>,
    /// Ops of a device without an engine, while they are recorded.
    recording: Option<Recording>,
}

/// Slots, storages and engines of all devices.
#[derive(Default)]
pub struct TensorTable {
    slots: Vec<Slot>,
    free: Vec<usize>,
    devices: Vec<Device>,
    next_storage: StorageId,
    category: u8,
    /// The program that is being recorded.
    capture: Option<program::Capture>,
}

/// What an op makes and costs, inferred from its inputs.
struct RunPlan {
    outputs: Vec<Arc<TensorSpec>>,
    workspace_bytes: usize,
    flops: u64,
    bytes: u64,
}

/// A created tensor.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: TensorId,
    /// Its specification.
    pub spec: Arc<TensorSpec>,
}

impl TensorTable {
    /// Adds a device; without an engine it is a `meta` device, which only accounts.
    pub fn add_device(&mut self, name: &str, engine: Option<Engine>) -> DeviceId {
        self.devices.push(Device {
            name: name.to_string(),
            engine,
            accounts: Accounts::default(),
            storages: HashMap::new(),
            recording: None,
        });
        self.devices.len() - 1
    }

    /// Device index of `name`.
    pub fn device(&self, name: &str) -> Option<DeviceId> {
        self.devices.iter().position(|device| device.name == name)
    }

    /// Sets the category that later allocations are accounted under (weights, activations, …).
    pub fn set_category(&mut self, category: u8) {
        self.category = category;
    }

    /// Figures of one device.
    pub fn stats(&self, device: DeviceId) -> Stats {
        self.devices[device].accounts.stats()
    }

    /// Starts a new peak measurement at the present live bytes and zeroes FLOPs, bytes and op counts.
    pub fn reset_stats(&mut self, device: DeviceId) {
        self.devices[device].accounts.reset();
    }

    /// Upper bound of live bytes of a device; 0 removes it.
    pub fn set_limit(&mut self, device: DeviceId, bytes: usize) {
        self.devices[device].accounts.set_limit(bytes);
    }

    /// Runs an op: validates, infers, accounts and queues it.
    ///
    /// # Errors
    /// Coded errors of validation and inference, `ERR_TENSOR_RELEASED`, `ERR_OUT_OF_MEMORY`. Errors of
    /// the kernel itself arrive at the next read or flush.
    pub fn dispatch(
        &mut self,
        device: DeviceId,
        op: &'static OpDeclaration,
        ids: &[Option<TensorId>],
        values: &[f64],
        rest: &[f64],
    ) -> Result<Vec<Created>> {
        let entries = self.operands(device, op, ids)?;
        let values = fill_defaults(op, values)?;
        let specs: Vec<Option<&TensorSpec>> =
            entries.iter().map(|entry| entry.as_ref().map(|entry| &*entry.spec)).collect();
        let attributes = Attributes { op, values: &values, rest };
        let inferred = (op.infer)(&InferCall { inputs: &specs, attributes })?;
        let Inferred { outputs, workspace_bytes, flops, bytes } = inferred;
        let outputs = outputs.into_iter().map(Arc::new).collect();
        let plan = RunPlan { outputs, workspace_bytes, flops, bytes };
        let noted = self.capture.is_some().then(|| (values.clone(), self.category));
        let created = self.queue(device, op, entries, values, rest.to_vec(), &plan)?;
        if let (Some(capture), Some((values, category))) = (&mut self.capture, noted) {
            capture.run(device, op, ids, (values, rest.to_vec()), (plan, category), &created);
        }
        Ok(created)
    }

    /// Accounts an op, makes its outputs and queues it.
    fn queue(
        &mut self,
        device: DeviceId,
        op: &'static OpDeclaration,
        entries: Vec<Option<Entry>>,
        values: Vec<f64>,
        rest: Vec<f64>,
        plan: &RunPlan,
    ) -> Result<Vec<Created>> {
        let RunPlan { outputs, workspace_bytes, flops, bytes } = plan;
        let mut output_bytes = 0usize;
        for spec in outputs {
            output_bytes += spec.bytes()?;
        }
        let category = self.category;
        let accounts = &mut self.devices[device].accounts;
        accounts.run_op(op.name, output_bytes, *workspace_bytes, *flops, *bytes, category)?;
        let created: Vec<(Created, StorageId)> =
            outputs.iter().map(|spec| self.create(device, Arc::clone(spec))).collect::<Result<_>>()?;
        let inputs: Vec<Option<Operand>> = entries.into_iter().map(|entry| entry.map(operand)).collect();
        let target = &mut self.devices[device];
        if let Some(engine) = &target.engine {
            engine.send(Command::Execute {
                op,
                inputs,
                outputs: created
                    .iter()
                    .map(|(made, storage)| Operand { storage: *storage, offset: 0, spec: Arc::clone(&made.spec) })
                    .collect(),
                values,
                rest,
            });
        } else if let Some(recording) = &mut target.recording {
            recording.add(op, &inputs, values, rest, Instant::now());
        }
        Ok(created.into_iter().map(|(made, _)| made).collect())
    }

    /// Creates a tensor from host bytes.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` when the byte count does not fit the shape, `ERR_OUT_OF_MEMORY`.
    pub fn upload(&mut self, device: DeviceId, spec: TensorSpec, bytes: &[u8]) -> Result<Created> {
        let expected = spec.bytes()?;
        if bytes.len() != expected {
            return Err(KernelError::shape("upload", format!("{spec} needs {expected} bytes, got {}", bytes.len())));
        }
        self.refuse_in_program("host data was uploaded");
        self.devices[device].accounts.check(expected)?;
        let (made, storage) = self.create(device, Arc::new(spec))?;
        if let Some(engine) = &self.devices[device].engine {
            engine.send(Command::Upload { storage, spec: Arc::clone(&made.spec), bytes: bytes.to_vec() });
        }
        Ok(made)
    }

    /// Creates a tensor over a region of a mapped file.
    ///
    /// # Errors
    /// `ERR_FILE_TRUNCATED` when the region exceeds the file.
    pub fn map(
        &mut self,
        device: DeviceId,
        spec: TensorSpec,
        file: &Arc<MappedFile>,
        byte_offset: usize,
    ) -> Result<Created> {
        let bytes = spec.bytes()?;
        let end = byte_offset.checked_add(bytes);
        if end.is_none_or(|end| end > file.bytes().len()) {
            return Err(KernelError::new(
                "ERR_FILE_TRUNCATED",
                format!("{spec} at byte {byte_offset} ends after the {} bytes of the file", file.bytes().len()),
            ));
        }
        self.refuse_in_program("a file was mapped");
        self.devices[device].accounts.check(bytes)?;
        let (made, storage) = self.create(device, Arc::new(spec))?;
        if let Some(engine) = &self.devices[device].engine {
            engine.send(Command::Map { storage, spec: Arc::clone(&made.spec), file: Arc::clone(file), byte_offset });
        }
        Ok(made)
    }

    /// A new handle to the same storage with another shape, starting `offset` elements into `id`.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` when the view exceeds the tensor.
    pub fn view(&mut self, id: TensorId, shape: Option<Vec<usize>>, offset: usize) -> Result<Created> {
        let entry = self.entry(id)?.clone();
        let spec = match shape {
            None => Arc::clone(&entry.spec),
            Some(shape) => {
                let view = TensorSpec { dtype: entry.spec.dtype, shape, quant: entry.spec.quant };
                let partial = view.elements() + offset > entry.spec.elements();
                let composite = view.dtype.is_quantized() && view.elements() != entry.spec.elements();
                if partial || composite {
                    return Err(KernelError::shape(
                        "view",
                        format!("{view} at element {offset} does not fit into {}", entry.spec),
                    ));
                }
                Arc::new(view)
            }
        };
        self.devices[entry.device].storages.get_mut(&entry.storage).expect("live storage").references += 1;
        let made = self.insert(Entry { offset: entry.offset + offset, spec: Arc::clone(&spec), ..entry })?;
        let made = Created { id: made, spec };
        if let Some(capture) = &mut self.capture {
            capture.view(id, offset, &made);
        }
        Ok(made)
    }

    /// Releases a handle; its storage goes with the last one.
    ///
    /// # Errors
    /// `ERR_TENSOR_RELEASED` when the handle is not live.
    pub fn release(&mut self, id: TensorId) -> Result<()> {
        let entry = self.entry(id)?.clone();
        if let Some(capture) = &mut self.capture {
            capture.release(id);
        }
        let slot = slot_of(id);
        self.slots[slot].tensor = None;
        if self.slots[slot].generation < MAX_GENERATION {
            self.slots[slot].generation += 1;
            self.free.push(slot);
        }
        let device = &mut self.devices[entry.device];
        let storage = device.storages.get_mut(&entry.storage).expect("live storage");
        storage.references -= 1;
        if storage.references == 0 {
            let storage = device.storages.remove(&entry.storage).expect("live storage");
            device.accounts.release(storage.bytes, storage.dtype, storage.category);
            if let Some(engine) = &device.engine {
                engine.send(Command::Release { storage: entry.storage });
            }
        }
        Ok(())
    }

    /// Reads a tensor; `reply` runs on the engine thread.
    ///
    /// # Errors
    /// `ERR_TENSOR_RELEASED`, or `ERR_META_READ` on a device that holds no data.
    pub fn read(&self, id: TensorId, reply: ReadReply) -> Result<()> {
        let entry = self.entry(id)?.clone();
        match &self.devices[entry.device].engine {
            Some(engine) => engine.send(Command::Read { operand: operand(entry), reply }),
            None => {
                return Err(KernelError::new(
                    "ERR_META_READ",
                    format!("{} lives on the meta device, which holds no data", entry.spec),
                ));
            }
        }
        Ok(())
    }

    /// Gives memory that a device keeps for later tensors back to the system, once everything queued is done.
    pub fn trim(&self, device: DeviceId) {
        if let Some(engine) = &self.devices[device].engine {
            engine.send(Command::Trim);
        }
    }

    /// Calls `reply` when everything queued on `device` is done.
    pub fn flush(&self, device: DeviceId, reply: FlushReply) {
        match &self.devices[device].engine {
            Some(engine) => engine.send(Command::Flush { reply }),
            None => reply(Ok(())),
        }
    }

    /// Queues a mark in stream order; on a device without an engine it is reached at once.
    pub fn mark(&self, device: DeviceId, token: u64, edge: u8, sink: MarkSink) {
        match &self.devices[device].engine {
            Some(engine) => engine.send(Command::Mark { token, edge, sink }),
            None => sink(token, edge),
        }
    }

    /// Hands over the op times recorded so far, in stream order, and records from here on or stops; on a device without
    /// an engine an op takes no time, and its record says what it would compute and move.
    pub fn record(&mut self, device: DeviceId, on: bool, reply: RecordReply) {
        let device = &mut self.devices[device];
        match &device.engine {
            Some(engine) => engine.send(Command::Record { on, reply }),
            None => {
                let before = std::mem::replace(&mut device.recording, on.then(Recording::begin));
                reply(before.map(Recording::finish).unwrap_or_default());
            }
        }
    }

    /// Specification of a live tensor.
    ///
    /// # Errors
    /// `ERR_TENSOR_RELEASED`.
    pub fn spec(&self, id: TensorId) -> Result<&TensorSpec> {
        Ok(&self.entry(id)?.spec)
    }

    /// Live tensors of a device as (id, specification), for leak reports.
    pub fn live(&self, device: DeviceId) -> Vec<(TensorId, Arc<TensorSpec>)> {
        let live = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let entry = slot.tensor.as_ref()?;
            let id = (slot.generation << SLOT_BITS) | index as u64;
            (entry.device == device).then(|| (id, Arc::clone(&entry.spec)))
        });
        live.collect()
    }

    fn refuse_in_program(&mut self, what: &str) {
        if let Some(capture) = &mut self.capture {
            capture.refuse(what.to_string());
        }
    }

    fn create(&mut self, device: DeviceId, spec: Arc<TensorSpec>) -> Result<(Created, StorageId)> {
        let storage = self.next_storage;
        self.next_storage += 1;
        let bytes = spec.bytes()?;
        let category = self.category;
        let target = &mut self.devices[device];
        target.accounts.allocate(bytes, spec.dtype, category);
        target.storages.insert(storage, Storage { references: 1, bytes, dtype: spec.dtype, category });
        let id = self.insert(Entry { device, storage, offset: 0, spec: Arc::clone(&spec) })?;
        Ok((Created { id, spec }, storage))
    }

    fn insert(&mut self, entry: Entry) -> Result<TensorId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < (1 << SLOT_BITS) => {
                self.slots.push(Slot { generation: 1, tensor: None });
                self.slots.len() - 1
            }
            None => {
                return Err(KernelError::new(
                    "ERR_TABLE_FULL",
                    format!("more than {} live tensors; release some (is a scope missing?)", 1 << SLOT_BITS),
                ));
            }
        };
        self.slots[slot].tensor = Some(entry);
        Ok((self.slots[slot].generation << SLOT_BITS) | slot as u64)
    }

    fn entry(&self, id: TensorId) -> Result<&Entry> {
        let slot = self.slots.get(slot_of(id)).filter(|slot| slot.generation == id >> SLOT_BITS);
        slot.and_then(|slot| slot.tensor.as_ref()).ok_or_else(|| {
            KernelError::new(
                "ERR_TENSOR_RELEASED",
                format!("tensor {id} was released (or never existed); keep it in a scope that outlives this use"),
            )
        })
    }
}

fn slot_of(id: TensorId) -> usize {
    (id & ((1 << SLOT_BITS) - 1)) as usize
}

fn operand(entry: Entry) -> Operand {
    Operand { storage: entry.storage, offset: entry.offset, spec: entry.spec }
}
