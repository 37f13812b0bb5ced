//! Programs: a sequence of calls recorded once and run again with other inputs, without the caller naming each call.
//!
//! What a call would check and infer anew is the same at every run, because the inputs have the same dtypes and shapes; so
//! a run costs the accounts and the queue.

use super::{Created, DeviceId, RunPlan, TensorId, TensorTable};
use crate::error::{KernelError, Result};
use crate::ops::OpDeclaration;
use crate::shape::TensorSpec;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a recorded call finds a tensor.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A tensor from before the recording, such as a weight.
    Outside(TensorId),
    /// Input of the program.
    Input(usize),
    /// Made by an earlier call.
    Local(usize),
}

/// A recorded call.
enum Step {
    Run {
        op: &'static OpDeclaration,
        inputs: Vec<Option<Source>>,
        values: Vec<f64>,
        rest: Vec<f64>,
        plan: RunPlan,
        category: u8,
    },
    View {
        of: Source,
        spec: Arc<TensorSpec>,
        offset: usize,
    },
    Release {
        local: usize,
    },
}

/// A recorded sequence of calls on one device.
pub struct Program {
    device: DeviceId,
    inputs: Vec<Arc<TensorSpec>>,
    steps: Vec<Step>,
    locals: usize,
    outputs: Vec<Source>,
}

/// A recording under way.
pub(super) struct Capture {
    device: DeviceId,
    inputs: Vec<Arc<TensorSpec>>,
    sources: HashMap<TensorId, Source>,
    steps: Vec<Step>,
    locals: usize,
    /// What was called that a program cannot hold.
    refused: Option<KernelError>,
}

impl Capture {
    fn source(&self, id: TensorId) -> Source {
        self.sources.get(&id).copied().unwrap_or(Source::Outside(id))
    }

    fn add_local(&mut self, id: TensorId) {
        self.sources.insert(id, Source::Local(self.locals));
        self.locals += 1;
    }

    /// Notes an op that was queued.
    pub(super) fn run(
        &mut self,
        device: DeviceId,
        op: &'static OpDeclaration,
        ids: &[Option<TensorId>],
        (values, rest): (Vec<f64>, Vec<f64>),
        (plan, category): (RunPlan, u8),
        made: &[Created],
    ) {
        if device != self.device {
            self.refuse(format!("{} ran on another device", op.name));
            return;
        }
        let inputs = ids.iter().map(|id| id.map(|id| self.source(id))).collect();
        self.steps.push(Step::Run { op, inputs, values, rest, plan, category });
        made.iter().for_each(|made| self.add_local(made.id));
    }

    /// Notes a view.
    pub(super) fn view(&mut self, of: TensorId, offset: usize, made: &Created) {
        let of = self.source(of);
        self.steps.push(Step::View { of, spec: Arc::clone(&made.spec), offset });
        self.add_local(made.id);
    }

    /// Notes a release; one of a tensor from before the recording happens once, not at every run.
    pub(super) fn release(&mut self, id: TensorId) {
        if let Some(Source::Local(local)) = self.sources.remove(&id) {
            self.steps.push(Step::Release { local });
        }
    }

    /// Notes a call that a program cannot hold; [`TensorTable::end_program`] fails with the first of them.
    pub(super) fn refuse(&mut self, what: String) {
        self.refused.get_or_insert_with(|| {
            KernelError::new("ERR_PROGRAM_CALL", format!("{what} while a program was recorded; programs hold ops only"))
        });
    }
}

impl TensorTable {
    /// Records the calls from here on, which run as always, until [`Self::end_program`]. `inputs` are the tensors that
    /// other ones take the place of in later runs.
    ///
    /// # Errors
    /// `ERR_PROGRAM_NESTED` while another is recorded, `ERR_TENSOR_RELEASED`.
    pub fn begin_program(&mut self, device: DeviceId, inputs: &[TensorId]) -> Result<()> {
        if self.capture.is_some() {
            return Err(KernelError::new("ERR_PROGRAM_NESTED", "a program is being recorded already".to_string()));
        }
        let specs = inputs.iter().map(|id| Ok(Arc::clone(&self.entry(*id)?.spec))).collect::<Result<_>>()?;
        let sources = inputs.iter().enumerate().map(|(index, id)| (*id, Source::Input(index))).collect();
        self.capture = Some(Capture { device, inputs: specs, sources, steps: Vec::new(), locals: 0, refused: None });
        Ok(())
    }

    /// Ends the recording. `outputs` stay with the caller; whatever else the calls made and did not release is released
    /// at the end of later runs.
    ///
    /// # Errors
    /// `ERR_PROGRAM_CALL` when something else than ops ran, `ERR_INVALID_ARGUMENT` when nothing is recorded or an output
    /// was not made by the calls.
    pub fn end_program(&mut self, outputs: &[TensorId]) -> Result<Program> {
        let Some(mut capture) = self.capture.take() else {
            return Err(KernelError::argument("program", "no program is being recorded".to_string()));
        };
        if let Some(error) = capture.refused {
            return Err(error);
        }
        let mut found = Vec::with_capacity(outputs.len());
        for id in outputs {
            match capture.sources.remove(id) {
                Some(source @ Source::Local(_)) => found.push(source),
                _ => {
                    return Err(KernelError::argument(
                        "program",
                        "an output was not made while it was recorded, or is given twice".to_string(),
                    ));
                }
            }
        }
        let mut left: Vec<usize> = capture
            .sources
            .values()
            .filter_map(|source| match source {
                Source::Local(local) => Some(*local),
                Source::Outside(_) | Source::Input(_) => None,
            })
            .collect();
        left.sort_unstable();
        capture.steps.extend(left.into_iter().map(|local| Step::Release { local }));
        let Capture { device, inputs, steps, locals, .. } = capture;
        Ok(Program { device, inputs, steps, locals, outputs: found })
    }

    /// Drops a recording; what it made stays.
    pub fn cancel_program(&mut self) {
        self.capture = None;
    }

    /// Runs a program with other inputs and returns its outputs.
    ///
    /// # Errors
    /// `ERR_SHAPE_MISMATCH` for inputs of another dtype or shape, `ERR_TENSOR_RELEASED` where an input or a tensor from
    /// before the recording is gone, `ERR_OUT_OF_MEMORY`. What was made until then is released.
    pub fn run_program(&mut self, program: &Program, inputs: &[TensorId]) -> Result<Vec<Created>> {
        if self.capture.is_some() {
            return Err(KernelError::new("ERR_PROGRAM_NESTED", "a program is being recorded already".to_string()));
        }
        if inputs.len() != program.inputs.len() {
            let text = format!("takes {} inputs, got {}", program.inputs.len(), inputs.len());
            return Err(KernelError::argument("program", text));
        }
        for (id, expected) in inputs.iter().zip(&program.inputs) {
            let found = &self.entry(*id)?.spec;
            if found != expected {
                return Err(KernelError::shape("program", format!("was recorded with {expected}, got {found}")));
            }
        }
        let mut locals: Vec<Option<Created>> = Vec::with_capacity(program.locals);
        let done = self.run_steps(program, inputs, &mut locals);
        let outputs = program.outputs.iter().filter_map(|source| match source {
            Source::Local(local) => locals.get_mut(*local).and_then(Option::take),
            Source::Outside(_) | Source::Input(_) => None,
        });
        match done {
            Ok(()) => Ok(outputs.collect()),
            Err(error) => {
                for made in locals.into_iter().flatten() {
                    self.release(made.id)?;
                }
                Err(error)
            }
        }
    }

    fn run_steps(&mut self, program: &Program, inputs: &[TensorId], locals: &mut Vec<Option<Created>>) -> Result<()> {
        let mut ids = Vec::new();
        for step in &program.steps {
            let id = |source: Source| match source {
                Source::Outside(id) => Ok(id),
                Source::Input(index) => Ok(inputs[index]),
                Source::Local(local) => locals[local].as_ref().map(|made| made.id).ok_or_else(|| {
                    KernelError::new("ERR_TENSOR_RELEASED", "a program uses a tensor that it released".to_string())
                }),
            };
            match step {
                Step::Run { op, inputs, values, rest, plan, category } => {
                    ids.clear();
                    for input in inputs {
                        ids.push(input.map(id).transpose()?);
                    }
                    let entries = self.operands(program.device, op, &ids)?;
                    let before = std::mem::replace(&mut self.category, *category);
                    let made = self.queue(program.device, op, entries, values.clone(), rest.clone(), plan);
                    self.category = before;
                    locals.extend(made?.into_iter().map(Some));
                }
                Step::View { of, spec, offset } => {
                    let made = self.view(id(*of)?, Some(spec.shape.clone()), *offset)?;
                    locals.push(Some(made));
                }
                Step::Release { local } => {
                    if let Some(made) = locals[*local].take() {
                        self.release(made.id)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuBackend;
    use crate::cpu::isa::Isa;
    use crate::dtype::DType;
    use crate::engine::Engine;
    use crate::ops::find;
    use std::sync::mpsc::channel;

    fn table() -> TensorTable {
        let mut table = TensorTable::default();
        let engine = Engine::start("cpu", || Ok(CpuBackend::with_isa(Isa::Portable))).expect("a thread");
        table.add_device("cpu", Some(engine));
        table
    }

    fn upload(table: &mut TensorTable, values: &[f32]) -> TensorId {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        table.upload(0, TensorSpec::new(DType::F32, vec![values.len()]), &bytes).expect("memory").id
    }

    fn read(table: &TensorTable, id: TensorId) -> Result<Vec<f32>> {
        let (sender, receiver) = channel();
        table.read(id, Box::new(move |bytes| sender.send(bytes).expect("somebody waits")))?;
        let bytes = receiver.recv().expect("an answer")?;
        Ok(bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    fn run(table: &mut TensorTable, name: &str, ids: &[TensorId]) -> Result<TensorId> {
        let op = find(name).expect("a declared op");
        let ids: Vec<Option<TensorId>> = ids.iter().copied().map(Some).collect();
        Ok(table.dispatch(0, op, &ids, &[], &[])?[0].id)
    }

    /// y = (x + w) · w, with one intermediate released and one left over.
    fn record(table: &mut TensorTable, x: TensorId, w: TensorId) -> (Program, TensorId) {
        table.begin_program(0, &[x]).expect("none is recorded");
        let sum = run(table, "add", &[x, w]).expect("valid operands");
        let flat = table.view(sum, Some(vec![2, 2]), 0).expect("a view").id;
        let back = table.view(flat, Some(vec![4]), 0).expect("a view").id;
        table.release(sum).expect("it is live");
        let y = run(table, "mul", &[back, w]).expect("valid operands");
        table.release(flat).expect("it is live");
        (table.end_program(&[y]).expect("only ops ran"), y)
    }

    #[test]
    fn later_runs_compute_with_other_inputs_and_leave_only_outputs() {
        let mut table = table();
        let (x, w) = (upload(&mut table, &[1.0, 2.0, 3.0, 4.0]), upload(&mut table, &[2.0, 2.0, 2.0, 3.0]));
        let (program, first) = record(&mut table, x, w);
        assert_eq!(read(&table, first).unwrap(), [6.0, 8.0, 10.0, 21.0]);
        let other = upload(&mut table, &[0.0, -1.0, 1.0, 0.5]);
        let (live, before) = (table.live(0).len(), table.stats(0));
        let found = table.run_program(&program, &[other]).expect("the same shapes");
        assert_eq!(read(&table, found[0].id).unwrap(), [4.0, 2.0, 6.0, 10.5]);
        assert_eq!(table.live(0).len(), live + 1);
        assert_eq!(table.stats(0).live_bytes, before.live_bytes + 16);
        assert_eq!(table.stats(0).ops, before.ops + 2);
    }

    #[test]
    fn other_shapes_and_tensors_that_are_gone_are_refused_and_nothing_leaks() {
        let mut table = table();
        let (x, w) = (upload(&mut table, &[1.0; 4]), upload(&mut table, &[2.0; 4]));
        let (program, _) = record(&mut table, x, w);
        let longer = upload(&mut table, &[1.0; 5]);
        assert_eq!(table.run_program(&program, &[longer]).unwrap_err().code, "ERR_SHAPE_MISMATCH");
        assert_eq!(table.run_program(&program, &[]).unwrap_err().code, "ERR_INVALID_ARGUMENT");
        let live = table.live(0).len();
        table.set_limit(0, table.stats(0).live_bytes + 20);
        assert_eq!(table.run_program(&program, &[x]).unwrap_err().code, "ERR_OUT_OF_MEMORY");
        assert_eq!(table.live(0).len(), live);
        table.set_limit(0, 0);
        table.release(w).unwrap();
        assert_eq!(table.run_program(&program, &[x]).unwrap_err().code, "ERR_TENSOR_RELEASED");
        assert_eq!(table.live(0).len(), live - 1);
    }

    #[test]
    fn what_a_program_cannot_hold_is_refused_at_its_end() {
        let mut table = table();
        let x = upload(&mut table, &[1.0; 4]);
        table.begin_program(0, &[x]).unwrap();
        assert_eq!(table.begin_program(0, &[x]).unwrap_err().code, "ERR_PROGRAM_NESTED");
        upload(&mut table, &[1.0]);
        let error = table.end_program(&[]).err().expect("an upload is no op");
        assert_eq!(error.code, "ERR_PROGRAM_CALL");
        assert!(error.message.contains("uploaded"), "{}", error.message);
        table.begin_program(0, &[x]).unwrap();
        assert_eq!(table.end_program(&[x]).err().expect("an input is no output").code, "ERR_INVALID_ARGUMENT");
        assert_eq!(table.end_program(&[]).err().expect("nothing is recorded").code, "ERR_INVALID_ARGUMENT");
        table.begin_program(0, &[x]).unwrap();
        table.cancel_program();
        table.begin_program(0, &[x]).unwrap();
    }
}
