use super::*;

fn table() -> (PathTable, impl Fn(&PathTable, &str) -> PathId) {
    let mut paths = PathTable::new();
    for path in ["train/epoch:0/forward", "train/epoch:0/backward", "tokenise"] {
        paths.intern(path).unwrap();
    }
    (paths, |paths: &PathTable, name: &str| (0..paths.len() as u32).find(|id| paths.name(*id) == name).unwrap())
}

fn owned(timeline: &Timeline, start: u64, end: u64) -> Vec<(Option<u64>, u128)> {
    let mut weights: std::collections::BTreeMap<Option<u64>, u128> = std::collections::BTreeMap::new();
    for stretch in timeline.stretches(start, end) {
        let time = u128::from(stretch.end_ns - stretch.start_ns);
        if stretch.owners.is_empty() {
            *weights.entry(None).or_default() += time;
        }
        for owner in stretch.owners.iter() {
            *weights.entry(Some(*owner)).or_default() +=
                time * SHARE_SCALE / stretch.owners.len() as u128 / SHARE_SCALE;
        }
    }
    weights.into_iter().collect()
}

#[test]
fn the_innermost_phase_owns_the_time() {
    let (paths, id) = table();
    let mut timeline = Timeline::new(0);
    timeline.declare(1, id(&paths, "train/epoch:0"), 0, 0);
    timeline.declare(2, id(&paths, "train/epoch:0/forward"), 0, 0);
    assert!(timeline.apply(1, Edge::Begin, 10, &paths));
    assert!(timeline.apply(2, Edge::Begin, 20, &paths));
    assert!(timeline.apply(2, Edge::End, 50, &paths));
    assert!(timeline.apply(1, Edge::End, 60, &paths));
    timeline.advance_to(100);
    assert_eq!(owned(&timeline, 0, 100), [(None, 50), (Some(1), 20), (Some(2), 30)]);
    assert_eq!(owned(&timeline, 15, 25), [(Some(1), 5), (Some(2), 5)]);
    assert_eq!(timeline.instance(2).unwrap().parent, Some(1));
    assert!(!timeline.instance(1).unwrap().estimated);
}

#[test]
fn unrelated_streams_share_and_an_enclosing_one_does_not() {
    let (paths, id) = table();
    let mut timeline = Timeline::new(0);
    timeline.declare(1, id(&paths, "train"), 0, 0);
    timeline.declare(2, id(&paths, "train/epoch:0/forward"), 1, 0);
    timeline.declare(3, id(&paths, "tokenise"), 2, 0);
    timeline.apply(1, Edge::Begin, 0, &paths);
    timeline.apply(2, Edge::Begin, 0, &paths);
    timeline.advance_to(10);
    timeline.apply(3, Edge::Begin, 10, &paths);
    timeline.advance_to(20);
    assert_eq!(owned(&timeline, 0, 10), [(Some(2), 10)]);
    assert_eq!(owned(&timeline, 10, 20), [(Some(2), 5), (Some(3), 5)]);
    assert!(timeline.instance(2).unwrap().estimated);
}

#[test]
fn late_and_stray_marks_are_counted_not_lost() {
    let (paths, id) = table();
    let mut timeline = Timeline::new(0);
    timeline.declare(1, id(&paths, "tokenise"), 0, 0);
    timeline.advance_to(100);
    assert!(timeline.apply(1, Edge::Begin, 40, &paths));
    timeline.advance_to(150);
    assert_eq!(timeline.late_marks, 1);
    assert_eq!(owned(&timeline, 0, 150), [(None, 100), (Some(1), 50)]);
    assert!(!timeline.apply(99, Edge::Begin, 150, &paths));
}

#[test]
fn phases_may_end_out_of_order_and_trimmed_time_is_nobodys() {
    let (paths, id) = table();
    let mut timeline = Timeline::new(0);
    timeline.declare(1, id(&paths, "tokenise"), 0, 0);
    timeline.declare(2, id(&paths, "train"), 0, 0);
    timeline.apply(1, Edge::Begin, 0, &paths);
    timeline.apply(2, Edge::Begin, 10, &paths);
    timeline.apply(1, Edge::End, 20, &paths);
    timeline.apply(2, Edge::End, 30, &paths);
    timeline.advance_to(40);
    assert_eq!(owned(&timeline, 0, 40), [(None, 10), (Some(1), 10), (Some(2), 20)]);
    timeline.trim(10);
    assert_eq!(owned(&timeline, 0, 40), [(None, 20), (Some(2), 20)]);
    assert_eq!(timeline.open_count(), 0);
}

#[test]
fn time_since_the_start_goes_on_while_the_class_stays() {
    let mut paths = PathTable::new();
    let [first, second, other] =
        ["epoch:0/forward", "epoch:1/forward", "backward"].map(|path| paths.intern(path).unwrap());
    let mut timeline = Timeline::new(0);
    timeline.declare(1, first, 0, 0);
    timeline.declare(2, second, 0, 0);
    timeline.declare(3, other, 0, 0);
    for (token, begin, end) in [(1, 10, 20), (2, 20, 30), (3, 30, 40)] {
        timeline.apply(token, Edge::Begin, begin, &paths);
        timeline.apply(token, Edge::End, end, &paths);
    }
    timeline.advance_to(50);
    let since: Vec<_> = timeline.stretches(0, 60).iter().map(|stretch| (stretch.start_ns, stretch.since_ns)).collect();
    // Between two phases that touch, nobody owned anything for no time at all: the ramp does not start again there.
    assert_eq!(since, [(0, 0), (10, 10), (20, 10), (30, 30), (40, 40), (50, 50)]);
}
