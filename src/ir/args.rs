//! The arrays and uniforms of one run of a kernel, checked against it.
//!
//! Comes in: one slice per stream, in order, and the uniforms' values. Goes out: [`Args`], which every engine takes. An
//! `Args` holds as many slices as the kernel has streams, all of one length, of the storage types that the streams say,
//! and mutable where a stream is written. That no two written slices overlap, and that no written slice overlaps a read
//! one, is Rust's own borrow check: there is no constructor from pointers here.
//!
//! Up to 12 streams, nothing is allocated.

use super::kernel::{Access, Kernel};
use super::op::{Storage, Type};
use half::{bf16, f16};
use smallvec::SmallVec;
use std::fmt;

/// The slice of one stream. A stream that is only read takes a shared or a mutable one.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Buffer<'a> {
    F32(&'a [f32]),
    F32Mut(&'a mut [f32]),
    F64(&'a [f64]),
    F64Mut(&'a mut [f64]),
    Bf16(&'a [bf16]),
    Bf16Mut(&'a mut [bf16]),
    F16(&'a [f16]),
    F16Mut(&'a mut [f16]),
}

impl<'a> Buffer<'a> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Buffer::F32(x) => x.len(),
            Buffer::F32Mut(x) => x.len(),
            Buffer::F64(x) => x.len(),
            Buffer::F64Mut(x) => x.len(),
            Buffer::Bf16(x) => x.len(),
            Buffer::Bf16Mut(x) => x.len(),
            Buffer::F16(x) => x.len(),
            Buffer::F16Mut(x) => x.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds.
    pub fn storage(&self) -> Storage {
        match self {
            Buffer::F32(_) | Buffer::F32Mut(_) => Storage::F32,
            Buffer::F64(_) | Buffer::F64Mut(_) => Storage::F64,
            Buffer::Bf16(_) | Buffer::Bf16Mut(_) => Storage::Bf16,
            Buffer::F16(_) | Buffer::F16Mut(_) => Storage::F16,
        }
    }

    /// The same memory, for as long as the buffer is borrowed.
    pub(crate) fn borrow(&mut self) -> Buffer<'_> {
        self.part(0, self.len())
    }

    /// `len` values from `low`.
    pub(crate) fn part(&mut self, low: usize, len: usize) -> Buffer<'_> {
        let range = low..low + len;
        match self {
            Buffer::F32(x) => Buffer::F32(&x[range]),
            Buffer::F32Mut(x) => Buffer::F32Mut(&mut x[range]),
            Buffer::F64(x) => Buffer::F64(&x[range]),
            Buffer::F64Mut(x) => Buffer::F64Mut(&mut x[range]),
            Buffer::Bf16(x) => Buffer::Bf16(&x[range]),
            Buffer::Bf16Mut(x) => Buffer::Bf16Mut(&mut x[range]),
            Buffer::F16(x) => Buffer::F16(&x[range]),
            Buffer::F16Mut(x) => Buffer::F16Mut(&mut x[range]),
        }
    }

    /// The first `at` values, and those after them.
    pub(crate) fn split_at(self, at: usize) -> (Buffer<'a>, Buffer<'a>) {
        fn pair<'a, T>((a, b): (T, T), buffer: fn(T) -> Buffer<'a>) -> (Buffer<'a>, Buffer<'a>) {
            (buffer(a), buffer(b))
        }
        match self {
            Buffer::F32(x) => pair(x.split_at(at), Buffer::F32),
            Buffer::F32Mut(x) => pair(x.split_at_mut(at), Buffer::F32Mut),
            Buffer::F64(x) => pair(x.split_at(at), Buffer::F64),
            Buffer::F64Mut(x) => pair(x.split_at_mut(at), Buffer::F64Mut),
            Buffer::Bf16(x) => pair(x.split_at(at), Buffer::Bf16),
            Buffer::Bf16Mut(x) => pair(x.split_at_mut(at), Buffer::Bf16Mut),
            Buffer::F16(x) => pair(x.split_at(at), Buffer::F16),
            Buffer::F16Mut(x) => pair(x.split_at_mut(at), Buffer::F16Mut),
        }
    }

    /// Whether it may be written.
    pub fn is_mutable(&self) -> bool {
        matches!(self, Buffer::F32Mut(_) | Buffer::F64Mut(_) | Buffer::Bf16Mut(_) | Buffer::F16Mut(_))
    }
}

/// The values of a kernel's uniforms, in order, in its compute type.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Uniforms<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl Uniforms<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Uniforms::F32(x) => x.len(),
            Uniforms::F64(x) => x.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub fn ty(&self) -> Type {
        match self {
            Uniforms::F32(_) => Type::F32,
            Uniforms::F64(_) => Type::F64,
        }
    }
}

/// What a kernel asks of its arguments. Kernels of equal shape take the same arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    compute: Type,
    uniforms: usize,
    streams: Box<[(Storage, Access)]>,
}

impl Shape {
    /// The shape of `kernel`.
    pub fn of(kernel: &Kernel) -> Shape {
        Shape {
            compute: kernel.compute,
            uniforms: kernel.uniforms.len(),
            streams: kernel.streams.iter().map(|s| (s.storage, s.access)).collect(),
        }
    }
}

/// Checked arguments of one run.
#[derive(Debug)]
pub struct Args<'a> {
    pub(crate) buffers: SmallVec<[Buffer<'a>; 12]>,
    pub(crate) uniforms: Uniforms<'a>,
    len: usize,
}

/// Arguments that do not fit a kernel. Streams and uniforms are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgsError {
    /// Another number of slices than the kernel has streams.
    StreamCount { expected: usize, found: usize },
    /// A slice of another element type than the stream's.
    Storage { stream: usize, expected: Storage, found: Storage },
    /// A shared slice for a stream that is written.
    NotMutable { stream: usize },
    /// A slice of another length than the first one's.
    Length { stream: usize, expected: usize, found: usize },
    /// Another number of uniforms than the kernel has.
    UniformCount { expected: usize, found: usize },
    /// Uniforms of another type than the kernel computes in.
    UniformType { expected: Type, found: Type },
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ArgsError::StreamCount { expected, found } => write!(f, "{found} slices for {expected} streams"),
            ArgsError::Storage { stream, expected, found } => {
                write!(f, "stream {stream} holds {}, its slice {}", expected.name(), found.name())
            }
            ArgsError::NotMutable { stream } => write!(f, "stream {stream} is written, but its slice is shared"),
            ArgsError::Length { stream, expected, found } => {
                write!(f, "the slice of stream {stream} has {found} elements, the first one {expected}")
            }
            ArgsError::UniformCount { expected, found } => write!(f, "{found} values for {expected} uniforms"),
            ArgsError::UniformType { expected, found } => {
                write!(f, "the uniforms are {}, the kernel computes in {}", found.name(), expected.name())
            }
        }
    }
}

impl std::error::Error for ArgsError {}

impl<'a> Args<'a> {
    /// The arguments of a run of `kernel`, or what does not fit. The run's length is the slices' length, or 0 for a
    /// kernel without streams.
    pub fn new(
        kernel: &Kernel,
        buffers: impl IntoIterator<Item = Buffer<'a>>,
        uniforms: Uniforms<'a>,
    ) -> Result<Args<'a>, ArgsError> {
        let mut args = Args::unchecked(uniforms);
        args.fill(buffers);
        args.check_kernel(kernel)?;
        Ok(args)
    }

    /// Arguments that have yet to be [filled](Args::fill), for an engine that will hold them to a kernel, as every engine
    /// does. (The two are apart so that large arguments stay where they are made.)
    #[inline]
    pub(crate) fn unchecked(uniforms: Uniforms<'a>) -> Args<'a> {
        Args { buffers: SmallVec::new(), uniforms, len: 0 }
    }

    /// Adds the slices.
    #[inline]
    pub(crate) fn fill(&mut self, buffers: impl IntoIterator<Item = Buffer<'a>>) {
        for buffer in buffers {
            self.buffers.push(buffer);
        }
        self.len = self.buffers.first().map_or(0, Buffer::len);
    }

    /// The number of elements of every slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether these arguments fit kernels of `shape`; not only the one that they were made for.
    pub fn check(&self, shape: &Shape) -> Result<(), ArgsError> {
        self.check_parts(shape.compute, shape.uniforms, shape.streams.iter().copied())
    }

    /// Whether these arguments fit `kernel`.
    pub(super) fn check_kernel(&self, kernel: &Kernel) -> Result<(), ArgsError> {
        let streams = kernel.streams.iter().map(|s| (s.storage, s.access));
        self.check_parts(kernel.compute, kernel.uniforms.len(), streams)
    }

    fn check_parts(
        &self,
        compute: Type,
        uniforms: usize,
        streams: impl ExactSizeIterator<Item = (Storage, Access)>,
    ) -> Result<(), ArgsError> {
        if self.uniforms.ty() != compute {
            return Err(ArgsError::UniformType { expected: compute, found: self.uniforms.ty() });
        }
        if self.uniforms.len() != uniforms {
            return Err(ArgsError::UniformCount { expected: uniforms, found: self.uniforms.len() });
        }
        if self.buffers.len() != streams.len() {
            return Err(ArgsError::StreamCount { expected: streams.len(), found: self.buffers.len() });
        }
        for (stream, ((storage, access), buffer)) in streams.zip(&self.buffers).enumerate() {
            if buffer.storage() != storage {
                return Err(ArgsError::Storage { stream, expected: storage, found: buffer.storage() });
            }
            if access.writes() && !buffer.is_mutable() {
                return Err(ArgsError::NotMutable { stream });
            }
            if buffer.len() != self.len {
                return Err(ArgsError::Length { stream, expected: self.len, found: buffer.len() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::parse_kernel;

    #[test]
    fn what_does_not_fit_is_named() {
        let kernel =
            parse_kernel("kernel k f32 {\nuniform u\nstream p f32 rw\nstream g f32 r\nstream s f64 w\n}").unwrap();
        let (mut p, mut g, mut s) = ([0.0f32; 3], [0.0f32; 3], [0.0f64; 3]);
        let u = Uniforms::F32(&[1.0]);
        let error = |buffers: Vec<Buffer<'_>>, u| Args::new(&kernel, buffers, u).map(|args| args.len()).unwrap_err();

        let args = Args::new(&kernel, [Buffer::F32Mut(&mut p), Buffer::F32Mut(&mut g), Buffer::F64Mut(&mut s)], u);
        assert_eq!(args.unwrap().len(), 3);
        let args = Args::new(&kernel, [Buffer::F32Mut(&mut p), Buffer::F32(&g), Buffer::F64Mut(&mut s)], u).unwrap();
        assert!(!args.buffers.spilled());
        assert_eq!(args.check(&Shape::of(&kernel)), Ok(()));
        drop(args);

        assert_eq!(error(vec![Buffer::F32Mut(&mut p)], u), ArgsError::StreamCount { expected: 3, found: 1 });
        assert_eq!(
            error(vec![Buffer::F32(&p), Buffer::F32(&g), Buffer::F64Mut(&mut s)], u),
            ArgsError::NotMutable { stream: 0 }
        );
        assert_eq!(
            error(vec![Buffer::F32Mut(&mut p), Buffer::F64(&[0.0; 3]), Buffer::F64Mut(&mut s)], u),
            ArgsError::Storage { stream: 1, expected: Storage::F32, found: Storage::F64 }
        );
        assert_eq!(
            error(vec![Buffer::F32Mut(&mut p), Buffer::F32(&g), Buffer::F64Mut(&mut s[1..])], u),
            ArgsError::Length { stream: 2, expected: 3, found: 2 }
        );
        let fits = || vec![Buffer::F32Mut(&mut []), Buffer::F32(&[]), Buffer::F64Mut(&mut [])];
        assert_eq!(error(fits(), Uniforms::F32(&[])), ArgsError::UniformCount { expected: 1, found: 0 });
        assert_eq!(
            error(fits(), Uniforms::F64(&[1.0])),
            ArgsError::UniformType { expected: Type::F32, found: Type::F64 }
        );
    }
}
