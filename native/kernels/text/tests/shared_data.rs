//! Tokenizers as published, checked against published vectors. The files are not part of the
//! repository: `SWIFT_SHARED_DATA` names their folder, else `../shared/data` beside the checkout.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swift_text::{AddedTokenEntry, PretrainedBpeFiles, SplitRule, StreamDecoder, TextTokenizer};

fn shared_data(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SWIFT_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data"), PathBuf::from);
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent (set SWIFT_SHARED_DATA)", path.display());
    None
}

fn qwen2(folder: &Path) -> TextTokenizer {
    let config: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("tokenizer_config.json")).unwrap()).unwrap();
    let added_tokens = config["added_tokens_decoder"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, token)| AddedTokenEntry {
            id: id.parse().unwrap(),
            content: token["content"].as_str().unwrap().to_string(),
            special: token["special"].as_bool().unwrap(),
            lstrip: false,
            rstrip: false,
            single_word: false,
            normalized: false,
        })
        .collect();
    TextTokenizer::from_vocab_and_merges(PretrainedBpeFiles {
        vocab: &fs::read_to_string(folder.join("vocab.json")).unwrap(),
        merges: &fs::read_to_string(folder.join("merges.txt")).unwrap(),
        added_tokens,
        split_rule: SplitRule::Qwen2,
    })
    .unwrap()
}

#[test]
fn qwen2_passes_its_published_vectors() {
    let Some(folder) = shared_data("tokenizers/qwen2.5") else {
        return;
    };
    let tokenizer = qwen2(&folder);
    let texts = fs::read_to_string(folder.join("ggml-vocab-qwen2.gguf.inp")).unwrap();
    let expected = fs::read_to_string(folder.join("ggml-vocab-qwen2.gguf.out")).unwrap();
    let texts: Vec<String> = texts.split("\n__ggml_vocab_test__\n").map(str::to_string).collect();
    // Both files end in the empty text and its empty line of ids.
    let expected: Vec<Vec<i32>> =
        expected.split('\n').map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert_eq!((texts.len(), expected.len()), (47, 47));
    for (text, ids) in texts.iter().zip(&expected) {
        let encoded = tokenizer.encode(text, false, true).unwrap();
        assert_eq!(&encoded.ids, ids, "{text:?}");
        assert_eq!(encoded.offsets.len(), ids.len() * 2);
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let decoded = tokenizer.decode(&ids, false).unwrap();
        assert_eq!(&decoded, text);
        let mut stream = StreamDecoder::new(tokenizer.clone(), false);
        let mut streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        streamed += &stream.finish().unwrap();
        assert_eq!(streamed, decoded);
    }
    let batch = tokenizer.encode_batch(&texts, false, false).unwrap();
    assert_eq!(batch.ids, expected.concat());
    assert_eq!(tokenizer.vocabulary_size(), 151_665);
    assert_eq!(tokenizer.encode("<|im_end|>", false, false).unwrap().ids, [151_645]);
}

#[test]
fn bert_loads_from_tokenizer_json_and_adds_its_special_tokens() {
    let Some(path) = shared_data("tokenizers/bert/bert-base-uncased.tokenizer.json") else {
        return;
    };
    let tokenizer = TextTokenizer::from_json_file(&path).unwrap();
    // 101 [CLS], 7592 hello, 2088 world, 102 [SEP] of bert-base-uncased.
    let encoded = tokenizer.encode("Hello WORLD", true, true).unwrap();
    assert_eq!(encoded.ids, [101, 7592, 2088, 102]);
    assert_eq!(encoded.offsets, [0, 0, 0, 5, 6, 11, 0, 0]);
    assert_eq!(tokenizer.decode(&[101, 7592, 2088, 102], true).unwrap(), "hello world");
}
