//! One counter interval as a row of the regression.

use super::{KNOTS, RAMP_ENDS_NS};
use crate::path_table::{ClassId, NO_CLASS, PathId, PathTable, ROOT};
use crate::split::largest_remainder;
use crate::timeline::{SHARE_SCALE, Stretch, Timeline};

/// Time of one owner at one knot of the ramp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Index of the share it belongs to.
    pub share: u32,
    /// Class of the owner.
    pub class: ClassId,
    /// Knot.
    pub knot: u8,
    /// Seconds, the owner's part of shared time.
    pub seconds: f64,
}

/// What one owner gets of the interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Phase instance; `None` while no phase is open.
    pub owner: Option<u64>,
    /// Its path.
    pub path: PathId,
    /// Its class.
    pub class: ClassId,
    /// Its time, scaled by [`SHARE_SCALE`].
    pub weight: u128,
    /// Nanojoules credited to it.
    pub nanojoules: u128,
    /// How far those may be off, as credited beside them.
    pub spread: u128,
    /// Its cells in the row: from, and up to without.
    pub cells: (u32, u32),
}

/// An instance that owns a part of the interval, itself or by its children, and not all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Instance.
    pub token: u64,
    /// Its part of [`Row::span_shares`]: from, and up to without.
    pub shares: (u32, u32),
    /// Sum over its edges inside the interval of their distance from the interval's start, nanoseconds.
    pub offsets_ns: u128,
    /// How far its part may be off, as credited to it.
    pub edge: u128,
}

/// See the module's description.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Nanojoules to split.
    pub nanojoules: u128,
    /// Owners: nobody first, then by token.
    pub shares: Vec<Share>,
    /// Design.
    pub cells: Vec<Cell>,
    /// Instances with an edge inside.
    pub spans: Vec<Span>,
    /// Indices of shares, by span.
    pub span_shares: Vec<u32>,
    /// |power of this interval − power of the one before|, nanowatts: the error of a split by time.
    pub jump: u128,
}

/// Seconds of a stretch by knot: power between two knots is linear, so each takes its part of the time between them.
fn by_knot(stretch: &Stretch) -> [f64; KNOTS] {
    let mut parts = [0.0; KNOTS];
    let (start, end) = (stretch.start_ns - stretch.since_ns, stretch.end_ns - stretch.since_ns);
    let mut segment_start = 0;
    for (segment, segment_end) in RAMP_ENDS_NS.into_iter().enumerate() {
        let (from, to) = (start.max(segment_start), end.min(segment_end));
        if from < to {
            let seconds = (to - from) as f64 / 1e9;
            let middle = (from - segment_start + to - segment_start) as f64 / 2.0;
            let position = middle / (segment_end - segment_start) as f64;
            parts[segment] += seconds * (1.0 - position);
            parts[segment + 1] += seconds * position;
        }
        segment_start = segment_end;
    }
    parts[KNOTS - 1] += end.saturating_sub(start.max(segment_start)) as f64 / 1e9;
    parts
}

fn add(weight: &mut u128, sums: &mut [f64; KNOTS], time: u128, parts: &[f64; KNOTS]) {
    *weight += time;
    sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
}

impl Row {
    /// The interval from `start_ns` to `end_ns` with nothing credited yet; `spare` is a row whose memory serves again.
    pub fn new(
        spare: Row,
        start_ns: u64,
        end_ns: u64,
        nanojoules: u128,
        jump: u128,
        timeline: &Timeline,
        paths: &PathTable,
    ) -> Self {
        let mut owned: Vec<(Option<u64>, u128, [f64; KNOTS])> = Vec::with_capacity(spare.shares.len() + 16);
        timeline.each_stretch(start_ns, end_ns, |stretch| {
            let nobody = stretch.owners.is_empty().then_some(None);
            let count = stretch.owners.len().max(1) as u128;
            let time = u128::from(stretch.end_ns - stretch.start_ns) * SHARE_SCALE / count;
            let parts = by_knot(stretch).map(|part| part / count as f64);
            for owner in nobody.into_iter().chain(stretch.owners.iter().copied().map(Some)) {
                match owned.last_mut().filter(|(known, ..)| *known == owner) {
                    Some((_, weight, sums)) => add(weight, sums, time, &parts),
                    None => owned.push((owner, time, parts)),
                }
            }
        });
        // Stable, so that the times of an owner are added up in their order.
        owned.sort_by_key(|(owner, ..)| *owner);
        owned.dedup_by(|(owner, time, parts), (known, weight, sums)| {
            let same = owner == known;
            if same {
                add(weight, sums, *time, parts);
            }
            same
        });
        let Row { mut shares, mut cells, mut spans, mut span_shares, .. } = spare;
        shares.clear();
        cells.clear();
        spans.clear();
        span_shares.clear();
        for (owner, weight, parts) in owned {
            let path = owner.and_then(|token| timeline.instance(token)).map_or(ROOT, |instance| instance.path);
            let class = if path == ROOT { NO_CLASS } else { paths.class(path) };
            let first = cells.len() as u32;
            for (knot, seconds) in parts.into_iter().enumerate().filter(|(_, part)| *part > 0.0) {
                cells.push(Cell { share: shares.len() as u32, class, knot: knot as u8, seconds });
            }
            let cells = (first, cells.len() as u32);
            shares.push(Share { owner, path, class, weight, nanojoules: 0, spread: 0, cells });
        }
        let mut row = Self { start_ns, end_ns, nanojoules, shares, cells, spans, span_shares, jump };
        row.find_spans(timeline);
        row
    }

    fn find_spans(&mut self, timeline: &Timeline) {
        if self.shares.len() < 2 {
            return;
        }
        let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(2 * self.shares.len());
        for (index, share) in self.shares.iter().enumerate() {
            let mut owner = share.owner;
            while let Some((token, instance)) = owner.and_then(|token| Some((token, timeline.instance(token)?))) {
                pairs.push((token, index as u32));
                owner = instance.parent;
            }
        }
        pairs.sort_unstable();
        self.span_shares.reserve(pairs.len());
        // Boundaries between two children are inside their parent: only an interval that a phase shares with others
        // makes its own energy uncertain.
        for group in pairs.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() < self.shares.len()) {
            let token = group[0].0;
            let first = self.span_shares.len() as u32;
            self.span_shares.extend(group.iter().map(|(_, share)| share));
            let instance = timeline.instance(token);
            let edges = instance.map(|instance| [instance.begin_ns, instance.end_ns]).into_iter().flatten().flatten();
            let inside = edges.filter(|at| (self.start_ns..=self.end_ns).contains(at));
            let offsets_ns = inside.map(|at| u128::from(at - self.start_ns)).sum();
            self.spans.push(Span { token, shares: (first, self.span_shares.len() as u32), offsets_ns, edge: 0 });
        }
    }

    /// Cells of a share.
    pub fn cells_of(&self, share: usize) -> &[Cell] {
        let (from, to) = self.shares[share].cells;
        &self.cells[from as usize..to as usize]
    }

    /// Indices of a span's shares.
    pub fn shares_of(&self, span: &Span) -> &[u32] {
        &self.span_shares[span.shares.0 as usize..span.shares.1 as usize]
    }

    /// Whether more than one owner has a part.
    pub fn is_mixed(&self) -> bool {
        self.shares.len() > 1
    }

    /// Parts in proportion to time.
    pub fn split_by_time(&self) -> Vec<u128> {
        largest_remainder(self.nanojoules, &self.shares.iter().map(|share| share.weight).collect::<Vec<_>>())
    }

    /// Nanojoules by which a split by time may be wrong at one boundary where it is not known: |P_mean − P_before|·T/2
    /// (|ΔP|·T/4 is its largest value where ΔP, the whole jump, is known).
    pub fn time_spread(&self) -> u128 {
        if self.is_mixed() { self.jump * u128::from(self.end_ns - self.start_ns) / 2_000_000_000 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::Owners;

    #[test]
    fn time_is_shared_between_the_knots_around_it() {
        let at = |start: u64, end: u64| {
            let stretch = Stretch {
                start_ns: start * 1_000_000,
                end_ns: end * 1_000_000,
                since_ns: 100_000_000,
                owners: Owners::Nobody,
            };
            by_knot(&stretch).map(|part| (part * 1e6).round() / 1e3)
        };
        assert_eq!(at(100, 110), [5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(at(105, 120), [1.25, 3.75 + 7.5, 2.5, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(at(350, 450), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0]);
        assert_eq!(at(100, 260).iter().sum::<f64>(), 160.0);
    }
}
