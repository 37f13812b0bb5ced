//! The book's division of an interval: first between tenants, then over the phases of this process. What the phases
//! get is amended when more is known; the interval itself never changes.

use crate::accounts::{AccountKind, Balance};
use crate::attribution::{self, Shares};
use crate::book::Book;
use crate::path_table::{PathId, PathTable, ROOT};
use crate::regression::report::FitReport;
use crate::regression::row::{Row, Share};
use crate::regression::window::{Parts, Window};
use crate::source::Attribution;
use crate::split::largest_remainder;
use crate::usage::MachineUsage;

fn balance(nanojoules: u128, spread: u128) -> Balance {
    Balance { nanojoules, below: spread.min(nanojoules), above: spread }
}

fn account(share: &Share) -> (AccountKind, PathId) {
    // A phase that ended so many phases ago that it is forgotten has no path any more.
    (if share.path == ROOT { AccountKind::Unattributed } else { AccountKind::Phase }, share.path)
}

impl Book {
    /// Divide the interval of a source between two readings.
    pub(crate) fn divide(
        &mut self,
        index: usize,
        (start_ns, before): (u64, &MachineUsage),
        (end_ns, after): (u64, &MachineUsage),
        nanojoules: u128,
        paths: &PathTable,
    ) {
        let source = &self.sources[index];
        let rule = source.attribution;
        let Shares { own, idle, others, overhead } =
            attribution::divide(nanojoules, rule, source.idle_nanowatts, self.exclusive, before, after);
        let power = nanojoules * 1_000_000_000 / u128::from(end_ns - start_ns);
        let jump = source.previous_nanowatts.map_or(0, |previous| previous.abs_diff(power));
        let mut row = Row::new(std::mem::take(&mut self.spare_row), start_ns, end_ns, own, jump, &self.timeline, paths);
        self.credit_idle(index, idle, &row, paths);
        let parts = self.windows[index].parts(&row);
        self.amend(index, &mut row, &parts, paths);
        let plain = |nanojoules| balance(nanojoules, 0);
        self.accounts.credit(index, AccountKind::OtherTenants, ROOT, plain(others), paths);
        self.accounts.credit(index, AccountKind::Overhead, ROOT, plain(overhead), paths);
        // A share of memory is a share of constant power: time splits it exactly.
        if rule == Attribution::ResidentMemory {
            self.spare_row = row;
            return;
        }
        self.spare_row = self.windows[index].push(row).unwrap_or_default();
        if self.windows[index].is_due() {
            self.refit(index, paths);
        }
    }

    /// Idle power is one number: time splits it.
    fn credit_idle(&mut self, index: usize, idle: u128, row: &Row, paths: &PathTable) {
        if idle == 0 {
            return;
        }
        let weights: Vec<u128> = row.shares.iter().map(|share| share.weight).collect();
        for (share, part) in row.shares.iter().zip(largest_remainder(idle, &weights)) {
            self.accounts.credit(index, AccountKind::Idle, share.path, balance(part, 0), paths);
            let mut token = share.owner;
            while let Some(instance) = token.and_then(|token| self.timeline.instance_mut(token)) {
                instance.amounts[index].idle += part;
                token = instance.parent;
            }
        }
    }

    /// Credit `parts` instead of what the row was credited before.
    fn amend(&mut self, index: usize, row: &mut Row, parts: &Parts, paths: &PathTable) {
        // Shares of one path together: their account is looked for once.
        let mut amended: Vec<((AccountKind, PathId), Balance, Balance)> = Vec::new();
        for (share, (nanojoules, spread)) in row.shares.iter_mut().zip(&parts.shares) {
            if (share.nanojoules, share.spread) == (*nanojoules, *spread) {
                continue;
            }
            let key = account(share);
            let (from, to) = (balance(share.nanojoules, share.spread), balance(*nanojoules, *spread));
            match amended.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, before, after)) => (*before, *after) = (before.plus(from), after.plus(to)),
                None => amended.push((key, from, to)),
            }
            let mut token = share.owner;
            while let Some(instance) = token.and_then(|token| self.timeline.instance_mut(token)) {
                let amount = &mut instance.amounts[index].active;
                *amount = *amount + nanojoules - share.nanojoules;
                token = instance.parent;
            }
            (share.nanojoules, share.spread) = (*nanojoules, *spread);
        }
        for (key, from, to) in amended {
            self.accounts.amend(index, key, from, to, paths);
        }
        for (span, edge) in row.spans.iter_mut().zip(&parts.edges) {
            if span.edge == *edge {
                continue;
            }
            if let Some(instance) = self.timeline.instance_mut(span.token) {
                let amount = &mut instance.amounts[index].edge;
                *amount = *amount + edge - span.edge;
            }
            span.edge = *edge;
        }
    }

    /// Fit a source's window again and move what the new fit splits differently. Sums do not change.
    fn refit(&mut self, index: usize, paths: &PathTable) {
        if !self.windows[index].fit() {
            return;
        }
        for at in self.windows[index].open_rows() {
            let window = &mut self.windows[index];
            if !window.rows()[at].is_mixed() {
                continue;
            }
            let mut row = std::mem::take(window.row_mut(at));
            let parts = window.parts(&row);
            self.amend(index, &mut row, &parts, paths);
            *self.windows[index].row_mut(at) = row;
        }
    }

    /// Fit every window that has news: before totals are final.
    pub fn refit_all(&mut self, paths: &PathTable) {
        for index in 0..self.windows.len() {
            if self.windows[index].is_stale() {
                self.refit(index, paths);
            }
        }
    }

    /// Fit what has news, then keep every division so far: energy before a snapshot stays before it.
    pub fn seal(&mut self, paths: &PathTable) {
        self.refit_all(paths);
        self.windows.iter_mut().for_each(Window::seal);
    }

    /// What the fits of the included sources are worth.
    pub fn fits(&self, paths: &PathTable) -> Vec<FitReport> {
        let name = |class| paths.class_name(class).to_owned();
        let sources = self.sources.iter().zip(&self.windows).filter(|(source, _)| source.is_included());
        sources.filter_map(|(source, window)| window.report(&source.descriptor.id, name)).collect()
    }
}
