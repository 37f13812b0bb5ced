use thiserror::Error;

/// Everything that can go wrong between a tokenizer's files and token ids.
///
/// Each variant has a stable [`code`](TextError::code) that reaches TypeScript unchanged.
#[derive(Debug, Error)]
pub enum TextError {
    /// The files do not describe a tokenizer this crate can build.
    #[error("cannot load the tokenizer from {source_name}: {reason}")]
    Load { source_name: String, reason: String },
    /// A text could not be turned into ids.
    #[error("cannot encode text {index} of the batch ({bytes} bytes): {reason}")]
    Encode { index: usize, bytes: usize, reason: String },
    /// Ids could not be turned into text.
    #[error("cannot decode {count} token ids: {reason}")]
    Decode { count: usize, reason: String },
    /// Training the vocabulary failed or its options contradict each other.
    #[error("cannot train a byte-level BPE: {reason}")]
    Train { reason: String },
}

impl TextError {
    /// The stable code of this error, e.g. `ERR_TOKENIZER_LOAD`.
    pub fn code(&self) -> &'static str {
        match self {
            TextError::Load { .. } => "ERR_TOKENIZER_LOAD",
            TextError::Encode { .. } => "ERR_TOKENIZER_ENCODE",
            TextError::Decode { .. } => "ERR_TOKENIZER_DECODE",
            TextError::Train { .. } => "ERR_TOKENIZER_TRAIN",
        }
    }
}
