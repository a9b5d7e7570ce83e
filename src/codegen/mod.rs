//! Machine code for kernels.
//!
//! Comes in: a [`Kernel`] and a [`Target`]. Goes out: [`Code`], which runs it, or the text of what is run. Code gives the
//! bits of [`eval_kernel`](crate::ir::eval_kernel), for every target and every length; it touches only the elements of the
//! slices that it is given; it calls nothing, so no symbol is ever looked up.
//!
//! This is the one folder that knows Cranelift. It does not choose what to compile, does not cache, and does not fall
//! back to the evaluator: an error says what is the matter and the caller decides.

mod code;
mod emit;
mod halves;
mod isa;

pub use code::Code;
pub use isa::{Isa, Lanes, Target};

use crate::ir::{Kernel, VerifyError, verify_kernel};
use cranelift_codegen::CompiledCode;
use cranelift_codegen::control::ControlPlane;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What turns kernels into code.
pub trait Backend: Send + Sync {
    /// The code of `kernel`; `target` must be this machine's own instruction set.
    fn compile(&self, kernel: &Kernel, target: Target) -> Result<Code, CodegenError>;

    /// The text of the code of `kernel`, for any target, the same on every machine.
    fn text(&self, kernel: &Kernel, target: Target, text: Text) -> Result<String, CodegenError>;
}

/// Which text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Text {
    /// Cranelift's IR before it is optimised.
    Clif,
    /// The instructions, as Cranelift prints them.
    Asm,
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq)]
pub enum CodegenError {
    /// The kernel is not well-formed.
    Invalid(VerifyError),
    /// This machine does not run that instruction set.
    OtherHost(Isa),
    /// The operating system gives no executable memory.
    Memory(String),
    /// Cranelift failed: a bug in it, or in the code that was given to it.
    Cranelift(String),
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::Invalid(error) => write!(f, "the kernel is not well-formed: {error}"),
            CodegenError::OtherHost(isa) => write!(f, "this machine does not run {} code", isa.name()),
            CodegenError::Memory(error) => write!(f, "no executable memory: {error}"),
            CodegenError::Cranelift(error) => write!(f, "the code generator failed: {error}"),
        }
    }
}

impl std::error::Error for CodegenError {}

/// The back end that all code comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cranelift;

impl Backend for Cranelift {
    fn compile(&self, kernel: &Kernel, target: Target) -> Result<Code, CodegenError> {
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        if Isa::host() != Some(target.isa) {
            return Err(CodegenError::OtherHost(target.isa));
        }
        contained(|| Code::new(kernel, target.isa, &machine_code(kernel, target, false)?))
    }

    fn text(&self, kernel: &Kernel, target: Target, text: Text) -> Result<String, CodegenError> {
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        contained(|| match text {
            Text::Clif => Ok(function(kernel, target).display().to_string()),
            Text::Asm => {
                let code = machine_code(kernel, target, true)?;
                code.vcode.ok_or_else(|| CodegenError::Cranelift("it printed no text".into()))
            }
        })
    }
}

fn function(kernel: &Kernel, target: Target) -> cranelift_codegen::ir::Function {
    emit::emit(kernel, target.lanes, emit::unroll(kernel), target.isa.target().frontend_config())
}

/// The bytes of the code of `kernel`, and its text if `text`.
fn machine_code(kernel: &Kernel, target: Target, text: bool) -> Result<CompiledCode, CodegenError> {
    let mut context = cranelift_codegen::Context::for_function(function(kernel, target));
    context.set_disasm(text);
    let code = context
        .compile(&**target.isa.target(), &mut ControlPlane::default())
        .map_err(|error| CodegenError::Cranelift(error.inner.to_string()))?;
    Ok(code.clone())
}

/// Turns a panic of `f` into an error: Cranelift panics where it has no instruction for an operation. Nothing that `f`
/// was changing is used afterwards.
fn contained<T>(f: impl FnOnce() -> Result<T, CodegenError>) -> Result<T, CodegenError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(CodegenError::Cranelift(message.unwrap_or("a panic without a message").to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<(), _> = contained(|| panic!("should be implemented in ISLE: inst = `{}`", "v1"));
        assert_eq!(result, Err(CodegenError::Cranelift("should be implemented in ISLE: inst = `v1`".into())));
    }
}
