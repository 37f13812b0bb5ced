//! Who owned the time: phase instances, one stack per stream, and the stretches in which the owners did not change.

use std::collections::VecDeque;

use crate::mark_ring::Edge;
use crate::owners::Owners;
use crate::path_table::{ClassId, NO_CLASS, PathId, PathTable};
use crate::token_hash::TokenMap;

/// Divisible by every number of concurrent owners up to 16, so that shared time divides exactly.
pub const SHARE_SCALE: u128 = 720_720;

/// Finished instances kept for a late question about their energy.
const FINISHED_KEPT: usize = 20_000;

/// Stretches kept for a source that does not answer; older time counts as nobody's.
const STRETCHES_KEPT: usize = 1_000_000;

/// One use of a phase.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its path.
    pub path: PathId,
    /// Its stream.
    pub track: u32,
    /// Instance that was open around it and whose path holds this one's.
    pub parent: Option<u64>,
    /// Begin mark.
    pub begin_ns: Option<u64>,
    /// End mark.
    pub end_ns: Option<u64>,
    /// Whether any of its time was shared with an unrelated phase.
    pub estimated: bool,
    /// By source, children included.
    pub amounts: Vec<Amounts>,
}

/// What one source gave a phase instance, nanojoules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Of this process.
    pub active: u128,
    /// The machine's idle energy during its time.
    pub idle: u128,
    /// How far `active` can be off, because its edges fell inside counter intervals.
    pub edge: u128,
}

/// Part of a time span during which the owners did not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// When owners of these classes took over: power ramps from then on.
    pub since_ns: u64,
    /// Phase instances that share the time equally; empty while no phase is open.
    pub owners: Owners,
}

/// The timeline of one ledger.
pub struct Timeline {
    instances: TokenMap<u64, Instance>,
    /// A finished instance that was forgotten: its memory serves the next.
    spare: Option<Instance>,
    finished: VecDeque<u64>,
    stacks: TokenMap<u32, Vec<u64>>,
    owners: Owners,
    owner_classes: Vec<ClassId>,
    /// Its memory serves the next list of classes.
    spare_classes: Vec<ClassId>,
    owned_since_ns: u64,
    /// Classes and their start before the last change.
    classes_before: (Vec<ClassId>, u64),
    stretches: VecDeque<Stretch>,
    reached_ns: u64,
    /// Marks that came after the time they name had been divided; they take effect at once.
    pub late_marks: u64,
}

impl Timeline {
    /// A timeline that starts at `start_ns` with nothing open.
    pub fn new(start_ns: u64) -> Self {
        Self {
            instances: TokenMap::default(),
            spare: None,
            finished: VecDeque::new(),
            stacks: TokenMap::default(),
            owners: Owners::Nobody,
            owner_classes: Vec::new(),
            spare_classes: Vec::new(),
            owned_since_ns: start_ns,
            classes_before: (Vec::new(), start_ns),
            stretches: VecDeque::new(),
            reached_ns: start_ns,
            late_marks: 0,
        }
    }

    /// An instance, open or finished lately.
    pub fn instance(&self, token: u64) -> Option<&Instance> {
        self.instances.get(&token)
    }

    /// An instance, to credit it.
    pub fn instance_mut(&mut self, token: u64) -> Option<&mut Instance> {
        self.instances.get_mut(&token)
    }

    /// Up to where time has been divided.
    pub fn reached_ns(&self) -> u64 {
        self.reached_ns
    }

    /// Number of phases open now.
    pub fn open_count(&self) -> usize {
        self.stacks.values().map(Vec::len).sum()
    }

    /// A phase instance exists from now on.
    pub fn declare(&mut self, token: u64, path: PathId, track: u32, sources: usize) {
        let mut amounts = self.spare.take().map_or_else(Vec::new, |spare| spare.amounts);
        amounts.clear();
        amounts.resize(sources, Amounts::default());
        let instance = Instance { path, track, parent: None, begin_ns: None, end_ns: None, estimated: false, amounts };
        self.instances.insert(token, instance);
    }

    /// Divide time up to `monotonic_ns` among the present owners.
    pub fn advance_to(&mut self, monotonic_ns: u64) {
        if monotonic_ns <= self.reached_ns {
            return;
        }
        if self.owners.len() > 1 {
            for token in self.owners.iter() {
                if let Some(instance) = self.instances.get_mut(token) {
                    instance.estimated = true;
                }
            }
        }
        self.stretches.push_back(Stretch {
            start_ns: self.reached_ns,
            end_ns: monotonic_ns,
            since_ns: self.owned_since_ns,
            owners: self.owners.clone(),
        });
        if self.stretches.len() > STRETCHES_KEPT {
            self.stretches.pop_front();
        }
        self.reached_ns = monotonic_ns;
    }

    /// Apply a mark. Marks come in the order of their times; one from before [`Self::reached_ns`] takes effect there.
    /// Returns `false` for a token this timeline does not know.
    pub fn apply(&mut self, token: u64, edge: Edge, monotonic_ns: u64, paths: &PathTable) -> bool {
        let Some((path, track, begin_ns, end_ns)) =
            self.instances.get(&token).map(|found| (found.path, found.track, found.begin_ns, found.end_ns))
        else {
            return false;
        };
        if monotonic_ns < self.reached_ns {
            self.late_marks += 1;
        }
        let at = monotonic_ns.max(self.reached_ns);
        self.advance_to(at);
        match edge {
            Edge::Begin if begin_ns.is_none() => {
                let parent = self.enclosing(path, track, paths);
                if let Some(instance) = self.instances.get_mut(&token) {
                    instance.begin_ns = Some(at);
                    instance.parent = parent;
                }
                // An end that overtook its begin leaves a phase of no length.
                if end_ns.is_none() {
                    self.stacks.entry(track).or_default().push(token);
                }
            }
            Edge::End if end_ns.is_none() => {
                if let Some(stack) = self.stacks.get_mut(&track) {
                    stack.retain(|open| *open != token);
                }
                if let Some(instance) = self.instances.get_mut(&token) {
                    instance.end_ns = Some(at);
                    instance.begin_ns.get_or_insert(at);
                }
                self.finish(token);
            }
            _ => {}
        }
        self.owners = self.current_owners(paths);
        let class_of = |token: &u64| self.instances.get(token).map_or(NO_CLASS, |found| paths.class(found.path));
        let mut classes = std::mem::take(&mut self.spare_classes);
        classes.clear();
        classes.extend(self.owners.iter().map(class_of));
        classes.sort_unstable();
        self.take_classes(classes, at);
        true
    }

    /// Note when other classes take over. Two phases of a class that touch are one: nobody owned the no time between.
    fn take_classes(&mut self, classes: Vec<ClassId>, at: u64) {
        if classes == self.owner_classes {
            self.spare_classes = classes;
            return;
        }
        let old = (std::mem::replace(&mut self.owner_classes, classes), self.owned_since_ns);
        if old.1 == at && self.classes_before.0 == self.owner_classes {
            self.owned_since_ns = self.classes_before.1;
            self.spare_classes = old.0;
            return;
        }
        let replaced = if old.1 == at { old } else { std::mem::replace(&mut self.classes_before, old) };
        self.spare_classes = replaced.0;
        self.owned_since_ns = at;
    }

    fn finish(&mut self, token: u64) {
        self.finished.push_back(token);
        if self.finished.len() > FINISHED_KEPT
            && let Some(oldest) = self.finished.pop_front()
        {
            self.spare = self.instances.remove(&oldest);
        }
    }

    /// The innermost open instance whose path holds `path`: on the same stream first, then on any.
    fn enclosing(&self, path: PathId, track: u32, paths: &PathTable) -> Option<u64> {
        let holds = |token: &&u64| {
            self.instances.get(*token).is_some_and(|open| open.path != path && paths.contains(open.path, path))
        };
        let same = self.stacks.get(&track).and_then(|stack| stack.iter().rev().find(holds)).copied();
        same.or_else(|| {
            self.stacks
                .values()
                .flat_map(|stack| stack.iter())
                .filter(holds)
                .max_by_key(|token| (self.instances[*token].begin_ns, **token))
                .copied()
        })
    }

    /// The top of every stream's stack, without those that enclose another one by path.
    fn current_owners(&self, paths: &PathTable) -> Owners {
        let mut open = self.stacks.values().filter_map(|stack| stack.last().copied());
        let (first, second) = (open.next(), open.next());
        let (Some(first), Some(second)) = (first, second) else {
            return first.map_or(Owners::Nobody, Owners::One);
        };
        let mut tops: Vec<u64> = [first, second].into_iter().chain(open).collect();
        tops.sort_unstable();
        let encloses_another = |token: u64| {
            let own = self.instances[&token].path;
            tops.iter().any(|other| {
                let path = self.instances[other].path;
                path != own && paths.contains(own, path)
            })
        };
        tops.iter().copied().filter(|token| !encloses_another(*token)).collect()
    }

    /// The stretches between `start_ns` and `end_ns`, cut to it; time that is not known any more is nobody's.
    pub fn stretches(&self, start_ns: u64, end_ns: u64) -> Vec<Stretch> {
        let mut found = Vec::new();
        self.each_stretch(start_ns, end_ns, |stretch| found.push(stretch.clone()));
        found
    }

    /// [`Self::stretches`] one by one.
    pub fn each_stretch(&self, start_ns: u64, end_ns: u64, mut take: impl FnMut(&Stretch)) {
        let nobody = |start_ns, end_ns| Stretch { start_ns, end_ns, since_ns: start_ns, owners: Owners::Nobody };
        let known_from = self.stretches.front().map_or(self.reached_ns, |stretch| stretch.start_ns).min(end_ns);
        let mut reached = start_ns;
        if start_ns < known_from {
            take(&nobody(start_ns, known_from));
            reached = known_from;
        }
        let first = self.stretches.partition_point(|stretch| stretch.end_ns <= start_ns);
        let inside = self.stretches.iter().skip(first).take_while(|stretch| stretch.start_ns < end_ns);
        for stretch in inside {
            if stretch.start_ns >= start_ns && stretch.end_ns <= end_ns {
                take(stretch);
            } else {
                let (start_ns, end_ns) = (stretch.start_ns.max(start_ns), stretch.end_ns.min(end_ns));
                take(&Stretch { start_ns, end_ns, ..stretch.clone() });
            }
            reached = stretch.end_ns.min(end_ns);
        }
        if reached < end_ns {
            take(&nobody(reached, end_ns));
        }
    }

    /// Forget stretches that end at or before `monotonic_ns`.
    pub fn trim(&mut self, monotonic_ns: u64) {
        while self.stretches.front().is_some_and(|stretch| stretch.end_ns <= monotonic_ns) {
            self.stretches.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "timeline_test.rs"]
mod tests;
