//! Times the ops of a training step in processor time of one thread, against the register loop of the same
//! instruction set; other work on the machine disturbs it little.
//!
//! ```sh
//! SWIFT_THREADS=1 cargo run --release -p swift-kernels --example hot [name part] [float32] [tiny] [cold] [stored]
//! ```
//!
//! With several threads it prints the median of the time that passed instead, which a busy machine disturbs.
//! `stored` keeps activations of products and of element-wise ops in bfloat16.
//! `cold` takes the weights out of the caches before each run, as they are in a step of a large model.

use std::collections::BTreeMap;
use std::env::args;
use std::time::Instant;
use swift_kernels::backend::{Backend, Call, View};
use swift_kernels::cpu::gemm::kernel::PanelWord;
use swift_kernels::cpu::isa::Isa;
use swift_kernels::cpu::pool::Pool;
use swift_kernels::cpu::roofline::{peak_gflops, read_bandwidth};
use swift_kernels::cpu::{CpuBackend, CpuStorage};
use swift_kernels::dtype::DType;
use swift_kernels::ops::{Attributes, InferCall, find};
use swift_kernels::rng::normal_at;
use swift_kernels::shape::TensorSpec;

type Values = BTreeMap<&'static str, f64>;

struct Operand {
    spec: TensorSpec,
    storage: CpuStorage,
}

struct Bench {
    backend: CpuBackend,
    filter: Option<String>,
    peak: f64,
    cold: bool,
    stored: bool,
}

/// Drops the cache lines of a weight.
fn evict(view: &View<'_, CpuStorage>) {
    #[cfg(target_arch = "x86_64")]
    for line in view.bytes().expect("bytes of an operand").chunks(64) {
        // SAFETY: the address is readable.
        unsafe { std::arch::x86_64::_mm_clflush(line.as_ptr()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = view;
}

/// Seconds of processor time of this thread.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// Normal values that repeat after a prime number of elements; made once, because they take longer than most ops.
fn normals(seed: u64, count: usize) -> impl Iterator<Item = f32> {
    const PERIOD: usize = 65_537;
    let values: Vec<f32> = (0..PERIOD.min(count) as u64).map(|index| normal_at(seed, index) as f32).collect();
    (0..count).map(move |index| values[index % PERIOD])
}

impl Bench {
    fn floats(&mut self, shape: &[usize], deviation: f32) -> Operand {
        let count: usize = shape.iter().product();
        let bytes: Vec<u8> = normals(7, count).flat_map(|value| (deviation * value).to_le_bytes()).collect();
        self.upload(DType::F32, shape, &bytes)
    }

    fn bf16(&mut self, shape: &[usize], deviation: f32) -> Operand {
        let count: usize = shape.iter().product();
        let bytes: Vec<u8> =
            normals(9, count).flat_map(|value| half::bf16::from_f32(deviation * value).to_le_bytes()).collect();
        self.upload(DType::BF16, shape, &bytes)
    }

    /// An activation, in float32 or as `stored` says.
    fn activations(&mut self, shape: &[usize], deviation: f32) -> Operand {
        if self.stored { self.bf16(shape, deviation) } else { self.floats(shape, deviation) }
    }

    fn ints(&mut self, values: &[i32]) -> Operand {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.upload(DType::I32, &[values.len()], &bytes)
    }

    fn upload(&mut self, dtype: DType, shape: &[usize], bytes: &[u8]) -> Operand {
        let spec = TensorSpec::new(dtype, shape.to_vec());
        let storage = self.backend.upload(&spec, bytes).expect("memory for an operand");
        Operand { spec, storage }
    }

    /// Runs an op until it has used a second; prints the best time and returns the last outputs.
    fn time(&mut self, label: &str, op: &str, inputs: &[Option<&Operand>], values: &Values) -> Vec<Operand> {
        let op = find(op).expect("a declared op");
        let numbers: Vec<f64> = op
            .attributes
            .iter()
            .map(|known| values.get(known.name).copied().or(known.default).unwrap_or(0.0))
            .collect();
        let attributes = Attributes { op, values: &numbers, rest: &[] };
        let specs: Vec<Option<&TensorSpec>> = inputs.iter().map(|input| input.map(|operand| &operand.spec)).collect();
        let inferred = (op.infer)(&InferCall { inputs: &specs, attributes }).expect("valid operands");
        let is_wanted = self.filter.as_ref().is_none_or(|part| label.contains(part.as_str()));
        let (mut times, mut spent, mut outputs) = (Vec::new(), 0.0, Vec::new());
        let several = Pool::global().threads() > 1;
        while outputs.is_empty() || (is_wanted && spent < 1.0) {
            for Operand { storage, .. } in outputs.drain(..) {
                self.backend.release(storage);
            }
            outputs = inferred
                .outputs
                .iter()
                .map(|spec| Operand { spec: spec.clone(), storage: self.backend.allocate(spec).expect("memory") })
                .collect();
            let view = |operand: &Operand| -> View<'_, CpuStorage> {
                // SAFETY: only widens the borrow to the call below, which ends before the operands do.
                let operand: &'static Operand = unsafe { &*std::ptr::from_ref(operand) };
                View { spec: &operand.spec, storage: &operand.storage, offset: 0 }
            };
            let call = Call {
                inputs: inputs.iter().map(|input| input.map(view)).collect(),
                outputs: outputs.iter().map(view).collect(),
                attributes,
            };
            if self.cold {
                call.inputs.get(1).into_iter().flatten().filter(|view| view.spec.dtype == DType::BF16).for_each(evict);
            }
            let (start, passed) = (thread_seconds(), Instant::now());
            self.backend.execute(&call).expect("the op runs");
            let seconds = if several { passed.elapsed().as_secs_f64() } else { thread_seconds() - start };
            times.push(seconds);
            spent += seconds;
        }
        if is_wanted {
            times.sort_by(f64::total_cmp);
            let best = times[if several { times.len() / 2 } else { 0 }];
            let gflops = inferred.flops as f64 / best * 1e-9;
            println!(
                "{label:34} {:9.3} ms {gflops:8.1} GFLOP/s {:5.1} % {:7.1} GB/s",
                1e3 * best,
                100.0 * gflops / self.peak,
                inferred.bytes as f64 / best * 1e-9
            );
        }
        outputs
    }
}

fn main() {
    let words: Vec<String> = args().skip(1).collect();
    let float32 = words.iter().any(|word| word == "float32");
    let isa = Isa::select().expect("an instruction set");
    let word = if isa.has_native_bf16() && !float32 { PanelWord::Bf16Pair } else { PanelWord::F32 };
    let peak = (0..20).map(|_| peak_gflops(Pool::global(), isa, word)).fold(0.0, f64::max);
    let read = 1e-9 * read_bandwidth(Pool::global(), 256 << 20);
    let threads = Pool::global().threads();
    println!("{threads} threads, {}, {peak:.0} GFLOP/s from registers, {read:.1} GB/s read from memory", isa.name());
    let tiny = words.iter().any(|word| word == "tiny");
    let cold = words.iter().any(|word| word == "cold");
    let stored = words.iter().any(|word| word == "stored");
    let filter = words.into_iter().find(|word| !["float32", "tiny", "cold", "stored"].contains(&word.as_str()));
    let mut bench = Bench { backend: CpuBackend::with_isa(isa), filter, peak, cold, stored };
    let compute = Values::from([("bfloat16", f64::from(u8::from(!float32)))]);
    let with = |more: &[(&'static str, f64)]| -> Values { compute.clone().into_iter().chain(more.to_vec()).collect() };

    let vocabulary = if tiny { 4096 } else { 151_936 };
    let hidden = if tiny { 256 } else { 1024 };
    for (n, k) in [(3 * hidden, hidden), (hidden, 3 * hidden), (vocabulary, hidden)] {
        let (w, x) = (bench.bf16(&[n, k], 0.02), bench.floats(&[1, k], 1.0));
        bench.time(&format!("decode {n}x{k}"), "linear", &[Some(&x), Some(&w), None, None, None], &compute);
        let quantized = bench.time(&format!("quantize {n}x{k}"), "quantize4", &[Some(&w)], &compute);
        let operands = [Some(&x), Some(&quantized[0]), None, None, None];
        bench.time(&format!("decode nf4 {n}x{k}"), "linear", &operands, &compute);
        let x = bench.floats(&[8, k], 1.0);
        let operands = [Some(&x), Some(&quantized[0]), None, None, None];
        bench.time(&format!("decode nf4 {n}x{k}, 8 rows"), "linear", &operands, &compute);
    }
    let tokens = if tiny { 256 } else { 512 };
    let outputs = with(&[("outputBfloat16", f64::from(u8::from(stored)))]);
    let (heads, kv_heads, extent) = if tiny { (4, 2, 64) } else { (16, 8, 128) };
    let queries = heads * extent;
    let extents =
        [(queries, hidden), (kv_heads * extent, hidden), (hidden, queries), (3 * hidden, hidden), (hidden, 3 * hidden)];
    for (n, k) in extents {
        let (x, w) = (bench.activations(&[tokens, k], 1.0), bench.bf16(&[n, k], 0.02));
        let (a, b) = (bench.floats(&[16, k], 0.02), bench.floats(&[n, 16], 0.02));
        let dy = bench.activations(&[tokens, n], 1e-3);
        let branch = [Some(&x), Some(&w), None, Some(&a), Some(&b)];
        let made = bench.time(&format!("linear {n}x{k}"), "linear", &branch, &outputs);
        let operands = [Some(&dy), Some(&w), Some(&a), Some(&b)];
        let label = format!("linearInputGradient {n}x{k}");
        let gradients = bench.time(&label, "linearInputGradient", &operands, &outputs);
        let operands = [Some(&dy), Some(&x), Some(&made[1]), Some(&a), Some(&b), Some(&gradients[1])];
        bench.time(&format!("linearLoraGradient {n}x{k}"), "linearLoraGradient", &operands, &compute);
        let quantized = bench.time(&format!("quantize {n}x{k}"), "quantize4", &[Some(&w)], &compute);
        let operands = [Some(&x), Some(&quantized[0]), None, Some(&a), Some(&b)];
        bench.time(&format!("linear nf4 {n}x{k}"), "linear", &operands, &outputs);
        let operands = [Some(&dy), Some(&quantized[0]), Some(&a), Some(&b)];
        bench.time(&format!("linearInputGradient nf4 {n}x{k}"), "linearInputGradient", &operands, &outputs);
    }

    for (length, narrow) in [(tokens, false), (tokens, true), (2048, true)] {
        let mut operand = |heads: usize, deviation: f32| {
            let shape = [length, heads, extent];
            if narrow { bench.bf16(&shape, deviation) } else { bench.floats(&shape, deviation) }
        };
        let [q, k, v, d_output] = [(heads, 1.0), (kv_heads, 1.0), (kv_heads, 1.0), (heads, 1e-3)]
            .map(|(heads, deviation)| operand(heads, deviation));
        let offsets = bench.ints(&[0, length as i32]);
        let attention = with(&[("causal", 1.0), ("outputBfloat16", f64::from(u8::from(narrow)))]);
        let label = |op: &str| format!("{op} {length}{}", if narrow { " bf16" } else { "" });
        let operands = [Some(&q), Some(&k), Some(&v), Some(&offsets)];
        let outputs = bench.time(&label("attention"), "attention", &operands, &attention);
        let (o, lse) = (&outputs[0], &outputs[1]);
        let operands = [Some(&d_output), Some(&q), Some(&k), Some(&v), Some(o), Some(lse), Some(&offsets)];
        bench.time(&label("attentionBackward"), "attentionBackward", &operands, &attention);
    }

    let positions = bench.ints(&(0..tokens as i32).collect::<Vec<_>>());
    let frequencies = bench.floats(&[extent / 2], 0.01);
    let turned = bench.activations(&[tokens, heads, extent], 1.0);
    bench.time("rope", "rope", &[Some(&turned), Some(&positions), Some(&frequencies)], &compute);
    let (gate, up) = (bench.activations(&[tokens, 3 * hidden], 1.0), bench.activations(&[tokens, 3 * hidden], 1.0));
    bench.time("swiglu", "swiglu", &[Some(&gate), Some(&up)], &compute);

    let (states, head) = (bench.floats(&[tokens, hidden], 1.0), bench.bf16(&[vocabulary, hidden], 0.02));
    let targets = bench.ints(&(0..tokens as i32).map(|index| index * 293 % vocabulary as i32).collect::<Vec<_>>());
    let training = with(&[("needHidden", 1.0)]);
    let operands = [Some(&states), Some(&head), Some(&targets), None];
    bench.time("linearCrossEntropy", "linearCrossEntropy", &operands, &training);
}
