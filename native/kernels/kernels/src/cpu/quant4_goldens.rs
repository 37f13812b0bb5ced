//! Our 4-bit bytes against bitsandbytes' own (`tests/goldens/bnb`, made by `tools/goldens/make_bnb.py`).

use crate::cpu::gemm::Elements;
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use crate::cpu::quant4::{Quant4, Quant4Kind, Scales};
use crate::cpu::quant4_map::{FP4_VALUES, NF4_VALUES, dynamic_map};
use crate::cpu::quant4_quantize::{dequantize4_bf16, dequantize4_f32, quantize4};
use half::bf16;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/goldens/bnb")
}

/// Tensors of a safetensors file as raw bytes.
fn tensors(name: &str) -> HashMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder().join(name)).expect("a golden file of this repository");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a JSON header");
    let entries = header.as_object().expect("an object").iter().filter(|(key, _)| *key != "__metadata__");
    entries
        .map(|(key, entry)| {
            let at = |index: usize| 8 + length + entry["data_offsets"][index].as_u64().expect("an offset") as usize;
            (key.clone(), bytes[at(0)..at(1)].to_vec())
        })
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
}

fn halves(bytes: &[u8]) -> Vec<bf16> {
    bytes.as_chunks::<2>().0.iter().map(|raw| bf16::from_le_bytes(*raw)).collect()
}

/// w_i = ((37 i mod 101) − 50) / 64, rows scaled by 1 + row mod 7 where asked.
fn formula(rows: usize, columns: usize, scaled: bool) -> Vec<f32> {
    (0..rows * columns)
        .map(|i| {
            let factor = if scaled { (1 + i / columns % 7) as f32 } else { 1.0 };
            (((i * 37) % 101) as f32 - 50.0) / 64.0 * factor
        })
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn codebooks_equal_bitsandbytes() {
    let maps = tensors("maps.safetensors");
    assert_eq!(bits(&NF4_VALUES), bits(&floats(&maps["nf4"])));
    assert_eq!(FP4_VALUES.to_vec(), floats(&maps["fp4"]));
    assert_eq!(bits(&dynamic_map(true)), bits(&floats(&maps["dynamic.signed"])));
    assert_eq!(bits(&dynamic_map(false)), bits(&floats(&maps["dynamic.unsigned"])));
}

#[test]
fn bytes_equal_bitsandbytes() {
    let cases: Value =
        serde_json::from_slice(&std::fs::read(folder().join("cases.json")).expect("cases")).expect("JSON");
    let mut compared = 0;
    for (name, case) in cases["cases"].as_object().expect("cases") {
        let stored = tensors(&format!("{name}.safetensors"));
        let half = stored.get("input").filter(|_| name.starts_with("bfloat16")).map(|bytes| halves(bytes));
        let wide = match name.as_str() {
            "formula" => formula(2, 64, false),
            "formula-rows" => formula(300, 64, true),
            _ => floats(&stored["input"]),
        };
        let elements = half.as_ref().map_or(Elements::F32(&wide), |values| Elements::Bf16(values));
        let count = half.as_ref().map_or(wide.len(), Vec::len);
        let block = case["blockSize"].as_u64().expect("a block size") as usize;
        for (label, expected) in case["kinds"].as_object().expect("kinds") {
            let kind = if label.starts_with("nf4") { Quant4Kind::Nf4 } else { Quant4Kind::Fp4 };
            let nested = label.ends_with("double").then_some(256);
            let weight =
                quantize4(Pool::global(), Isa::detect(), kind, &elements, count, block, nested).expect("valid");
            weight.validate().expect("consistent");
            compared += compare(&format!("{name} {label}"), label, &weight, &stored, expected);
        }
    }
    assert!(compared > 100, "only {compared} tensors were compared");
}

fn compare(what: &str, label: &str, weight: &Quant4, stored: &HashMap<String, Vec<u8>>, expected: &Value) -> usize {
    let mut compared = 0;
    let mut check = |key: &str, bytes: Vec<u8>| {
        if let Some(golden) = stored.get(&format!("{label}.{key}")) {
            assert_eq!(&bytes, golden, "{what}: {key}");
            compared += 1;
        }
    };
    let raw = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    check("weight", weight.codes.to_vec());
    match &weight.scales {
        Scales::Plain(absmax) => check("weight.absmax", raw(absmax)),
        Scales::Nested { codes, absmax, offset, .. } => {
            check("weight.absmax", codes.clone());
            check("weight.nested_absmax", raw(absmax));
            let golden = expected["quantState"]["nested_offset"].as_f64().expect("an offset");
            // JSON numbers are read to within an ulp of f64, far below one of f32.
            assert_eq!(*offset, golden as f32, "{what}: offset");
        }
    }
    for isa in Isa::available() {
        let mut dense = vec![f32::NAN; weight.elements];
        dequantize4_f32(Pool::global(), isa, weight, &mut dense);
        check("dequantized.float32", raw(&dense));
        let mut half = vec![bf16::NAN; weight.elements];
        dequantize4_bf16(Pool::global(), isa, weight, &mut half);
        check("dequantized.bfloat16", half.iter().flat_map(|value| value.to_le_bytes()).collect());
    }
    compared
}

#[test]
fn quoted_vectors() {
    let values = formula(2, 64, false);
    let first = |kind| {
        let weight =
            quantize4(Pool::global(), Isa::Portable, kind, &Elements::F32(&values), 128, 64, None).expect("valid");
        weight.codes[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(first(Quant4Kind::Nf4), "04c16e29f3b05d17e29f3c05d18e2af4");
    assert_eq!(first(Quant4Kind::Fp4), "bf5a92a63c4be5a02d63c4be2a12d73f");
}

#[test]
fn block_sizes_outside_the_domain_are_refused() {
    for block in [0, 16, 48, 8192] {
        let error = quantize4(Pool::global(), Isa::Portable, Quant4Kind::Nf4, &Elements::F32(&[1.0]), 1, block, None);
        assert_eq!(error.unwrap_err().code, "ERR_INVALID_ARGUMENT");
    }
}
