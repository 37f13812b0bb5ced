//! Double entry: every nanojoule of every included source is credited to exactly one account.

use crate::path_table::{PathId, PathTable};
use crate::token_hash::TokenMap;

/// Kind of account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountKind {
    /// This process, in a phase.
    Phase,
    /// The machine with nothing running, by the phase that was open.
    Idle,
    /// Other processes.
    OtherTenants,
    /// This process, outside any phase.
    Unattributed,
    /// A stretch in which the counter may have wrapped unseen.
    Gap,
    /// Work lost by going back to a checkpoint.
    Rework,
    /// The sampler itself.
    Overhead,
}

impl AccountKind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Phase, "phase"),
        (Self::Idle, "idle"),
        (Self::OtherTenants, "other_tenants"),
        (Self::Unattributed, "unattributed"),
        (Self::Gap, "gap"),
        (Self::Rework, "rework"),
        (Self::Overhead, "overhead/ledger"),
    ];

    /// Name as stored.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Split a stored account name such as `phase/train` into kind and path.
    pub fn parse(account: &str) -> Option<(Self, &str)> {
        if account == Self::Overhead.name() {
            return Some((Self::Overhead, ""));
        }
        let (name, path) = account.split_once('/').unwrap_or((account, ""));
        let kind = Self::ALL.iter().find(|(_, known)| *known == name)?.0;
        Some((kind, path))
    }
}

/// Stored name of an account: `phase/train/forward`, `idle`.
pub fn account_name(kind: AccountKind, path: &str) -> String {
    match path {
        "" => kind.name().to_owned(),
        path => format!("{}/{path}", kind.name()),
    }
}

/// Index of an account.
pub type AccountId = u32;

/// Balance of one account for one source, in nanojoules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Credited.
    pub nanojoules: u128,
    /// How far below the truth can lie, the source's own error apart.
    pub below: u128,
    /// How far above.
    pub above: u128,
}

impl Balance {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            nanojoules: self.nanojoules + other.nanojoules,
            below: self.below + other.below,
            above: self.above + other.above,
        }
    }
}

/// All accounts and their balances.
#[derive(Debug, Default)]
pub struct Accounts {
    ids: TokenMap<(AccountKind, PathId), AccountId>,
    keys: Vec<(AccountKind, PathId)>,
    /// By source, then by account.
    balances: Vec<Vec<Balance>>,
    changed: Vec<Vec<bool>>,
    /// Phase energy of each path with everything below it, over all sources; kept while crediting and checked
    /// against the leaves at each commit (I2).
    inclusive: Vec<u128>,
}

impl Accounts {
    /// Accounts for `sources` sources.
    pub fn new(sources: usize) -> Self {
        Self { balances: vec![Vec::new(); sources], changed: vec![Vec::new(); sources], ..Self::default() }
    }

    /// The account of `kind` for `path`, opened where it is new.
    pub fn open(&mut self, kind: AccountKind, path: PathId) -> AccountId {
        let keys = &mut self.keys;
        *self.ids.entry((kind, path)).or_insert_with(|| {
            keys.push((kind, path));
            (keys.len() - 1) as AccountId
        })
    }

    /// Kind and path of every account, in order of opening.
    pub fn keys(&self) -> &[(AccountKind, PathId)] {
        &self.keys
    }

    fn balance_mut(&mut self, source: usize, account: AccountId) -> &mut Balance {
        let needed = account as usize + 1;
        if self.balances[source].len() < needed {
            self.balances[source].resize(needed, Balance::default());
            self.changed[source].resize(needed, false);
        }
        self.changed[source][account as usize] = true;
        &mut self.balances[source][account as usize]
    }

    /// Credit an account.
    pub fn credit(&mut self, source: usize, kind: AccountKind, path: PathId, amount: Balance, paths: &PathTable) {
        if amount == Balance::default() {
            return;
        }
        let account = self.open(kind, path);
        let balance = self.balance_mut(source, account);
        balance.nanojoules += amount.nanojoules;
        balance.below += amount.below;
        balance.above += amount.above;
        if kind == AccountKind::Phase {
            self.inclusive.resize(paths.len(), 0);
            for current in paths.with_ancestors(path) {
                self.inclusive[current as usize] += amount.nanojoules;
            }
        }
    }

    /// Take back what was credited to an account, and credit `to` instead.
    pub fn amend(
        &mut self,
        source: usize,
        (kind, path): (AccountKind, PathId),
        from: Balance,
        to: Balance,
        paths: &PathTable,
    ) {
        if from == to {
            return;
        }
        let account = self.open(kind, path);
        let balance = self.balance_mut(source, account);
        balance.nanojoules = balance.nanojoules + to.nanojoules - from.nanojoules;
        balance.below = balance.below + to.below - from.below;
        balance.above = balance.above + to.above - from.above;
        if kind == AccountKind::Phase && to.nanojoules != from.nanojoules {
            self.inclusive.resize(paths.len(), 0);
            for current in paths.with_ancestors(path) {
                let sum = &mut self.inclusive[current as usize];
                *sum = *sum + to.nanojoules - from.nanojoules;
            }
        }
    }

    /// Balance of an account for a source.
    pub fn balance(&self, source: usize, account: AccountId) -> Balance {
        self.balances[source].get(account as usize).copied().unwrap_or_default()
    }

    /// Sum over all accounts of a source.
    pub fn source_total(&self, source: usize) -> u128 {
        self.balances[source].iter().map(|balance| balance.nanojoules).sum()
    }

    /// Accounts of a source that changed since this was last called, in order.
    pub fn take_changed(&mut self, source: usize) -> Vec<(AccountId, Balance)> {
        let balances = &self.balances[source];
        let changed = self.changed[source].iter_mut().enumerate();
        changed
            .filter_map(|(index, changed)| std::mem::take(changed).then(|| (index as AccountId, balances[index])))
            .collect()
    }

    /// I2: each phase equals its own energy plus its children. Returns the first path that does not.
    pub fn find_unbalanced_phase(&self, paths: &PathTable) -> Option<PathId> {
        let mut sums = vec![0_u128; paths.len()];
        for (account, (kind, path)) in self.keys.iter().enumerate() {
            if *kind == AccountKind::Phase {
                sums[*path as usize] += (0..self.balances.len())
                    .map(|source| self.balance(source, account as AccountId).nanojoules)
                    .sum::<u128>();
            }
        }
        // Children have larger ids than their parents.
        for path in (1..paths.len()).rev() {
            let sum = sums[path];
            sums[paths.parent(path as PathId) as usize] += sum;
        }
        (0..paths.len())
            .find(|path| sums[*path] != self.inclusive.get(*path).copied().unwrap_or(0))
            .map(|path| path as PathId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        assert_eq!(account_name(AccountKind::Phase, "train/forward"), "phase/train/forward");
        assert_eq!(AccountKind::parse("phase/train/forward"), Some((AccountKind::Phase, "train/forward")));
        assert_eq!(AccountKind::parse("idle"), Some((AccountKind::Idle, "")));
        assert_eq!(AccountKind::parse(&account_name(AccountKind::Overhead, "")), Some((AccountKind::Overhead, "")));
        assert_eq!(AccountKind::parse("nothing"), None);
    }

    #[test]
    fn phases_roll_up() {
        let mut paths = PathTable::new();
        let forward = paths.intern("train/forward").unwrap();
        let train = paths.intern("train").unwrap();
        let mut accounts = Accounts::new(2);
        let amount = |nanojoules| Balance { nanojoules, ..Balance::default() };
        accounts.credit(0, AccountKind::Phase, forward, amount(5), &paths);
        accounts.credit(1, AccountKind::Phase, train, amount(7), &paths);
        accounts.credit(1, AccountKind::Idle, train, amount(3), &paths);
        accounts.amend(0, (AccountKind::Phase, forward), amount(5), amount(2), &paths);
        accounts.amend(0, (AccountKind::Phase, train), amount(0), amount(3), &paths);
        assert_eq!(accounts.find_unbalanced_phase(&paths), None);
        assert_eq!(accounts.source_total(0), 5);
        assert_eq!(accounts.source_total(1), 10);
        assert_eq!(accounts.take_changed(1).len(), 2);
        assert!(accounts.take_changed(1).is_empty());
        accounts.inclusive[train as usize] += 1;
        assert_eq!(accounts.find_unbalanced_phase(&paths), Some(train));
    }
}
