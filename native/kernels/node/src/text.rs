//! Conversion between JavaScript values and `swift-text`. Errors cross as `CODE: message`.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use swift_text::{
    AddedTokenEntry, ByteLevelTrainerOptions, EncodedBatch, PretrainedBpeFiles, SplitRule, StreamDecoder, TextError,
    TextTokenizer, train_byte_level,
};

fn to_napi(error: TextError) -> Error {
    Error::from_reason(format!("{}: {error}", error.code()))
}

fn to_split_rule(name: &str) -> Result<SplitRule> {
    match name {
        "gpt2" => Ok(SplitRule::Gpt2),
        "qwen2" => Ok(SplitRule::Qwen2),
        other => Err(Error::from_reason(format!(
            "ERR_TOKENIZER_LOAD: unknown split rule {other:?}; known are gpt2 and qwen2"
        ))),
    }
}

/// Ids as unsigned numbers; a negative id becomes one no vocabulary has, and fails as such.
fn to_unsigned(ids: &[i32]) -> Vec<u32> {
    ids.iter().map(|&id| u32::try_from(id).unwrap_or(u32::MAX)).collect()
}

/// One token of `added_tokens_decoder`.
#[napi(object)]
pub struct NativeAddedToken {
    pub id: u32,
    pub content: String,
    pub special: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub single_word: bool,
    pub normalized: bool,
}

/// Contents of the files of a byte-level BPE.
#[napi(object)]
pub struct NativeBpeFiles {
    /// Text of `vocab.json`.
    pub vocab: String,
    /// Text of `merges.txt`.
    pub merges: String,
    pub added_tokens: Vec<NativeAddedToken>,
    /// `gpt2` or `qwen2`.
    pub split_rule: String,
}

/// One text as token ids.
#[napi(object)]
pub struct NativeEncoding {
    /// Token ids, `[T]`.
    pub ids: Int32Array,
    /// `[start, end)` per token in UTF-16 code units, `[2 * T]`; empty unless asked for.
    pub offsets: Int32Array,
}

/// Several texts as token ids, concatenated.
#[napi(object)]
pub struct NativeEncodingBatch {
    pub ids: Int32Array,
    /// Tokens per text.
    pub lengths: Int32Array,
    /// As in `NativeEncoding`, relative to each text; empty unless asked for.
    pub offsets: Int32Array,
}

/// How `trainByteLevelTokenizer` trains.
#[napi(object)]
pub struct NativeTrainerOptions {
    pub vocabulary_size: u32,
    pub min_frequency: u32,
    pub special_tokens: Vec<String>,
    /// `gpt2` or `qwen2`.
    pub split_rule: String,
}

/// Encodes a batch away from the JavaScript thread.
pub struct EncodeBatchTask {
    tokenizer: TextTokenizer,
    texts: Vec<String>,
    add_special_tokens: bool,
    with_offsets: bool,
}

impl Task for EncodeBatchTask {
    type Output = EncodedBatch;
    type JsValue = NativeEncodingBatch;

    fn compute(&mut self) -> Result<EncodedBatch> {
        self.tokenizer.encode_batch(&self.texts, self.add_special_tokens, self.with_offsets).map_err(to_napi)
    }

    fn resolve(&mut self, _env: Env, output: EncodedBatch) -> Result<NativeEncodingBatch> {
        Ok(NativeEncodingBatch {
            ids: Int32Array::new(output.ids),
            lengths: Int32Array::new(output.lengths),
            offsets: Int32Array::new(output.offsets),
        })
    }
}

/// A tokenizer held by Rust.
#[napi]
pub struct NativeTokenizer {
    inner: TextTokenizer,
}

#[napi]
impl NativeTokenizer {
    /// Loads the bytes of a `tokenizer.json`; `sourceName` appears in errors.
    #[napi(factory)]
    pub fn from_json(bytes: Uint8Array, source_name: String) -> Result<Self> {
        let inner = TextTokenizer::from_json(&bytes, &source_name).map_err(to_napi)?;
        Ok(Self { inner })
    }

    /// Builds a byte-level BPE from the contents of `vocab.json`, `merges.txt` and added tokens.
    #[napi(factory)]
    pub fn from_vocab_and_merges(files: NativeBpeFiles) -> Result<Self> {
        let added_tokens = files
            .added_tokens
            .into_iter()
            .map(|token| AddedTokenEntry {
                id: token.id,
                content: token.content,
                special: token.special,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                single_word: token.single_word,
                normalized: token.normalized,
            })
            .collect();
        let inner = TextTokenizer::from_vocab_and_merges(PretrainedBpeFiles {
            vocab: &files.vocab,
            merges: &files.merges,
            added_tokens,
            split_rule: to_split_rule(&files.split_rule)?,
        })
        .map_err(to_napi)?;
        Ok(Self { inner })
    }

    /// The tokenizer as `tokenizer.json` text.
    #[napi]
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_json().map_err(to_napi)
    }

    /// Encodes one text on the calling thread.
    #[napi]
    pub fn encode(&self, text: String, add_special_tokens: bool, with_offsets: bool) -> Result<NativeEncoding> {
        let encoded = self.inner.encode(&text, add_special_tokens, with_offsets).map_err(to_napi)?;
        Ok(NativeEncoding { ids: Int32Array::new(encoded.ids), offsets: Int32Array::new(encoded.offsets) })
    }

    /// Encodes many texts on all cores, away from the calling thread.
    #[napi(ts_return_type = "Promise<NativeEncodingBatch>")]
    pub fn encode_batch(
        &self,
        texts: Vec<String>,
        add_special_tokens: bool,
        with_offsets: bool,
    ) -> AsyncTask<EncodeBatchTask> {
        AsyncTask::new(EncodeBatchTask { tokenizer: self.inner.clone(), texts, add_special_tokens, with_offsets })
    }

    /// Decodes ids to text.
    #[napi]
    pub fn decode(&self, ids: Int32Array, skip_special_tokens: bool) -> Result<String> {
        self.inner.decode(&to_unsigned(&ids), skip_special_tokens).map_err(to_napi)
    }

    /// A decoder for a stream of ids.
    #[napi]
    pub fn stream_decoder(&self, skip_special_tokens: bool) -> NativeStreamDecoder {
        NativeStreamDecoder { inner: StreamDecoder::new(self.inner.clone(), skip_special_tokens) }
    }

    /// Number of tokens, added ones included.
    #[napi(getter)]
    pub fn vocabulary_size(&self) -> u32 {
        self.inner.vocabulary_size() as u32
    }

    /// The id of an exact token, or null.
    #[napi]
    pub fn token_to_id(&self, token: String) -> Option<u32> {
        self.inner.token_to_id(&token)
    }

    /// The token of an id as the vocabulary writes it, or null.
    #[napi]
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Ids of the special tokens, ascending.
    #[napi]
    pub fn special_token_ids(&self) -> Int32Array {
        Int32Array::new(self.inner.special_token_ids().into_iter().map(|id| id as i32).collect())
    }
}

/// Decodes a stream of ids; no piece ends inside a character.
#[napi]
pub struct NativeStreamDecoder {
    inner: StreamDecoder,
}

#[napi]
impl NativeStreamDecoder {
    /// Adds one id and returns the text that is now certain.
    #[napi]
    pub fn push(&mut self, id: i32) -> Result<String> {
        self.inner.push(u32::try_from(id).unwrap_or(u32::MAX)).map_err(to_napi)
    }

    /// Ends the stream and returns what was held back.
    #[napi]
    pub fn finish(&mut self) -> Result<String> {
        self.inner.finish().map_err(to_napi)
    }
}

/// Trains a byte-level BPE and returns its `tokenizer.json` text.
#[napi]
pub fn train_byte_level_tokenizer(texts: Vec<String>, options: NativeTrainerOptions) -> Result<String> {
    let options = ByteLevelTrainerOptions {
        vocabulary_size: options.vocabulary_size as usize,
        min_frequency: u64::from(options.min_frequency),
        special_tokens: options.special_tokens,
        split_rule: to_split_rule(&options.split_rule)?,
    };
    train_byte_level(&texts, &options).and_then(|tokenizer| tokenizer.to_json()).map_err(to_napi)
}
