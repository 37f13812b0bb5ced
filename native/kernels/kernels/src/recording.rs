//! Times of the ops that an engine ran, kept on request: what a profile is made of.
//!
//! While nothing is recorded an op costs one branch more. While recording, an op costs two readings of the clock; its
//! operands' specifications are kept, and counted only when the record is taken.

use crate::engine::Operand;
use crate::ops::{Attributes, InferCall, OpDeclaration};
use crate::shape::TensorSpec;
use std::sync::Arc;
use std::time::Instant;

/// One op that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct OpRecord {
    /// Name of the op.
    pub name: &'static str,
    /// Its inputs as text, e.g. `float32[512, 1024] bfloat16[2048, 1024]`; an input left out is `-`.
    pub operands: String,
    /// From the start of the recording to the start of the op.
    pub start_ns: u64,
    /// Time on the engine thread, from the allocation of the outputs to the end of the kernel.
    pub duration_ns: u64,
    /// Floating-point operations by the op's declaration.
    pub flops: u64,
    /// Bytes read and written at least once, by the op's declaration.
    pub bytes: u64,
}

struct Ran {
    op: &'static OpDeclaration,
    inputs: Vec<Option<Arc<TensorSpec>>>,
    values: Vec<f64>,
    rest: Vec<f64>,
    start: Instant,
    end: Instant,
}

/// A recording under way.
pub struct Recording {
    began: Instant,
    ran: Vec<Ran>,
}

impl Recording {
    /// Begins now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), ran: Vec::new() }
    }

    /// Adds an op that ended now.
    pub fn add(
        &mut self,
        op: &'static OpDeclaration,
        inputs: &[Option<Operand>],
        values: Vec<f64>,
        rest: Vec<f64>,
        start: Instant,
    ) {
        let end = Instant::now();
        let inputs = inputs.iter().map(|input| input.as_ref().map(|operand| Arc::clone(&operand.spec))).collect();
        self.ran.push(Ran { op, inputs, values, rest, start, end });
    }

    /// Ends the recording.
    pub fn finish(self) -> Vec<OpRecord> {
        let began = self.began;
        self.ran.into_iter().map(|ran| ran.record(began)).collect()
    }
}

impl Ran {
    fn record(self, began: Instant) -> OpRecord {
        let Ran { op, inputs, values, rest, start, end } = self;
        let specs: Vec<Option<&TensorSpec>> = inputs.iter().map(Option::as_deref).collect();
        let attributes = Attributes { op, values: &values, rest: &rest };
        // The call was inferred before it was queued, so that it cannot fail here.
        let costs = (op.infer)(&InferCall { inputs: &specs, attributes }).unwrap_or_default();
        let text = |spec: &Option<&TensorSpec>| spec.map_or_else(|| "-".to_string(), ToString::to_string);
        OpRecord {
            name: op.name,
            operands: specs.iter().map(text).collect::<Vec<_>>().join(" "),
            start_ns: nanoseconds(began, start),
            duration_ns: nanoseconds(start, end),
            flops: costs.flops,
            bytes: costs.bytes,
        }
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::dtype::DType;
    use crate::engine::Engine;
    use crate::oracle::OracleBackend;
    use crate::recording::OpRecord;
    use crate::shape::TensorSpec;
    use crate::table::TensorTable;
    use std::sync::mpsc::channel;

    fn record(table: &mut TensorTable, on: bool) -> Vec<OpRecord> {
        let (sender, receiver) = channel();
        table.record(0, on, Box::new(move |records| sender.send(records).unwrap()));
        receiver.recv().unwrap()
    }

    #[test]
    fn ops_are_recorded_in_order_with_their_costs_and_only_while_asked() {
        let mut table = TensorTable::default();
        let engine = Engine::start("oracle", || Ok(OracleBackend::default())).unwrap();
        table.add_device("oracle", Some(engine));
        let bytes = |count: usize| vec![0u8; 4 * count];
        let x = table.upload(0, TensorSpec::new(DType::F32, [2, 3]), &bytes(6)).unwrap().id;
        let weight = table.upload(0, TensorSpec::new(DType::F32, [5, 3]), &bytes(15)).unwrap().id;
        let linear = crate::ops::find("linear").unwrap();
        let ids = [Some(x), Some(weight), None, None, None];
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        assert!(record(&mut table, true).is_empty());
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        let records = record(&mut table, false);
        assert_eq!(records.len(), 2);
        for found in &records {
            assert_eq!((found.name, found.flops), ("linear", 2 * 2 * 3 * 5));
            assert_eq!(found.bytes, 4 * (6 + 15 + 10));
            assert_eq!(found.operands, "float32[2, 3] float32[5, 3] - - -");
        }
        assert!(records[1].start_ns >= records[0].start_ns + records[0].duration_ns);
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        assert!(record(&mut table, false).is_empty());
    }
    #[test]
    fn a_device_without_an_engine_records_what_ops_would_cost() {
        let mut table = TensorTable::default();
        table.add_device("meta", None);
        let x = table.upload(0, TensorSpec::new(DType::F32, [2, 3]), &[0; 24]).unwrap().id;
        let weight = table.upload(0, TensorSpec::new(DType::F32, [5, 3]), &[0; 60]).unwrap().id;
        let linear = crate::ops::find("linear").unwrap();
        let ids = [Some(x), Some(weight), None, None, None];
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        assert!(record(&mut table, true).is_empty());
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        let records = record(&mut table, false);
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].name, records[0].flops, records[0].bytes), ("linear", 60, 124));
        assert_eq!(records[0].operands, "float32[2, 3] float32[5, 3] - - -");
        table.dispatch(0, linear, &ids, &[], &[]).unwrap();
        assert!(record(&mut table, false).is_empty());
    }
}
