//! I5: a device's joules at a time belong to one writer.

use std::collections::{BTreeMap, BTreeSet};

use super::MergeNote;
use super::collect::Member;

/// (host, boot, source).
type Device = (String, String, String);

/// From, to, by which run and rank.
type Taken = (u64, u64, String, u32);

/// Take each (host, source, time) from the lowest rank that counts it. Members come in the order of their keys.
pub(super) fn exclude(members: &mut [Member]) -> BTreeSet<MergeNote> {
    let mut taken: BTreeMap<Device, Vec<Taken>> = BTreeMap::new();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| (members[*a].key.rank, &members[*a].key).cmp(&(members[*b].key.rank, &members[*b].key)));
    let mut notes = BTreeSet::new();
    for index in order {
        let member = &mut members[index];
        let (start, end) = (member.replay.header.started_monotonic_ns, member.replay.monotonic_ns);
        for source in member.replay.header.sources.iter().filter(|source| source.included) {
            let key = (member.key.host.clone(), member.key.boot.clone(), source.id.clone());
            let times = taken.entry(key).or_default();
            let other = times.iter().find(|(from, to, run, rank)| {
                (run, *rank) != (&member.key.run, member.key.rank) && start < *to && *from < end
            });
            let Some((_, _, run, rank)) = other else {
                times.push((start, end, member.key.run.clone(), member.key.rank));
                continue;
            };
            let sum = |entries: &[crate::journal::state::StoredEntry]| -> u128 {
                entries.iter().filter(|entry| entry.source == source.id).map(|entry| entry.nanojoules).sum()
            };
            let own = sum(&member.replay.state.entries).saturating_sub(sum(&member.replay.header.carried.entries));
            notes.insert(MergeNote {
                code: "WARN_LEDGER_MERGE_SHARED_SOURCE".to_owned(),
                message: format!(
                    "{} on host {} was read by rank {rank} of {run} and by rank {} of {} at once; it counts once, from rank {rank}: {own} nJ of rank {} are the same joules again",
                    source.id, member.key.host, member.key.rank, member.key.run, member.key.rank
                ),
            });
            member.excluded.insert(source.id.clone());
        }
    }
    notes
}
