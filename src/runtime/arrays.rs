//! The arrays of a host in row-major order. What is not is copied in, and back if it may have been written.

use super::memory::TensorElements;
use super::sweep::HostArrays;
use super::tensor::{AnyElements, Elements, Stored};
use crate::check::program::{Extent, InputId, Program};
use crate::ir::{Buffer, Column};
use half::{bf16, f16};
use ndarray::ArrayViewMutD;
use smallvec::SmallVec;

/// The memory of copies, kept from tensor to tensor.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) f32: Vec<Vec<f32>>,
    pub(super) f64: Vec<Vec<f64>>,
    pub(super) bf16: Vec<Vec<bf16>>,
    pub(super) f16: Vec<Vec<f16>>,
}

/// An array in row-major order.
enum Rows<'t, 'a, T> {
    Slice(&'t [T]),
    SliceMut(&'t mut [T]),
    Copied(Vec<T>),
    CopiedBack(&'t mut ArrayViewMutD<'a, T>, Vec<T>),
}

impl<'t, 'a, T: Stored> Rows<'t, 'a, T> {
    fn new(elements: Elements<'t, 'a, T>, copies: &mut Copies) -> Rows<'t, 'a, T> {
        let mut copy = |values: &mut dyn Iterator<Item = T>| {
            let mut copy = T::copies(copies).pop().unwrap_or_default();
            copy.clear();
            copy.extend(values);
            copy
        };
        match elements {
            Elements::Slice(slice) => Rows::Slice(slice),
            Elements::SliceMut(slice) => Rows::SliceMut(slice),
            Elements::View(view) => match view.as_slice() {
                Some(slice) => Rows::Slice(slice),
                None => Rows::Copied(copy(&mut view.iter().copied())),
            },
            // Which is what this asks, too.
            Elements::ViewMut(view) if view.is_standard_layout() => {
                Rows::SliceMut(view.as_slice_mut().unwrap_or(&mut []))
            }
            Elements::ViewMut(view) => {
                let copy = copy(&mut view.iter().copied());
                Rows::CopiedBack(view, copy)
            }
        }
    }

    fn buffer(&mut self) -> Buffer<'_> {
        match self {
            Rows::Slice(slice) => T::buffer(slice),
            Rows::SliceMut(slice) => T::buffer_mut(slice),
            Rows::Copied(copy) => T::buffer(copy),
            Rows::CopiedBack(_, copy) => T::buffer_mut(copy),
        }
    }

    /// Copies back, and gives the memory of the copy.
    fn finish(self, copies: &mut Copies) {
        match self {
            Rows::Slice(_) | Rows::SliceMut(_) => {}
            Rows::Copied(copy) => T::copies(copies).push(copy),
            Rows::CopiedBack(view, copy) => {
                view.iter_mut().zip(&copy).for_each(|(to, from)| *to = *from);
                T::copies(copies).push(copy);
            }
        }
    }
}

/// An array of any type in row-major order.
enum AnyRows<'t, 'a> {
    F32(Rows<'t, 'a, f32>),
    F64(Rows<'t, 'a, f64>),
    Bf16(Rows<'t, 'a, bf16>),
    F16(Rows<'t, 'a, f16>),
}

impl<'t, 'a> AnyRows<'t, 'a> {
    fn new(elements: AnyElements<'t, 'a>, copies: &mut Copies) -> AnyRows<'t, 'a> {
        match elements {
            AnyElements::F32(elements) => AnyRows::F32(Rows::new(elements, copies)),
            AnyElements::F64(elements) => AnyRows::F64(Rows::new(elements, copies)),
            AnyElements::Bf16(elements) => AnyRows::Bf16(Rows::new(elements, copies)),
            AnyElements::F16(elements) => AnyRows::F16(Rows::new(elements, copies)),
        }
    }

    fn buffer(&mut self) -> Buffer<'_> {
        match self {
            AnyRows::F32(rows) => rows.buffer(),
            AnyRows::F64(rows) => rows.buffer(),
            AnyRows::Bf16(rows) => rows.buffer(),
            AnyRows::F16(rows) => rows.buffer(),
        }
    }

    fn finish(self, copies: &mut Copies) {
        match self {
            AnyRows::F32(rows) => rows.finish(copies),
            AnyRows::F64(rows) => rows.finish(copies),
            AnyRows::Bf16(rows) => rows.finish(copies),
            AnyRows::F16(rows) => rows.finish(copies),
        }
    }
}

/// Calls `f` with the arrays of a tensor.
pub(super) fn with_arrays<R>(
    elements: TensorElements<'_, '_>,
    program: &Program,
    copies: &mut Copies,
    f: impl FnOnce(&mut HostArrays<'_>) -> R,
) -> R {
    let TensorElements { param, grad, inputs, copy, .. } = elements;
    if inputs.is_empty() && copy.is_none() && param.is_row_major() && grad.is_row_major() {
        // Nearly every tensor.
        let (param, grad) = (param.buffer(), grad.buffer());
        return f(&mut HostArrays { param, grad, inputs: SmallVec::new(), copy: None });
    }
    let mut param = AnyRows::new(param, copies);
    let mut grad = AnyRows::new(grad, copies);
    let mut arrays: SmallVec<[(InputId, AnyRows<'_, '_>); 1]> = SmallVec::new();
    for (name, data) in inputs {
        if let (Some(id), Some(elements)) = (input_id(program, name), data.elements()) {
            arrays.push((id, AnyRows::new(elements, copies)));
        }
    }
    let mut copy = copy.map(|copy| AnyRows::new(copy, copies));
    let result = f(&mut HostArrays {
        param: param.buffer(),
        grad: grad.buffer(),
        inputs: arrays.iter_mut().map(|(id, rows)| (*id, rows.buffer())).collect(),
        copy: copy.as_mut().map(AnyRows::buffer),
    });
    // So that the next takes them in the same order.
    copy.into_iter().for_each(|copy| copy.finish(copies));
    arrays.into_iter().rev().for_each(|(_, rows)| rows.finish(copies));
    grad.finish(copies);
    param.finish(copies);
    result
}

/// The input per element of this name.
pub(super) fn input_id(program: &Program, name: &str) -> Option<InputId> {
    let index = program.inputs.iter().position(|input| &*input.name == name && input.extent == Extent::Element)?;
    Some(InputId(index as u32))
}

/// The parameter as it is, as values of the compute type.
pub(super) fn param_column(elements: TensorElements<'_, '_>) -> Column {
    fn column<T: Stored>(elements: Elements<'_, '_, T>) -> Column {
        T::column(match elements {
            Elements::Slice(slice) => slice.to_vec(),
            Elements::SliceMut(slice) => slice.to_vec(),
            Elements::View(view) => view.iter().copied().collect(),
            Elements::ViewMut(view) => view.iter().copied().collect(),
        })
    }
    match elements.param {
        AnyElements::F32(elements) => column(elements),
        AnyElements::F64(elements) => column(elements),
        AnyElements::Bf16(elements) => column(elements),
        AnyElements::F16(elements) => column(elements),
    }
}
