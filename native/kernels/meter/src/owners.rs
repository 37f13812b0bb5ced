//! Who owns a stretch of time. Almost always it is nobody or one phase, and neither needs memory of its own.

use std::ops::Deref;
use std::sync::Arc;

/// Phase instances that share a time equally.
#[derive(Debug, Clone, Default)]
pub enum Owners {
    /// No phase is open.
    #[default]
    Nobody,
    /// One instance.
    One(u64),
    /// Several, in ascending order.
    Several(Arc<[u64]>),
}

impl Deref for Owners {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::Nobody => &[],
            Self::One(token) => std::slice::from_ref(token),
            Self::Several(tokens) => tokens,
        }
    }
}

impl FromIterator<u64> for Owners {
    fn from_iter<I: IntoIterator<Item = u64>>(tokens: I) -> Self {
        let mut tokens = tokens.into_iter();
        let (first, second) = (tokens.next(), tokens.next());
        match (first, second) {
            (Some(first), Some(second)) => Self::Several([first, second].into_iter().chain(tokens).collect()),
            (Some(only), None) => Self::One(only),
            (None, _) => Self::Nobody,
        }
    }
}

impl PartialEq for Owners {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Owners {}
