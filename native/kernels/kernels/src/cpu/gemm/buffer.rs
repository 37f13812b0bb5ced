//! Cache-line aligned buffers that only grow, so a steady step allocates nothing.

/// One cache line of 32-bit words.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u32; 16]);

/// A growing buffer of 32-bit words, aligned to 64 bytes. A word holds one f32 or a pair of bf16.
#[derive(Default)]
pub struct WordBuffer {
    lines: Vec<Line>,
}

impl WordBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// At least `words` words; contents are whatever the last use left.
    pub fn words(&mut self, words: usize) -> &mut [u32] {
        let lines = words.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; 16]));
        }
        // SAFETY: `lines` holds at least `words` initialised u32 values, and u32 has no invalid bits.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u32>(), words) }
    }

    /// The same memory as f32 values.
    pub fn floats(&mut self, count: usize) -> &mut [f32] {
        let words = self.words(count);
        // SAFETY: u32 and f32 have equal size and alignment, and every bit pattern is a valid f32.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<f32>(), count) }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }
}
