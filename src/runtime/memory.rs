//! Tensors from raw memory: what hosts that hold pointers use.
//!
//! This is one of the two files of the crate with unsafe code. A raw tensor is a promise of the host's: memory of a given
//! length and type, alive for the step. That two of them overlap cannot be ruled out by types, so the step compares the
//! ranges of all its buffers before it makes a slice of any (see [`overlap`]).
#![allow(unsafe_code)]

use super::tensor::{GradData, Key, ParamData, Tensor};
use crate::ir::Storage;
use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};
use smallvec::SmallVec;
use std::ops::Range;
use std::ptr::NonNull;

/// A parameter in raw memory.
#[derive(Debug)]
pub(super) struct RawParam {
    data: *mut u8,
    storage: Storage,
    shape: SmallVec<[usize; 4]>,
}

/// A gradient in raw memory.
#[derive(Debug)]
pub(super) struct RawGrad {
    data: *const u8,
    storage: Storage,
    shape: SmallVec<[usize; 4]>,
}

impl<'a> Tensor<'a> {
    /// A tensor of f32 from raw memory in row-major order.
    ///
    /// Buffers may overlap: the step refuses them with [`Error::Overlap`](super::Error::Overlap) instead of running.
    ///
    /// # Safety
    /// `param` must be valid for reads and writes of as many f32 as `shape` holds, `grad` for reads, both aligned to 4
    /// bytes, for as long as the tensor is used, and nothing else may access the parameter meanwhile. Either may be
    /// dangling if `shape` holds no element.
    ///
    /// ```
    /// use updraft::{Error, Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().build()?;
    /// let mut memory = [1.0f32; 6];
    /// let start = memory.as_mut_ptr();
    /// // SAFETY: both ranges lie in `memory`, which is not used until the step is over.
    /// let tensor = unsafe { Tensor::raw_f32("w", start, start.add(2), &[4]) };
    /// assert!(matches!(opt.step(&mut [tensor]), Err(Error::Overlap { .. })));
    /// assert_eq!(memory, [1.0; 6]);
    /// # Ok::<(), Error>(())
    /// ```
    pub unsafe fn raw_f32(name: &'a str, param: *mut f32, grad: *const f32, shape: &[usize]) -> Tensor<'a> {
        raw(name, param.cast(), grad.cast(), Storage::F32, shape)
    }

    /// A tensor of f64 from raw memory in row-major order.
    ///
    /// # Safety
    /// As for [`raw_f32`](Tensor::raw_f32), with f64 aligned to 8 bytes.
    pub unsafe fn raw_f64(name: &'a str, param: *mut f64, grad: *const f64, shape: &[usize]) -> Tensor<'a> {
        raw(name, param.cast(), grad.cast(), Storage::F64, shape)
    }
}

fn raw<'a>(name: &'a str, param: *mut u8, grad: *const u8, storage: Storage, shape: &[usize]) -> Tensor<'a> {
    let shape = SmallVec::from_slice(shape);
    Tensor {
        key: Key::Name(name),
        param: ParamData::Raw(RawParam { data: param, storage, shape: shape.clone() }),
        grad: GradData::Raw(RawGrad { data: grad, storage, shape }),
        inputs: SmallVec::new(),
    }
}

impl RawParam {
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn storage(&self) -> Storage {
        self.storage
    }
}

impl RawGrad {
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn storage(&self) -> Storage {
        self.storage
    }
}

impl ParamData<'_> {
    /// Whether it was made from a pointer.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self, ParamData::Raw(_))
    }

    /// Turns raw memory into a view. To be called after [`overlap`] has found that no other buffer of the step is there.
    pub(super) fn resolve(&mut self) {
        let ParamData::Raw(raw) = &*self else { return };
        let shape = IxDyn(&raw.shape);
        let empty = raw.shape.contains(&0);
        *self = match raw.storage {
            Storage::F32 => {
                let data = if empty { NonNull::dangling().as_ptr() } else { raw.data.cast() };
                // SAFETY: the caller of `raw_f32` promised as many aligned f32 as the shape holds, which nothing else
                // accesses while the tensor is used; `overlap`, which `Optimizer::step` called, found that no other
                // buffer of the step shares them; a view of no element is dangling.
                ParamData::F32(unsafe { ArrayViewMutD::from_shape_ptr(shape, data) })
            }
            Storage::F64 => {
                let data = if empty { NonNull::dangling().as_ptr() } else { raw.data.cast() };
                // SAFETY: as above, with the promise of the caller of `raw_f64`.
                ParamData::F64(unsafe { ArrayViewMutD::from_shape_ptr(shape, data) })
            }
        };
    }

    /// The bytes that it spans.
    fn range(&self) -> Range<usize> {
        match self {
            ParamData::F32(view) => span(view.as_ptr(), view.shape(), view.strides()),
            ParamData::F64(view) => span(view.as_ptr(), view.shape(), view.strides()),
            ParamData::Raw(raw) => contiguous(raw.data, raw.storage, &raw.shape),
        }
    }
}

impl GradData<'_> {
    /// Turns raw memory into a view. To be called after [`overlap`] has found that no parameter is there.
    pub(super) fn resolve(&mut self) {
        let GradData::Raw(raw) = &*self else { return };
        let shape = IxDyn(&raw.shape);
        let empty = raw.shape.contains(&0);
        *self = match raw.storage {
            Storage::F32 => {
                let data = if empty { NonNull::dangling().as_ptr() } else { raw.data.cast() };
                // SAFETY: the caller of `raw_f32` promised as many aligned, readable f32 as the shape holds; `overlap`
                // found that no parameter of the step shares them, so nothing writes them; a view of no element is
                // dangling.
                GradData::F32(unsafe { ArrayViewD::from_shape_ptr(shape, data) })
            }
            Storage::F64 => {
                let data = if empty { NonNull::dangling().as_ptr() } else { raw.data.cast() };
                // SAFETY: as above, with the promise of the caller of `raw_f64`.
                GradData::F64(unsafe { ArrayViewD::from_shape_ptr(shape, data) })
            }
        };
    }

    fn range(&self) -> Range<usize> {
        match self {
            GradData::F32(view) => span(view.as_ptr(), view.shape(), view.strides()),
            GradData::F64(view) => span(view.as_ptr(), view.shape(), view.strides()),
            GradData::Raw(raw) => contiguous(raw.data, raw.storage, &raw.shape),
        }
    }
}

/// The bytes that a strided view spans.
fn span<T>(data: *const T, shape: &[usize], strides: &[isize]) -> Range<usize> {
    let start = data as usize;
    if shape.contains(&0) {
        return start..start;
    }
    let (mut low, mut high) = (0isize, 0isize);
    for (&len, &stride) in shape.iter().zip(strides) {
        let reach = stride * (len as isize - 1);
        low += reach.min(0);
        high += reach.max(0);
    }
    let size = size_of::<T>() as isize;
    start.wrapping_add_signed(low * size)..start.wrapping_add_signed((high + 1) * size)
}

fn contiguous(data: *const u8, storage: Storage, shape: &[usize]) -> Range<usize> {
    let start = data as usize;
    start..start + shape.iter().product::<usize>() * storage.bytes()
}

/// A range of memory that a step would use.
#[derive(Clone, Debug)]
pub(super) struct Span {
    range: Range<usize>,
    tensor: usize,
    is_param: bool,
    is_raw: bool,
}

impl Span {
    /// What it is, for a message.
    fn name(&self, names: &impl Fn(usize) -> String) -> String {
        let name = names(self.tensor);
        if self.is_param { format!("the parameter `{name}`") } else { format!("the gradient of `{name}`") }
    }
}

/// Whether any parameter overlaps another buffer of the step. Only tensors from raw memory can; without one, nothing is
/// compared. `spans` is memory to work in.
pub(super) fn overlap(
    tensors: &[Tensor<'_>],
    spans: &mut Vec<Span>,
    names: impl Fn(usize) -> String,
) -> Option<(String, String)> {
    if !tensors.iter().any(|tensor| tensor.param.is_raw()) {
        return None;
    }
    spans.clear();
    for (index, tensor) in tensors.iter().enumerate() {
        let is_raw = tensor.param.is_raw();
        for (range, is_param) in [(tensor.param.range(), true), (tensor.grad.range(), false)] {
            if !range.is_empty() {
                spans.push(Span { range, tensor: index, is_param, is_raw });
            }
        }
    }
    spans.sort_unstable_by_key(|span| span.range.start);
    // Gradients may share memory among themselves, so each span is compared with the parameter and the buffer that
    // reach furthest among those that begin before it.
    let (mut furthest, mut furthest_param): (Option<&Span>, Option<&Span>) = (None, None);
    for span in spans.iter() {
        let before = if span.is_param { furthest } else { furthest_param };
        if let Some(before) = before {
            if before.range.end > span.range.start && (before.is_raw || span.is_raw) {
                return Some((before.name(&names), span.name(&names)));
            }
        }
        if furthest.is_none_or(|f| f.range.end < span.range.end) {
            furthest = Some(span);
        }
        if span.is_param && furthest_param.is_none_or(|f| f.range.end < span.range.end) {
            furthest_param = Some(span);
        }
    }
    None
}
