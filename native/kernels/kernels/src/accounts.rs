//! Byte, FLOP and traffic accounts of one device, kept in call order.

use crate::dtype::DType;
use crate::error::{KernelError, Result};

/// Number of allocation categories that can be told apart in a peak.
pub const CATEGORIES: usize = 8;

/// Figures of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes held by live tensors.
    pub live_bytes: usize,
    /// Highest live bytes plus workspace since the last reset.
    pub peak_bytes: usize,
    /// Live bytes per dtype code.
    pub live_by_dtype: [usize; DType::ALL.len()],
    /// Highest live bytes per dtype code since the last reset.
    pub peak_by_dtype: [usize; DType::ALL.len()],
    /// Live bytes per category.
    pub live_by_category: [usize; CATEGORIES],
    /// Live bytes per category at the moment of the peak.
    pub at_peak_by_category: [usize; CATEGORIES],
    /// Workspace bytes of the op that ran at the peak.
    pub workspace_at_peak: usize,
    /// Live storages.
    pub live_storages: usize,
    /// Floating-point operations since the last reset.
    pub flops: u64,
    /// Bytes moved by ops since the last reset.
    pub bytes_moved: u64,
    /// Ops since the last reset.
    pub ops: u64,
}

#[derive(Default)]
pub(crate) struct Accounts {
    stats: Stats,
    limit: usize,
}

impl Accounts {
    pub(crate) fn stats(&self) -> Stats {
        self.stats.clone()
    }

    pub(crate) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    pub(crate) fn reset(&mut self) {
        let stats = &mut self.stats;
        stats.peak_bytes = stats.live_bytes;
        stats.peak_by_dtype = stats.live_by_dtype;
        stats.at_peak_by_category = stats.live_by_category;
        stats.workspace_at_peak = 0;
        stats.flops = 0;
        stats.bytes_moved = 0;
        stats.ops = 0;
    }

    /// Refuses when `extra` more bytes would pass the limit.
    pub(crate) fn check(&self, extra: usize) -> Result<()> {
        if self.limit > 0 && self.stats.live_bytes + extra > self.limit {
            return Err(KernelError::new(
                "ERR_OUT_OF_MEMORY",
                format!(
                    "{extra} more bytes on top of {} live ones pass the limit of {}; shorten the batch, choose a \
                     recompute policy or raise the limit",
                    self.stats.live_bytes, self.limit
                ),
            ));
        }
        Ok(())
    }

    /// Accounts the transient footprint and cost of an op before its outputs are created.
    pub(crate) fn run_op(
        &mut self,
        name: &str,
        outputs: usize,
        workspace: usize,
        flops: u64,
        bytes: u64,
        category: u8,
    ) -> Result<()> {
        self.check(outputs + workspace)
            .map_err(|error| KernelError::new(error.code, format!("{name}: {}", error.message)))?;
        let stats = &mut self.stats;
        stats.flops += flops;
        stats.bytes_moved += bytes;
        stats.ops += 1;
        let total = stats.live_bytes + outputs + workspace;
        if total > stats.peak_bytes {
            stats.peak_bytes = total;
            stats.at_peak_by_category = stats.live_by_category;
            stats.at_peak_by_category[usize::from(category) % CATEGORIES] += outputs;
            stats.workspace_at_peak = workspace;
        }
        Ok(())
    }

    pub(crate) fn allocate(&mut self, bytes: usize, dtype: DType, category: u8) {
        let stats = &mut self.stats;
        stats.live_bytes += bytes;
        stats.live_storages += 1;
        stats.live_by_category[usize::from(category) % CATEGORIES] += bytes;
        let code = dtype as usize;
        stats.live_by_dtype[code] += bytes;
        stats.peak_by_dtype[code] = stats.peak_by_dtype[code].max(stats.live_by_dtype[code]);
        if stats.live_bytes >= stats.peak_bytes {
            stats.peak_bytes = stats.live_bytes;
            stats.at_peak_by_category = stats.live_by_category;
            stats.workspace_at_peak = 0;
        }
    }

    pub(crate) fn release(&mut self, bytes: usize, dtype: DType, category: u8) {
        let stats = &mut self.stats;
        stats.live_bytes -= bytes;
        stats.live_storages -= 1;
        stats.live_by_category[usize::from(category) % CATEGORIES] -= bytes;
        stats.live_by_dtype[dtype as usize] -= bytes;
    }
}
