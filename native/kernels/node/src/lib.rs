//! Node-API binding. Every file converts between JavaScript values and one crate; no algorithm here.
//! Errors cross as `CODE: message` and become classes in TypeScript.

mod compute;
mod files;
mod meter;
mod roofline;
mod text;
