//! A byte-level BPE from the files older checkpoints ship: `vocab.json`, `merges.txt` and the
//! `added_tokens_decoder` of `tokenizer_config.json`.

use std::collections::HashMap;

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::error::TextError;

/// How text is cut into words before merging; named by the tokenizer class that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitRule {
    /// `GPT2Tokenizer`: the byte-level default, digits in runs, no normalizer.
    Gpt2,
    /// `Qwen2Tokenizer`: NFC, single digits, newlines kept with punctuation.
    Qwen2,
}

/// Qwen2's published pattern: contractions, words with one leading symbol, single digits,
/// punctuation runs with their newlines, newline runs, spaces.
pub(crate) const QWEN2_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// One entry of `added_tokens_decoder`.
#[derive(Debug, Clone, Deserialize)]
pub struct AddedTokenEntry {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub normalized: bool,
}

/// The contents of the files, as text.
pub struct PretrainedBpeFiles<'a> {
    /// `vocab.json`: an object from token to id.
    pub vocab: &'a str,
    /// `merges.txt`: one pair per line, highest priority first, optionally after a `#version` line.
    pub merges: &'a str,
    /// Tokens that are matched before merging, with their ids.
    pub added_tokens: Vec<AddedTokenEntry>,
    pub split_rule: SplitRule,
}

fn load_error(file: &str, reason: impl Into<String>) -> TextError {
    TextError::Load { source_name: file.to_string(), reason: reason.into() }
}

fn parse_merges(merges: &str, vocab: &HashMap<String, u32>) -> Result<Vec<(String, String)>, TextError> {
    let mut pairs = Vec::new();
    for (index, line) in merges.lines().enumerate() {
        if (index == 0 && line.starts_with("#version")) || line.is_empty() {
            continue;
        }
        let Some((left, right)) = line.split_once(' ') else {
            return Err(load_error("merges.txt", format!("line {} is not a pair of tokens: {line:?}", index + 1)));
        };
        for token in [left, right, &format!("{left}{right}")] {
            if !vocab.contains_key(token) {
                return Err(load_error(
                    "merges.txt",
                    format!("line {} needs the token {token:?}, which vocab.json lacks", index + 1),
                ));
            }
        }
        pairs.push((left.to_string(), right.to_string()));
    }
    Ok(pairs)
}

impl PretrainedBpeFiles<'_> {
    pub(crate) fn build(self) -> Result<Tokenizer, TextError> {
        let vocab: HashMap<String, u32> =
            serde_json::from_str(self.vocab).map_err(|error| load_error("vocab.json", error.to_string()))?;
        let merges = parse_merges(self.merges, &vocab)?;
        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
            .build()
            .map_err(|error| load_error("vocab.json and merges.txt", error.to_string()))?;
        let mut tokenizer = Tokenizer::new(model);
        apply_split_rule(&mut tokenizer, self.split_rule)?;
        add_tokens(&mut tokenizer, self.added_tokens)?;
        Ok(tokenizer)
    }
}

/// Sets normalizer, pre-tokenizer, post-processor and decoder of a byte-level tokenizer.
pub(crate) fn apply_split_rule(tokenizer: &mut Tokenizer, rule: SplitRule) -> Result<(), TextError> {
    match rule {
        SplitRule::Gpt2 => {
            tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        }
        SplitRule::Qwen2 => {
            let split =
                Split::new(SplitPattern::Regex(QWEN2_PATTERN.to_string()), SplitDelimiterBehavior::Isolated, false)
                    .map_err(|error| load_error("the split pattern", error.to_string()))?;
            tokenizer.with_normalizer(Some(NFC)).map_err(|error| load_error("the normalizer", error.to_string()))?;
            tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
                PreTokenizerWrapper::Split(split),
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
            ]))));
        }
    }
    tokenizer.with_post_processor(Some(ByteLevel::new(false, false, false)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
    Ok(())
}

/// Adds tokens in id order, since the library numbers new tokens itself, and checks that it agrees.
pub(crate) fn add_tokens(tokenizer: &mut Tokenizer, mut entries: Vec<AddedTokenEntry>) -> Result<(), TextError> {
    entries.sort_by_key(|entry| entry.id);
    let expected: Vec<(u32, String)> = entries.iter().map(|entry| (entry.id, entry.content.clone())).collect();
    let tokens = entries.into_iter().map(|entry| {
        AddedToken::from(entry.content, entry.special)
            .lstrip(entry.lstrip)
            .rstrip(entry.rstrip)
            .single_word(entry.single_word)
            .normalized(entry.normalized)
    });
    tokenizer.add_tokens(tokens).map_err(|error| load_error("the added tokens", error.to_string()))?;
    for (id, content) in expected {
        let found = tokenizer.token_to_id(&content);
        if found != Some(id) {
            return Err(load_error(
                "the added tokens",
                format!(
                    "{content:?} is declared with id {id} but gets {found:?}; ids of added tokens must \
                     continue the vocabulary without a gap"
                ),
            ));
        }
    }
    Ok(())
}
