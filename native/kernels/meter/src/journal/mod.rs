//! The journal: append-only segments of checksummed frames, committed every second, readable after kill −9.
//!
//! A segment `joules-<host>-<boot>-<rank>-<n>.swj` holds frames `len u32 | kind u8 | sequence u64 | payload | crc32c u32`
//! (little endian; the checksum covers everything before it). Samples and account names since the last commit precede
//! the commit frame that makes them count. A commit holds the cumulative count of every source, the balances that
//! changed, and SHA-256 over the previous commit's hash and every byte written since: a chain.

pub mod commit;
pub mod crc32c;
pub mod encoder;
pub mod folder;
pub mod frame;
pub mod gains;
pub mod replay;
pub mod state;
pub mod varint;
pub mod verify;
pub mod writer;
