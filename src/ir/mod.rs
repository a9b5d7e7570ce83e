//! The intermediate representations: `Step` (the whole step on whole arrays) and `Kernel` (one sweep).

pub mod args;
pub mod eval;
pub mod kernel;
pub mod op;
pub mod parse;
pub mod print;
pub mod verify;

pub use args::{Args, ArgsError, Buffer, Uniforms};
pub use eval::{Column, Scalar, apply, apply_scalar, eval_kernel};
pub use kernel::{Access, Kernel, KernelInst, Stream};
pub use op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
pub use parse::{ParseError, parse_kernel};
pub use print::print_kernel;
pub use verify::{Problem, VerifyError, verify_kernel};
