//! Which sources may be added up: an antichain of the scope tree, so that no joule is counted twice.

use super::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};

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
    if source.scope == Scope::Wall {
        return decide_wall(source, all);
    }
    if source.is_measured()
        && let Some(wall) = counted_wall(all)
    {
        return (SourceState::ShownOnly, format!("already inside {}, which is the whole machine", wall.id));
    }
    (SourceState::Included, source.reason.clone())
}

/// Whether the parts of a machine are measured, so far that nothing large is missing: its processors.
fn parts_are_measured(all: &[SourceDescriptor]) -> bool {
    let is_part = |other: &&SourceDescriptor| matches!(other.scope, Scope::Package | Scope::Module);
    all.iter().filter(is_part).any(|other| other.is_measured() && may_count(other))
}

fn may_count(source: &SourceDescriptor) -> bool {
    !matches!(source.state, SourceState::Unavailable | SourceState::ShownOnly)
}

/// The best view of the whole machine: a counter before powers, the narrower interval, a controller that was named
/// before one that was found.
fn best_wall(all: &[SourceDescriptor]) -> Option<&SourceDescriptor> {
    let is_wall = |other: &&SourceDescriptor| other.scope == Scope::Wall && other.parent.is_none() && may_count(other);
    let rank = |other: &&SourceDescriptor| {
        let kind = match other.kind {
            SourceKind::Redfish => 0,
            SourceKind::Ipmi => 1,
            _ => 2,
        };
        (other.provenance != Provenance::MeasuredCounter, other.uncertainty_permille, kind)
    };
    all.iter().filter(is_wall).min_by_key(rank)
}

/// The wall that stands for the whole machine, where its parts are not measured.
fn counted_wall(all: &[SourceDescriptor]) -> Option<&SourceDescriptor> {
    if parts_are_measured(all) { None } else { best_wall(all) }
}

/// A whole machine: counted where its parts are not, and once, however many see it.
fn decide_wall(source: &SourceDescriptor, all: &[SourceDescriptor]) -> (SourceState, String) {
    match best_wall(all) {
        // Several chassis of one controller are several machines, of which a person named more than one.
        Some(best) if best.kind != source.kind => (SourceState::Alias, format!("a second view of {}", best.id)),
        _ if parts_are_measured(all) => {
            (SourceState::ShownOnly, "the whole machine: holds what is measured in parts beside it".to_owned())
        }
        _ => (SourceState::Included, source.reason.clone()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn source(id: &str, kind: SourceKind, scope: Scope, provenance: Provenance) -> SourceDescriptor {
        SourceDescriptor {
            id: id.to_owned(),
            kind,
            scope,
            label: id.to_owned(),
            parent: None,
            provenance,
            state: SourceState::Included,
            reason: String::new(),
            method: String::new(),
            uncertainty_permille: 50,
            modulus_nanojoules: None,
        }
    }

    fn states(mut all: Vec<SourceDescriptor>) -> Vec<SourceState> {
        select(&mut all);
        assert_eq!(find_overlap(&all), None);
        all.iter().map(|source| source.state).collect()
    }

    use Provenance::{IntegratedPower, MeasuredCounter};
    use SourceState::{Alias, Covered, Included, ShownOnly, Unavailable};

    fn ipmi() -> SourceDescriptor {
        source("ipmi:dcmi", SourceKind::Ipmi, Scope::Wall, IntegratedPower)
    }

    fn redfish(id: &str) -> SourceDescriptor {
        source(id, SourceKind::Redfish, Scope::Wall, IntegratedPower)
    }

    fn gpu() -> SourceDescriptor {
        source("gpu", SourceKind::NvmlCounter, Scope::Gpu, MeasuredCounter)
    }

    #[test]
    fn three_views_of_one_machine_count_once() {
        let acpi = SourceDescriptor {
            uncertainty_permille: 100,
            ..source("acpi", SourceKind::Hwmon, Scope::Wall, IntegratedPower)
        };
        assert_eq!(states(vec![acpi.clone(), ipmi(), redfish("redfish:1")]), [Alias, Alias, Included]);
        assert_eq!(states(vec![acpi.clone(), ipmi()]), [Alias, Included]);
        // A counter is better than powers, whoever has it.
        let counter =
            SourceDescriptor { provenance: MeasuredCounter, uncertainty_permille: 100, ..redfish("redfish:1") };
        assert_eq!(states(vec![ipmi(), counter]), [Alias, Included]);
        // One that cannot be read is no view.
        let closed = SourceDescriptor { state: Unavailable, ..redfish("redfish") };
        assert_eq!(states(vec![acpi, ipmi(), closed]), [Alias, Included, Unavailable]);
    }

    #[test]
    fn the_whole_and_its_parts_are_not_added() {
        let package = source("package", SourceKind::RaplPerf, Scope::Package, MeasuredCounter);
        let dram = source("dram", SourceKind::RaplPerf, Scope::Dram, MeasuredCounter);
        assert_eq!(states(vec![package, dram.clone(), gpu(), redfish("r")]), [Included, Included, Included, ShownOnly]);
        let psys = source("psys", SourceKind::Psys, Scope::Platform, MeasuredCounter);
        // Without its processors the parts are less than half of a machine: the whole is counted.
        assert_eq!(states(vec![psys, dram, gpu(), redfish("r")]), [ShownOnly, ShownOnly, ShownOnly, Included]);
        let closed = SourceDescriptor {
            state: Unavailable,
            ..source("package", SourceKind::RaplPowercap, Scope::Package, MeasuredCounter)
        };
        assert_eq!(states(vec![closed, gpu(), ipmi()]), [Unavailable, ShownOnly, Included]);
        assert_eq!(states(vec![gpu()]), [Included]);
    }

    #[test]
    fn two_chassis_that_were_named_are_both_counted_and_boards_are_inside() {
        let board = SourceDescriptor {
            parent: Some("redfish:1".to_owned()),
            scope: Scope::Platform,
            ..redfish("redfish:gpus")
        };
        let all = vec![redfish("redfish:1"), redfish("redfish:2"), board, ipmi()];
        assert_eq!(states(all), [Included, Included, Covered, Alias]);
    }
}
