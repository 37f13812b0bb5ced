//! LEB128 integers.

/// Append `value`, seven bits per byte, low bits first.
pub fn write(into: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Reads integers one after the other.
pub struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next integer; `None` at the end or when it is malformed.
    pub fn read(&mut self) -> Option<u128> {
        let mut value = 0_u128;
        for (index, byte) in self.bytes.iter().enumerate() {
            let shift = 7 * index as u32;
            let part = u128::from(byte & 0x7F);
            if shift > 127 || (shift == 126 && part > 3) {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[index + 1..];
                return Some(value);
            }
        }
        None
    }

    /// The next integer, if it fits `T`.
    pub fn read_as<T: TryFrom<u128>>(&mut self) -> Option<T> {
        T::try_from(self.read()?).ok()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(length)?;
        self.bytes = tail;
        Some(head)
    }

    /// Everything that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_every_width() {
        for shift in 0..128 {
            let value = (1_u128 << shift) | (1 << (shift / 2));
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(Cursor::new(&bytes).read(), Some(value));
            assert_eq!(Cursor::new(&bytes[..bytes.len() - 1]).read(), None);
        }
        assert_eq!(Cursor::new(&[0xFF; 30]).read(), None);
    }
}
