//! [`Tensor`]: a parameter and its gradient, for one step.
//!
//! Comes in: slices and ndarray views of any dimension, of f32 or f64. A slice has the shape `[len]`. A view that is not
//! in row-major order is copied in before the step and back after it; that is the only copy there is.

use super::memory::{RawGrad, RawParam};
use crate::ir::{Buffer, Column, Storage};
use ndarray::{ArrayBase, ArrayView, ArrayViewD, ArrayViewMut, ArrayViewMutD, Data, DataMut, Dimension};
use smallvec::SmallVec;

/// A parameter with its gradient and its name, for one call of [`Optimizer::step`](super::Optimizer::step).
///
/// ```
/// use ndarray::{Array2, array};
/// use updraft::{Rule, Tensor};
/// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.build()?;
/// let mut w: Array2<f64> = array![[1.0, 2.0], [3.0, 4.0]];
/// let g: Array2<f64> = Array2::ones((2, 2));
/// let mut b = [0.0f32; 3];
/// opt.step(&mut [Tensor::new("w", w.view_mut().reversed_axes(), g.view()), Tensor::new("b", &mut b, &[1.0; 3])])?;
/// assert_eq!(w, array![[0.0, 1.0], [2.0, 3.0]]);
/// assert_eq!(b, [-1.0; 3]);
/// # Ok::<(), updraft::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor<'a> {
    pub(super) key: Key<'a>,
    pub(super) param: Param<'a>,
    pub(super) grad: Grad<'a>,
    pub(super) inputs: SmallVec<[(&'a str, f64); 2]>,
}

/// What a tensor is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    Name(&'a str),
    Id(TensorId),
}

/// A tensor that [`Optimizer::register`](super::Optimizer::register) knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorId {
    pub(super) index: u32,
    /// Changes with every reset, so that an old id is never another tensor.
    pub(super) generation: u32,
}

/// The memory of a parameter.
#[derive(Debug)]
pub struct Param<'a>(pub(super) ParamKind<'a>);

#[derive(Debug)]
pub(super) enum ParamKind<'a> {
    F32(ArrayViewMutD<'a, f32>),
    F64(ArrayViewMutD<'a, f64>),
    Raw(RawParam),
}

/// The memory of a gradient.
#[derive(Debug)]
pub struct Grad<'a>(pub(super) GradKind<'a>);

#[derive(Debug)]
pub(super) enum GradKind<'a> {
    F32(ArrayViewD<'a, f32>),
    F64(ArrayViewD<'a, f64>),
    Raw(RawGrad),
}

impl<'a> Tensor<'a> {
    /// A parameter called `name`, under which its state is kept, and its gradient of the same shape and type.
    pub fn new(name: &'a str, param: impl Into<Param<'a>>, grad: impl Into<Grad<'a>>) -> Tensor<'a> {
        Tensor { key: Key::Name(name), param: param.into(), grad: grad.into(), inputs: SmallVec::new() }
    }

    /// A parameter that has been registered.
    pub fn with_id(id: TensorId, param: impl Into<Param<'a>>, grad: impl Into<Grad<'a>>) -> Tensor<'a> {
        Tensor { key: Key::Id(id), param: param.into(), grad: grad.into(), inputs: SmallVec::new() }
    }

    /// Gives an input per tensor.
    pub fn input(mut self, name: &'a str, value: f64) -> Tensor<'a> {
        self.inputs.push((name, value));
        self
    }
}

impl Param<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match &self.0 {
            ParamKind::F32(view) => view.shape(),
            ParamKind::F64(view) => view.shape(),
            ParamKind::Raw(raw) => raw.shape(),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        match &self.0 {
            ParamKind::F32(_) => Storage::F32,
            ParamKind::F64(_) => Storage::F64,
            ParamKind::Raw(raw) => raw.storage(),
        }
    }
}

impl Grad<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match &self.0 {
            GradKind::F32(view) => view.shape(),
            GradKind::F64(view) => view.shape(),
            GradKind::Raw(raw) => raw.shape(),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        match &self.0 {
            GradKind::F32(_) => Storage::F32,
            GradKind::F64(_) => Storage::F64,
            GradKind::Raw(raw) => raw.storage(),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The types of elements that tensors have: f32 and f64.
pub trait Element: sealed::Sealed + Copy {
    /// A view of a parameter of this type.
    #[doc(hidden)]
    fn param(view: ArrayViewMutD<'_, Self>) -> Param<'_>;
    /// A view of a gradient of this type.
    #[doc(hidden)]
    fn grad(view: ArrayViewD<'_, Self>) -> Grad<'_>;
    /// A kernel's argument that is read.
    #[doc(hidden)]
    fn buffer(slice: &[Self]) -> Buffer<'_>;
    /// A kernel's argument that is written.
    #[doc(hidden)]
    fn buffer_mut(slice: &mut [Self]) -> Buffer<'_>;
    /// What the evaluator of steps takes.
    #[doc(hidden)]
    fn column(slice: &[Self]) -> Column;
}

macro_rules! element {
    ($ty:ident, $variant:ident, $mutable:ident) => {
        impl Element for $ty {
            fn param(view: ArrayViewMutD<'_, $ty>) -> Param<'_> {
                Param(ParamKind::$variant(view))
            }

            fn grad(view: ArrayViewD<'_, $ty>) -> Grad<'_> {
                Grad(GradKind::$variant(view))
            }

            fn buffer(slice: &[$ty]) -> Buffer<'_> {
                Buffer::$variant(slice)
            }

            fn buffer_mut(slice: &mut [$ty]) -> Buffer<'_> {
                Buffer::$mutable(slice)
            }

            fn column(slice: &[$ty]) -> Column {
                Column::$variant(slice.to_vec())
            }
        }
    };
}
element!(f32, F32, F32Mut);
element!(f64, F64, F64Mut);

impl<'a, T: Element> From<&'a mut [T]> for Param<'a> {
    fn from(slice: &'a mut [T]) -> Param<'a> {
        T::param(ArrayViewMut::from(slice).into_dyn())
    }
}

impl<'a, T: Element> From<&'a mut Vec<T>> for Param<'a> {
    fn from(vec: &'a mut Vec<T>) -> Param<'a> {
        vec.as_mut_slice().into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a mut [T; N]> for Param<'a> {
    fn from(array: &'a mut [T; N]) -> Param<'a> {
        array.as_mut_slice().into()
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>, D: Dimension> From<&'a mut ArrayBase<S, D>> for Param<'a> {
    fn from(array: &'a mut ArrayBase<S, D>) -> Param<'a> {
        T::param(array.view_mut().into_dyn())
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayViewMut<'a, T, D>> for Param<'a> {
    fn from(view: ArrayViewMut<'a, T, D>) -> Param<'a> {
        T::param(view.into_dyn())
    }
}

impl<'a, T: Element> From<&'a [T]> for Grad<'a> {
    fn from(slice: &'a [T]) -> Grad<'a> {
        T::grad(ArrayView::from(slice).into_dyn())
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for Grad<'a> {
    fn from(vec: &'a Vec<T>) -> Grad<'a> {
        vec.as_slice().into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Grad<'a> {
    fn from(array: &'a [T; N]) -> Grad<'a> {
        array.as_slice().into()
    }
}

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D>> for Grad<'a> {
    fn from(array: &'a ArrayBase<S, D>) -> Grad<'a> {
        T::grad(array.view().into_dyn())
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayView<'a, T, D>> for Grad<'a> {
    fn from(view: ArrayView<'a, T, D>) -> Grad<'a> {
        T::grad(view.into_dyn())
    }
}
