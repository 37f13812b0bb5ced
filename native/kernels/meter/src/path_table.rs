//! Phase paths as small integers, each with its parent.

use std::collections::HashMap;

use crate::error::{MeterError, Result};

/// Index of a path.
pub type PathId = u32;

/// The root: no phase.
pub const ROOT: PathId = 0;

/// Index of a class of paths: paths that differ only in their counters share it.
pub type ClassId = u32;

/// Class of the root: time outside any phase.
pub const NO_CLASS: ClassId = 0;

/// Paths never change once they are in the table.
#[derive(Debug, Default)]
pub struct PathTable {
    ids: HashMap<String, PathId>,
    paths: Vec<Path>,
    class_ids: HashMap<String, ClassId>,
    classes: Vec<String>,
}

#[derive(Debug, Default)]
struct Path {
    name: String,
    parent: PathId,
    class: ClassId,
}

/// `train/epoch:3/forward` is an instance of the class `train/epoch:*/forward`: counters do not change what is done.
pub(crate) fn class_name(path: &str) -> String {
    let part = |segment: &str| match segment.rsplit_once(':') {
        Some((name, count)) if !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{name}:*")
        }
        _ => segment.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

impl PathTable {
    /// A table that knows only the root.
    pub fn new() -> Self {
        Self {
            ids: HashMap::from([(String::new(), ROOT)]),
            paths: vec![Path::default()],
            class_ids: HashMap::from([(String::new(), NO_CLASS)]),
            classes: vec![String::new()],
        }
    }

    /// The id of `path`, made with all its ancestors where it is new.
    ///
    /// # Errors
    /// `ERR_ENERGY_PHASE_PATH` for an empty path, an empty segment, control characters, or more than 512 bytes.
    pub fn intern(&mut self, path: &str) -> Result<PathId> {
        if let Some(id) = self.ids.get(path).filter(|id| **id != ROOT) {
            return Ok(*id);
        }
        let bad = path.is_empty()
            || path.len() > 512
            || path.split('/').any(str::is_empty)
            || path.chars().any(char::is_control);
        if bad {
            return Err(MeterError::new(
                "ERR_ENERGY_PHASE_PATH",
                format!(
                    "phase path {path:?} is not usable: write non-empty names joined by '/', such as 'train/epoch:0/forward', at most 512 bytes"
                ),
            ));
        }
        Ok(self.insert(path))
    }

    fn insert(&mut self, path: &str) -> PathId {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let parent = path.rsplit_once('/').map_or(ROOT, |(head, _)| self.insert(head));
        let id = self.paths.len() as PathId;
        let class_text = class_name(path);
        let class = match self.class_ids.get(&class_text) {
            Some(class) => *class,
            None => {
                self.classes.push(class_text.clone());
                self.class_ids.insert(class_text, (self.classes.len() - 1) as ClassId);
                (self.classes.len() - 1) as ClassId
            }
        };
        self.paths.push(Path { name: path.to_owned(), parent, class });
        self.ids.insert(path.to_owned(), id);
        id
    }

    /// Full path; empty for the root.
    pub fn name(&self, id: PathId) -> &str {
        &self.paths[id as usize].name
    }

    /// Parent; the root is its own.
    pub fn parent(&self, id: PathId) -> PathId {
        self.paths[id as usize].parent
    }

    /// Class of a path.
    pub fn class(&self, id: PathId) -> ClassId {
        self.paths[id as usize].class
    }

    /// Name of a class, with `*` for counters; empty for time outside any phase.
    pub fn class_name(&self, class: ClassId) -> &str {
        &self.classes[class as usize]
    }

    /// A path, its parent and so on up to the root.
    pub fn with_ancestors(&self, id: PathId) -> impl Iterator<Item = PathId> {
        std::iter::successors(Some(id), |current| (*current != ROOT).then(|| self.parent(*current)))
    }

    /// Whether `ancestor` holds `id` or is `id`.
    pub fn contains(&self, ancestor: PathId, id: PathId) -> bool {
        self.with_ancestors(id).any(|current| current == ancestor)
    }

    /// Number of paths, the root included.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Never empty: the root is always there.
    pub fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_ancestors_once() {
        let mut table = PathTable::new();
        let forward = table.intern("train/epoch:0/forward").unwrap();
        let train = table.intern("train").unwrap();
        assert_eq!(table.len(), 4);
        assert!(table.contains(train, forward));
        assert!(!table.contains(forward, train));
        assert_eq!(table.name(table.parent(forward)), "train/epoch:0");
        let later = table.intern("train/epoch:12/forward").unwrap();
        assert_eq!(table.class(forward), table.class(later));
        assert_eq!(table.class_name(table.class(later)), "train/epoch:*/forward");
        assert_ne!(table.class(train), table.class(forward));
        for bad in ["", "/", "a//b", "a/", "a\nb"] {
            assert_eq!(table.intern(bad).unwrap_err().code, "ERR_ENERGY_PHASE_PATH");
        }
    }
}
