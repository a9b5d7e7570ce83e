//! What is kept for each tensor from step to step.

use super::memory::AlignedArray;
use super::tensor::Stored;
use crate::ir::{Buffer, Column, Storage, Type};
use half::{bf16, f16};

/// A state of a tensor, as [`Optimizer::state`](super::Optimizer::state) shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StateValues<'a> {
    /// One value per element (or matrix, row, column or unit) of an f32 parameter, in row-major order.
    F32(&'a [f32]),
    /// One value per element (or matrix, row, column or unit) of an f64 parameter, in row-major order.
    F64(&'a [f64]),
    /// One value per element (or matrix, row, column or unit) of a state that is stored as bf16, in row-major order.
    Bf16(&'a [bf16]),
    /// One value per element (or matrix, row, column or unit) of a state that is stored as f16, in row-major order.
    F16(&'a [f16]),
    /// One value for the tensor, its group or the model.
    Scalar(f64),
}

/// A state of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum State {
    /// No plan has touched it yet.
    #[default]
    Absent,
    F32(AlignedArray<f32>),
    F64(AlignedArray<f64>),
    Bf16(AlignedArray<bf16>),
    F16(AlignedArray<f16>),
    Scalar(f64),
}

impl State {
    /// Zeros, which the operating system gives without being asked twice.
    pub(crate) fn zeros(storage: Storage, len: usize) -> State {
        match storage {
            Storage::F32 => State::F32(AlignedArray::zeros(len)),
            Storage::F64 => State::F64(AlignedArray::zeros(len)),
            Storage::Bf16 => State::Bf16(AlignedArray::zeros(len)),
            Storage::F16 => State::F16(AlignedArray::zeros(len)),
        }
    }

    /// Values of the compute type, each rounded once.
    pub(super) fn of(column: Column, storage: Storage) -> State {
        match (column, storage) {
            (Column::F32(x), Storage::F32) => State::F32(x.into()),
            (Column::F64(x), Storage::F64) => State::F64(x.into()),
            (column @ (Column::F32(_) | Column::F64(_)), storage) => match storage {
                Storage::F32 => State::F32(f32::rounded(column).into()),
                Storage::F64 => State::F64(f64::rounded(column).into()),
                Storage::Bf16 => State::Bf16(bf16::rounded(column).into()),
                Storage::F16 => State::F16(f16::rounded(column).into()),
            },
            _ => State::Absent,
        }
    }

    /// Its first value for every element; +0 costs no pass over the memory.
    pub(super) fn repeated(&self, len: usize) -> State {
        match self {
            State::F32(x) if x.first().is_some_and(|x| x.to_bits() != 0) => State::F32(AlignedArray::repeat(x[0], len)),
            State::F64(x) if x.first().is_some_and(|x| x.to_bits() != 0) => State::F64(AlignedArray::repeat(x[0], len)),
            State::Bf16(x) if x.first().is_some_and(|x| x.to_bits() != 0) => {
                State::Bf16(AlignedArray::repeat(x[0], len))
            }
            State::F16(x) if x.first().is_some_and(|x| x.to_bits() != 0) => State::F16(AlignedArray::repeat(x[0], len)),
            state => state.storage().map_or(State::Absent, |storage| State::zeros(storage, len)),
        }
    }

    /// As values of a compute type; `None` if it has none per element.
    pub(super) fn column(&self, compute: Type) -> Option<Column> {
        let column = match self {
            State::F32(x) => Column::F32(x.to_vec()),
            State::F64(x) => Column::F64(x.to_vec()),
            State::Bf16(x) => Stored::column(x.to_vec()),
            State::F16(x) => Stored::column(x.to_vec()),
            State::Absent | State::Scalar(_) => return None,
        };
        Some(match compute {
            compute if column.ty() == compute => column,
            Type::F32 => Column::F32(Stored::rounded(column)),
            _ => Column::F64(Stored::rounded(column)),
        })
    }

    /// The type of its elements, if it has one value per element.
    pub(super) fn storage(&self) -> Option<Storage> {
        match self {
            State::F32(_) => Some(Storage::F32),
            State::F64(_) => Some(Storage::F64),
            State::Bf16(_) => Some(Storage::Bf16),
            State::F16(_) => Some(Storage::F16),
            State::Absent | State::Scalar(_) => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, State::Absent)
    }

    pub(super) fn scalar(&self) -> Option<f64> {
        match self {
            State::Scalar(x) => Some(*x),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            State::Absent => 0,
            State::F32(x) => x.len() * 4,
            State::F64(x) => x.len() * 8,
            State::Bf16(x) => x.len() * 2,
            State::F16(x) => x.len() * 2,
            State::Scalar(_) => 8,
        }
    }

    pub(super) fn values(&self) -> Option<StateValues<'_>> {
        match self {
            State::Absent => None,
            State::F32(x) => Some(StateValues::F32(x)),
            State::F64(x) => Some(StateValues::F64(x)),
            State::Bf16(x) => Some(StateValues::Bf16(x)),
            State::F16(x) => Some(StateValues::F16(x)),
            State::Scalar(x) => Some(StateValues::Scalar(*x)),
        }
    }

    /// The array, for a kernel.
    pub(crate) fn buffer(&mut self) -> Option<Buffer<'_>> {
        match self {
            State::F32(x) => Some(Buffer::F32Mut(x)),
            State::F64(x) => Some(Buffer::F64Mut(x)),
            State::Bf16(x) => Some(Buffer::Bf16Mut(x)),
            State::F16(x) => Some(Buffer::F16Mut(x)),
            State::Absent | State::Scalar(_) => None,
        }
    }
}
