//! AVX2 code, which Cranelift does not make: it has no vectors of 256 bits on x86-64.
//!
//! Comes in: a verified [`Kernel`]. Goes out: the bytes of a function of the same type as Cranelift's, and its text, the same
//! on every machine. It gives the same bits for every length; it touches only the elements of its slices; it calls nothing.
//!
//! A kernel is straight-line code, so three plain steps do: [`select`] chooses instructions, [`allocate`] registers,
//! [`assemble`] lays out the loop and the tail. Nothing is optimised that the IR's passes could do.

mod allocate;
mod assemble;
mod inst;
mod select;

use super::CodegenError;
use super::isa::Lanes;
use crate::ir::Kernel;
use assemble::Assembled;

fn assembled(kernel: &Kernel, lanes: Lanes) -> Assembled {
    let selected = select::select(kernel);
    let allocated = allocate::allocate(&selected.insts);
    assemble::assemble(kernel, lanes, &allocated, selected.pool)
}

/// The bytes of the code of `kernel`, and where among them its function begins.
pub(super) fn machine_code(kernel: &Kernel, lanes: Lanes) -> Result<(Vec<u8>, usize), CodegenError> {
    assembled(kernel, lanes).bytes()
}

/// The instructions of the code of `kernel`.
pub(super) fn text(kernel: &Kernel, lanes: Lanes) -> String {
    assembled(kernel, lanes).text()
}
