//! Op declarations: one per op, shared by every device.
//!
//! A declaration says what an op takes, what it returns, what it saves for backward (its outputs), how
//! much workspace it needs and how many FLOPs and bytes it costs. Devices implement it by name. The
//! table is exported to TypeScript, so an op is declared once.

pub mod activation;
mod attention;
mod call;
mod cross_entropy;
mod declare;
mod elementwise;
mod embedding;
mod linear;
mod norm;
mod optimizer;
mod quant4;
mod random;
mod reduce;

pub use call::{Attributes, InferCall};
pub use declare::{Attribute, Inferred, Input, OpDeclaration, attribute, input, optional, required};
pub use elementwise::Broadcast;
pub use optimizer::STATE_BLOCK;
pub use reduce::Over;

use std::collections::HashMap;
use std::sync::OnceLock;

/// Every declared op, in a fixed order: the index is the op code used across the binding.
pub fn table() -> &'static [&'static OpDeclaration] {
    static TABLE: OnceLock<Vec<&'static OpDeclaration>> = OnceLock::new();
    TABLE.get_or_init(|| GROUPS.iter().flat_map(|group| group.iter()).collect())
}

/// Finds an op by name.
pub fn find(name: &str) -> Option<&'static OpDeclaration> {
    static INDEX: OnceLock<HashMap<&'static str, &'static OpDeclaration>> = OnceLock::new();
    INDEX.get_or_init(|| table().iter().map(|op| (op.name, *op)).collect()).get(name).copied()
}

/// The table as JSON for the TypeScript side; the index of an entry is its op code.
pub fn table_json() -> String {
    let op = |op: &&OpDeclaration| {
        serde_json::json!({
            "name": op.name,
            "inputs": op.inputs.iter().map(|input| serde_json::json!({
                "name": input.name, "optional": input.optional,
            })).collect::<Vec<_>>(),
            "variadic": op.variadic,
            "attributes": op.attributes.iter().map(|attribute| serde_json::json!({
                "name": attribute.name, "default": attribute.default,
            })).collect::<Vec<_>>(),
            "rest": op.rest,
            "outputs": op.outputs,
            "mutates": op.mutates,
        })
    };
    serde_json::Value::from(table().iter().map(op).collect::<Vec<_>>()).to_string()
}

/// The groups of declarations; each file of this folder contributes one slice named `OPS`.
const GROUPS: &[&[OpDeclaration]] = &[
    activation::OPS,
    attention::OPS,
    cross_entropy::OPS,
    elementwise::OPS,
    embedding::OPS,
    linear::OPS,
    norm::OPS,
    optimizer::OPS,
    quant4::OPS,
    random::OPS,
    reduce::OPS,
];

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = super::table().iter().map(|op| op.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
