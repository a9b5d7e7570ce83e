//! Updraft compiles optimizers written as short update-rule files into fused native kernels.

#[cfg(feature = "jit")]
pub mod codegen;
pub mod diagnostic;
pub mod ir;
mod source;
pub mod syntax;

pub use diagnostic::{Code, CompileError, Diagnostic, Severity};
pub use source::{SourceFile, Span};
