//! Rotary embedding, attention over packed sequences and over a key-value cache.

use super::{InferCall, Inferred, OpDeclaration, attribute, input, optional};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::shape::TensorSpec;

/// Declarations of this file.
pub const OPS: &[OpDeclaration] = &[
    // x [T, H, D], float32 or bfloat16, and so is y; positions i32 [T]; inverseFrequencies [R/2] turns the first R ≤ D elements of a
    // head, half-split. `inverse` rotates back: the gradient.
    OpDeclaration {
        name: "rope",
        inputs: &[input("x"), input("positions"), input("inverseFrequencies")],
        variadic: &[],
        attributes: &[attribute("attentionScale", 1.0), attribute("inverse", 0.0)],
        rest: None,
        outputs: &["y"],
        mutates: &[],
        infer: rope,
    },
    // q [T, H, D]; k, v [T, KV, D]; cuSeqlens i32 [n + 1]. scale 0 means 1/√D; window 0 and softcap 0
    // mean none; key j is visible to query i iff i − j < window (and j ≤ i when causal). `bfloat16` allows the device
    // to round the operands of the products (q, k, v, the weights P, and in backward dO and dS) to bfloat16; sums,
    // scores and softmax stay float32. A device that does not multiply bfloat16 natively computes in float32. q, k, v (and
    // dO and o in backward) are float32 or bfloat16 each; `outputBfloat16` makes o (dQ, dK and dV in backward) bfloat16,
    // rounded to nearest even. lse is float32.
    OpDeclaration {
        name: "attention",
        inputs: &[input("q"), input("k"), input("v"), input("cuSeqlens")],
        variadic: &[],
        attributes: &[
            attribute("scale", 0.0),
            attribute("causal", 1.0),
            attribute("window", 0.0),
            attribute("softcap", 0.0),
            attribute("bfloat16", 0.0),
            attribute("outputBfloat16", 0.0),
        ],
        rest: None,
        outputs: &["o", "lse"],
        mutates: &[],
        infer: attention,
    },
    OpDeclaration {
        name: "attentionBackward",
        inputs: &[input("dO"), input("q"), input("k"), input("v"), input("o"), input("lse"), input("cuSeqlens")],
        variadic: &[],
        attributes: &[
            attribute("scale", 0.0),
            attribute("causal", 1.0),
            attribute("window", 0.0),
            attribute("softcap", 0.0),
            attribute("bfloat16", 0.0),
            attribute("outputBfloat16", 0.0),
        ],
        rest: None,
        outputs: &["dQ", "dK", "dV"],
        mutates: &[],
        infer: attention_backward,
    },
    // cacheK, cacheV [B, S, KV, D] f32 or bf16; slots and positions i32 [T]. Query t sees the entries
    // 0..=positions[t] of its slot (within the window).
    OpDeclaration {
        name: "attentionDecode",
        inputs: &[input("q"), input("cacheK"), input("cacheV"), input("slots"), input("positions")],
        variadic: &[],
        attributes: &[attribute("scale", 0.0), attribute("window", 0.0), attribute("softcap", 0.0)],
        rest: None,
        outputs: &["o"],
        mutates: &[],
        infer: attention_decode,
    },
    // cache[slots[t], positions[t]] = k[t], v[t].
    OpDeclaration {
        name: "kvAppend",
        inputs: &[input("cacheK"), input("cacheV"), input("k"), input("v"), input("slots"), input("positions")],
        variadic: &[],
        attributes: &[],
        rest: None,
        outputs: &[],
        mutates: &["cacheK", "cacheV"],
        infer: kv_append,
    },
    // y = rope(rmsNorm(q)); cache[slots[t], positions[t]] = rope(rmsNorm(k[t])), v[t]. Without a norm's weight [D] its
    // heads are only rotated.
    OpDeclaration {
        name: "kvEnter",
        inputs: &[
            input("q"),
            input("k"),
            input("v"),
            input("cacheK"),
            input("cacheV"),
            input("slots"),
            input("positions"),
            input("inverseFrequencies"),
            optional("qNorm"),
            optional("kNorm"),
        ],
        variadic: &[],
        attributes: &[attribute("epsilon", 1e-6), attribute("attentionScale", 1.0)],
        rest: None,
        outputs: &["y"],
        mutates: &["cacheK", "cacheV"],
        infer: kv_enter,
    },
];

fn rank(call: &InferCall<'_>, name: &str, rank: usize) -> Result<()> {
    let spec = call.input(name);
    if spec.shape.len() != rank {
        return Err(KernelError::shape(call.name(), format!("{name} must have {rank} dimensions, got {spec}")));
    }
    Ok(())
}

fn rope(call: &InferCall<'_>) -> Result<Inferred> {
    let x = call.stored("x")?;
    rank(call, "x", 3)?;
    call.typed("positions", DType::I32)?;
    call.expect_shape("positions", &[x.shape[0]])?;
    let frequencies = call.float("inverseFrequencies")?;
    rank(call, "inverseFrequencies", 1)?;
    if 2 * frequencies.elements() > x.last() {
        return Err(KernelError::shape(
            "rope",
            format!(
                "{} frequencies turn {} elements, but a head of x {x} has fewer",
                frequencies.elements(),
                2 * frequencies.elements()
            ),
        ));
    }
    let elements = x.elements() as u64;
    let outputs = vec![x.clone()];
    let bytes = call.moved_bytes(&outputs)?;
    Ok(Inferred { outputs, workspace_bytes: 0, flops: 3 * elements, bytes })
}

/// Checks q [T, H, D] against KV heads of extent D.
fn heads(call: &InferCall<'_>, kv_heads: usize, kv_dim: usize) -> Result<(usize, usize, usize)> {
    let q = call.input("q");
    rank(call, "q", 3)?;
    let (tokens, heads, dim) = (q.shape[0], q.shape[1], q.shape[2]);
    if kv_heads == 0 || heads % kv_heads != 0 || dim != kv_dim || dim == 0 {
        return Err(KernelError::shape(
            call.name(),
            format!("q {q} needs heads of the keys' extent {kv_dim}, in a multiple of their {kv_heads} heads"),
        ));
    }
    for name in ["window", "softcap"] {
        if call.attributes.number(name) < 0.0 {
            return Err(KernelError::argument(call.name(), format!("{name} must not be negative")));
        }
    }
    Ok((tokens, heads, dim))
}

/// An operand of packed attention.
fn stored<'a>(call: &InferCall<'a>, name: &str) -> Result<&'a TensorSpec> {
    let spec = call.input(name);
    if !matches!(spec.dtype, DType::F32 | DType::BF16) {
        return Err(KernelError::dtype(call.name(), format!("{name} must be float32 or bfloat16, got {spec}")));
    }
    Ok(spec)
}

fn packed(call: &InferCall<'_>) -> Result<(usize, usize, usize, usize)> {
    let (_, k, _) = (stored(call, "q")?, stored(call, "k")?, stored(call, "v")?);
    rank(call, "k", 3)?;
    let (tokens, query_heads, dim) = heads(call, k.shape[1], k.shape[2])?;
    call.expect_shape("k", &[tokens, k.shape[1], dim])?;
    call.expect_shape("v", &[tokens, k.shape[1], dim])?;
    let offsets = call.typed("cuSeqlens", DType::I32)?;
    if offsets.shape.len() != 1 || offsets.elements() < 2 {
        return Err(KernelError::shape(call.name(), format!("cuSeqlens must be [sequences + 1], got {offsets}")));
    }
    Ok((tokens, query_heads, k.shape[1], dim))
}

/// An output of packed attention.
fn written(call: &InferCall<'_>, shape: [usize; 3]) -> TensorSpec {
    let dtype = if call.attributes.flag("outputBfloat16") { DType::BF16 } else { DType::F32 };
    TensorSpec::new(dtype, shape)
}

/// Bytes of tensors as they are stored.
fn bytes(specs: &[&TensorSpec]) -> usize {
    specs.iter().map(|spec| spec.elements() * spec.dtype.size().unwrap_or(4)).sum()
}

/// Bytes of float32 copies of those that are bfloat16: a device that multiplies in float32 makes them.
fn widened(specs: &[&TensorSpec]) -> usize {
    specs.iter().filter(|spec| spec.dtype == DType::BF16).map(|spec| 4 * spec.elements()).sum()
}

/// Multiply-adds of one of the products, for sequences of equal length (exact lengths are values).
fn pairs(call: &InferCall<'_>, tokens: usize) -> u64 {
    let sequences = call.input("cuSeqlens").elements() - 1;
    let length = tokens.div_ceil(sequences.max(1)) as u64;
    let window = call.attributes.count("window") as u64;
    let visible = if window == 0 { length } else { length.min(window) };
    let per_query = if call.attributes.flag("causal") && visible == length { length.div_ceil(2) } else { visible };
    tokens as u64 * per_query
}

fn attention(call: &InferCall<'_>) -> Result<Inferred> {
    let (tokens, heads, kv_heads, dim) = packed(call)?;
    let o = written(call, [tokens, heads, dim]);
    let stored = [call.input("q"), call.input("k"), call.input("v"), &o];
    // Rounded keys and values.
    let rounded = if call.attributes.flag("bfloat16") { 4 * tokens * kv_heads * dim } else { 0 };
    Ok(Inferred {
        workspace_bytes: rounded.max(widened(&stored)),
        flops: 4 * pairs(call, tokens) * (heads * dim) as u64,
        bytes: bytes(&stored) as u64,
        outputs: vec![o, TensorSpec::f32([tokens, heads])],
    })
}

fn attention_backward(call: &InferCall<'_>) -> Result<Inferred> {
    let (tokens, heads, kv_heads, dim) = packed(call)?;
    for name in ["dO", "o"] {
        stored(call, name)?;
        call.expect_shape(name, &[tokens, heads, dim])?;
    }
    call.typed("lse", DType::F32)?;
    call.expect_shape("lse", &[tokens, heads])?;
    let (dq, keys) = (written(call, [tokens, heads, dim]), written(call, [tokens, kv_heads, dim]));
    let [do_, q, k, v, o] = ["dO", "q", "k", "v", "o"].map(|name| call.input(name));
    let stored = [do_, q, k, v, o, &dq, &keys, &keys];
    // In bfloat16, keys in two orders and values in one.
    let rounded = if call.attributes.flag("bfloat16") { 6 * tokens * kv_heads * dim } else { 0 };
    // Heads that are too few to keep cores busy are shared out, and shares have sums of their own (for up to four threads).
    let shares = 8usize.div_ceil((kv_heads * (call.input("cuSeqlens").elements() - 1)).max(1));
    let sums = if shares > 1 { 8 * shares * tokens * kv_heads * dim } else { 0 };
    Ok(Inferred {
        // Row sums of dO ∘ O besides.
        workspace_bytes: 4 * tokens * heads + sums + rounded.max(widened(&stored)),
        flops: 10 * pairs(call, tokens) * (heads * dim) as u64,
        bytes: bytes(&stored) as u64,
        outputs: vec![dq, keys.clone(), keys],
    })
}

fn cache<'a>(call: &InferCall<'a>) -> Result<&'a TensorSpec> {
    let keys = call.input("cacheK");
    rank(call, "cacheK", 4)?;
    if !matches!(keys.dtype, DType::F32 | DType::BF16) {
        return Err(KernelError::dtype(call.name(), format!("a cache holds float32 or bfloat16, got {keys}")));
    }
    call.typed("cacheV", keys.dtype)?;
    call.expect_shape("cacheV", &keys.shape)?;
    Ok(keys)
}

fn addresses(call: &InferCall<'_>, tokens: usize) -> Result<()> {
    for name in ["slots", "positions"] {
        call.typed(name, DType::I32)?;
        call.expect_shape(name, &[tokens])?;
    }
    Ok(())
}

fn attention_decode(call: &InferCall<'_>) -> Result<Inferred> {
    let cache = cache(call)?;
    call.typed("q", DType::F32)?;
    let (tokens, heads, dim) = heads(call, cache.shape[2], cache.shape[3])?;
    addresses(call, tokens)?;
    // Positions are values; the bound is a full cache.
    let window = call.attributes.count("window");
    let visible = if window == 0 { cache.shape[1] } else { cache.shape[1].min(window) };
    let row = cache.shape[2] * dim * cache.dtype.size().unwrap_or(4);
    Ok(Inferred {
        outputs: vec![TensorSpec::f32([tokens, heads, dim])],
        workspace_bytes: 0,
        flops: 4 * (tokens * visible * heads * dim) as u64,
        bytes: (8 * tokens * heads * dim + 2 * cache.shape[0].min(tokens) * visible * row) as u64,
    })
}

fn kv_append(call: &InferCall<'_>) -> Result<Inferred> {
    let cache = cache(call)?;
    let tokens = call.typed("k", DType::F32)?.shape.first().copied().unwrap_or(0);
    call.typed("v", DType::F32)?;
    for name in ["k", "v"] {
        call.expect_shape(name, &[tokens, cache.shape[2], cache.shape[3]])?;
    }
    addresses(call, tokens)?;
    let elements = 2 * tokens * cache.shape[2] * cache.shape[3];
    let bytes = elements * (4 + cache.dtype.size().unwrap_or(4));
    Ok(Inferred { outputs: vec![], workspace_bytes: 0, flops: 0, bytes: bytes as u64 })
}

fn kv_enter(call: &InferCall<'_>) -> Result<Inferred> {
    let written = kv_append(call)?;
    let cache = cache(call)?;
    let q = call.typed("q", DType::F32)?;
    rank(call, "q", 3)?;
    let (tokens, dim) = (call.input("k").shape[0], cache.shape[3]);
    call.expect_shape("q", &[tokens, q.shape[1], dim])?;
    let frequencies = call.float("inverseFrequencies")?;
    rank(call, "inverseFrequencies", 1)?;
    if dim == 0 || 2 * frequencies.elements() > dim {
        let text = format!("{} frequencies turn more than the {dim} elements of a head", frequencies.elements());
        return Err(KernelError::shape(call.name(), text));
    }
    for name in ["qNorm", "kNorm"] {
        if call.optional(name).is_some() {
            call.float(name)?;
            call.expect_shape(name, &[dim])?;
        }
    }
    let elements = (q.elements() + call.input("k").elements()) as u64;
    Ok(Inferred {
        outputs: vec![q.clone()],
        workspace_bytes: 4 * call.input("k").elements(),
        flops: 8 * elements,
        bytes: written.bytes + 8 * q.elements() as u64,
    })
}
