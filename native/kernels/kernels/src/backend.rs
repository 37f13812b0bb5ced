//! The seam between op declarations and devices.

use crate::error::Result;
use crate::files::MappedFile;
use crate::ops::{Attributes, OpDeclaration};
use crate::shape::TensorSpec;
use std::sync::Arc;

/// A tensor as a device sees it: a storage, an element offset into it, and a specification.
pub struct View<'a, S> {
    /// Dtype and shape of the view.
    pub spec: &'a TensorSpec,
    /// The device's storage.
    pub storage: &'a S,
    /// First element of the view inside the storage.
    pub offset: usize,
}

impl<S> Clone for View<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for View<'_, S> {}

/// One op call with its operands bound.
pub struct Call<'a, S> {
    /// Inputs, named ones first, then the variadic groups.
    pub inputs: Vec<Option<View<'a, S>>>,
    /// Outputs, allocated and uninitialised.
    pub outputs: Vec<View<'a, S>>,
    /// Attributes.
    pub attributes: Attributes<'a>,
}

impl<'a, S> Call<'a, S> {
    fn index(&self, name: &str) -> usize {
        let op = self.attributes.op;
        op.inputs
            .iter()
            .position(|input| input.name == name)
            .unwrap_or_else(|| panic!("{} declares no input {name}", op.name))
    }

    /// A required input.
    pub fn input(&self, name: &str) -> View<'a, S> {
        self.inputs[self.index(name)].expect("required inputs are checked at dispatch")
    }

    /// An optional input.
    pub fn optional(&self, name: &str) -> Option<View<'a, S>> {
        self.inputs[self.index(name)]
    }

    /// The inputs after the named ones, flat.
    pub fn variadic(&self) -> Vec<View<'a, S>> {
        self.inputs[self.attributes.op.inputs.len()..]
            .iter()
            .map(|view| view.expect("variadic inputs are never left out"))
            .collect()
    }
}

/// A device. Calls arrive in program order on one thread; they may return before the device is done,
/// as long as later calls see their effects.
pub trait Backend: 'static {
    /// Memory of one tensor.
    type Storage;

    /// Uninitialised storage for `spec`.
    ///
    /// # Errors
    /// `ERR_OUT_OF_MEMORY`.
    fn allocate(&mut self, spec: &TensorSpec) -> Result<Self::Storage>;

    /// Gives storage back.
    fn release(&mut self, storage: Self::Storage);

    /// Gives memory that is kept for later tensors back to the system.
    fn trim(&mut self) {}

    /// Storage holding a copy of host bytes (little endian, row-major).
    ///
    /// # Errors
    /// As `allocate`.
    fn upload(&mut self, spec: &TensorSpec, bytes: &[u8]) -> Result<Self::Storage>;

    /// Storage backed by (or copied from) a region of a mapped file.
    ///
    /// # Errors
    /// As `allocate`.
    fn map(&mut self, spec: &TensorSpec, file: &Arc<MappedFile>, byte_offset: usize) -> Result<Self::Storage>;

    /// Copies a view to the host; completes earlier work on it.
    ///
    /// # Errors
    /// The error of the device.
    fn download(&mut self, view: View<'_, Self::Storage>) -> Result<Vec<u8>>;

    /// Runs one op.
    ///
    /// # Errors
    /// `ERR_OP_UNSUPPORTED` where the device has no implementation, else the kernel's own.
    fn execute(&mut self, call: &Call<'_, Self::Storage>) -> Result<()>;

    /// Waits for all earlier work.
    ///
    /// # Errors
    /// The error of the device.
    fn synchronize(&mut self) -> Result<()>;

    /// Whether this device implements `op`.
    fn supports(&self, op: &OpDeclaration) -> bool;
}
