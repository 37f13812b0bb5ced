use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tokenizers::{EncodeInput, Encoding, Tokenizer};

use crate::encoded_text::{EncodedBatch, EncodedText};
use crate::error::TextError;
use crate::pretrained_bpe::PretrainedBpeFiles;
use crate::utf16_offsets::Utf16Offsets;

/// A loaded tokenizer. Cloning shares it; all methods take `&self` and may run on any thread.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Arc<Tokenizer>,
}

/// The library indexes its own tables without checks in places, so a hostile file can panic.
fn guarded<T>(source_name: &str, load: impl FnOnce() -> Result<T, TextError>) -> Result<T, TextError> {
    catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
        Err(TextError::Load {
            source_name: source_name.to_string(),
            reason: "the tables inside contradict each other".to_string(),
        })
    })
}

fn to_encoded(text: &str, encoding: &Encoding, with_offsets: bool) -> EncodedText {
    let ids = encoding.get_ids().iter().map(|&id| id as i32).collect();
    let mut offsets = Vec::new();
    if with_offsets {
        let map = Utf16Offsets::new(text);
        offsets.reserve(encoding.get_offsets().len() * 2);
        for &(start, end) in encoding.get_offsets() {
            offsets.push(map.start(start));
            offsets.push(if end > start { map.end(end) } else { map.start(start) });
        }
    }
    EncodedText { ids, offsets }
}

impl TextTokenizer {
    /// Wraps a tokenizer; truncation and padding of its file are switched off, since batches here
    /// are packed and rows are cut where it can be reported.
    pub(crate) fn from_inner(mut inner: Tokenizer) -> Result<Self, TextError> {
        inner.with_truncation(None).map_err(|error| TextError::Load {
            source_name: "the truncation settings".to_string(),
            reason: error.to_string(),
        })?;
        inner.with_padding(None);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Loads a `tokenizer.json` from its bytes. `source_name` appears in errors.
    pub fn from_json(bytes: &[u8], source_name: &str) -> Result<Self, TextError> {
        guarded(source_name, || {
            let inner = Tokenizer::from_bytes(bytes)
                .map_err(|error| TextError::Load { source_name: source_name.to_string(), reason: error.to_string() })?;
            Self::from_inner(inner)
        })
    }

    /// Loads a `tokenizer.json` file.
    pub fn from_json_file(path: &Path) -> Result<Self, TextError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|error| TextError::Load { source_name: name.clone(), reason: error.to_string() })?;
        Self::from_json(&bytes, &name)
    }

    /// Builds a byte-level BPE from `vocab.json`, `merges.txt` and added tokens.
    pub fn from_vocab_and_merges(files: PretrainedBpeFiles<'_>) -> Result<Self, TextError> {
        guarded("vocab.json and merges.txt", || Self::from_inner(files.build()?))
    }

    /// The tokenizer as `tokenizer.json` text.
    pub fn to_json(&self) -> Result<String, TextError> {
        self.inner.to_string(false).map_err(|error| TextError::Load {
            source_name: "a loaded tokenizer (while serialising)".to_string(),
            reason: error.to_string(),
        })
    }

    /// Encodes one text. Special tokens written in the text are recognised; `add_special_tokens`
    /// lets the tokenizer's post-processor add its own (BOS, CLS, …).
    pub fn encode(&self, text: &str, add_special_tokens: bool, with_offsets: bool) -> Result<EncodedText, TextError> {
        let encoding = self.inner.encode(text, add_special_tokens).map_err(|error| TextError::Encode {
            index: 0,
            bytes: text.len(),
            reason: error.to_string(),
        })?;
        Ok(to_encoded(text, &encoding, with_offsets))
    }

    /// Encodes many texts on all cores; the result does not depend on how many there are.
    pub fn encode_batch(
        &self,
        texts: &[String],
        add_special_tokens: bool,
        with_offsets: bool,
    ) -> Result<EncodedBatch, TextError> {
        let inputs: Vec<EncodeInput> = texts.iter().map(|text| text.as_str().into()).collect();
        match self.inner.encode_batch(inputs, add_special_tokens) {
            Ok(encodings) => Ok(EncodedBatch::from_texts(
                texts.iter().zip(&encodings).map(|(text, encoding)| to_encoded(text, encoding, with_offsets)).collect(),
            )),
            // The library does not say which text failed; find it so that the caller can.
            Err(error) => {
                let mut failure = TextError::Encode {
                    index: 0,
                    bytes: texts.iter().map(String::len).sum(),
                    reason: error.to_string(),
                };
                for (index, text) in texts.iter().enumerate() {
                    if let Err(error) = self.inner.encode(text.as_str(), add_special_tokens) {
                        failure = TextError::Encode { index, bytes: text.len(), reason: error.to_string() };
                        break;
                    }
                }
                Err(failure)
            }
        }
    }

    /// Decodes ids to text; bytes that are no UTF-8 become U+FFFD. Ids outside the vocabulary are an
    /// error rather than nothing.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        for &id in ids {
            if self.inner.id_to_token(id).is_none() {
                return Err(TextError::Decode {
                    count: ids.len(),
                    reason: format!("id {id} is not in the vocabulary of {} tokens", self.vocabulary_size()),
                });
            }
        }
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(|error| TextError::Decode { count: ids.len(), reason: error.to_string() })
    }

    /// Number of tokens, added ones included. A model's embedding may have more rows than this.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of an exact token, `None` when there is none.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id as the vocabulary writes it (byte-level alphabet, not text).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Ids of the tokens that `decode` leaves out when it skips special tokens, ascending.
    pub fn special_token_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        ids.sort_unstable();
        ids
    }
}
