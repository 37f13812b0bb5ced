//! A server as a source, before anything is known of it.

use super::accuracy;
use crate::source::descriptor::{Provenance, Scope, SourceDescriptor, SourceKind, SourceState};

/// The power of a whole server, unavailable until a controller has told it.
pub fn server_power(id: String, kind: SourceKind, label: &str) -> SourceDescriptor {
    SourceDescriptor {
        id,
        kind,
        scope: Scope::Wall,
        label: label.to_owned(),
        parent: None,
        provenance: Provenance::IntegratedPower,
        state: SourceState::Unavailable,
        reason: String::new(),
        method: String::new(),
        uncertainty_permille: accuracy::default_permille(None),
        modulus_nanojoules: None,
    }
}
