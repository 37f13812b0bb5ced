//! Kernels of Swift for TypeScript: the tensor table, the op declarations and the devices.
//!
//! Nothing here knows of Node. [`table::TensorTable`] validates calls and accounts bytes on the
//! caller's thread; one [`engine::Engine`] thread per device executes them in order through the
//! [`backend::Backend`] seam.

pub mod accounts;
pub mod backend;
pub mod cpu;
pub mod dtype;
pub mod engine;
pub mod error;
pub mod files;
#[cfg(test)]
mod harness;
pub mod ops;
pub mod oracle;
#[cfg(test)]
mod parity;
pub mod recording;
pub mod rng;
pub mod shape;
pub mod table;
