/// Converts byte offsets of a UTF-8 text to UTF-16 code unit offsets.
///
/// An offset inside a character is widened: starts move back to the character's first unit, ends
/// move on to its last, so a token that holds part of a character covers the whole of it.
pub(crate) struct Utf16Offsets {
    /// Empty for ASCII, where both counts agree; else the unit offset of the character at or before
    /// each byte, with one entry more for the end.
    unit_of_byte: Vec<u32>,
}

impl Utf16Offsets {
    pub(crate) fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self { unit_of_byte: Vec::new() };
        }
        let mut unit_of_byte = Vec::with_capacity(text.len() + 1);
        let mut unit = 0u32;
        for character in text.chars() {
            unit_of_byte.extend(std::iter::repeat_n(unit, character.len_utf8()));
            unit += character.len_utf16() as u32;
        }
        unit_of_byte.push(unit);
        Self { unit_of_byte }
    }

    pub(crate) fn start(&self, byte: usize) -> i32 {
        if self.unit_of_byte.is_empty() {
            return byte as i32;
        }
        self.unit_of_byte[byte.min(self.unit_of_byte.len() - 1)] as i32
    }

    pub(crate) fn end(&self, byte: usize) -> i32 {
        if self.unit_of_byte.is_empty() {
            return byte as i32;
        }
        let last = self.unit_of_byte.len() - 1;
        let mut byte = byte.min(last);
        // Inside a character the entry equals that of the byte before: walk on to the next character.
        while byte > 0 && byte < last && self.unit_of_byte[byte] == self.unit_of_byte[byte - 1] {
            byte += 1;
        }
        self.unit_of_byte[byte] as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_the_identity() {
        let map = Utf16Offsets::new("plain");
        assert_eq!((map.start(2), map.end(5)), (2, 5));
    }

    #[test]
    fn counts_surrogate_pairs_twice_and_widens_inside_a_character() {
        // a = 1 byte, é = 2 bytes, 😀 = 4 bytes (2 UTF-16 units), b = 1 byte
        let map = Utf16Offsets::new("aé😀b");
        assert_eq!((map.start(0), map.end(1)), (0, 1));
        assert_eq!((map.start(1), map.end(3)), (1, 2));
        assert_eq!((map.start(2), map.end(2)), (1, 2));
        assert_eq!((map.start(3), map.end(7)), (2, 4));
        assert_eq!((map.start(5), map.end(5)), (2, 4));
        assert_eq!((map.start(7), map.end(8)), (4, 5));
    }
}
