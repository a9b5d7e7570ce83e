//! How a parameter and the states of a rule are kept from step to step.
//!
//! Comes in: what the host says when building, and `as DTYPE` of the rule. Goes out: for each [`Array`] of a step the
//! [`Storage`] of its elements. A rule does not know of it: `lower` turns it into operations and into arrays that no rule
//! can name.

use super::op::Storage;
use super::step::{Array, Facts};
use crate::check::program::{Program, StateId};
use std::sync::Arc;

/// How values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Store {
    /// As f32. Of a parameter that is bf16 or f16: the rule works on a copy in f32, the master copy, and the host gets
    /// its rounding.
    F32,
    /// As f64.
    F64,
    /// As bf16, rounded to nearest.
    Bf16,
    /// As f16, rounded to nearest.
    F16,
    /// As bf16, rounded up or down at random so that the mean of many roundings is the value.
    Bf16Stochastic,
    /// As bf16, with what rounding has taken away kept in a second bf16 and given back when the value is read.
    Bf16Kahan,
}

impl Store {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Store; 6] =
        [Store::F32, Store::F64, Store::Bf16, Store::F16, Store::Bf16Stochastic, Store::Bf16Kahan];

    /// As written on the command line: `bf16-kahan`.
    pub fn name(self) -> &'static str {
        match self {
            Store::Bf16Stochastic => "bf16-stochastic",
            Store::Bf16Kahan => "bf16-kahan",
            plain => plain.storage().name(),
        }
    }

    /// The one of that name.
    ///
    /// ```
    /// use updraft::Store;
    /// assert_eq!(Store::from_name("bf16-kahan"), Some(Store::Bf16Kahan));
    /// ```
    pub fn from_name(name: &str) -> Option<Store> {
        Store::ALL.into_iter().find(|store| store.name() == name)
    }

    /// The type of the elements in memory.
    pub fn storage(self) -> Storage {
        match self {
            Store::F32 => Storage::F32,
            Store::F64 => Storage::F64,
            Store::Bf16 | Store::Bf16Stochastic | Store::Bf16Kahan => Storage::Bf16,
            Store::F16 => Storage::F16,
        }
    }

    /// Whether it is for values that are computed in f32 alone.
    pub fn is_of_f32(self) -> bool {
        matches!(self, Store::Bf16Stochastic | Store::Bf16Kahan)
    }
}

impl From<Storage> for Store {
    fn from(storage: Storage) -> Store {
        match storage {
            Storage::F32 => Store::F32,
            Storage::F64 => Store::F64,
            Storage::Bf16 => Store::Bf16,
            Storage::F16 => Store::F16,
        }
    }
}

/// What the host has said about how things are kept. What it has not said is as the rule says, else as the parameter.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stores {
    /// The parameter.
    pub param: Option<Store>,
    /// By index of the state; those beyond the end are not said.
    pub states: Arc<[Option<Store>]>,
}

impl Stores {
    /// Whether the host has said nothing.
    pub fn is_empty(&self) -> bool {
        self.param.is_none() && self.states.iter().all(Option::is_none)
    }

    /// Whether the rule works on a copy of a parameter of this type.
    pub fn has_master(&self, param: Storage) -> bool {
        self.param == Some(Store::F32) && param != Storage::F32
    }

    /// How a parameter of this type is kept, where that is its own memory.
    pub fn param(&self, param: Storage) -> Store {
        self.param.filter(|store| store.storage() == param).unwrap_or(param.into())
    }

    /// How a state of a parameter of this type is kept.
    pub fn state(&self, id: StateId, param: Storage, program: &Program) -> Store {
        let said = self.states.get(id.index()).copied().flatten();
        let like_param = if self.has_master(param) { Store::F32 } else { param.into() };
        said.or(program.states[id.index()].storage.map(Store::from)).unwrap_or(like_param)
    }

    /// What the elements of an array are, of a parameter of this type. (The gradient and the copy have their own.)
    pub fn storage(&self, array: Array, param: Storage, program: &Program) -> Storage {
        match array {
            Array::State(id) => self.state(id, param, program).storage(),
            Array::ParamRest | Array::StateRest(_) => Storage::Bf16,
            Array::Master | Array::Average | Array::View => param.of_results(),
            Array::Param | Array::Grad | Array::Input(_) | Array::Copy => param,
        }
    }
}

impl Facts {
    /// What the elements of an array are in memory.
    pub fn storage_of(&self, array: Array, program: &Program) -> Storage {
        match (array, self.host.copy) {
            (Array::Grad, _) => self.grad,
            (Array::Copy, Some(copy)) => copy,
            _ => self.stores.storage(array, self.storage, program),
        }
    }
}
