//! The arrays of a host in row-major order. What is not is copied in, and back if it may have been written.

use super::memory::Elements;
use super::sweep::HostArrays;
use super::tensor::{Erase, GradElements, ParamData, ParamElements};
use crate::check::program::{Extent, InputId, Program};
use crate::ir::Buffer;
use ndarray::{ArrayViewD, ArrayViewMutD};
use smallvec::SmallVec;

/// An array that is written.
enum Written<'t, 'a, T> {
    Slice(&'t mut [T]),
    Copied(&'t mut ArrayViewMutD<'a, T>, Vec<T>),
}

/// An array that is only read.
enum Read<'t, T> {
    Slice(&'t [T]),
    Copied(Vec<T>),
}

impl<'t, 'a, T: Copy> Written<'t, 'a, T> {
    fn new(view: &'t mut ArrayViewMutD<'a, T>, mut room: impl FnMut() -> Vec<T>) -> Written<'t, 'a, T> {
        if view.is_standard_layout() {
            // Which is what this asks, too.
            return Written::Slice(view.as_slice_mut().unwrap_or(&mut []));
        }
        let mut copy = room();
        copy.clear();
        copy.extend(view.iter().copied());
        Written::Copied(view, copy)
    }

    fn slice(&mut self) -> &mut [T] {
        match self {
            Written::Slice(slice) => slice,
            Written::Copied(_, copy) => copy,
        }
    }

    /// Copies back, and gives the memory of the copy.
    fn finish(self) -> Option<Vec<T>> {
        let Written::Copied(view, copy) = self else { return None };
        view.iter_mut().zip(&copy).for_each(|(to, from)| *to = *from);
        Some(copy)
    }
}

impl<'t, T: Copy> Read<'t, T> {
    fn new(view: &'t ArrayViewD<'_, T>, mut room: impl FnMut() -> Vec<T>) -> Read<'t, T> {
        if let Some(slice) = view.as_slice() {
            return Read::Slice(slice);
        }
        let mut copy = room();
        copy.clear();
        copy.extend(view.iter().copied());
        Read::Copied(copy)
    }

    fn slice(&self) -> &[T] {
        match self {
            Read::Slice(slice) => slice,
            Read::Copied(copy) => copy,
        }
    }

    fn finish(self) -> Option<Vec<T>> {
        if let Read::Copied(copy) = self { Some(copy) } else { None }
    }
}

enum Grad<'t, 'a, T> {
    Read(Read<'t, T>),
    Written(Written<'t, 'a, T>),
}

enum HostCopy<'t, 'a> {
    F32(Written<'t, 'a, f32>),
    F64(Written<'t, 'a, f64>),
}

/// Calls `f` with the arrays of a tensor. `room` keeps the memory of copies.
pub(super) fn with_arrays<T: Erase, R>(
    elements: Elements<'_, '_, T>,
    program: &Program,
    room: &mut Vec<Vec<T>>,
    f: impl FnOnce(&mut HostArrays<'_, T>) -> R,
) -> R {
    let Elements { param, grad, inputs, copy, .. } = elements;
    if inputs.is_empty() && copy.is_none() && param.is_row_major() && grad.is_row_major() {
        // Nearly every tensor.
        let grad = match grad {
            GradElements::Slice(slice) => T::buffer(slice),
            GradElements::View(view) => T::buffer(view.as_slice().unwrap_or(&[])),
            GradElements::ViewMut(view) => T::buffer_mut(view.as_slice_mut().unwrap_or(&mut [])),
        };
        let param = match param {
            ParamElements::Slice(slice) => slice,
            ParamElements::View(view) => view.as_slice_mut().unwrap_or(&mut []),
        };
        return f(&mut HostArrays { param, grad, inputs: SmallVec::new(), copy: None });
    }
    let mut free = || room.pop().unwrap_or_default();
    let mut param = match param {
        ParamElements::Slice(slice) => Written::Slice(slice),
        ParamElements::View(view) => Written::new(view, &mut free),
    };
    let mut grad = match grad {
        GradElements::Slice(slice) => Grad::Read(Read::Slice(slice)),
        GradElements::View(view) => Grad::Read(Read::new(view, &mut free)),
        GradElements::ViewMut(view) => Grad::Written(Written::new(view, &mut free)),
    };
    let mut arrays: SmallVec<[(InputId, Read<'_, T>); 1]> = SmallVec::new();
    for (name, data) in inputs {
        if let (Some(id), Some(GradElements::View(view))) = (input_id(program, name), T::grad_view(data)) {
            arrays.push((id, Read::new(view, &mut free)));
        }
    }
    let mut copy = copy.map(|copy| match copy {
        ParamData::F32(view) => HostCopy::F32(Written::new(view, Vec::new)),
        ParamData::F64(view) => HostCopy::F64(Written::new(view, Vec::new)),
        // `copy_to` takes views alone.
        ParamData::Raw(_) => HostCopy::F32(Written::Slice(&mut [])),
    });
    let result = f(&mut HostArrays {
        param: param.slice(),
        grad: match &mut grad {
            Grad::Read(read) => T::buffer(read.slice()),
            Grad::Written(written) => T::buffer_mut(written.slice()),
        },
        inputs: arrays.iter().map(|(id, read)| (*id, read.slice())).collect(),
        copy: copy.as_mut().map(|copy| match copy {
            HostCopy::F32(copy) => Buffer::F32Mut(copy.slice()),
            HostCopy::F64(copy) => Buffer::F64Mut(copy.slice()),
        }),
    });
    match copy {
        Some(HostCopy::F32(copy)) => drop(copy.finish()),
        Some(HostCopy::F64(copy)) => drop(copy.finish()),
        None => {}
    }
    // In the order in which they are taken.
    room.extend(arrays.into_iter().rev().filter_map(|(_, read)| read.finish()));
    room.extend(match grad {
        Grad::Read(read) => read.finish(),
        Grad::Written(written) => written.finish(),
    });
    room.extend(param.finish());
    result
}

/// The input per element of this name.
pub(super) fn input_id(program: &Program, name: &str) -> Option<InputId> {
    let index = program.inputs.iter().position(|input| &*input.name == name && input.extent == Extent::Element)?;
    Some(InputId(index as u32))
}

/// The parameter as it is.
pub(super) fn param_values<T: Erase>(elements: Elements<'_, '_, T>) -> Vec<T> {
    match elements.param {
        ParamElements::Slice(slice) => slice.to_vec(),
        ParamElements::View(view) => view.iter().copied().collect(),
    }
}
