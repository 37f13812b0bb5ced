//! Which chassis of a service is this machine, and which one holds which.

use std::collections::BTreeSet;

use super::walk::{Chassis, Identity};

/// What a chassis is to this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// It is this machine.
    Own,
    /// It is inside another one that tells its power, by index.
    Inside(usize),
    /// It is something else, or that is not known; why.
    Other(String),
}

/// UUIDs as boards and controllers write them: in either order of the first three fields.
fn same_uuid(left: &str, right: &str) -> bool {
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase()
    };
    let (left, right) = (digits(left), digits(right));
    if left.len() != 32 || right.len() != 32 || left.chars().all(|digit| digit == '0' || digit == 'f') {
        return false;
    }
    let turned = |field: &str| -> String { (0..field.len()).step_by(2).rev().map(|at| &field[at..at + 2]).collect() };
    let other = format!("{}{}{}{}", turned(&left[..8]), turned(&left[8..12]), turned(&left[12..16]), &left[16..]);
    left == right || other == right
}

/// Whether two descriptions are of one computer: UUID first, then serial number, then name.
pub fn is_same(machine: &Identity, system: &Identity) -> bool {
    let both = |of: fn(&Identity) -> &Option<String>| of(machine).as_deref().zip(of(system).as_deref());
    if let Some((left, right)) = both(|one| &one.uuid) {
        return same_uuid(left, right);
    }
    if let Some((left, right)) = both(|one| &one.serial) {
        return left.eq_ignore_ascii_case(right);
    }
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    both(|one| &one.host).is_some_and(|(left, right)| !short(left).is_empty() && short(left) == short(right))
}

/// This machine, as its firmware and kernel describe it. UUID and serial number are root's to read.
pub fn this_machine() -> Identity {
    let read = |path: &str| {
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Identity {
        uuid: read("/sys/class/dmi/id/product_uuid"),
        serial: read("/sys/class/dmi/id/product_serial"),
        host: read("/proc/sys/kernel/hostname"),
    }
}

/// All computers that chassis with a power name.
pub fn systems(all: &[Chassis]) -> BTreeSet<&str> {
    all.iter().flat_map(|chassis| chassis.systems.iter().map(String::as_str)).collect()
}

fn holder(all: &[Chassis], index: usize) -> Option<usize> {
    let around = all[index].contained_by.as_deref()?.trim_end_matches('/');
    all.iter().position(|other| other.path.trim_end_matches('/') == around).filter(|found| *found != index)
}

/// Whether `outer` is around `inner`, however far.
fn holds(all: &[Chassis], outer: usize, inner: usize) -> bool {
    let mut at = inner;
    // A circle of links ends after as many steps as there are chassis.
    for _ in 0..all.len() {
        match holder(all, at) {
            Some(found) if found == outer => return true,
            Some(found) => at = found,
            None => return false,
        }
    }
    false
}

/// The chassis of this machine. `own_system`: its computer, where there are several and it was recognised.
fn pick(all: &[Chassis], own_system: Option<&str>) -> Option<usize> {
    let is_outermost =
        |index: &usize, among: &[usize]| !among.iter().any(|other| other != index && holds(all, *other, *index));
    let mut pool: Vec<usize> = (0..all.len()).collect();
    if systems(all).len() > 1 {
        let own = own_system?;
        pool.retain(|index| all[*index].systems.iter().any(|system| system == own));
        // What it shares with other computers is more than this one.
        let fewest = pool.iter().map(|index| all[*index].systems.len()).min()?;
        pool.retain(|index| all[*index].systems.len() == fewest);
        if fewest > 1 {
            return None;
        }
    }
    let mut outermost: Vec<usize> = pool.iter().copied().filter(|index| is_outermost(index, &pool)).collect();
    if outermost.len() > 1 {
        outermost.retain(|index| !all[*index].systems.is_empty());
    }
    match outermost[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// What each chassis is. `named`: a person chose them by id; then each is this run's.
pub fn parts(all: &[Chassis], named: bool, own_system: Option<&str>) -> Vec<Part> {
    let own: Vec<usize> = if named { (0..all.len()).collect() } else { pick(all, own_system).into_iter().collect() };
    let unknown = || {
        let ids: Vec<&str> = all.iter().map(|chassis| chassis.id.as_str()).collect();
        format!(
            "which of the chassis {} is this machine is not known, so it is not read; name it with the option chassis (SWIFT_REDFISH_CHASSIS={})",
            ids.join(", "),
            ids[0]
        )
    };
    (0..all.len())
        .map(|index| match own.iter().find(|one| holds(all, **one, index)) {
            Some(outer) => Part::Inside(*outer),
            None if own.contains(&index) => Part::Own,
            None if own.is_empty() => Part::Other(unknown()),
            None => Part::Other("another machine's, or shared with others: not read".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::reading::{Measured, Place, Quantity, Route};
    use super::*;

    fn chassis(id: &str, inside: Option<&str>, systems: &[&str]) -> Chassis {
        let path = |id: &str| format!("/redfish/v1/Chassis/{id}");
        Chassis {
            id: id.to_owned(),
            path: path(id),
            name: id.to_owned(),
            contained_by: inside.map(path),
            systems: systems.iter().map(|system| (*system).to_owned()).collect(),
            route: Route { path: path(id), place: Place::Sensor, quantity: Quantity::Power, lifetime: false },
            first: Measured { value: 1.0, stamp_ns: None, period: None, permille: None, step: 1.0 },
            note: String::new(),
        }
    }

    fn is_other(part: &Part) -> bool {
        matches!(part, Part::Other(_))
    }

    #[test]
    fn one_machine_and_the_boards_in_it() {
        let all = [chassis("1", None, &["s"]), chassis("GPU", Some("1"), &[]), chassis("Fan", Some("GPU"), &[])];
        assert_eq!(parts(&all, false, None), [Part::Own, Part::Inside(0), Part::Inside(0)]);
        let unlinked = [chassis("HGX", None, &[]), chassis("1", None, &["s"])];
        let found = parts(&unlinked, false, None);
        assert!(is_other(&found[0]) && found[1] == Part::Own);
    }

    #[test]
    fn two_nodes_in_an_enclosure() {
        let all = [chassis("E", None, &["a", "b"]), chassis("N1", Some("E"), &["a"]), chassis("N2", Some("E"), &["b"])];
        let found = parts(&all, false, Some("b"));
        assert!(is_other(&found[0]) && is_other(&found[1]) && found[2] == Part::Own, "{found:?}");
        assert!(parts(&all, false, None).iter().all(is_other), "unknown which: none is counted");
        assert_eq!(parts(&all, true, None), [Part::Own, Part::Inside(0), Part::Inside(0)]);
        assert_eq!(parts(&all[1..], true, None), [Part::Own, Part::Own]);
    }

    #[test]
    fn a_circle_of_links_ends() {
        let all = [chassis("a", Some("b"), &[]), chassis("b", Some("a"), &[])];
        assert!(parts(&all, false, None).iter().all(is_other));
    }

    #[test]
    fn machines_are_recognised() {
        let uuid = |text: &str| Identity { uuid: Some(text.to_owned()), ..Identity::default() };
        let host = |text: &str| Identity { host: Some(text.to_owned()), ..Identity::default() };
        let board = uuid("4C4C4544-0042-3510-8052-B4C04F564433");
        assert!(is_same(&board, &uuid("4c4c4544-0042-3510-8052-b4c04f564433")));
        assert!(is_same(&board, &uuid("44454c4c-4200-1035-8052-b4c04f564433")), "fields in the other order");
        assert!(!is_same(&board, &uuid("4c4c4544-0042-3510-8052-b4c04f564434")));
        assert!(!is_same(&uuid("00000000-0000-0000-0000-000000000000"), &uuid("00000000-0000-0000-0000-000000000000")));
        assert!(is_same(&host("node-7"), &host("NODE-7.cluster.example")));
        assert!(!is_same(&host("node-7"), &host("node-8")) && !is_same(&host(""), &host("")));
    }
}
