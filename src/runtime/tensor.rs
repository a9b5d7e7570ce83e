//! [`Tensor`]: a parameter and its gradient, for one step.
//!
//! Comes in: slices and ndarray views of any dimension, of f32, f64, bf16 or f16. A slice has the shape `[len]`. A view that is not
//! in row-major order is copied in before the step and back after it; that is the only copy there is.

use super::arrays::Copies;
use super::memory::{RawGrad, RawParam};
use super::scopes::Own;
use super::state::State;
use super::sweep::{Room, TypedRoom};
use super::uniforms::UniformValues;
use crate::ir::narrow::Narrow;
use crate::ir::random::Uniform;
use crate::ir::sum::Lane;
use crate::ir::{Buffer, Column, Storage, Uniforms};
use half::{bf16, f16};
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
    // What few tensors have is kept elsewhere: thousands of tensors that are small fit into the cache then.
    pub(super) inputs: Vec<(&'a str, f64)>,
    /// Inputs per element.
    pub(super) arrays: Vec<(&'a str, GradData<'a>)>,
    /// Where the parameter is written to as well.
    pub(super) copy: Option<Box<ParamData<'a>>>,
    pub(super) shard: Option<Box<Shard>>,
}

/// The run of a larger tensor's elements that this one is.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    /// The shape of the whole.
    pub(super) shape: SmallVec<[usize; 4]>,
    /// The index of the first element, in row-major order.
    pub(super) first: usize,
}

/// What the host has given with a tensor beside its arrays.
#[derive(Clone, Copy)]
pub(super) struct Given<'t, 'a> {
    /// Inputs per tensor.
    pub(super) inputs: &'t [(&'a str, f64)],
    /// Whether other processes have the rest of it.
    pub(super) is_shard: bool,
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
pub struct Grad<'a, T>(pub(super) ArrayViewD<'a, T>);

/// The memory of a parameter. Its type is data, so that tensors of different types are stepped together.
#[derive(Debug)]
pub(super) enum ParamData<'a> {
    F32(ArrayViewMutD<'a, f32>),
    F64(ArrayViewMutD<'a, f64>),
    Bf16(ArrayViewMutD<'a, bf16>),
    F16(ArrayViewMutD<'a, f16>),
    Raw(RawParam),
}

/// The memory of a gradient, or of an input per element.
#[derive(Debug)]
pub(super) enum GradData<'a> {
    F32(ArrayViewD<'a, f32>),
    F64(ArrayViewD<'a, f64>),
    Bf16(ArrayViewD<'a, bf16>),
    F16(ArrayViewD<'a, f16>),
    /// A gradient that becomes 0.
    F32Mut(ArrayViewMutD<'a, f32>),
    F64Mut(ArrayViewMutD<'a, f64>),
    Bf16Mut(ArrayViewMutD<'a, bf16>),
    F16Mut(ArrayViewMutD<'a, f16>),
    Raw(RawGrad),
}

impl<'a> Tensor<'a> {
    /// A parameter called `name`, under which its state is kept, and its gradient of the same shape and type.
    pub fn new<T: Element>(name: &'a str, param: impl Into<Param<'a, T>>, grad: impl Into<Grad<'a, T>>) -> Tensor<'a> {
        Tensor::from_views(Key::Name(name), param.into().0, grad.into().0)
    }

    /// Like [`new`](Self::new), with a gradient of another type: f32, bf16 and f16 go together.
    ///
    /// ```
    /// use half::bf16;
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.build()?;
    /// let mut w = [bf16::from_f32(1.0); 3];
    /// opt.step(&mut [Tensor::mixed("w", &mut w, &[0.25f32, 0.5, -1.0])])?;
    /// assert_eq!(w.map(bf16::to_f32), [0.75, 0.5, 2.0]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn mixed<P: Element, G: Element>(
        name: &'a str,
        param: impl Into<Param<'a, P>>,
        grad: impl Into<Grad<'a, G>>,
    ) -> Tensor<'a> {
        Tensor::from_data(Key::Name(name), P::param(param.into().0), G::grad(grad.into().0))
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
        Tensor::from_data(key, T::param(param), T::grad(grad))
    }

    pub(super) fn from_data(key: Key<'a>, param: ParamData<'a>, grad: GradData<'a>) -> Tensor<'a> {
        Tensor { key, param, grad, inputs: Vec::new(), arrays: Vec::new(), copy: None, shard: None }
    }

    /// Like [`new`](Self::new), with a gradient that is 0 everywhere after the step: in the same pass over memory, if the
    /// step is taken.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.build()?;
    /// let (mut w, mut g) = ([1.0f32; 3], [0.5f32; 3]);
    /// opt.step(&mut [Tensor::zero_grad("w", &mut w, &mut g)])?;
    /// assert_eq!((w, g), ([0.5; 3], [0.0; 3]));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn zero_grad<T: Element>(
        name: &'a str,
        param: impl Into<Param<'a, T>>,
        grad: impl Into<Param<'a, T>>,
    ) -> Tensor<'a> {
        Tensor::from_data(Key::Name(name), T::param(param.into().0), T::grad_mut(grad.into().0))
    }

    /// Gives an input per tensor.
    pub fn input(mut self, name: &'a str, value: f64) -> Tensor<'a> {
        self.inputs.push((name, value));
        self
    }

    /// Gives an input per element: an array of the parameter's shape and type.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let rule = Rule::parse("masked", "optimizer masked\ninput mask per element\n\np -= mask * g\n")?;
    /// let (mut w, g) = ([1.0f32; 3], [0.5f32; 3]);
    /// let tensor = Tensor::new("w", &mut w, &g).input_array("mask", &[1.0f32, 0.0, 1.0]);
    /// rule.optimizer().build()?.step(&mut [tensor])?;
    /// assert_eq!(w, [0.5, 1.0, 0.5]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn input_array<T: Element>(mut self, name: &'a str, array: impl Into<Grad<'a, T>>) -> Tensor<'a> {
        self.arrays.push((name, T::grad(array.into().0)));
        self
    }

    /// Gives the array of the parameter's shape that the new parameter is written to as well, of the type that
    /// [`copy_as`](super::OptimizerBuilder::copy_as) says.
    pub fn copy_to<T: Element>(mut self, copy: impl Into<Param<'a, T>>) -> Tensor<'a> {
        self.copy = Some(Box::new(T::param(copy.into().0)));
        self
    }

    /// Says that this is only a part of a tensor, of shape `shape`: the run of its elements in row-major order that begins
    /// with the one of index `first`. Parameter, gradient and the other arrays are slices of the run.
    ///
    /// The states are those of the run; what the rule reduces is reduced over the whole tensor, through the
    /// [`exchange`](super::OptimizerBuilder::exchange). So each process names every tensor in the same order; one that has
    /// none of a tensor's elements gives an empty slice.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("adam")?.optimizer().build()?;
    /// let (mut half, grad) = ([1.0f32; 6], [0.5f32; 6]);
    /// opt.step(&mut [Tensor::new("w", &mut half, &grad).shard(&[4, 3], 6)])?;
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn shard(mut self, shape: &[usize], first: usize) -> Tensor<'a> {
        self.shard = Some(Box::new(Shard { shape: SmallVec::from_slice(shape), first }));
        self
    }

    pub(super) fn given(&self) -> Given<'_, 'a> {
        Given { inputs: &self.inputs, is_shard: self.shard.is_some() }
    }

    /// The shape of the whole tensor.
    pub(super) fn shape(&self) -> &[usize] {
        self.shard.as_ref().map_or(self.param.shape(), |shard| &shard.shape)
    }
}

/// The elements of an array of the host in a step.
pub(super) enum Elements<'t, 'a, T> {
    Slice(&'t [T]),
    SliceMut(&'t mut [T]),
    View(&'t ArrayViewD<'a, T>),
    ViewMut(&'t mut ArrayViewMutD<'a, T>),
}

/// Elements of any type.
pub(super) enum AnyElements<'t, 'a> {
    F32(Elements<'t, 'a, f32>),
    F64(Elements<'t, 'a, f64>),
    Bf16(Elements<'t, 'a, bf16>),
    F16(Elements<'t, 'a, f16>),
}

impl<'t, T: Stored> Elements<'t, '_, T> {
    fn is_row_major(&self) -> bool {
        match self {
            Elements::Slice(_) | Elements::SliceMut(_) => true,
            Elements::View(view) => view.is_standard_layout(),
            Elements::ViewMut(view) => view.is_standard_layout(),
        }
    }

    /// The elements of what is in row-major order.
    fn buffer(self) -> Buffer<'t> {
        match self {
            Elements::Slice(slice) => T::buffer(slice),
            Elements::SliceMut(slice) => T::buffer_mut(slice),
            Elements::View(view) => T::buffer(view.as_slice().unwrap_or(&[])),
            Elements::ViewMut(view) => T::buffer_mut(view.as_slice_mut().unwrap_or(&mut [])),
        }
    }
}

impl<'t> AnyElements<'t, '_> {
    pub(super) fn is_row_major(&self) -> bool {
        match self {
            AnyElements::F32(elements) => elements.is_row_major(),
            AnyElements::F64(elements) => elements.is_row_major(),
            AnyElements::Bf16(elements) => elements.is_row_major(),
            AnyElements::F16(elements) => elements.is_row_major(),
        }
    }

    /// The elements of what is in row-major order.
    pub(super) fn buffer(self) -> Buffer<'t> {
        match self {
            AnyElements::F32(elements) => elements.buffer(),
            AnyElements::F64(elements) => elements.buffer(),
            AnyElements::Bf16(elements) => elements.buffer(),
            AnyElements::F16(elements) => elements.buffer(),
        }
    }
}

impl ParamData<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            ParamData::F32(view) => view.shape(),
            ParamData::F64(view) => view.shape(),
            ParamData::Bf16(view) => view.shape(),
            ParamData::F16(view) => view.shape(),
            ParamData::Raw(raw) => raw.shape(),
        }
    }

    pub(super) fn storage(&self) -> Storage {
        match self {
            ParamData::F32(_) => Storage::F32,
            ParamData::F64(_) => Storage::F64,
            ParamData::Bf16(_) => Storage::Bf16,
            ParamData::F16(_) => Storage::F16,
            ParamData::Raw(raw) => raw.storage(),
        }
    }
}

impl GradData<'_> {
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            GradData::F32(view) => view.shape(),
            GradData::F64(view) => view.shape(),
            GradData::F32Mut(view) => view.shape(),
            GradData::F64Mut(view) => view.shape(),
            GradData::Bf16(view) => view.shape(),
            GradData::F16(view) => view.shape(),
            GradData::Bf16Mut(view) => view.shape(),
            GradData::F16Mut(view) => view.shape(),
            GradData::Raw(raw) => raw.shape(),
        }
    }

    /// Whether it becomes 0.
    pub(super) fn is_mutable(&self) -> bool {
        use GradData::*;
        matches!(self, F32Mut(_) | F64Mut(_) | Bf16Mut(_) | F16Mut(_))
    }

    pub(super) fn storage(&self) -> Storage {
        match self {
            GradData::F32(_) | GradData::F32Mut(_) => Storage::F32,
            GradData::F64(_) | GradData::F64Mut(_) => Storage::F64,
            GradData::Bf16(_) | GradData::Bf16Mut(_) => Storage::Bf16,
            GradData::F16(_) | GradData::F16Mut(_) => Storage::F16,
            GradData::Raw(raw) => raw.storage(),
        }
    }
}

/// The types of elements that tensors have: f32, f64, and bf16 and f16 of the `half` crate.
#[expect(private_bounds, reason = "no other type can be an element")]
pub trait Element: Stored {}

/// What the runtime does with elements of each type.
pub(super) trait Stored: Copy + Default + Send + Sync + 'static {
    const STORAGE: Storage;
    fn param(view: ArrayViewMutD<'_, Self>) -> ParamData<'_>;
    fn grad(view: ArrayViewD<'_, Self>) -> GradData<'_>;
    fn grad_mut(view: ArrayViewMutD<'_, Self>) -> GradData<'_>;
    fn buffer(slice: &[Self]) -> Buffer<'_>;
    fn buffer_mut(slice: &mut [Self]) -> Buffer<'_>;
    /// The memory of copies.
    fn copies(copies: &mut Copies) -> &mut Vec<Vec<Self>>;
    /// A state of these values.
    fn state(values: &[Self]) -> State;
    /// As values of the compute type.
    fn column(values: Vec<Self>) -> Column;
    /// Values of the compute type, each rounded once.
    fn rounded(column: Column) -> Vec<Self>;
}

/// What the runtime does with each compute type.
pub(super) trait Erase: Stored + Lane<Bits: Send + Sync> + Uniform {
    /// The elements of a buffer, if they are of this type.
    fn slice<'b>(buffer: &'b Buffer<'_>) -> Option<&'b [Self]>;
    fn state_slice(state: &State) -> Option<&[Self]>;
    fn from_f64(x: f64) -> Self;
    fn uniforms(values: &UniformValues) -> Uniforms<'_>;
    /// What a worker keeps for tensors of this type.
    fn room(room: &mut Room) -> &mut TypedRoom<Self>;
    /// The temporary arrays of a tensor that outlive a phase.
    fn kept(own: &mut Own) -> &mut Vec<Vec<Self>>;
}

macro_rules! element {
    ($ty:ident, $variant:ident, $mutable:ident, $column:expr, $narrow:expr) => {
        impl Element for $ty {}

        impl Stored for $ty {
            const STORAGE: Storage = Storage::$variant;

            fn param(view: ArrayViewMutD<'_, $ty>) -> ParamData<'_> {
                ParamData::$variant(view)
            }

            fn grad(view: ArrayViewD<'_, $ty>) -> GradData<'_> {
                GradData::$variant(view)
            }

            fn grad_mut(view: ArrayViewMutD<'_, $ty>) -> GradData<'_> {
                GradData::$mutable(view)
            }

            fn buffer(slice: &[$ty]) -> Buffer<'_> {
                Buffer::$variant(slice)
            }

            fn buffer_mut(slice: &mut [$ty]) -> Buffer<'_> {
                Buffer::$mutable(slice)
            }

            fn copies(copies: &mut Copies) -> &mut Vec<Vec<$ty>> {
                &mut copies.$ty
            }

            fn state(values: &[$ty]) -> State {
                State::$variant(values.to_vec().into())
            }

            fn column(values: Vec<$ty>) -> Column {
                $column(values)
            }

            fn rounded(column: Column) -> Vec<$ty> {
                match column {
                    Column::F32(values) => values.into_iter().map(|x| $narrow(f64::from(x))).collect(),
                    Column::F64(values) => values.into_iter().map($narrow).collect(),
                    _ => Vec::new(),
                }
            }
        }
    };
}
element!(f32, F32, F32Mut, Column::F32, |x: f64| x as f32);
element!(f64, F64, F64Mut, Column::F64, |x: f64| x);
element!(bf16, Bf16, Bf16Mut, |x: Vec<bf16>| Column::F32(x.iter().map(|x| x.to_f32()).collect()), Narrow::to_bf16);
element!(f16, F16, F16Mut, |x: Vec<f16>| Column::F32(x.iter().map(|x| x.to_f32()).collect()), Narrow::to_f16);

macro_rules! compute {
    ($ty:ident, $variant:ident, $mutable:ident, $kept:ident) => {
        impl Erase for $ty {
            fn slice<'b>(buffer: &'b Buffer<'_>) -> Option<&'b [$ty]> {
                match buffer {
                    Buffer::$variant(slice) => Some(slice),
                    Buffer::$mutable(slice) => Some(slice),
                    _ => None,
                }
            }

            fn state_slice(state: &State) -> Option<&[$ty]> {
                if let State::$variant(values) = state { Some(values) } else { None }
            }

            fn from_f64(x: f64) -> $ty {
                x as $ty
            }

            fn uniforms(values: &UniformValues) -> Uniforms<'_> {
                Uniforms::$variant(&values.$ty)
            }

            fn room(room: &mut Room) -> &mut TypedRoom<$ty> {
                &mut room.$ty
            }

            fn kept(own: &mut Own) -> &mut Vec<Vec<$ty>> {
                &mut own.$kept
            }
        }
    };
}
compute!(f32, F32, F32Mut, kept_f32);
compute!(f64, F64, F64Mut, kept_f64);

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
