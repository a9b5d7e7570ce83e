//! Updraft compiles optimizers written as short update-rule files into fused native kernels.

pub mod check;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "jit")]
pub mod codegen;
pub mod diagnostic;
mod emit;
mod files;
pub mod ir;
pub mod plan;
pub mod runtime;
mod source;
pub mod syntax;
#[cfg(feature = "cli")]
pub mod train;

pub use diagnostic::{Code, CompileError, Diagnostic, Severity};
pub use emit::{EmitOptions, Stage, emit};
pub use ir::{Facts, Math, Outcome, Storage};
pub use runtime::{
    Engine, Error, GroupBuilder, GroupMut, HyperInfo, HyperValue, Optimizer, OptimizerBuilder, Rule, SHIPPED, Selector,
    StateValues, Tensor, TensorId,
};
pub use source::{SourceFile, Span};
