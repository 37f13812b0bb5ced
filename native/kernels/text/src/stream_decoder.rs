use crate::error::TextError;
use crate::text_tokenizer::TextTokenizer;

const REPLACEMENT: char = '\u{FFFD}';
/// A UTF-8 character has at most four bytes, and a byte-fallback decoder writes one U+FFFD per byte.
const LONGEST_UNFINISHED: usize = 4;
/// More unfinished tokens than this are no character in the making but broken bytes: give them out.
const LONGEST_PENDING: usize = 32;

/// Decodes a stream of ids piece by piece; what it gives out never ends inside a character.
///
/// Decoding one id alone loses what its neighbours decide (leading spaces, split characters), so a
/// window of earlier ids is decoded with and without the new ones and the difference is given out.
pub struct StreamDecoder {
    tokenizer: TextTokenizer,
    skip_special_tokens: bool,
    /// Context ids followed by pending ids.
    window: Vec<u32>,
    /// Where the pending ids start.
    context_length: usize,
    /// Bytes of pending text already given out.
    given_bytes: usize,
}

impl StreamDecoder {
    pub fn new(tokenizer: TextTokenizer, skip_special_tokens: bool) -> Self {
        Self { tokenizer, skip_special_tokens, window: Vec::new(), context_length: 0, given_bytes: 0 }
    }

    /// Adds one id and returns the text that is now certain; often empty inside a character.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        if self.tokenizer.id_to_token(id).is_none() {
            return Err(TextError::Decode {
                count: 1,
                reason: format!("id {id} is not in the vocabulary of {} tokens", self.tokenizer.vocabulary_size()),
            });
        }
        self.window.push(id);
        let pending = self.pending_text()?;
        let unfinished = pending.chars().rev().take_while(|&character| character == REPLACEMENT).count();
        if unfinished == 0 || self.window.len() - self.context_length > LONGEST_PENDING {
            let piece = pending.get(self.given_bytes..).unwrap_or("").to_string();
            // An empty piece comes from a skipped special token: keep the context until text follows.
            if !pending.is_empty() {
                self.window.drain(..self.context_length);
                self.context_length = self.window.len();
                self.given_bytes = 0;
            }
            return Ok(piece);
        }
        let held: usize = unfinished.min(LONGEST_UNFINISHED) * REPLACEMENT.len_utf8();
        let certain = pending.len() - held;
        if certain <= self.given_bytes {
            return Ok(String::new());
        }
        let piece = pending.get(self.given_bytes..certain).unwrap_or("").to_string();
        self.given_bytes = certain;
        Ok(piece)
    }

    /// Ends the stream: returns what was held back, with U+FFFD for characters never finished.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let pending = self.pending_text()?;
        let piece = pending.get(self.given_bytes..).unwrap_or("").to_string();
        self.window.clear();
        self.context_length = 0;
        self.given_bytes = 0;
        Ok(piece)
    }

    /// Text of the pending ids as it reads after the context ids.
    fn pending_text(&self) -> Result<String, TextError> {
        let context = self.tokenizer.decode(&self.window[..self.context_length], self.skip_special_tokens)?;
        let whole = self.tokenizer.decode(&self.window, self.skip_special_tokens)?;
        let shared = whole
            .char_indices()
            .zip(context.chars())
            .find(|((_, left), right)| left != right)
            .map_or(context.len().min(whole.len()), |((index, _), _)| index);
        Ok(whole[shared..].to_string())
    }
}
