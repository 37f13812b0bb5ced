use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::TextError;
use crate::pretrained_bpe::{SplitRule, apply_split_rule};
use crate::text_tokenizer::TextTokenizer;

/// What a byte-level BPE is trained with.
#[derive(Debug, Clone)]
pub struct ByteLevelTrainerOptions {
    /// Tokens in all: 256 bytes, merges and special tokens. The corpus may be too small to reach it.
    pub vocabulary_size: usize,
    /// Pairs seen less often are not merged.
    pub min_frequency: u64,
    /// Added after the vocabulary in this order, so their ids are the last ones.
    pub special_tokens: Vec<String>,
    pub split_rule: SplitRule,
}

/// Trains a byte-level BPE on texts. Any text can be encoded with it, since all 256 bytes are tokens.
pub fn train_byte_level(texts: &[String], options: &ByteLevelTrainerOptions) -> Result<TextTokenizer, TextError> {
    let fail = |reason: String| TextError::Train { reason };
    let smallest = 256 + options.special_tokens.len();
    if options.vocabulary_size < smallest {
        return Err(fail(format!(
            "a vocabulary of {} was asked for, but 256 bytes and {} special tokens need {smallest}",
            options.vocabulary_size,
            options.special_tokens.len()
        )));
    }
    if texts.iter().all(|text| text.is_empty()) {
        return Err(fail("the corpus holds no text".to_string()));
    }
    let model = BPE::builder().build().map_err(|error| fail(error.to_string()))?;
    let mut tokenizer = Tokenizer::new(model);
    apply_split_rule(&mut tokenizer, options.split_rule)?;
    let trainer = BpeTrainer::builder()
        .vocab_size(options.vocabulary_size - options.special_tokens.len())
        .min_frequency(options.min_frequency)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    let mut trainer = TrainerWrapper::BpeTrainer(trainer);
    tokenizer.train(&mut trainer, texts.iter().map(String::as_str)).map_err(|error| fail(error.to_string()))?;
    let tokens = options.special_tokens.iter().map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(tokens).map_err(|error| fail(error.to_string()))?;
    TextTokenizer::from_inner(tokenizer)
}
