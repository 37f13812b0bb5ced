//! A group of rows with a slice of the vocabulary: what one thread does alone.

use crate::cpu::amx::{AHEAD_BYTES, Ahead, Before, Columns, Part, Product, TILE, Tiles, multiply};
use crate::cpu::cross_entropy::Head;
use crate::cpu::cross_entropy_tiles::softmax::{Block, ENTRIES, Low, Partial, exponentiate, finish, logit};
use crate::cpu::cross_entropy_tiles::statistics::SharedStatistics;
use crate::cpu::cross_entropy_tiles::weight::{Place, STEP, pack_panel, weight_bytes};
use crate::cpu::cross_entropy_tiles::{PANEL, Plan};
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::isa::Isa;
use crate::cpu::pool::SharedMut;
use half::bf16;
use std::cell::RefCell;
use std::ops::Range;

/// Panels of entries that pass the rows together.
pub const TOGETHER: usize = 2;
/// Stages in which a block of logits becomes numerators: three for 16 rows.
const STAGES: usize = 6;

/// Scratch of a thread.
#[derive(Default)]
struct Scratch {
    /// Some entries of the weight as rows.
    rows: WordBuffer,
    /// Two blocks of logits.
    logits: WordBuffer,
    /// A chunk of the weight as columns.
    columns: WordBuffer,
    /// Numerators of a chunk: panel after panel of rows.
    numerators: WordBuffer,
    /// What sums of earlier chunks must be multiplied by, per row.
    pending: WordBuffer,
    /// Two rows of the weight.
    stage: Vec<bf16>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// A group of rows with a slice of the vocabulary.
pub struct Unit<'a> {
    pub isa: Isa,
    pub head: &'a Head<'a>,
    pub plan: &'a Plan,
    /// Packed hidden states of all rows.
    pub hidden: &'a [u32],
    /// Target and row of all rows, ascending.
    pub targets: &'a [(usize, usize)],
    pub slice: usize,
    /// Panels of rows of the group.
    pub panels: Range<usize>,
    pub statistics: SharedStatistics,
    /// Sums of all units, where the gradient is wanted.
    pub sums: Option<SharedMut<f32>>,
}

/// Addresses of a unit's scratch.
struct Places {
    rows: *mut u32,
    logits: *mut f32,
    columns: *mut u32,
    /// Words from 32 columns to the next.
    stride: usize,
    numerators: *mut u32,
}

/// A block of logits that becomes numerators while the next is multiplied, in [`STAGES`].
struct Waiting<'a> {
    partial: Partial,
    /// Rows to which each entry counts, of 16 and 16 rows; all where the block is whole.
    present: [[u16; ENTRIES]; PANEL / TILE],
    is_whole: bool,
    logits: *const f32,
    /// Panel of entries in the chunk.
    index: usize,
    /// Rows; none where nothing waits.
    height: usize,
    /// First row in the group, and position of its statistics.
    first: usize,
    position: usize,
    /// Numerators of these rows.
    numerators: *mut u32,
    /// Whether the next block's logits go to the second place.
    second: bool,
    /// What sums of earlier chunks must be multiplied by, per row of the group.
    pending: &'a mut [f32],
}

impl<'a> Waiting<'a> {
    /// Nothing.
    ///
    /// # Safety
    /// AVX-512 exists.
    unsafe fn new(pending: &'a mut [f32]) -> Self {
        Self {
            // SAFETY: by the caller.
            partial: unsafe { Partial::new() },
            present: [[u16::MAX; ENTRIES]; PANEL / TILE],
            is_whole: true,
            logits: std::ptr::null(),
            index: 0,
            height: 0,
            first: 0,
            position: 0,
            numerators: std::ptr::null_mut(),
            second: false,
            pending,
        }
    }
}

impl Unit<'_> {
    /// Entries of the slice.
    fn entries(&self) -> Range<usize> {
        let Plan { slice, vocabulary, .. } = *self.plan;
        (self.slice * slice).min(vocabulary)..((self.slice + 1) * slice).min(vocabulary)
    }

    /// Words of the numerators of a row.
    fn chunk_words(&self) -> usize {
        self.plan.chunk / 2
    }

    /// Goes over the slice.
    pub fn run(&self) {
        let plan = self.plan;
        let wanted = self.sums.is_some();
        let entries = self.entries();
        // Panels of columns a power of two apart would share few sets of a cache.
        let odd = usize::from((plan.chunk / ENTRIES).is_multiple_of(2));
        let stride = (plan.chunk / ENTRIES + odd) * TILE * STEP;
        let (first, last) = (self.panels.start * PANEL, (self.panels.end * PANEL).min(plan.padded));
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { rows, logits, columns, numerators, pending, stage } = scratch;
            let columns = columns.words(if wanted { plan.column_panels() * stride } else { 0 });
            let numerators = numerators.words(if wanted { (last - first) * self.chunk_words() } else { 0 });
            let pending = pending.floats(last - first);
            pending.fill(1.0);
            // SAFETY: this path is only taken where AVX-512 exists.
            let mut waiting = unsafe { Waiting::new(pending) };
            stage.resize(stage.len().max(2 * plan.depth), bf16::ZERO);
            let places = Places {
                rows: rows.words(TOGETHER * ENTRIES * plan.words).as_mut_ptr(),
                logits: logits.floats(2 * ENTRIES * PANEL).as_mut_ptr(),
                columns: columns.as_mut_ptr(),
                stride,
                numerators: numerators.as_mut_ptr(),
            };
            // SAFETY: this path is only taken where tile registers may be used.
            let _tiles = unsafe { Tiles::shape() };
            for start in entries.clone().step_by(plan.chunk) {
                let chunk = start..(start + plan.chunk).min(entries.end);
                for entry in chunk.clone().step_by(TOGETHER * ENTRIES) {
                    let together = entry..(entry + TOGETHER * ENTRIES).min(chunk.end);
                    let index = (entry - chunk.start) / ENTRIES;
                    // SAFETY: the scratch covers a chunk.
                    unsafe { self.panels(&places, index, together, &mut waiting, stage) };
                }
                // SAFETY: as above.
                unsafe { self.absorb_all(&mut waiting) };
                if let Some(sums) = &self.sums {
                    // SAFETY: as above; sums of the group in this slice are this unit's.
                    unsafe { self.accumulate(&places, chunk.len(), start > entries.start, waiting.pending, sums) };
                }
            }
        });
    }

    /// Logits of up to [`TOGETHER`] panels of entries, of which `first` is the first of the chunk, and all rows.
    ///
    /// # Safety
    /// `places` cover a chunk of this unit; the thread holds tiles.
    unsafe fn panels(
        &self,
        places: &Places,
        first: usize,
        entries: Range<usize>,
        waiting: &mut Waiting<'_>,
        stage: &mut [bf16],
    ) {
        let plan = self.plan;
        let weight = &self.head.weight;
        let panels = entries.len().div_ceil(ENTRIES);
        let of = |index: usize| {
            let start = entries.start + index * ENTRIES;
            start..(start + ENTRIES).min(entries.end)
        };
        for index in 0..panels {
            let place = Place {
                rows: places.rows.wrapping_add(index * ENTRIES * plan.words),
                columns: self.sums.map(|_| places.columns.wrapping_add((first + index) * TILE * STEP)),
                stride: places.stride,
            };
            // SAFETY: by the caller.
            unsafe { pack_panel(self.isa, weight, of(index), place, stage) };
        }
        let from = self.targets.partition_point(|(target, _)| *target < entries.start);
        let to = self.targets.partition_point(|(target, _)| *target < entries.end);
        let targets = &self.targets[from..to];
        let mut ahead = weight_bytes(weight, entries.end..entries.end + entries.len());
        for panel in self.panels.clone() {
            let height = plan.height(panel);
            let hidden = &self.hidden[panel * PANEL * plan.words..][..height * plan.words];
            for index in 0..panels {
                let a = places.rows.wrapping_add(index * ENTRIES * plan.words);
                let part = Part { steps: plan.words, a, b: Columns { at: hidden.as_ptr(), stride: height } };
                let logits = places.logits.wrapping_add(if waiting.second { ENTRIES * PANEL } else { 0 });
                // SAFETY: both operands hold their steps, the logits a block; by the caller.
                unsafe {
                    if height == PANEL {
                        let mut lines = Ahead::nothing(a);
                        let asked = plan.words / TILE * AHEAD_BYTES;
                        for line in &mut lines.at {
                            if ahead.len() >= asked {
                                *line = ahead.as_ptr();
                                ahead = &ahead[asked..];
                            }
                        }
                        let mut product = Product::begin(&part, None, lines);
                        let count = plan.words / TILE;
                        for stage in 0..STAGES {
                            product.steps((stage + 1) * count / STAGES - stage * count / STAGES);
                            self.absorb(waiting, stage);
                        }
                        product.end(logits, height);
                    } else {
                        self.absorb_all(waiting);
                        multiply::<1>(true, &[part], None, logits, height);
                    }
                    self.prepare(places, (first + index, panel), logits, &of(index), targets, waiting);
                }
            }
        }
    }

    /// Lets a block of logits, of panel `index` of the chunk and a panel of rows, wait.
    ///
    /// # Safety
    /// As [`Self::panels`]; the logits stay until the block is absorbed.
    unsafe fn prepare(
        &self,
        places: &Places,
        (index, panel): (usize, usize),
        logits: *const f32,
        entries: &Range<usize>,
        targets: &[(usize, usize)],
        waiting: &mut Waiting<'_>,
    ) {
        let plan = self.plan;
        let height = plan.height(panel);
        let first = (panel - self.panels.start) * PANEL;
        let position = self.slice * plan.padded + panel * PANEL;
        let mut whole = true;
        let mut leave = |from: Range<usize>, rows: Range<usize>| {
            if std::mem::take(&mut whole) {
                waiting.present = [[u16::MAX; ENTRIES]; PANEL / TILE];
            }
            for (entry, row) in from.flat_map(|entry| rows.clone().map(move |row| (entry, row))) {
                waiting.present[row / TILE][entry] &= !(1 << (row % TILE));
            }
        };
        if entries.len() < ENTRIES {
            leave(entries.len()..ENTRIES, 0..PANEL);
        }
        for (target, row) in targets {
            let row = row.wrapping_sub(panel * PANEL);
            if row < height && entries.contains(target) {
                // Targets are left out: their terms are added exactly at the end.
                let entry = target - entries.start;
                leave(entry..entry + 1, row..row + 1);
                // SAFETY: inside the block; AVX-512 exists; the row is this unit's.
                unsafe {
                    let raw = *logits.add(entry * height + row);
                    *self.statistics.target.at(position + row) = logit(self.head.transform, raw);
                }
            }
        }
        waiting.is_whole = whole;
        waiting.logits = logits;
        waiting.index = index;
        waiting.height = height;
        waiting.first = first;
        waiting.position = position;
        waiting.numerators = places.numerators.wrapping_add(first * self.chunk_words());
        waiting.second = !waiting.second;
    }

    /// Takes the block that waits into the statistics and makes its numerators, now.
    ///
    /// # Safety
    /// As [`Self::panels`].
    unsafe fn absorb_all(&self, waiting: &mut Waiting<'_>) {
        // SAFETY: by the caller.
        (0..STAGES).for_each(|stage| unsafe { self.absorb(waiting, stage) });
    }

    /// One stage of that.
    ///
    /// # Safety
    /// As [`Self::panels`].
    unsafe fn absorb(&self, waiting: &mut Waiting<'_>, stage: usize) {
        let lane = stage / 3 * TILE;
        let Waiting { height, index, .. } = *waiting;
        if lane >= height {
            return;
        }
        let (statistics, transform) = (&self.statistics, self.head.transform);
        let at = waiting.position + lane;
        let block = Block {
            logits: waiting.logits.wrapping_add(lane),
            stride: height,
            present: (!waiting.is_whole).then_some(&waiting.present[lane / TILE]),
            reference: statistics.reference.at(at),
            largest: statistics.largest.at(at),
            sum: statistics.sum.at(at),
            numerators: self.sums.map(|_| waiting.numerators.wrapping_add((index * height + lane) * TILE)),
        };
        // SAFETY: by the caller.
        unsafe {
            if stage % 3 < 2 {
                return exponentiate(&block, transform, stage % 3, &mut waiting.partial);
            }
            while let Some(low) = finish(&block, &waiting.partial) {
                for row in (0..TILE).filter(|row| low.rows >> row & 1 == 1) {
                    let factor = raise(&block, &low, row);
                    waiting.pending[waiting.first + lane + row] *= factor;
                    for earlier in (0..index).filter(|_| self.sums.is_some()) {
                        // Numerators of this row in an earlier panel.
                        let at = waiting.numerators.wrapping_add((earlier * height + lane + row) * TILE);
                        scale_bf16(std::slice::from_raw_parts_mut(at.cast(), ENTRIES), factor);
                    }
                }
                (0..2).for_each(|half| exponentiate(&block, transform, half, &mut waiting.partial));
            }
        }
        if lane + TILE >= height {
            waiting.height = 0;
        }
    }

    /// sums += numerators · weight of a chunk of `entries`.
    ///
    /// # Safety
    /// As [`Self::panels`]; sums of this unit are nobody else's.
    unsafe fn accumulate(
        &self,
        places: &Places,
        entries: usize,
        present: bool,
        pending: &mut [f32],
        sums: &SharedMut<f32>,
    ) {
        let plan = self.plan;
        for (index, factor) in pending.iter_mut().enumerate().filter(|(_, factor)| **factor != 1.0) {
            for column_panel in (0..plan.column_panels()).filter(|_| present) {
                let at = plan.sums_at(self.slice, column_panel, self.panels.start * PANEL + index);
                // SAFETY: by the caller.
                unsafe { sums.slice(at, at + PANEL) }.iter_mut().for_each(|value| *value *= *factor);
            }
            *factor = 1.0;
        }
        let steps = entries.div_ceil(ENTRIES) * TILE;
        for column_panel in 0..plan.column_panels() {
            let b = Columns { at: places.columns.wrapping_add(column_panel * places.stride), stride: STEP };
            let mut next = b.at.wrapping_add(places.stride);
            for panel in self.panels.clone() {
                let first = (panel - self.panels.start) * PANEL;
                let a = places.numerators.wrapping_add(first * self.chunk_words());
                let c = sums.at(plan.sums_at(self.slice, column_panel, panel * PANEL));
                let before = present.then_some(Before { at: c, stride: PANEL });
                let part = Part { steps, a, b };
                // SAFETY: by the caller.
                unsafe {
                    if plan.height(panel) == PANEL {
                        let lines = Ahead { at: [next.cast(), c.wrapping_add(PANEL * PANEL).cast_const().cast()] };
                        next = next.wrapping_byte_add(steps / TILE * AHEAD_BYTES);
                        let mut product = Product::begin(&part, before, lines);
                        product.steps(steps / TILE);
                        product.end(c, PANEL);
                    } else {
                        multiply::<2>(false, &[part], before, c, PANEL);
                    }
                }
            }
        }
    }
}

/// Raises the reference of a row to its largest logit; returns what its numerators so far must be multiplied by.
///
/// # Safety
/// The block's statistics are this thread's.
unsafe fn raise(block: &Block<'_>, low: &Low, row: usize) -> f32 {
    let next = (low.largest[row] * std::f32::consts::LOG2_E).round();
    // SAFETY: by the caller.
    unsafe {
        let factor = (*block.reference.add(row) - next).max(-1000.0).exp2();
        *block.reference.add(row) = next;
        *block.sum.add(row) *= f64::from(factor);
        factor
    }
}

/// values *= factor, a power of two.
fn scale_bf16(values: &mut [bf16], factor: f32) {
    for value in values {
        *value = bf16::from_f32(value.to_f32() * factor);
    }
}
