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
    pub(super) param: ParamData<'a>,
    pub(super) grad: GradData<'a>,
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

/// A parameter as [`Tensor::new`] takes it: a slice or an ndarray view of any dimension and layout.
#[derive(Debug)]
pub struct Param<'a, T>(ArrayViewMutD<'a, T>);

/// A gradient as [`Tensor::new`] takes it: a slice or an ndarray view of any dimension and layout.
#[derive(Debug)]
pub struct Grad<'a, T>(ArrayViewD<'a, T>);

/// The memory of a parameter. Its type is data, so that tensors of different types are stepped together.
#[derive(Debug)]
pub(super) enum ParamData<'a> {
    F32(ArrayViewMutD<'a, f32>),
    F64(ArrayViewMutD<'a, f64>),
    Raw(RawParam),
}

/// The memory of a gradient.
#[derive(Debug)]
pub(super) enum GradData<'a> {
    F32(ArrayViewD<'a, f32>),
    F64(ArrayViewD<'a, f64>),
    Raw(RawGrad),
}

impl<'a> Tensor<'a> {
    /// A parameter called `name`, under which its state is kept, and its gradient of the same shape and type.
    pub fn new<T: Element>(name: &'a str, param: impl Into<Param<'a, T>>, grad: impl Into<Grad<'a, T>>) -> Tensor<'a> {
        Tensor::from_views(Key::Name(name), param.into().0, grad.into().0)
    }

    /// A parameter that has been registered.
    pub fn with_id<T: Element>(
        id: TensorId,
        param: impl Into<Param<'a, T>>,
        grad: impl Into<Grad<'a, T>>,
    ) -> Tensor<'a> {
        Tensor::from_views(Key::Id(id), param.into().0, grad.into().0)
    }

    fn from_views<T: Element>(key: Key<'a>, param: ArrayViewMutD<'a, T>, grad: ArrayViewD<'a, T>) -> Tensor<'a> {
        Tensor { key, param: T::param(param), grad: T::grad(grad), inputs: SmallVec::new() }
    }

    /// Gives an input per tensor.
    pub fn input(mut self, name: &'a str, value: f64) -> Tensor<'a> {
        self.inputs.push((name, value));
        self
    }
}

/// The elements of a parameter in a step.
pub(super) enum ParamElements<'t, 'a, T> {
    Slice(&'t mut [T]),
    View(&'t mut ArrayViewMutD<'a, T>),
}

/// The elements of a gradient in a step.
pub(super) enum GradElements<'t, 'a, T> {
    Slice(&'t [T]),
    View(&'t ArrayViewD<'a, T>),
}

impl ParamData<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            ParamData::F32(view) => view.shape(),
            ParamData::F64(view) => view.shape(),
            ParamData::Raw(raw) => raw.shape(),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        match self {
            ParamData::F32(_) => Storage::F32,
            ParamData::F64(_) => Storage::F64,
            ParamData::Raw(raw) => raw.storage(),
        }
    }
}

impl GradData<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            GradData::F32(view) => view.shape(),
            GradData::F64(view) => view.shape(),
            GradData::Raw(raw) => raw.shape(),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        match self {
            GradData::F32(_) => Storage::F32,
            GradData::F64(_) => Storage::F64,
            GradData::Raw(raw) => raw.storage(),
        }
    }
}

/// The types of elements that tensors have: f32 and f64.
#[expect(private_bounds, reason = "no other type can be an element")]
pub trait Element: Erase {}

/// What the runtime does with elements of each type.
pub(super) trait Erase: Copy + 'static {
    const STORAGE: Storage;
    fn param(view: ArrayViewMutD<'_, Self>) -> ParamData<'_>;
    fn grad(view: ArrayViewD<'_, Self>) -> GradData<'_>;
    fn param_view<'t, 'a>(data: &'t mut ParamData<'a>) -> Option<&'t mut ArrayViewMutD<'a, Self>>;
    fn grad_view<'t, 'a>(data: &'t GradData<'a>) -> Option<&'t ArrayViewD<'a, Self>>;
    fn buffer(slice: &[Self]) -> Buffer<'_>;
    fn buffer_mut(slice: &mut [Self]) -> Buffer<'_>;
    fn column(slice: &[Self]) -> Column;
}

macro_rules! element {
    ($ty:ident, $variant:ident, $mutable:ident) => {
        impl Element for $ty {}

        impl Erase for $ty {
            const STORAGE: Storage = Storage::$variant;

            fn param(view: ArrayViewMutD<'_, $ty>) -> ParamData<'_> {
                ParamData::$variant(view)
            }

            fn grad(view: ArrayViewD<'_, $ty>) -> GradData<'_> {
                GradData::$variant(view)
            }

            fn param_view<'t, 'a>(data: &'t mut ParamData<'a>) -> Option<&'t mut ArrayViewMutD<'a, $ty>> {
                if let ParamData::$variant(view) = data { Some(view) } else { None }
            }

            fn grad_view<'t, 'a>(data: &'t GradData<'a>) -> Option<&'t ArrayViewD<'a, $ty>> {
                if let GradData::$variant(view) = data { Some(view) } else { None }
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

impl<'a, T: Element> From<&'a mut [T]> for Param<'a, T> {
    fn from(slice: &'a mut [T]) -> Param<'a, T> {
        Param(ArrayViewMut::from(slice).into_dyn())
    }
}

impl<'a, T: Element> From<&'a mut Vec<T>> for Param<'a, T> {
    fn from(vec: &'a mut Vec<T>) -> Param<'a, T> {
        vec.as_mut_slice().into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a mut [T; N]> for Param<'a, T> {
    fn from(array: &'a mut [T; N]) -> Param<'a, T> {
        array.as_mut_slice().into()
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>, D: Dimension> From<&'a mut ArrayBase<S, D>> for Param<'a, T> {
    fn from(array: &'a mut ArrayBase<S, D>) -> Param<'a, T> {
        Param(array.view_mut().into_dyn())
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayViewMut<'a, T, D>> for Param<'a, T> {
    fn from(view: ArrayViewMut<'a, T, D>) -> Param<'a, T> {
        Param(view.into_dyn())
    }
}

impl<'a, T: Element> From<&'a [T]> for Grad<'a, T> {
    fn from(slice: &'a [T]) -> Grad<'a, T> {
        Grad(ArrayView::from(slice).into_dyn())
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for Grad<'a, T> {
    fn from(vec: &'a Vec<T>) -> Grad<'a, T> {
        vec.as_slice().into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Grad<'a, T> {
    fn from(array: &'a [T; N]) -> Grad<'a, T> {
        array.as_slice().into()
    }
}

impl<'a, T: Element, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D>> for Grad<'a, T> {
    fn from(array: &'a ArrayBase<S, D>) -> Grad<'a, T> {
        Grad(array.view().into_dyn())
    }
}

impl<'a, T: Element, D: Dimension> From<ArrayView<'a, T, D>> for Grad<'a, T> {
    fn from(view: ArrayView<'a, T, D>) -> Grad<'a, T> {
        Grad(view.into_dyn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Error, Rule};

    /// `Tensor::new` takes two buffers of one type, so only the runtime itself could get this wrong.
    #[test]
    fn a_gradient_of_another_type_is_refused() {
        let (mut p, g) = ([1.0f32; 3], [1.0f64; 3]);
        let grad = Grad::from(&g).0;
        let tensor = Tensor { grad: GradData::F64(grad), ..Tensor::new("w", &mut p, &[0.0; 3]) };
        let mut opt = Rule::shipped("sgd").unwrap().optimizer().build().unwrap();
        let error = opt.step(&mut [tensor]).unwrap_err();
        assert!(matches!(error, Error::GradDtype { param: Storage::F32, grad: Storage::F64, .. }), "{error}");
        assert_eq!((p, opt.steps("w")), ([1.0; 3], 0));
    }
}
