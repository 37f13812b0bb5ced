//! The engine thread of one device: a FIFO of commands, executed in program order.

use crate::backend::{Backend, Call, View};
use crate::error::{KernelError, Result};
use crate::files::MappedFile;
use crate::ops::{Attributes, OpDeclaration};
use crate::recording::{OpRecord, Recording};
use crate::shape::TensorSpec;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Identifies a storage inside one engine.
pub type StorageId = u64;

/// A tensor operand of a queued command.
pub struct Operand {
    /// Storage that holds it.
    pub storage: StorageId,
    /// First element inside the storage.
    pub offset: usize,
    /// Dtype and shape.
    pub spec: Arc<TensorSpec>,
}

/// Receives the bytes of a read.
pub type ReadReply = Box<dyn FnOnce(Result<Vec<u8>>) + Send>;

/// Receives the outcome of a flush.
pub type FlushReply = Box<dyn FnOnce(Result<()>) + Send>;

/// Receives what was recorded.
pub type RecordReply = Box<dyn FnOnce(Vec<OpRecord>) + Send>;

/// Called on the engine thread when a mark is reached: (token, edge 0 = begin / 1 = end).
pub type MarkSink = fn(u64, u8);

/// One queued command.
pub enum Command {
    /// Run an op.
    Execute {
        /// The op.
        op: &'static OpDeclaration,
        /// Inputs.
        inputs: Vec<Option<Operand>>,
        /// Outputs, whose storages this command creates.
        outputs: Vec<Operand>,
        /// Attribute values.
        values: Vec<f64>,
        /// Trailing numbers.
        rest: Vec<f64>,
    },
    /// Create a storage from host bytes.
    Upload { storage: StorageId, spec: Arc<TensorSpec>, bytes: Vec<u8> },
    /// Create a storage over a region of a mapped file.
    Map { storage: StorageId, spec: Arc<TensorSpec>, file: Arc<MappedFile>, byte_offset: usize },
    /// Drop a storage.
    Release { storage: StorageId },
    /// Give memory that is kept for later tensors back to the system.
    Trim,
    /// Copy a tensor to the host.
    Read { operand: Operand, reply: ReadReply },
    /// Report when all earlier commands are done.
    Flush { reply: FlushReply },
    /// Tell the mark sink that the stream reached this point.
    Mark { token: u64, edge: u8, sink: MarkSink },
    /// Hand over the times recorded so far, and record the ops from here on or stop.
    Record { on: bool, reply: RecordReply },
}

/// Handle to an engine thread. Dropping it ends the thread after the queued commands.
pub struct Engine {
    queue: Sender<Command>,
}

impl Engine {
    /// Starts the thread of a device; `make` builds the backend on that thread.
    ///
    /// # Errors
    /// The error of `make`, or `ERR_THREAD` when no thread can be started.
    pub fn start<B: Backend>(name: &str, make: impl FnOnce() -> Result<B> + Send + 'static) -> Result<Self> {
        let (queue, commands) = channel();
        let (ready, started) = channel();
        std::thread::Builder::new()
            .name(format!("swift-{name}"))
            .spawn(move || match make() {
                Ok(backend) => {
                    let _ = ready.send(Ok(()));
                    Runner { backend, storages: HashMap::new(), failed: None, recording: None }.run(&commands);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })
            .map_err(|error| KernelError::new("ERR_THREAD", format!("cannot start the {name} engine: {error}")))?;
        started
            .recv()
            .unwrap_or_else(|_| Err(KernelError::new("ERR_THREAD", format!("the {name} engine died at start"))))?;
        Ok(Self { queue })
    }

    /// Queues a command. Commands after the end of the thread are dropped.
    pub fn send(&self, command: Command) {
        let _ = self.queue.send(command);
    }
}

struct Runner<B: Backend> {
    backend: B,
    storages: HashMap<StorageId, B::Storage>,
    failed: Option<KernelError>,
    recording: Option<Recording>,
}

/// How long the engine polls for the next command before it blocks.
const SPIN: Duration = Duration::from_micros(40);

fn next(commands: &Receiver<Command>) -> Option<Command> {
    let start = Instant::now();
    loop {
        match commands.try_recv() {
            Ok(command) => return Some(command),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if start.elapsed() > SPIN => return commands.recv().ok(),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
}

impl<B: Backend> Runner<B> {
    fn run(mut self, commands: &Receiver<Command>) {
        while let Some(command) = next(commands) {
            self.step(command);
        }
    }

    fn step(&mut self, command: Command) {
        match command {
            Command::Execute { op, inputs, outputs, values, rest } => {
                if self.failed.is_none() {
                    let start = self.recording.as_ref().map(|_| Instant::now());
                    let attributes = Attributes { op, values: &values, rest: &rest };
                    let done = self.execute(&inputs, &outputs, attributes);
                    if let (Some(recording), Some(start)) = (&mut self.recording, start) {
                        recording.add(op, &inputs, values, rest, start);
                    }
                    self.failed = done.err();
                }
            }
            Command::Upload { storage, spec, bytes } => {
                let made = self.backend.upload(&spec, &bytes);
                self.adopt(storage, made);
            }
            Command::Map { storage, spec, file, byte_offset } => {
                let made = self.backend.map(&spec, &file, byte_offset);
                self.adopt(storage, made);
            }
            Command::Release { storage } => {
                if let Some(storage) = self.storages.remove(&storage) {
                    self.backend.release(storage);
                }
            }
            Command::Trim => self.backend.trim(),
            Command::Read { operand, reply } => {
                let result = match self.failed.take() {
                    Some(error) => Err(error),
                    None => match self.storages.get(&operand.storage) {
                        Some(storage) => {
                            let view = View { spec: &operand.spec, storage, offset: operand.offset };
                            self.backend.download(view)
                        }
                        None => Err(missing(&operand)),
                    },
                };
                reply(result);
            }
            Command::Flush { reply } => {
                let result = match self.failed.take() {
                    Some(error) => Err(error),
                    None => self.backend.synchronize(),
                };
                reply(result);
            }
            Command::Mark { token, edge, sink } => sink(token, edge),
            Command::Record { on, reply } => {
                let before = std::mem::replace(&mut self.recording, on.then(Recording::begin));
                reply(before.map(Recording::finish).unwrap_or_default());
            }
        }
    }

    fn adopt(&mut self, id: StorageId, made: Result<B::Storage>) {
        match made {
            Ok(storage) => {
                self.storages.insert(id, storage);
            }
            Err(error) if self.failed.is_none() => self.failed = Some(error),
            Err(_) => {}
        }
    }

    fn execute(&mut self, inputs: &[Option<Operand>], outputs: &[Operand], attributes: Attributes<'_>) -> Result<()> {
        let mut made = Vec::with_capacity(outputs.len());
        let done = self.call(inputs, outputs, attributes, &mut made);
        for (output, storage) in outputs.iter().zip(made) {
            match done {
                Ok(()) => {
                    self.storages.insert(output.storage, storage);
                }
                Err(_) => self.backend.release(storage),
            }
        }
        done
    }

    fn call(
        &mut self,
        inputs: &[Option<Operand>],
        outputs: &[Operand],
        attributes: Attributes<'_>,
        made: &mut Vec<B::Storage>,
    ) -> Result<()> {
        for output in outputs {
            made.push(self.backend.allocate(&output.spec)?);
        }
        let mut bound = Vec::with_capacity(inputs.len());
        for input in inputs {
            bound.push(match input {
                None => None,
                Some(operand) => Some(View {
                    spec: &operand.spec,
                    storage: self.storages.get(&operand.storage).ok_or_else(|| missing(operand))?,
                    offset: operand.offset,
                }),
            });
        }
        let views =
            outputs.iter().zip(made.iter()).map(|(output, storage)| View { spec: &output.spec, storage, offset: 0 });
        let call = Call { inputs: bound, outputs: views.collect(), attributes };
        let backend = &mut self.backend;
        catch_unwind(AssertUnwindSafe(|| backend.execute(&call))).unwrap_or_else(|panic| {
            Err(KernelError::new(
                "ERR_INTERNAL",
                format!("{} failed inside its kernel: {}", attributes.op.name, panic_text(&*panic)),
            ))
        })
    }
}

fn missing(operand: &Operand) -> KernelError {
    KernelError::new(
        "ERR_TENSOR_MISSING",
        format!("{} was never computed, because an earlier op failed and its error was reported before", operand.spec),
    )
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()))
        .unwrap_or_else(|| "panic without a message".to_string())
}
