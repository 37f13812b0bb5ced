//! Everything that needs no published file: a byte-level BPE trained here on a few sentences.

use swift_text::{
    AddedTokenEntry, ByteLevelTrainerOptions, PretrainedBpeFiles, SplitRule, StreamDecoder, TextTokenizer,
    train_byte_level,
};

fn trained() -> TextTokenizer {
    let texts: Vec<String> =
        (0..50).map(|index| format!("The {index}th line says: “hello” to the world, naïve 你好 😀!\n")).collect();
    let options = ByteLevelTrainerOptions {
        vocabulary_size: 400,
        min_frequency: 2,
        special_tokens: vec!["<|endoftext|>".into(), "<|im_start|>".into(), "<|im_end|>".into()],
        split_rule: SplitRule::Qwen2,
    };
    train_byte_level(&texts, &options).unwrap()
}

fn as_ids(ids: &[i32]) -> Vec<u32> {
    ids.iter().map(|&id| id as u32).collect()
}

#[test]
fn training_is_deterministic_and_puts_special_tokens_last() {
    let tokenizer = trained();
    assert_eq!(tokenizer.to_json().unwrap(), trained().to_json().unwrap());
    let size = tokenizer.vocabulary_size();
    assert!(size <= 400 && size > 259, "{size}");
    assert_eq!(tokenizer.token_to_id("<|im_end|>"), Some(size as u32 - 1));
    assert_eq!(tokenizer.special_token_ids().len(), 3);
}

#[test]
fn any_text_survives_the_round_trip_through_json_and_ids() {
    let tokenizer = TextTokenizer::from_json(trained().to_json().unwrap().as_bytes(), "trained").unwrap();
    for text in ["", " ", "\r\n\t", "unseen: ZQX 12345", "ünïcode ☃ 🧑‍🚀", "<|im_start|>user\nhi<|im_end|>"]
    {
        let ids = as_ids(&tokenizer.encode(text, false, false).unwrap().ids);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}

#[test]
fn offsets_cover_the_text_in_utf16_units() {
    let tokenizer = trained();
    let text = "naïve 😀 ☃\n<|im_end|>x";
    let encoded = tokenizer.encode(text, false, true).unwrap();
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut covered = vec![false; units.len()];
    let mut previous_start = 0;
    for pair in encoded.offsets.chunks(2) {
        let (start, end) = (pair[0] as usize, pair[1] as usize);
        assert!(start >= previous_start && start < end && end <= units.len(), "{start}..{end}");
        assert!(String::from_utf16(&units[start..end]).is_ok(), "cuts a surrogate pair");
        covered[start..end].fill(true);
        previous_start = start;
    }
    assert!(covered.iter().all(|&unit| unit));
}

#[test]
fn a_stream_never_ends_inside_a_character_and_loses_nothing() {
    let tokenizer = trained();
    let text = "ab 🧑‍🚀 ☃☃ né<|im_end|> done";
    for skip in [false, true] {
        let ids = as_ids(&tokenizer.encode(text, false, false).unwrap().ids);
        let mut stream = StreamDecoder::new(tokenizer.clone(), skip);
        let mut streamed = String::new();
        for &id in &ids {
            let piece = stream.push(id).unwrap();
            assert!(!piece.contains('\u{FFFD}'), "{piece:?}");
            streamed += &piece;
        }
        streamed += &stream.finish().unwrap();
        assert_eq!(streamed, tokenizer.decode(&ids, skip).unwrap());
    }
}

#[test]
fn broken_bytes_come_out_as_replacement_characters() {
    let tokenizer = trained();
    // Byte 0xF0 opens a four-byte character; "ð" is its letter in the byte-level alphabet.
    let opener = tokenizer.token_to_id("ð").unwrap();
    let mut ids = as_ids(&tokenizer.encode("a", false, false).unwrap().ids);
    ids.extend(std::iter::repeat_n(opener, 100));
    ids.extend(as_ids(&tokenizer.encode("b", false, false).unwrap().ids));
    let mut stream = StreamDecoder::new(tokenizer.clone(), false);
    let mut streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    streamed += &stream.finish().unwrap();
    assert_eq!(streamed, tokenizer.decode(&ids, false).unwrap());
}

#[test]
fn errors_carry_codes_and_name_what_is_wrong() {
    let error = TextTokenizer::from_json(b"{\"model\":", "broken.json").err().unwrap();
    assert_eq!(error.code(), "ERR_TOKENIZER_LOAD");
    assert!(error.to_string().contains("broken.json"));
    assert_eq!(trained().decode(&[9_999_999], false).err().unwrap().code(), "ERR_TOKENIZER_DECODE");
    assert_eq!(StreamDecoder::new(trained(), false).push(9_999_999).err().unwrap().code(), "ERR_TOKENIZER_DECODE");
    let options = ByteLevelTrainerOptions {
        vocabulary_size: 100,
        min_frequency: 2,
        special_tokens: vec![],
        split_rule: SplitRule::Gpt2,
    };
    assert_eq!(train_byte_level(&["text".into()], &options).err().unwrap().code(), "ERR_TOKENIZER_TRAIN");
    let options = ByteLevelTrainerOptions { vocabulary_size: 300, ..options };
    assert!(train_byte_level(&[String::new()], &options).is_err());
}

fn load_files(vocab: &str, merges: &str, added: &[(u32, &str)]) -> Result<TextTokenizer, String> {
    TextTokenizer::from_vocab_and_merges(PretrainedBpeFiles {
        vocab,
        merges,
        added_tokens: added
            .iter()
            .map(|&(id, content)| AddedTokenEntry {
                id,
                content: content.to_string(),
                special: true,
                lstrip: false,
                rstrip: false,
                single_word: false,
                normalized: false,
            })
            .collect(),
        split_rule: SplitRule::Gpt2,
    })
    .map_err(|error| error.to_string())
}

#[test]
fn vocab_and_merges_are_checked_line_by_line() {
    let vocab = r#"{"a":0,"b":1,"ab":2}"#;
    let tokenizer = load_files(vocab, "#version: 0.2\na b\n", &[(3, "<s>")]).unwrap();
    assert_eq!(tokenizer.encode("ab<s>a", false, false).unwrap().ids, [2, 3, 0]);
    assert!(load_files("[]", "", &[]).err().unwrap().contains("vocab.json"));
    assert!(load_files(vocab, "a b\nab\n", &[]).err().unwrap().contains("line 2"));
    assert!(load_files(vocab, "b a\n", &[]).err().unwrap().contains("\"ba\""));
    assert!(load_files(vocab, "", &[(7, "<s>")]).err().unwrap().contains("gap"));
}
