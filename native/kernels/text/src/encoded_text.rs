/// One text as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedText {
    /// Token ids, `[T]`.
    pub ids: Vec<i32>,
    /// `[start, end)` of each token in UTF-16 code units of the text, flattened to `[2 * T]`;
    /// empty when offsets were not asked for. Tokens the post-processor adds have `[0, 0)`.
    pub offsets: Vec<i32>,
}

/// Several texts as token ids, concatenated so that they cross into JavaScript as three arrays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedBatch {
    /// Token ids of all texts, one after the other.
    pub ids: Vec<i32>,
    /// Number of tokens of each text.
    pub lengths: Vec<i32>,
    /// As [`EncodedText::offsets`], concatenated; each text's offsets start at its own 0.
    pub offsets: Vec<i32>,
}

impl EncodedBatch {
    /// Concatenates the encodings of several texts.
    pub fn from_texts(texts: Vec<EncodedText>) -> Self {
        let mut batch = EncodedBatch::default();
        for text in texts {
            batch.lengths.push(text.ids.len() as i32);
            batch.ids.extend_from_slice(&text.ids);
            batch.offsets.extend_from_slice(&text.offsets);
        }
        batch
    }
}
