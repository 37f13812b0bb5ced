//! Phase paths as small integers, each with its parent.

use std::collections::HashMap;

use crate::error::{MeterError, Result};

/// Index of a path.
pub type PathId = u32;

/// The root: no phase.
pub const ROOT: PathId = 0;

/// Paths never change once they are in the table.
#[derive(Debug, Default)]
pub struct PathTable {
    ids: HashMap<String, PathId>,
    /// (full path, parent)
    paths: Vec<(String, PathId)>,
}

impl PathTable {
    /// A table that knows only the root.
    pub fn new() -> Self {
        Self { ids: HashMap::from([(String::new(), ROOT)]), paths: vec![(String::new(), ROOT)] }
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
        self.paths.push((path.to_owned(), parent));
        self.ids.insert(path.to_owned(), id);
        id
    }

    /// Full path; empty for the root.
    pub fn name(&self, id: PathId) -> &str {
        &self.paths[id as usize].0
    }

    /// Parent; the root is its own.
    pub fn parent(&self, id: PathId) -> PathId {
        self.paths[id as usize].1
    }

    /// Whether `ancestor` holds `id` or is `id`.
    pub fn contains(&self, ancestor: PathId, id: PathId) -> bool {
        let mut current = id;
        loop {
            if current == ancestor {
                return true;
            }
            if current == ROOT {
                return false;
            }
            current = self.parent(current);
        }
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
        for bad in ["", "/", "a//b", "a/", "a\nb"] {
            assert_eq!(table.intern(bad).unwrap_err().code, "ERR_ENERGY_PHASE_PATH");
        }
    }
}
