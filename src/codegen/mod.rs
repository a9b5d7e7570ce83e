//! Machine code for kernels.
//!
//! Comes in: a [`Kernel`] and a [`Target`]. Goes out: [`Code`], which runs it, or the text of what is run. Code gives the
//! bits of [`eval_kernel`](crate::ir::eval_kernel), for every target and every length; it touches only the elements of the
//! slices that it is given; it calls nothing, so no symbol is ever looked up.
//!
//! This is the one folder that knows Cranelift. Beside it stands `wide`, for vectors of 256 bits, which Cranelift has not on
//! x86-64; the instruction set says which of the two makes the code. Nothing here chooses what to compile, caches, or falls
//! back to the evaluator: an error says what is the matter and the caller decides.

mod code;
mod emit;
mod halves;
mod isa;
mod wide;

pub use code::Code;
pub use isa::{Codegen, Isa, Lanes, Target};

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
    /// The instructions: as Cranelift prints them before they are encoded, or in the syntax of NASM.
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
    /// The back end makes no code for that instruction set.
    OtherBackend(Isa),
    /// The code generator failed: a bug in it, or in the code that was given to it.
    Failed(String),
}

impl fmt::Display for CodegenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodegenError::Invalid(error) => write!(f, "the kernel is not well-formed: {error}"),
            CodegenError::OtherHost(isa) => write!(f, "this machine does not run {} code", isa.name()),
            CodegenError::Memory(error) => write!(f, "no executable memory: {error}"),
            CodegenError::OtherBackend(isa) => write!(f, "this code generator has no {} code", isa.name()),
            CodegenError::Failed(error) => write!(f, "the code generator failed: {error}"),
        }
    }
}

impl std::error::Error for CodegenError {}

/// The back end that makes the code of an instruction set.
///
/// ```
/// use updraft::codegen::{Isa, Lanes, Target, Text, backend};
/// let kernel = updraft::ir::parse_kernel("kernel k f32 {\nstream p f32 rw\n\n%0 = load p\n%1 = sqrt %0\nstore p, %1\n}").unwrap();
/// let target = Target { isa: Isa::X86_64Avx2Fma, lanes: Lanes::Simd };
/// let text = backend(target.isa).text(&kernel, target, Text::Asm)?;
/// assert!(text.contains("vsqrtps         ymm0, ymm0"));
/// # Ok::<(), updraft::codegen::CodegenError>(())
/// ```
pub fn backend(isa: Isa) -> &'static dyn Backend {
    match isa.codegen() {
        Codegen::Cranelift => &Cranelift::ALL[0],
        Codegen::Wide => &Wide,
    }
}

/// The back end for AVX2.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wide;

impl Backend for Wide {
    fn compile(&self, kernel: &Kernel, target: Target) -> Result<Code, CodegenError> {
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        if target.isa.codegen() != Codegen::Wide {
            return Err(CodegenError::OtherBackend(target.isa));
        }
        if !target.isa.is_available() {
            return Err(CodegenError::OtherHost(target.isa));
        }
        contained(|| {
            let (bytes, entry) = wide::machine_code(kernel, target.lanes)?;
            Code::new(kernel, target.isa, &bytes, entry, 64)
        })
    }

    /// It has no clif; that of Cranelift says the same.
    fn text(&self, kernel: &Kernel, target: Target, text: Text) -> Result<String, CodegenError> {
        if text == Text::Clif {
            return Cranelift::default().text(kernel, target, text);
        }
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        if target.isa.codegen() != Codegen::Wide {
            return Err(CodegenError::OtherBackend(target.isa));
        }
        contained(|| Ok(wide::text(kernel, target.lanes)))
    }
}

/// The back end of every instruction set, with vectors of 128 bits. What is shipped is the default; the other settings are
/// for tests, which hold the code of one to that of another. None changes a bit of what is computed.
///
/// ```
/// use updraft::codegen::{Backend, Cranelift, Isa, Lanes, Target, Text};
/// let kernel = updraft::ir::parse_kernel("kernel k f32 {\nstream p f32 rw\n\n%0 = load p\n%1 = sqrt %0\nstore p, %1\n}").unwrap();
/// let target = Target { isa: Isa::X86_64Fma, lanes: Lanes::Simd };
/// let shipped = Cranelift::default().text(&kernel, target, Text::Asm)?;
/// let other = Cranelift { unoptimized: true, single_pass: true, check_registers: true }.text(&kernel, target, Text::Asm)?;
/// assert_ne!(shipped, other);
/// # Ok::<(), updraft::codegen::CodegenError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cranelift {
    /// Whether Cranelift's optimisations are left out.
    pub unoptimized: bool,
    /// Whether registers are given in a single pass over the code, with more of it spilled.
    pub single_pass: bool,
    /// Whether it is proven of each function that its values survived the giving of registers; if not, that is an error.
    pub check_registers: bool,
}

impl Cranelift {
    /// Every setting, the default first.
    pub const ALL: [Cranelift; 8] = {
        let mut all = [Cranelift { unoptimized: false, single_pass: false, check_registers: false }; 8];
        let mut index = 1;
        while index < all.len() {
            all[index] =
                Cranelift { unoptimized: index & 1 != 0, single_pass: index & 2 != 0, check_registers: index & 4 != 0 };
            index += 1;
        }
        all
    };

    /// The index in [`ALL`](Self::ALL).
    fn index(self) -> usize {
        usize::from(self.unoptimized) | usize::from(self.single_pass) << 1 | usize::from(self.check_registers) << 2
    }
}

impl Backend for Cranelift {
    fn compile(&self, kernel: &Kernel, target: Target) -> Result<Code, CodegenError> {
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        if !target.isa.is_available() {
            return Err(CodegenError::OtherHost(target.isa));
        }
        contained(|| {
            let code = self.machine_code(kernel, target, false)?;
            if !code.buffer.relocs().is_empty() {
                // Nothing is left to be linked, so no symbol is looked up, by whatever name.
                return Err(CodegenError::Failed("the code refers to symbols".into()));
            }
            Code::new(kernel, target.isa, code.code_buffer(), 0, u64::from(code.buffer.alignment))
        })
    }

    fn text(&self, kernel: &Kernel, target: Target, text: Text) -> Result<String, CodegenError> {
        verify_kernel(kernel).map_err(CodegenError::Invalid)?;
        contained(|| match text {
            Text::Clif => Ok(function(kernel, target).display().to_string()),
            Text::Asm => {
                let code = self.machine_code(kernel, target, true)?;
                code.vcode.ok_or_else(|| CodegenError::Failed("it printed no text".into()))
            }
        })
    }
}

fn function(kernel: &Kernel, target: Target) -> cranelift_codegen::ir::Function {
    let config = target.isa.target(Cranelift::default()).frontend_config();
    emit::emit(kernel, target.lanes, emit::unroll(kernel), config)
}

/// Kernels of more instructions than this have their registers given in a single pass: those of ordinary rules have a tenth
/// of them, and the time that better code takes grows much faster than the kernel, to seconds for the largest.
const LONG: usize = 768;

impl Cranelift {
    /// The settings with which this kernel is compiled.
    fn for_size(self, kernel: &Kernel) -> Cranelift {
        Cranelift { single_pass: self.single_pass || kernel.body.len() > LONG, ..self }
    }

    /// The bytes of the code of `kernel`, and its text if `text`.
    fn machine_code(self, kernel: &Kernel, target: Target, text: bool) -> Result<CompiledCode, CodegenError> {
        let mut context = cranelift_codegen::Context::for_function(function(kernel, target));
        context.set_disasm(text);
        let code = context
            .compile(&**target.isa.target(self.for_size(kernel)), &mut ControlPlane::default())
            .map_err(|error| CodegenError::Failed(error.inner.to_string()))?;
        Ok(code.clone())
    }
}

/// Turns a panic of `f` into an error: Cranelift panics where it has no instruction for an operation. Nothing that `f`
/// was changing is used afterwards.
pub(crate) fn contained<T>(f: impl FnOnce() -> Result<T, CodegenError>) -> Result<T, CodegenError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(CodegenError::Failed(message.unwrap_or("a panic without a message").to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_their_index() {
        assert_eq!(Cranelift::ALL[0], Cranelift::default());
        assert_eq!(Cranelift::ALL.map(Cranelift::index), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<(), _> = contained(|| panic!("should be implemented in ISLE: inst = `{}`", "v1"));
        assert_eq!(result, Err(CodegenError::Failed("should be implemented in ISLE: inst = `v1`".into())));
    }
}
