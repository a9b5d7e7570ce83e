//! What is kept for each tensor from step to step.

use crate::ir::{Buffer, Storage};

/// A state of a tensor, as [`Optimizer::state`](super::Optimizer::state) shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StateValues<'a> {
    /// One value per element (or matrix, row, column or unit) of an f32 parameter, in row-major order.
    F32(&'a [f32]),
    /// One value per element (or matrix, row, column or unit) of an f64 parameter, in row-major order.
    F64(&'a [f64]),
    /// One value for the tensor, its group or the model.
    Scalar(f64),
}

/// A state of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum State {
    /// No plan has touched it yet.
    #[default]
    Absent,
    F32(Vec<f32>),
    F64(Vec<f64>),
    Scalar(f64),
}

impl State {
    /// Zeros, which the operating system gives without being asked twice.
    pub(crate) fn zeros(storage: Storage, len: usize) -> State {
        match storage {
            Storage::F32 => State::F32(vec![0.0; len]),
            Storage::F64 => State::F64(vec![0.0; len]),
        }
    }

    /// One value for every element; +0 costs no pass over the memory.
    pub(super) fn filled_f32(len: usize, x: f32) -> State {
        if x.to_bits() == 0 { State::zeros(Storage::F32, len) } else { State::F32(vec![x; len]) }
    }

    /// One value for every element; +0 costs no pass over the memory.
    pub(super) fn filled_f64(len: usize, x: f64) -> State {
        if x.to_bits() == 0 { State::zeros(Storage::F64, len) } else { State::F64(vec![x; len]) }
    }

    /// The type of its elements, if it has one value per element.
    pub(super) fn storage(&self) -> Option<Storage> {
        match self {
            State::F32(_) => Some(Storage::F32),
            State::F64(_) => Some(Storage::F64),
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
            State::Scalar(_) => 8,
        }
    }

    pub(super) fn values(&self) -> Option<StateValues<'_>> {
        match self {
            State::Absent => None,
            State::F32(x) => Some(StateValues::F32(x)),
            State::F64(x) => Some(StateValues::F64(x)),
            State::Scalar(x) => Some(StateValues::Scalar(*x)),
        }
    }

    /// The array, for a kernel.
    pub(crate) fn buffer(&mut self) -> Option<Buffer<'_>> {
        match self {
            State::F32(x) => Some(Buffer::F32Mut(x)),
            State::F64(x) => Some(Buffer::F64Mut(x)),
            State::Absent | State::Scalar(_) => None,
        }
    }
}
