//! Which sources may be added up: an antichain of the scope tree, so that no joule is counted twice.

use super::descriptor::{Scope, SourceDescriptor, SourceKind, SourceState};

fn decide(index: usize, all: &[SourceDescriptor]) -> (SourceState, String) {
    let source = &all[index];
    let readable = |other: &SourceDescriptor| other.state != SourceState::Unavailable;
    if !readable(source) {
        return (SourceState::Unavailable, source.reason.clone());
    }
    // Another program's device, or a sensor whose place is not known.
    if source.state == SourceState::ShownOnly {
        return (SourceState::ShownOnly, source.reason.clone());
    }
    let inside = |other: &SourceDescriptor| matches!(other.scope, Scope::Package | Scope::Gpu | Scope::Module);
    if source.scope == Scope::Wall && all.iter().any(|other| inside(other) && other.is_measured() && readable(other)) {
        return (SourceState::ShownOnly, "the whole machine: holds what is measured in parts beside it".to_owned());
    }
    if source.kind == SourceKind::RaplMmio {
        let twin = all
            .iter()
            .find(|other| other.kind == SourceKind::RaplPowercap && other.label == source.label && readable(other));
        if let Some(twin) = twin {
            return (SourceState::Alias, format!("a second view of {}", twin.id));
        }
    }
    if source.scope == Scope::Platform && all.iter().any(|other| other.scope == Scope::Package && readable(other)) {
        let reason =
            "platform zone: what it covers differs between machines, so it is shown beside the packages and not added";
        return (SourceState::ShownOnly, reason.to_owned());
    }
    if let Some(parent) =
        source.parent.as_ref().and_then(|id| all.iter().find(|other| other.id == *id && readable(other)))
    {
        return match decide(all.iter().position(|other| other.id == parent.id).unwrap_or(index), all) {
            (SourceState::Included | SourceState::Covered, _) => {
                (SourceState::Covered, format!("already inside {}", parent.id))
            }
            (state, _) => (state, format!("inside {}", parent.id)),
        };
    }
    (SourceState::Included, source.reason.clone())
}

/// Decide every source's state from what is readable.
pub fn select(sources: &mut [SourceDescriptor]) {
    let decisions: Vec<_> = (0..sources.len()).map(|index| decide(index, sources)).collect();
    for (source, (state, reason)) in sources.iter_mut().zip(decisions) {
        source.state = state;
        source.reason = reason;
    }
}

/// Invariant I4: no two included sources are ancestor and descendant. Returns the offending pair.
pub fn find_overlap(sources: &[SourceDescriptor]) -> Option<(String, String)> {
    let included = |source: &&SourceDescriptor| source.state == SourceState::Included;
    for source in sources.iter().filter(included) {
        let mut ancestor = source.parent.clone();
        while let Some(id) = ancestor {
            let Some(parent) = sources.iter().find(|other| other.id == id) else {
                break;
            };
            if parent.state == SourceState::Included {
                return Some((parent.id.clone(), source.id.clone()));
            }
            ancestor = parent.parent.clone();
        }
    }
    None
}
