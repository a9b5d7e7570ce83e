//! Tensors from raw memory, which is what hosts that hold pointers use, the memory of states, and the floating-point mode
//! of a thread.
//!
//! This is one of the two files of the crate with unsafe code. A raw tensor is a promise of the host's: memory of a given
//! length and type, alive while the tensor is used. That two of them overlap cannot be ruled out by types, so [`disjoint`]
//! compares the ranges of all buffers of a step; only through the [`Disjoint`] that it gives is raw memory ever seen as a
//! slice. A raw tensor stays raw, so that a later call with other tensors compares it again.
//!
//! The mode is changed for as long as machine code of a kernel runs, and for nothing else: the compiler of Rust takes it to
//! be what it is by default.
#![allow(unsafe_code)]

use super::error::Error;
use super::tensor::{AnyElements, Elements, Given, GradData, Key, ParamData, Stored, Tensor};
use crate::ir::Storage;
use half::{bf16, f16};
use memmap2::MmapMut;
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::ops::Range;

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

// SAFETY: whoever called `raw_f32` or its like promised that nothing else accesses the memory while the tensor is used,
// on whatever thread: it is handed over as `&mut [f32]` is, which may be sent too.
unsafe impl Send for RawParam {}
// SAFETY: through a shared reference only the shape, the type and the address are read, never the memory.
unsafe impl Sync for RawParam {}
// SAFETY: nothing writes the memory while the tensor is used, by the same promise: it is shared as `&[f32]` is.
unsafe impl Send for RawGrad {}
// SAFETY: as above.
unsafe impl Sync for RawGrad {}

impl<'a> Tensor<'a> {
    /// A tensor of f32 from raw memory in row-major order.
    ///
    /// Buffers may overlap: the step refuses them with [`Error::Overlap`](super::Error::Overlap) instead of running.
    ///
    /// # Safety
    /// `param` must be valid for reads and writes of as many f32 as `shape` holds, `grad` for reads, for as long as the
    /// tensor is used, and nothing else may access the parameter or write the gradient meanwhile. Either may dangle if
    /// `shape` holds no element. (A pointer that is null or not aligned, and a shape that no memory holds, are
    /// [`Error::BadPointer`](super::Error::BadPointer).)
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
    /// As for [`raw_f32`](Tensor::raw_f32), with f64.
    pub unsafe fn raw_f64(name: &'a str, param: *mut f64, grad: *const f64, shape: &[usize]) -> Tensor<'a> {
        raw(name, param.cast(), grad.cast(), Storage::F64, shape)
    }

    /// A tensor of bf16 from raw memory in row-major order.
    ///
    /// # Safety
    /// As for [`raw_f32`](Tensor::raw_f32), with bf16.
    pub unsafe fn raw_bf16(name: &'a str, param: *mut bf16, grad: *const bf16, shape: &[usize]) -> Tensor<'a> {
        raw(name, param.cast(), grad.cast(), Storage::Bf16, shape)
    }

    /// A tensor of f16 from raw memory in row-major order.
    ///
    /// # Safety
    /// As for [`raw_f32`](Tensor::raw_f32), with f16.
    pub unsafe fn raw_f16(name: &'a str, param: *mut f16, grad: *const f16, shape: &[usize]) -> Tensor<'a> {
        raw(name, param.cast(), grad.cast(), Storage::F16, shape)
    }
}

fn raw<'a>(name: &'a str, param: *mut u8, grad: *const u8, storage: Storage, shape: &[usize]) -> Tensor<'a> {
    let shape = SmallVec::from_slice(shape);
    let param = RawParam { data: param, storage, shape: shape.clone() };
    Tensor::from_data(Key::Name(name), ParamData::Raw(param), GradData::Raw(RawGrad { data: grad, storage, shape }))
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

/// The tensors of a step, no written buffer of which shares memory with another buffer of the step, and whose raw pointers
/// can be what they were promised to be. Only [`disjoint`] makes one.
pub(super) struct Disjoint<'t, 'a>(&'t mut [Tensor<'a>]);

/// One of them.
pub(super) struct DisjointTensor<'t, 'a>(&'t mut Tensor<'a>);

/// The arrays of a tensor in a step.
pub(super) struct TensorElements<'t, 'a> {
    pub(super) param: AnyElements<'t, 'a>,
    pub(super) grad: AnyElements<'t, 'a>,
    pub(super) inputs: &'t mut [(&'a str, GradData<'a>)],
    pub(super) copy: Option<AnyElements<'t, 'a>>,
    pub(super) given: Given<'t, 'a>,
}

impl<'a> Disjoint<'_, 'a> {
    pub(super) fn tensors(&self) -> &[Tensor<'a>] {
        self.0
    }

    /// The k-th tensor.
    pub(super) fn get(&mut self, k: usize) -> DisjointTensor<'_, 'a> {
        DisjointTensor(&mut self.0[k])
    }

    /// All of them at once.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = DisjointTensor<'_, 'a>> {
        self.0.iter_mut().map(DisjointTensor)
    }
}

impl<'a> DisjointTensor<'_, 'a> {
    pub(super) fn tensor(&self) -> &Tensor<'a> {
        self.0
    }

    /// Its elements; `None` if a shape holds more than there can be, which `disjoint` has seen to.
    pub(super) fn elements(&mut self) -> Option<TensorElements<'_, 'a>> {
        let Tensor { param, grad, arrays, copy, inputs, shard, .. } = &mut *self.0;
        let given = Given { inputs, is_shard: shard.is_some() };
        let copy = match copy {
            Some(copy) => Some(written(copy)?),
            None => None,
        };
        let grad = match grad {
            GradData::Raw(raw) => match raw.storage {
                Storage::F32 => AnyElements::F32(Elements::Slice(raw_slice(raw)?)),
                Storage::F64 => AnyElements::F64(Elements::Slice(raw_slice(raw)?)),
                Storage::Bf16 => AnyElements::Bf16(Elements::Slice(raw_slice(raw)?)),
                Storage::F16 => AnyElements::F16(Elements::Slice(raw_slice(raw)?)),
            },
            data => data.elements()?,
        };
        Some(TensorElements { param: written(param)?, grad, inputs: arrays, copy, given })
    }
}

impl<'a> GradData<'a> {
    /// The elements of what is not raw.
    pub(super) fn elements(&mut self) -> Option<AnyElements<'_, 'a>> {
        Some(match self {
            GradData::F32(view) => AnyElements::F32(Elements::View(view)),
            GradData::F64(view) => AnyElements::F64(Elements::View(view)),
            GradData::Bf16(view) => AnyElements::Bf16(Elements::View(view)),
            GradData::F16(view) => AnyElements::F16(Elements::View(view)),
            GradData::F32Mut(view) => AnyElements::F32(Elements::ViewMut(view)),
            GradData::F64Mut(view) => AnyElements::F64(Elements::ViewMut(view)),
            GradData::Bf16Mut(view) => AnyElements::Bf16(Elements::ViewMut(view)),
            GradData::F16Mut(view) => AnyElements::F16(Elements::ViewMut(view)),
            GradData::Raw(_) => return None,
        })
    }
}

/// The elements of a parameter, or of its copy.
fn written<'t, 'a>(data: &'t mut ParamData<'a>) -> Option<AnyElements<'t, 'a>> {
    Some(match data {
        ParamData::F32(view) => AnyElements::F32(Elements::ViewMut(view)),
        ParamData::F64(view) => AnyElements::F64(Elements::ViewMut(view)),
        ParamData::Bf16(view) => AnyElements::Bf16(Elements::ViewMut(view)),
        ParamData::F16(view) => AnyElements::F16(Elements::ViewMut(view)),
        ParamData::Raw(raw) => match raw.storage {
            Storage::F32 => AnyElements::F32(Elements::SliceMut(raw_slice_mut(raw)?)),
            Storage::F64 => AnyElements::F64(Elements::SliceMut(raw_slice_mut(raw)?)),
            Storage::Bf16 => AnyElements::Bf16(Elements::SliceMut(raw_slice_mut(raw)?)),
            Storage::F16 => AnyElements::F16(Elements::SliceMut(raw_slice_mut(raw)?)),
        },
    })
}

/// The elements of a raw parameter, whose type is `T`. Called by `written` alone: for a tensor that is `Disjoint`.
fn raw_slice_mut<T: Stored>(raw: &mut RawParam) -> Option<&mut [T]> {
    let len = elements(&raw.shape).filter(|_| raw.storage == T::STORAGE)?;
    if len == 0 {
        return Some(&mut []);
    }
    // SAFETY: the caller of `raw_f32` or its like promised as many values of this type as the shape holds, which nothing
    // else accesses while the tensor is used. `disjoint` found the pointer aligned and not null, the bytes no more than
    // isize::MAX, and no other buffer of the step in them; and the tensor is borrowed mutably, so that this is the only
    // slice of them.
    Some(unsafe { std::slice::from_raw_parts_mut(raw.data.cast::<T>(), len) })
}

/// The elements of a raw gradient, whose type is `T`. For a tensor that is `Disjoint`, as above.
fn raw_slice<T: Stored>(raw: &RawGrad) -> Option<&[T]> {
    let len = elements(&raw.shape).filter(|_| raw.storage == T::STORAGE)?;
    if len == 0 {
        return Some(&[]);
    }
    // SAFETY: as above, of memory that may be read; `disjoint` found no written buffer of the step in it, so nothing
    // writes it.
    Some(unsafe { std::slice::from_raw_parts(raw.data.cast::<T>(), len) })
}

/// Values that stay from step to step. They begin at a cache line, and large ones lie in memory of their own, for which the
/// operating system is asked for huge pages; it is zero, and given to whoever touches it first: a thread of the first step.
pub(crate) struct AlignedArray<T> {
    memory: Memory,
    len: usize,
    _type: PhantomData<T>,
}

enum Memory {
    Lines(Vec<Line>),
    /// From so many bytes on.
    Pages(MmapMut, usize),
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// From so many bytes on, an array has memory of its own: a few huge pages.
const LARGE: usize = 4 << 20;

/// Large arrays begin at different distances from a huge page, each some lines more than a page: a sweep goes through
/// several of equal length at once, and were they a power of two apart, their elements would wait for the same banks of
/// memory and the same sets of the cache. Measured on 64 Mi elements and two threads, that more than doubles Adam's time.
const STAGGER: usize = 67 * size_of::<Line>();
const STAGGERS: usize = 32;

impl<T: Pattern> AlignedArray<T> {
    /// So many zeros.
    pub(super) fn zeros(len: usize) -> AlignedArray<T> {
        let bytes = len.saturating_mul(size_of::<T>());
        let mapped =
            (bytes >= LARGE).then(|| MmapMut::map_anon(bytes.saturating_add(STAGGERS * STAGGER)).ok()).flatten();
        let memory = match mapped {
            Some(pages) => {
                // Where there are none, it stays in small ones.
                #[cfg(target_os = "linux")]
                let _ = pages.advise(memmap2::Advice::HugePage);
                let which = (pages.as_ptr() as usize >> 21).wrapping_mul(0x9e37_79b9) >> 16;
                Memory::Pages(pages, which % STAGGERS * STAGGER)
            }
            None => Memory::Lines(vec![Line([0; 64]); bytes.div_ceil(size_of::<Line>())]),
        };
        AlignedArray { memory, len, _type: PhantomData }
    }

    /// So many times a value.
    pub(super) fn repeat(x: T, len: usize) -> AlignedArray<T> {
        let mut array = AlignedArray::zeros(len);
        array.fill(x);
        array
    }
}

impl<T: Pattern> std::ops::Deref for AlignedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let start = match &self.memory {
            Memory::Lines(lines) => lines.as_ptr().cast::<T>(),
            Memory::Pages(pages, from) => pages[*from..].as_ptr().cast::<T>(),
        };
        // SAFETY: `zeros` made the memory, which is this array's alone and as large as `len` values, and began it at a
        // line. It has been written from its first byte on, with zeros, and of a `Pattern` every pattern is a
        // value.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

impl<T: Pattern> std::ops::DerefMut for AlignedArray<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let start = match &mut self.memory {
            Memory::Lines(lines) => lines.as_mut_ptr().cast::<T>(),
            Memory::Pages(pages, from) => pages[*from..].as_mut_ptr().cast::<T>(),
        };
        // SAFETY: as above, and the array is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

impl<T: Pattern> From<Vec<T>> for AlignedArray<T> {
    fn from(values: Vec<T>) -> AlignedArray<T> {
        let mut array = AlignedArray::zeros(values.len());
        array.copy_from_slice(&values);
        array
    }
}

impl<T: Pattern> Clone for AlignedArray<T> {
    fn clone(&self) -> AlignedArray<T> {
        let mut array = AlignedArray::zeros(self.len);
        array.copy_from_slice(self);
        array
    }
}

impl<T: Pattern + PartialEq> PartialEq for AlignedArray<T> {
    fn eq(&self, other: &AlignedArray<T>) -> bool {
        **self == **other
    }
}

impl<T: Pattern + std::fmt::Debug> std::fmt::Debug for AlignedArray<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A type of which every pattern of bits is a value, aligned to no more than a cache line.
pub(crate) trait Pattern: Copy + Default + Send + Sync + 'static {}

impl Pattern for f32 {}
impl Pattern for f64 {}
impl Pattern for bf16 {}
impl Pattern for f16 {}

/// How many elements a shape holds; `None` if that is no number.
fn elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n)) }
}

/// The bytes of raw memory, or what is wrong with the pointer. No memory is read.
fn raw_range(data: *const u8, storage: Storage, shape: &[usize]) -> Result<Range<usize>, &'static str> {
    let start = data.addr();
    let bytes = elements(shape)
        .and_then(|len| len.checked_mul(storage.bytes()))
        .filter(|bytes| isize::try_from(*bytes).is_ok() && start.checked_add(*bytes).is_some())
        .ok_or("is too large: no memory holds as many elements as its shape")?;
    if bytes > 0 && data.is_null() {
        return Err("is a null pointer: give the address of its elements");
    }
    if bytes > 0 && !start.is_multiple_of(storage.bytes()) {
        return Err("is not aligned: its address must be a multiple of the size of an element");
    }
    Ok(start..start + bytes)
}

/// While this is alive, this thread takes denormal numbers for zeros and gives zeros for them.
#[cfg(feature = "jit")]
pub(super) struct FlushDenormals {
    /// The mode before.
    before: mode::Mode,
}

#[cfg(feature = "jit")]
impl FlushDenormals {
    pub(super) fn enter() -> FlushDenormals {
        let before = mode::get();
        mode::set(before | mode::FLUSH);
        FlushDenormals { before }
    }
}

#[cfg(feature = "jit")]
impl Drop for FlushDenormals {
    fn drop(&mut self) {
        mode::set(self.before);
    }
}

/// The register that holds the mode.
#[cfg(all(feature = "jit", target_arch = "x86_64"))]
mod mode {
    use std::arch::asm;

    pub(super) type Mode = u32;

    /// Results that are denormal become zeros (bit 15), operands that are count as zeros (bit 6).
    pub(super) const FLUSH: Mode = 1 << 15 | 1 << 6;

    pub(super) fn get() -> Mode {
        let mut mode: Mode = 0;
        // SAFETY: it writes the four bytes of `mode`, and changes no register. Every x86-64 has it.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
        mode
    }

    pub(super) fn set(mode: Mode) {
        // SAFETY: it reads the four bytes of `mode`, which `get` gave, or differs from that in the two bits of `FLUSH`: no bit
        // is set that a processor does not have, and no exception becomes unmasked. That Rust's own arithmetic never sees
        // these bits is up to the callers, who hold a `FlushDenormals` around machine code of a kernel alone.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags)) };
    }
}

/// The register that holds the mode.
#[cfg(all(feature = "jit", target_arch = "aarch64"))]
mod mode {
    use std::arch::asm;

    pub(super) type Mode = u64;

    /// Denormal operands count as zeros, and results that are denormal become zeros.
    pub(super) const FLUSH: Mode = 1 << 24;

    pub(super) fn get() -> Mode {
        let mode: Mode;
        // SAFETY: it reads a register that programs may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) mode, options(nomem, nostack, preserves_flags)) };
        mode
    }

    pub(super) fn set(mode: Mode) {
        // SAFETY: the register is one that programs may write, and `mode` is what `get` gave, or differs from that in the bit
        // of `FLUSH`. That Rust's own arithmetic never sees it is up to the callers, as above.
        unsafe { asm!("msr fpcr, {}", in(reg) mode, options(nostack, preserves_flags)) };
    }
}

/// Where no machine code runs there is no mode to change.
#[cfg(all(feature = "jit", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod mode {
    pub(super) type Mode = u32;
    pub(super) const FLUSH: Mode = 0;

    pub(super) fn get() -> Mode {
        0
    }

    pub(super) fn set(_: Mode) {}
}

impl ParamData<'_> {
    /// Whether it was made from a pointer.
    fn is_raw(&self) -> bool {
        matches!(self, ParamData::Raw(_))
    }

    /// The bytes that it spans.
    fn range(&self) -> Result<Range<usize>, &'static str> {
        match self {
            ParamData::F32(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            ParamData::F64(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            ParamData::Bf16(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            ParamData::F16(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            ParamData::Raw(raw) => raw_range(raw.data, raw.storage, &raw.shape),
        }
    }
}

impl GradData<'_> {
    fn is_raw(&self) -> bool {
        matches!(self, GradData::Raw(_))
    }

    /// The bytes that it spans.
    fn range(&self) -> Result<Range<usize>, &'static str> {
        match self {
            GradData::F32(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::F64(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::F32Mut(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::F64Mut(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::Bf16(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::F16(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::Bf16Mut(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::F16Mut(view) => Ok(span(view.as_ptr(), view.shape(), view.strides())),
            GradData::Raw(raw) => raw_range(raw.data, raw.storage, &raw.shape),
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

/// A range of memory that a step would use.
#[derive(Clone, Debug)]
pub(super) struct Span {
    range: Range<usize>,
    tensor: usize,
    what: What,
    is_written: bool,
    is_raw: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Param,
    Grad,
    Input,
    Copy,
}

impl Span {
    /// What it is, for a message.
    fn name(&self, names: &impl Fn(usize) -> String) -> String {
        let name = names(self.tensor);
        match self.what {
            What::Param => format!("the parameter `{name}`"),
            What::Grad => format!("the gradient of `{name}`"),
            What::Input => format!("an input of `{name}`"),
            What::Copy => format!("the copy of `{name}`"),
        }
    }
}

/// Holds the memory of a step's tensors to what it must be: nothing written overlaps another buffer. Only raw memory can, so
/// without a raw tensor nothing is compared. A strided view counts from its first byte to its last, so raw memory in its
/// gaps is refused too. `spans` is memory to work in, `names` gives the name of the k-th tensor.
pub(super) fn disjoint<'t, 'a>(
    tensors: &'t mut [Tensor<'a>],
    spans: &mut Vec<Span>,
    names: impl Fn(usize) -> String,
) -> Result<Disjoint<'t, 'a>, Error> {
    if !tensors.iter().any(|tensor| tensor.param.is_raw() || tensor.grad.is_raw()) {
        return Ok(Disjoint(tensors));
    }
    spans.clear();
    for (index, tensor) in tensors.iter().enumerate() {
        let mut add = |range: Result<Range<usize>, _>, what, is_written, is_raw| -> Result<(), Error> {
            let buffer = if matches!(what, What::Param) { "parameter" } else { "gradient" };
            let range = range.map_err(|problem| Error::BadPointer { tensor: names(index), buffer, problem })?;
            if !range.is_empty() {
                spans.push(Span { range, tensor: index, what, is_written, is_raw });
            }
            Ok(())
        };
        add(tensor.param.range(), What::Param, true, tensor.param.is_raw())?;
        add(tensor.grad.range(), What::Grad, tensor.grad.is_mutable(), tensor.grad.is_raw())?;
        tensor.arrays.iter().try_for_each(|(_, array)| add(array.range(), What::Input, false, false))?;
        tensor.copy.iter().try_for_each(|copy| add(copy.range(), What::Copy, true, false))?;
    }
    match overlap(spans) {
        Some((first, second)) => Err(Error::Overlap { first: first.name(&names), second: second.name(&names) }),
        None => Ok(Disjoint(tensors)),
    }
}

/// Two spans that share memory, at least one of them written and at least one of them raw.
fn overlap(spans: &mut [Span]) -> Option<(&Span, &Span)> {
    spans.sort_unstable_by_key(|span| span.range.start);
    // Of the spans that begin before another, the one that reaches furthest overlaps it if any does. Which ones count
    // depends on the other: gradients may share memory among themselves, and safe views have been compared by Rust.
    let mut furthest: [[Option<&Span>; 2]; 2] = [[None; 2]; 2];
    for span in &*spans {
        let (written_only, raw_only) = (!span.is_written, !span.is_raw);
        if let Some(before) = furthest[usize::from(written_only)][usize::from(raw_only)]
            && before.range.end > span.range.start
        {
            return Some((before, span));
        }
        for of_kind in furthest.iter_mut().take(1 + usize::from(span.is_written)) {
            for reach in of_kind.iter_mut().take(1 + usize::from(span.is_raw)) {
                if reach.is_none_or(|f| f.range.end < span.range.end) {
                    *reach = Some(span);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small and large, of each type: zeros at first, aligned to a cache line, and every value stays where it was put.
    #[test]
    fn arrays_are_aligned_zeros() {
        fn check<T: Pattern + PartialEq + std::fmt::Debug>(value: T) {
            for len in [0, 1, 15, 17, 1000, LARGE / size_of::<T>() - 1, LARGE / size_of::<T>(), LARGE] {
                let mut array = AlignedArray::<T>::zeros(len);
                assert_eq!((array.len(), array.as_ptr() as usize % 64), (len, 0));
                assert!(array.iter().all(|x| *x == T::default()));
                let expected: Vec<T> = (0..len).map(|i| if i % 7 == 3 { value } else { T::default() }).collect();
                array.iter_mut().skip(3).step_by(7).for_each(|x| *x = value);
                assert!(*array == *expected && array == array.clone() && array == AlignedArray::from(expected));
                assert!(AlignedArray::repeat(value, len).iter().all(|x| *x == value));
            }
        }
        check(1.5f32);
        check(1.5f64);
        check(bf16::ONE);
        check(f16::ONE);
    }

    /// Bytes, whether a parameter, whether raw.
    fn overlaps(spans: &[(Range<usize>, bool, bool)]) -> bool {
        let span = |(range, is_written, is_raw): &(Range<usize>, bool, bool)| Span {
            range: range.clone(),
            tensor: 0,
            what: if *is_written { What::Param } else { What::Grad },
            is_written: *is_written,
            is_raw: *is_raw,
        };
        overlap(&mut spans.iter().map(span).collect::<Vec<_>>()).is_some()
    }

    /// However a kernel ends, the thread computes as it did.
    #[test]
    #[cfg(all(feature = "jit", any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn the_mode_is_put_back() {
        let before = mode::get();
        assert_eq!(before & mode::FLUSH, 0);
        {
            let _flush = FlushDenormals::enter();
            assert_eq!(mode::get(), before | mode::FLUSH);
            drop(FlushDenormals::enter());
            assert_eq!(mode::get(), before | mode::FLUSH);
        }
        assert_eq!(mode::get(), before);
        let panicked = std::panic::catch_unwind(|| {
            let _flush = FlushDenormals::enter();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert_eq!(mode::get(), before);
    }

    /// A safe view that reaches further does not hide a raw one from a safe parameter.
    #[test]
    fn the_longest_span_hides_no_other() {
        let (raw, safe) = (true, false);
        let (param, grad) = (true, false);
        assert!(overlaps(&[(0..100, grad, raw), (10..200, grad, safe), (50..60, param, safe)]));
        assert!(!overlaps(&[(0..40, grad, raw), (10..200, grad, safe), (50..60, param, safe)]));
        assert!(overlaps(&[(0..10, param, raw), (1..200, grad, raw), (2..3, grad, raw)]));
        assert!(!overlaps(&[(0..10, param, safe), (5..20, param, safe), (20..30, param, raw)]));
    }

    /// All pairs of short ranges among three, against comparing each with each.
    #[test]
    fn overlap_is_found_exactly() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut next = |n: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % n
            };
            let spans: Vec<_> = (0..2 + next(4))
                .map(|_| {
                    let start = next(12) as usize;
                    (start..start + 1 + next(6) as usize, next(2) == 0, next(2) == 0)
                })
                .collect();
            let pairs = spans.iter().enumerate().flat_map(|(i, a)| spans[..i].iter().map(move |b| (a, b)));
            let expected = pairs
                .filter(|((_, a_param, a_raw), (_, b_param, b_raw))| (*a_param || *b_param) && (*a_raw || *b_raw))
                .any(|((a, ..), (b, ..))| a.start < b.end && b.start < a.end);
            assert_eq!(overlaps(&spans), expected, "{spans:?}");
        }
    }
}
