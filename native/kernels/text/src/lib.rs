//! Tokenizers over the `tokenizers` crate: no progress bar, no network, no knowledge of Node.
//!
//! Offsets are UTF-16 code units of the caller's text, because the callers are JavaScript strings.

mod byte_level_trainer;
mod encoded_text;
mod error;
mod pretrained_bpe;
mod stream_decoder;
mod text_tokenizer;
mod utf16_offsets;

pub use byte_level_trainer::{ByteLevelTrainerOptions, train_byte_level};
pub use encoded_text::{EncodedBatch, EncodedText};
pub use error::TextError;
pub use pretrained_bpe::{AddedTokenEntry, PretrainedBpeFiles, SplitRule};
pub use stream_decoder::StreamDecoder;
pub use text_tokenizer::TextTokenizer;
