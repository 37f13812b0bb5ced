//! Asks for memory while products run: rows of a head lie pages apart, where no hardware prefetcher follows, and
//! reading them when they are needed cost a fifth of the time of attention.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::collections::VecDeque;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Cache lines asked for per step.
const LINES: usize = 8;

/// `count` runs of `span` bytes, `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Strip {
    /// First byte.
    pub at: *const u8,
    /// Bytes between runs.
    pub stride: usize,
    /// Number of runs.
    pub count: usize,
    /// Bytes per run.
    pub span: usize,
}

impl Strip {
    /// Asks for all of it.
    pub fn fetch(&self) {
        for run in 0..self.count {
            for byte in (0..self.span).step_by(LINE) {
                // SAFETY: a prefetch may point anywhere.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(run * self.stride + byte).cast()) };
            }
        }
    }
}

/// Strips that are asked for piece by piece, into the second cache level.
#[derive(Default)]
pub struct Ahead {
    strips: VecDeque<Strip>,
    /// Next byte of the first strip's first run.
    next: usize,
}

impl Ahead {
    /// Forgets what was not asked for yet.
    pub fn clear(&mut self) {
        self.strips.clear();
        self.next = 0;
    }

    /// Adds a strip.
    pub fn push(&mut self, strip: Strip) {
        if strip.count > 0 && strip.span > 0 {
            self.strips.push_back(strip);
        }
    }

    /// Asks for the next lines.
    #[inline]
    pub fn step(&mut self) {
        let Some(strip) = self.strips.front_mut() else { return };
        let first = strip.at.wrapping_add(self.next);
        for line in 0..LINES {
            // Past the end of a run it asks for a neighbour's lines, which another task needs; it need not be exact.
            // SAFETY: a prefetch may point anywhere.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(LINE * line).cast()) };
        }
        self.next += LINE * LINES;
        if self.next >= strip.span {
            self.next = 0;
            strip.at = strip.at.wrapping_add(strip.stride);
            strip.count -= 1;
            if strip.count == 0 {
                self.strips.pop_front();
            }
        }
    }
}
