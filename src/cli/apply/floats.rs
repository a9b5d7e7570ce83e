//! Arrays of floats of the types that safetensors files and tensors share.

use super::error::ApplyError;
use crate::runtime::{Element, floats};
use crate::{Error, Optimizer, Tensor};
use half::{bf16, f16};
use ndarray::{ArrayD, Axis, ShapeError};
use safetensors::tensor::Dtype;

/// An array.
pub(super) enum Floats {
    F32(ArrayD<f32>),
    F64(ArrayD<f64>),
    Bf16(ArrayD<bf16>),
    F16(ArrayD<f16>),
}

/// Does the same with an array of any type.
macro_rules! each {
    ($floats:expr, $array:ident => $do:expr) => {
        match $floats {
            Floats::F32($array) => $do,
            Floats::F64($array) => $do,
            Floats::Bf16($array) => $do,
            Floats::F16($array) => $do,
        }
    };
}

impl Floats {
    /// From the bytes of a file; `None` if tensors have no such type.
    pub(super) fn read(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Option<Result<Floats, ShapeError>> {
        Some(match dtype {
            Dtype::F32 => array(shape, bytes, f32::from_le_bytes).map(Floats::F32),
            Dtype::F64 => array(shape, bytes, f64::from_le_bytes).map(Floats::F64),
            Dtype::BF16 => array(shape, bytes, bf16::from_le_bytes).map(Floats::Bf16),
            Dtype::F16 => array(shape, bytes, f16::from_le_bytes).map(Floats::F16),
            _ => return None,
        })
    }

    /// One value everywhere, of the type of another array.
    pub(super) fn filled(x: f64, shape: Vec<usize>, like: &Floats) -> Floats {
        use crate::ir::narrow::Narrow;
        match like {
            Floats::F32(_) => Floats::F32(ArrayD::from_elem(shape, x as f32)),
            Floats::F64(_) => Floats::F64(ArrayD::from_elem(shape, x)),
            Floats::Bf16(_) => Floats::Bf16(ArrayD::from_elem(shape, Narrow::to_bf16(x))),
            Floats::F16(_) => Floats::F16(ArrayD::from_elem(shape, Narrow::to_f16(x))),
        }
    }

    /// As the bytes of a file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        each!(self, array => array.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// As f64, which is exact.
    pub(super) fn values(&self) -> Vec<f64> {
        fn exact<T: Copy + Into<f64>>(array: &ArrayD<T>) -> Vec<f64> {
            array.iter().map(|x| (*x).into()).collect()
        }
        each!(self, array => exact(array))
    }

    /// This parameter with the gradient of a step.
    pub(super) fn tensor<'t>(&'t mut self, name: &'t str, grads: &'t Floats, step: usize) -> Tensor<'t> {
        fn with<'t, P: Element>(name: &'t str, param: &'t mut ArrayD<P>, grads: &'t Floats, step: usize) -> Tensor<'t> {
            each!(grads, grads => Tensor::mixed(name, param, grads.index_axis(Axis(0), step)))
        }
        each!(self, param => with(name, param, grads, step))
    }

    /// A tensor with this input: that of a step, unless there is one for all.
    pub(super) fn input<'t>(&'t self, tensor: Tensor<'t>, name: &'t str, step: usize) -> Tensor<'t> {
        each!(self, array => {
            let step = if array.len_of(Axis(0)) == 1 { 0 } else { step };
            tensor.input_array(name, array.index_axis(Axis(0), step))
        })
    }

    /// The bytes of a view of this parameter.
    pub(super) fn view(&self, optimizer: &mut Optimizer, view: &str, tensor: &str) -> Result<Vec<u8>, Error> {
        each!(self, param => {
            let values = optimizer.view(view, tensor, param)?;
            Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
    }
}

/// Whether gradients of one type go with parameters of the other.
pub(super) fn go_together(param: Dtype, grad: Dtype) -> bool {
    param == grad || ![param, grad].contains(&Dtype::F64)
}

fn array<const N: usize, T>(shape: &[usize], bytes: &[u8], read: fn([u8; N]) -> T) -> Result<ArrayD<T>, ShapeError> {
    ArrayD::from_shape_vec(shape, floats(bytes, read))
}

/// What is to be read, or that it is too large for this machine.
pub(super) fn sized(
    floats: Option<Result<Floats, ShapeError>>,
    other: ApplyError,
    too_large: impl FnOnce() -> ApplyError,
) -> Result<Floats, ApplyError> {
    match floats {
        None => Err(other),
        Some(floats) => floats.map_err(|_| too_large()),
    }
}
