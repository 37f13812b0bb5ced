//! Energy of a program, owned to the nanojoule: sources with provenance, one sampler thread, phases marked from any
//! thread, double-entry accounts, and a journal that survives kill −9.
//!
//! ```no_run
//! use swift_meter::{Edge, Meter, MeterOptions, mark_now};
//! let options = MeterOptions { directory: "run/energy".into(), run_id: "demo".into(), ..MeterOptions::default() };
//! let mut meter = Meter::open(&options)?;
//! let path = meter.intern("train/epoch:0/forward")?;
//! let token = meter.declare(path, 0)?;
//! mark_now(token, Edge::Begin);
//! mark_now(token, Edge::End);
//! meter.close()?;
//! # Ok::<(), swift_meter::MeterError>(())
//! ```

pub mod accounts;
pub mod attribution;
pub mod baseline;
pub mod book;
pub mod busy;
pub mod calibrate;
pub mod clock;
pub mod core;
pub mod counter;
mod decimal;
mod division;
pub mod error;
pub mod event;
pub mod intake;
pub mod journal;
pub mod mark_ring;
pub mod merge;
pub mod meter;
pub mod options;
pub mod others;
pub mod owners;
pub mod pace;
pub mod path_table;
pub mod process_tree;
pub mod registry;
pub mod regression;
pub mod resume;
pub mod sampler;
pub mod simulate;
pub mod source;
pub mod source_book;
pub mod split;
pub mod timeline;
mod token_hash;
pub mod unit;
pub mod usage;

pub use clock::monotonic_nanoseconds;
pub use error::{MeterError, Result};
pub use mark_ring::Edge;
pub use meter::{Meter, Settled, SettledSource};
pub use options::MeterOptions;
pub use registry::{mark, mark_now};
pub use resume::Resume;

/// An empty folder of its own for a unit test.
#[cfg(test)]
pub(crate) fn test_folder(name: &str) -> std::path::PathBuf {
    let unique = format!("swift-meter-{name}-{}-{}", std::process::id(), monotonic_nanoseconds());
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}
