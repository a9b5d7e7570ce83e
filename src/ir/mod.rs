//! The intermediate representations: `Step` (the whole step on whole arrays) and `Kernel` (one sweep).

pub mod kernel;
pub mod op;

pub use kernel::{Access, Kernel, KernelInst, Stream};
pub use op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
