//! The intermediate representations and what they mean.
//!
//! Comes in: a checked program. Goes out: [`Step`], the whole step on whole arrays with every rounding fixed,
//! and later, from `plan`, [`Kernel`], the body of one sweep. Both are lists of instructions in SSA over the same
//! [`Op`]s, whose meaning [`eval`] states once for every engine. Nothing here knows Cranelift, sizes or values of hypers.

pub mod args;
pub mod eval;
pub mod eval_step;
pub mod exchange;
mod functions;
pub mod kernel;
mod lower;
pub mod narrow;
pub mod op;
pub mod parse;
mod passes;
pub mod print;
pub mod random;
pub mod region;
pub mod shape;
pub mod step;
pub mod store;
pub mod sum;
pub mod verify;

pub use args::{Args, ArgsError, Buffer, Uniforms};
pub use eval::{Column, Scalar, apply, apply_scalar, eval_kernel};
pub use eval_step::{Arrays, Scalars, TensorStep, eval_step, eval_steps};
pub use exchange::{Alone, Exchange};
pub use kernel::{Access, Kernel, KernelInst, Stream};
pub use lower::{lower, lower_conditions, lower_init, lower_scalars, lower_schedule, lower_view};
pub use op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
pub use parse::{ParseError, parse_kernel};
pub use print::print_kernel;
pub use step::{Facts, Math, Outcome, Step};
pub use store::{Store, Stores};
pub use verify::{Problem, VerifyError, verify_kernel};
