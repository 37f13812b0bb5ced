//! CPU kernels against the oracle under every instruction set, gradients against finite differences.

mod attention;
mod cross_entropy;
mod linear;
mod norm;
