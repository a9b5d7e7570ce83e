//! Running rules: [`Rule`], [`Optimizer`] and the [`Tensor`]s that a step takes.
//!
//! Comes in: a checked program, hypers, and slices that the host owns. Goes out: the same slices after the step, and the
//! state that belongs to each tensor, by name. Everything that the host can get wrong is found before anything is
//! changed, and comes back as an [`Error`] that names the tensor or the hyper and what to do. A step whose tensors have
//! all been seen before looks nothing up by name and allocates nothing.
//!
//! A plan is compiled when a step first needs it, and kept for as long as it is among the 64 last used. Where machine code
//! cannot be had, the evaluator gives the same bits, and [`Optimizer::warning`] says so.

mod arrays;
mod builder;
mod checkpoint;
mod error;
mod first;
mod folds;
mod geometry;
mod host;
mod hyper;
mod memory;
mod optimizer;
mod phase;
mod plans;
mod rule;
mod scopes;
mod shipped;
mod sources;
mod state;
mod step;
mod sweep;
mod tensor;
mod threads;
mod uniforms;

#[cfg(feature = "cli")]
pub(crate) use checkpoint::{floats, in_order};

pub use builder::{GroupBuilder, OptimizerBuilder, Selector};
pub use checkpoint::{Checkpoint, CheckpointEntry, CheckpointError, Migration, Restore};
pub use error::Error;
pub use hyper::HyperValue;
pub(crate) use hyper::{Hypers, find as hyper_named};
pub use optimizer::Optimizer;
pub use plans::{Denormals, Engine};
pub use rule::{HyperInfo, Rule};
pub use scopes::GroupMut;
pub use shipped::{SHIPPED, SHIPPED_FRAGMENTS};
#[cfg(feature = "cli")]
pub(crate) use state::State;
pub use state::StateValues;
pub use tensor::{Element, Grad, Param, Tensor, TensorId};
#[cfg(feature = "cli")]
pub(crate) use threads::Threads;
