//! Kernels: their text, and that the evaluator, one-lane code and SIMD code give the same bits and stay in their slices.
#![cfg(feature = "jit")]

mod data;
mod functions;
#[path = "../generate/mod.rs"]
mod generate;
mod halves;
mod operations;
mod random;
