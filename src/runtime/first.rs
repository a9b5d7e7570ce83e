//! First values of states: computed before anything of the step that is the first to touch them.
//!
//! They are put in place at once and noted, so that a step that is refused, or not taken, can take them back.

use super::arrays::param_column;
use super::hyper::Hypers;
use super::memory::{Disjoint, DisjointTensor};
use super::optimizer::Optimizer;
use super::plans::Compiled;
use super::scopes::Slot;
use super::sources::scalars_of;
use super::state::State;
use crate::check::program::{ExprId, Extent, NodeKind, Program, StateId};
use crate::ir::eval_step::{TensorStep, eval_steps};
use crate::ir::step::{Array, Source};
use crate::ir::{Alone, Arrays, Column, Facts, Scalars, Step, Storage, Store, Type, eval_step, lower_init};
use std::sync::Arc;

/// What a step has given its first value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    Model(StateId),
    Group(usize, StateId),
    /// Of the slot of this index.
    Tensor(u32, StateId),
    Hidden(u32, Array),
}

/// What a rule's first values are made of.
pub(super) struct Inits {
    /// By index of the state: whether its first value reduces the parameter.
    pub(super) reduces: Vec<bool>,
    /// Whether a condition that selects the plan reads such a state.
    pub(super) in_conditions: Vec<StateId>,
}

impl Inits {
    pub(super) fn new(program: &Program, conditions: impl Iterator<Item = Source>) -> Inits {
        let reduces: Vec<bool> = program.states.iter().map(|state| reduces(program, state.init)).collect();
        let mut in_conditions: Vec<StateId> = conditions
            .filter_map(|source| match source {
                Source::State(id) if reduces[id.index()] => Some(id),
                _ => None,
            })
            .collect();
        in_conditions.sort_unstable();
        in_conditions.dedup();
        Inits { reduces, in_conditions }
    }
}

fn reduces(program: &Program, value: ExprId) -> bool {
    program.postorder(value).into_iter().any(|id| matches!(program.node(id).kind, NodeKind::Reduce(..)))
}

/// A first value of one tensor, to be evaluated with those of the others.
struct Init {
    step: Step,
    arrays: Arrays,
    scalars: Scalars,
}

impl Optimizer {
    /// Gives every state that this step is the first to touch its first value. Which plan each tensor has is known.
    pub(super) fn first_values(&mut self, tensors: &mut Disjoint<'_, '_>) {
        // The reductions of a first value are over the tensors that touch the state now.
        let mut together: Vec<(StateId, usize)> = Vec::new();
        for k in 0..self.scratch.slots.len() {
            let index = self.scratch.slots[k];
            let plan = &self.scratch.prepared[self.scratch.work[k] as usize].plan;
            if !self.lacks(k, plan) {
                continue;
            }
            let plan = plan.clone();
            for (array, reads) in &plan.arrays {
                match *array {
                    Array::State(id) if !self.tensors[index as usize].own.states[id.index()].is_absent() => {}
                    Array::State(id) if !reads => {
                        let slot = &self.tensors[index as usize];
                        let len = slot.geometry.here(self.rule.program().states[id.index()].extent);
                        self.put(First::Tensor(index, id), State::zeros(self.storage(slot, *array), len));
                    }
                    Array::State(id) if self.inits.reduces[id.index()] => together.push((id, k)),
                    Array::State(id) => {
                        let slot = &self.tensors[index as usize];
                        let hypers = &self.groups[slot.group].hypers;
                        let param = || param(&mut tensors.get(k));
                        let (state, rest) = alone(self.rule.program(), plan.facts(), hypers, slot, id, param);
                        self.put(First::Tensor(index, id), state);
                        self.put_rest(index, id, rest);
                    }
                    Array::Average | Array::Master if self.is_missing(index, *array) => {
                        let storage = self.storage(&self.tensors[index as usize], *array);
                        let copy = State::of(param(&mut tensors.get(k)), storage);
                        self.put(First::Hidden(index, *array), copy);
                    }
                    // That of a state with a first value of its own has come with it, or comes when that does.
                    Array::ParamRest | Array::StateRest(_) if self.is_missing(index, *array) => {
                        let slot = &self.tensors[index as usize];
                        let len = slot.geometry.here(array.extent(self.rule.program()));
                        self.put(First::Hidden(index, *array), State::zeros(Storage::Bf16, len));
                    }
                    _ => {}
                }
            }
            for source in &plan.sources {
                let Source::State(id) = *source else { continue };
                if !self.is_absent(k, id) {
                    continue;
                }
                if self.inits.reduces[id.index()] {
                    together.push((id, k));
                } else {
                    let x = self.sources(k, &tensors.tensors()[k]).first_value(id);
                    self.put_scalar(k, id, x);
                }
            }
        }
        // One state after the other; of each the tensors in their order.
        together.sort_unstable();
        for tensors_of in together.chunk_by(|a, b| a.0 == b.0) {
            let mut inits: Vec<(usize, Init)> = Vec::new();
            for (id, k) in tensors_of {
                let facts = self.scratch.prepared[self.scratch.work[*k] as usize].plan.facts().clone();
                inits.push((*k, self.init(*k, *id, &facts, &mut tensors.get(*k))));
            }
            self.evaluate(tensors_of[0].0, inits);
        }
    }

    /// Whether a tensor's step is the first to touch anything.
    fn lacks(&self, k: usize, plan: &Compiled) -> bool {
        let index = self.scratch.slots[k];
        let own = &self.tensors[index as usize].own;
        let lacks_array = |(array, _): &(Array, bool)| match array {
            Array::State(id) => own.states[id.index()].is_absent(),
            Array::Average | Array::Master | Array::ParamRest | Array::StateRest(_) => self.is_missing(index, *array),
            _ => false,
        };
        let lacks_scalar = |source: &Source| matches!(source, Source::State(id) if self.is_absent(k, *id));
        plan.arrays.iter().any(lacks_array) || plan.sources.iter().any(lacks_scalar)
    }

    /// Gives the states that conditions read their first values, if these reduce the parameters: of all tensors of the
    /// call, because it is not known yet which plan each has.
    pub(super) fn first_values_of_conditions(&mut self, tensors: &mut Disjoint<'_, '_>) {
        for id in self.inits.in_conditions.clone() {
            let mut inits = Vec::new();
            for k in 0..self.scratch.slots.len() {
                if self.is_absent(k, id) {
                    let slot = &self.tensors[self.scratch.slots[k] as usize];
                    let facts = Facts::new(slot.storage, self.plans.math, self.outcomes(k, &tensors.tensors()[k]));
                    let facts = Facts { stores: self.host.stores.clone(), ..facts };
                    inits.push((k, self.init(k, id, &facts, &mut tensors.get(k))));
                }
            }
            if !inits.is_empty() {
                self.evaluate(id, inits);
            }
        }
    }

    fn init(&self, k: usize, id: StateId, facts: &Facts, tensor: &mut DisjointTensor<'_, '_>) -> Init {
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        let mut scalars = scalars_of(self.rule.program(), &self.groups[slot.group].hypers, &slot.shape);
        (scalars.first, scalars.is_shard) = (slot.geometry.first, tensor.tensor().shard.is_some());
        let step = lower_init(self.rule.program(), id, facts);
        Init { step, arrays: param_arrays(facts, slot, param(tensor)), scalars }
    }

    /// Evaluates the first values of one state, and puts them in place.
    fn evaluate(&mut self, id: StateId, mut inits: Vec<(usize, Init)>) {
        let mut steps: Vec<TensorStep<'_>> = Vec::with_capacity(inits.len());
        for (k, Init { step, arrays, scalars }) in &mut inits {
            let group = self.tensors[self.scratch.slots[*k] as usize].group;
            steps.push(TensorStep { step, arrays, scalars, group });
        }
        match &self.exchange {
            Some(exchange) => eval_steps(&mut steps, &**exchange),
            None => eval_steps(&mut steps, &Alone),
        }
        for (k, Init { mut arrays, scalars, .. }) in inits {
            if self.rule.program().states[id.index()].extent.is_scalar() {
                let x = scalars.states.get(&id).copied().unwrap_or(f64::NAN);
                self.put_scalar(k, id, x);
            } else {
                let index = self.scratch.slots[k];
                let storage = self.storage(&self.tensors[index as usize], Array::State(id));
                let column = arrays.0.remove(&Array::State(id)).unwrap_or_default();
                self.put(First::Tensor(index, id), State::of(column, storage));
                let rest = arrays.0.remove(&Array::StateRest(id));
                self.put_rest(index, id, rest.map(|rest| State::of(rest, Storage::Bf16)));
            }
        }
    }

    /// Whether nothing has touched a state yet that the k-th tensor sees.
    pub(super) fn is_absent(&self, k: usize, id: StateId) -> bool {
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        match self.rule.program().states[id.index()].extent {
            Extent::Model => self.model.states[id.index()].is_none(),
            Extent::Group => self.groups[slot.group].scope.states[id.index()].is_none(),
            _ => slot.own.states[id.index()].is_absent(),
        }
    }

    /// Puts the first value of a scalar state in place, unless there is one.
    pub(super) fn put_scalar(&mut self, k: usize, id: StateId, x: f64) {
        if !self.is_absent(k, id) {
            return;
        }
        let index = self.scratch.slots[k];
        let group = self.tensors[index as usize].group;
        match self.rule.program().states[id.index()].extent {
            Extent::Model => {
                self.model.states[id.index()] = Some(x);
                self.scratch.firsts.push(First::Model(id));
            }
            Extent::Group => {
                self.groups[group].scope.states[id.index()] = Some(x);
                self.scratch.firsts.push(First::Group(group, id));
            }
            _ => self.put(First::Tensor(index, id), State::Scalar(x)),
        }
    }

    /// What the elements of an array of a tensor are.
    fn storage(&self, slot: &Slot, array: Array) -> Storage {
        self.host.stores.storage(array, slot.storage, self.rule.program())
    }

    fn is_missing(&self, index: u32, array: Array) -> bool {
        self.tensors[index as usize].own.get(array).is_absent()
    }

    /// Puts in place what the first value of a state has lost by rounding.
    fn put_rest(&mut self, index: u32, id: StateId, rest: Option<State>) {
        if let Some(rest) = rest {
            let array = Array::StateRest(id);
            // The plan's own array may have come first.
            if self.is_missing(index, array) {
                self.scratch.firsts.push(First::Hidden(index, array));
            }
            self.tensors[index as usize].own.put(array, rest);
        }
    }

    fn put(&mut self, first: First, state: State) {
        match first {
            First::Tensor(index, id) => self.tensors[index as usize].own.states[id.index()] = state,
            First::Hidden(index, array) => self.tensors[index as usize].own.put(array, state),
            First::Model(_) | First::Group(..) => return,
        }
        self.scratch.firsts.push(first);
    }

    /// Takes first values back: all of them, or those of what has not taken the step.
    pub(super) fn take_back(&mut self, which: impl Fn(&Optimizer, First) -> bool) {
        let firsts = std::mem::take(&mut self.scratch.firsts);
        for first in &firsts {
            if !which(self, *first) {
                continue;
            }
            match *first {
                First::Model(id) => self.model.states[id.index()] = None,
                First::Group(group, id) => self.groups[group].scope.states[id.index()] = None,
                First::Tensor(index, id) => self.tensors[index as usize].own.states[id.index()] = State::Absent,
                First::Hidden(index, array) => self.tensors[index as usize].own.put(array, State::Absent),
            }
        }
        self.scratch.firsts = firsts;
        self.scratch.firsts.clear();
    }
}

/// The first value of an array that nothing is reduced for, or only this tensor; and what it has lost by rounding, if
/// that is kept.
pub(super) fn alone(
    program: &Arc<Program>,
    facts: &Facts,
    hypers: &Hypers,
    slot: &Slot,
    id: StateId,
    param: impl FnOnce() -> Column,
) -> (State, Option<State>) {
    let len = slot.geometry.here(program.states[id.index()].extent);
    // A first value that is the same everywhere is computed once.
    let init = program.states[id.index()].init;
    let is_one_value = program.node(init).extent.is_scalar() && !reduces(program, init);
    let one = || match slot.storage.compute() {
        Type::F32 => Column::F32(vec![0.0]),
        _ => Column::F64(vec![0.0]),
    };
    let column = if is_one_value { one() } else { param() };
    let mut arrays = param_arrays(facts, slot, column);
    let mut scalars = scalars_of(program, hypers, &slot.shape);
    scalars.first = slot.geometry.first;
    eval_step(&lower_init(program, id, facts), &mut arrays, &mut scalars);
    let mut state = |array| {
        let state = State::of(arrays.0.remove(&array)?, facts.storage_of(array, program));
        Some(if is_one_value { state.repeated(len) } else { state })
    };
    (state(Array::State(id)).unwrap_or_default(), state(Array::StateRest(id)))
}

/// The parameter as first values see it: with what is kept of it, if any step has.
pub(super) fn param_arrays(facts: &Facts, slot: &Slot, param: Column) -> Arrays {
    let compute = facts.storage.compute();
    let mut arrays = Arrays::default();
    let kept = |array| slot.own.get(array).column(compute);
    if facts.stores.has_master(facts.storage) {
        arrays.0.insert(Array::Master, kept(Array::Master).unwrap_or_else(|| param.clone()));
    }
    if facts.stores.param(facts.storage) == Store::Bf16Kahan {
        let zeros = || Column::F32(vec![0.0; param.len()]);
        arrays.0.insert(Array::ParamRest, kept(Array::ParamRest).unwrap_or_else(zeros));
    }
    arrays.0.insert(Array::Param, param);
    arrays
}

/// The parameter as a column.
fn param(tensor: &mut DisjointTensor<'_, '_>) -> Column {
    tensor.elements().map_or(Column::default(), param_column)
}
