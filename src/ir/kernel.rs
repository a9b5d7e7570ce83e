//! [`Kernel`]: one sweep over memory, as the body of a loop over elements.
//!
//! Comes in from `plan`. A kernel is one straight-line body in SSA, done for every index of its streams: loads first
//! read index `i` of a stream, stores write index `i`, nothing reaches another index, so that any vector width and any
//! order of indices give the same bits. Uniforms are scalars that the plan's scalar code has already rounded to the
//! compute type. A stream is loaded at most once and stored at most once, the load before the store.

use super::op::{Op, Storage, Type, Value};

/// One sweep.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    /// The rule's name, for messages and symbol-free listings; never a symbol.
    pub name: String,
    /// The type of every uniform, load and store: F32 or F64.
    pub compute: Type,
    /// The names of the uniforms, for the reader; all are of the compute type.
    pub uniforms: Vec<String>,
    /// The arrays.
    pub streams: Vec<Stream>,
    /// The body.
    pub body: Vec<KernelInst>,
}

/// An array that a kernel reads or writes, element by element.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stream {
    /// Its name: `p`, `g` or a state's.
    pub name: String,
    /// What it holds in memory.
    pub storage: Storage,
    /// What is done with it.
    pub access: Access,
    /// Whether it is a block of memory that stays in cache, not an array: whoever runs the kernel fills or reads it block
    /// by block, and it moves no bytes.
    pub block: bool,
}

/// What a kernel does with a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

impl Access {
    /// Whether it is loaded.
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether it is stored.
    pub fn writes(self) -> bool {
        self != Access::Read
    }

    /// As printed: `r`, `w`, `rw`.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "r",
            Access::Write => "w",
            Access::ReadWrite => "rw",
        }
    }
}

/// One instruction of a body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KernelInst {
    /// The uniform of this index.
    Uniform(u32),
    /// This element of the stream of this index, as the compute type.
    Load(u32),
    /// This element of the stream becomes the value. Defines nothing: its own index is never an operand.
    Store(u32, Value),
    /// A pure operation. `Unary::Math`, `Binary::Rem` and `Binary::Pow` do not occur.
    Op(Op),
}

impl Kernel {
    /// Bytes per element that one sweep moves: reads and writes of every array.
    pub fn bytes_per_element(&self) -> usize {
        let moves = |a: Access| usize::from(a.reads()) + usize::from(a.writes());
        self.streams.iter().filter(|s| !s.block).map(|s| moves(s.access) * s.storage.bytes()).sum()
    }
}
