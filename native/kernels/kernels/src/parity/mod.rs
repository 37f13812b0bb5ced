//! CPU kernels against the oracle under every instruction set, gradients against finite differences.

mod activation;
mod attention;
mod cross_entropy;
mod elementwise;
mod linear;
mod norm;
mod optimizer;
mod random;
mod reduce;
