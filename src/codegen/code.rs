//! Executable memory, and the one way into it.
//!
//! Comes in: the bytes of a kernel's function, from either back end. Goes out: [`Code`], which runs it on checked arguments. The bytes are
//! written to fresh pages that then become executable and are never both writable and executable; the pages live as long
//! as any clone of the `Code`, and are given back with the last.
//!
//! This is the only file of code generation with `unsafe`. What it relies on is said at each block; nothing unsafe
//! leaves the file: [`Code::run`] compares the arguments with the kernel that the code was made of, and a kernel's code
//! stays inside its slices because the kernel was verified.

#![allow(unsafe_code)]

use super::isa::Isa;
use super::{CodegenError, Cranelift, emit};
use crate::ir::args::Shape;
use crate::ir::{Args, ArgsError, Buffer, Kernel, Uniforms};
use cranelift_jit::{JITBuilder, JITModule, SystemMemoryProvider};
use cranelift_module::{Module, ModuleError, default_libcall_names};
use smallvec::SmallVec;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The type of every kernel's function, as `emit` declares it: the System V convention, which on 64-bit Arm is C's.
#[cfg(target_arch = "x86_64")]
type Entry = unsafe extern "sysv64" fn(streams: *const *mut u8, uniforms: *const u8, len: usize);
#[cfg(not(target_arch = "x86_64"))]
type Entry = unsafe extern "C" fn(streams: *const *mut u8, uniforms: *const u8, len: usize);

/// The code of one kernel. Cheap to clone; runs on any number of threads at once.
#[derive(Clone)]
pub struct Code {
    entry: Entry,
    shape: Arc<Shape>,
    /// Keeps the pages mapped that `entry` points into.
    _pages: Arc<Pages>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// The pages of one kernel's code. Nobody locks the mutex: it is what lets threads share a module that they never use.
struct Pages(Mutex<Option<JITModule>>);

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(module) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            // SAFETY: nothing runs or will run in these pages. The only pointer into them is `Code::entry`, which
            // never leaves this file and is only called by `Code::run`, by someone who holds the `Code` and with it
            // these pages; but these pages are being dropped, so nobody does.
            unsafe { module.free_memory() };
        }
    }
}

impl Code {
    /// Maps the bytes that a back end made of `kernel` for `isa`, an instruction set of this machine. The function begins
    /// at the byte `entry`, before which there are constants; the first byte is aligned to `align`.
    pub(super) fn new(kernel: &Kernel, isa: Isa, bytes: &[u8], entry: usize, align: u64) -> Result<Code, CodegenError> {
        let mut builder = JITBuilder::with_isa(isa.target(Cranelift::default()).clone(), default_libcall_names());
        builder.memory_provider(Box::new(SystemMemoryProvider::new()));
        // Into the owner at once, so that its pages are given back if what follows fails.
        let mut pages = Pages(Mutex::new(Some(JITModule::new(builder))));
        let module = pages.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().expect("put there just now");
        let id = module.declare_anonymous_function(&emit::signature()).map_err(module_error)?;
        module.define_function_bytes(id, align, bytes, &[]).map_err(module_error)?;
        module.finalize_definitions().map_err(module_error)?;
        let address = module.get_finalized_function(id).wrapping_add(entry);
        // SAFETY: `address` is the first byte of a function of this type, which both back ends make: Cranelift from what
        // `emit` built with `emit::signature`, `wide` by the same convention; for `isa`, which `compile` found to be this
        // machine's.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(address) };
        Ok(Code { entry, shape: Arc::new(Shape::of(kernel)), _pages: Arc::new(pages) })
    }

    /// Runs the kernel over the arrays of `args`, or says why they are not arguments of this kernel; then nothing has
    /// been done. Allocates nothing for up to 12 streams.
    pub fn run(&self, args: &mut Args<'_>) -> Result<(), ArgsError> {
        args.check(&self.shape)?;
        let len = args.len();
        let pointer = |buffer: &mut Buffer<'_>| match buffer {
            Buffer::F32(x) => x.as_ptr().cast_mut().cast::<u8>(),
            Buffer::F64(x) => x.as_ptr().cast_mut().cast::<u8>(),
            Buffer::F32Mut(x) => x.as_mut_ptr().cast::<u8>(),
            Buffer::F64Mut(x) => x.as_mut_ptr().cast::<u8>(),
            Buffer::Bf16(x) => x.as_ptr().cast_mut().cast::<u8>(),
            Buffer::Bf16Mut(x) => x.as_mut_ptr().cast::<u8>(),
            Buffer::F16(x) => x.as_ptr().cast_mut().cast::<u8>(),
            Buffer::F16Mut(x) => x.as_mut_ptr().cast::<u8>(),
        };
        let streams: SmallVec<[*mut u8; 12]> = args.buffers.iter_mut().map(pointer).collect();
        let uniforms = match args.uniforms {
            Uniforms::F32(x) => x.as_ptr().cast::<u8>(),
            Uniforms::F64(x) => x.as_ptr().cast::<u8>(),
        };
        // SAFETY: `entry` is mapped: `self._pages` holds it. Its function reads one pointer per stream from `streams`
        // and one value per uniform from `uniforms`; `check` has just compared both counts and the uniforms' type with
        // the kernel that it was made of. Of each stream it touches elements `0..len`, which the slice has: `check`
        // compared the lengths too. It writes only streams whose access says so
        // (`verify_kernel` before compiling), and for these `check` found a mutable slice, which no other slice of
        // `args` overlaps by Rust's borrows. See tests/kernel and tests/guard_pages.
        unsafe { (self.entry)(streams.as_ptr(), uniforms, len) };
        Ok(())
    }
}

/// Errors of mapping memory apart from all others.
fn module_error(error: ModuleError) -> CodegenError {
    match error {
        ModuleError::Allocation { .. } | ModuleError::Backend(_) => CodegenError::Memory(error.to_string()),
        error => CodegenError::Failed(error.to_string()),
    }
}
