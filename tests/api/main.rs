//! The promises of the runtime, each through the public API: hypers and groups, tensors of every layout, states and
//! inputs of every extent, errors that change nothing, and checkpoints from which work goes on as if never interrupted.

mod checkpoints;
mod conditions;
#[cfg(feature = "jit")]
mod denormals;
mod errors;
mod groups;
mod host;
mod hypers;
mod inputs;
mod oracle;
mod plans;
mod raw;
mod resume;
mod shards;
mod states;
mod stores;
mod tensors;
mod threads;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use updraft::{Optimizer, Rule};

fn rule(text: &str) -> Rule {
    Rule::parse("r", &format!("optimizer r\n{text}")).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn optimizer(text: &str) -> Optimizer {
    rule(text).optimizer().build().unwrap()
}

/// A path that no other test uses; the file is removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("updraft-api-{}-{number}-{name}.safetensors", std::process::id());
        Scratch(std::env::temp_dir().join(file))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Everything that an optimizer keeps, as the bytes of its checkpoint.
fn bytes(opt: &Optimizer) -> Vec<u8> {
    opt.to_bytes().unwrap()
}

/// Reproducible values in (-2, 2).
fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 51) as f64 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

fn values_f32(seed: u64, len: usize) -> Vec<f32> {
    values(seed, len).into_iter().map(|x| x as f32).collect()
}

/// An optimizer is handed between threads and shared by them.
#[test]
fn optimizers_are_send_and_sync() {
    fn holds<T: Send + Sync>() {}
    holds::<Optimizer>();
    holds::<Rule>();
    holds::<updraft::Error>();
    holds::<updraft::OptimizerBuilder>();
    holds::<updraft::Selector>();
}
