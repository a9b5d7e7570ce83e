//! What belongs to the model, to a group of tensors, and to each tensor.

use super::builder::Matcher;
use super::error::Error;
use super::geometry::Geometry;
use super::hyper::{self, HyperValue, Hypers};
use super::optimizer::Optimizer;
use super::rule::Rule;
use super::state::State;
use super::tensor::Tensor;
use crate::check::program::{Extent, Program, StateId};
use crate::ir::step::Array;
use crate::ir::{Storage, Stores, shape};
use crate::schedule::Driver;
use smallvec::SmallVec;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Tensors with hypers of their own.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) hypers: Hypers,
    /// In the order of their hypers.
    pub(super) drivers: Vec<Driver>,
    pub(super) scope: Scope,
    /// Whether any of its tensors takes the step at hand.
    pub(super) is_taken: bool,
}

/// The scalars that belong to a group, or to the model.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// By index of the state; `None` where it is of another extent or no plan has touched it.
    pub(super) states: Vec<Option<f64>>,
    /// What the states become when the step is over.
    pub(super) next: Vec<Option<f64>>,
    /// What the host has given for the next step, by index of the input.
    pub(super) inputs: Vec<Option<f64>>,
    /// What the last step has reported, by index of the report.
    pub(super) reports: Vec<Option<f64>>,
}

/// A tensor that the optimizer knows, with what belongs to it. The two are apart because a step reads the one while it
/// changes the other.
pub(super) struct Slot {
    pub(super) known: Known,
    pub(super) own: Own,
}

/// What is known of a tensor.
pub(super) struct Known {
    pub(super) name: String,
    /// Of the whole tensor.
    pub(super) shape: SmallVec<[usize; 4]>,
    pub(super) storage: Storage,
    pub(super) geometry: Geometry,
    pub(super) group: usize,
    pub(super) t: u64,
    /// The last call of `step` that took it.
    pub(super) last_call: u64,
}

/// What a step of a tensor changes.
#[derive(Default)]
pub(super) struct Own {
    /// By index of the state.
    pub(super) states: Vec<State>,
    /// What is kept beside the states of the rule: the host's average, master copies, compensations.
    pub(super) hidden: Vec<(Array, State)>,
    /// Whether this step is not taken.
    pub(super) skipped: bool,
    /// What scalar states become when the step is over.
    pub(super) stores: Vec<(StateId, f64)>,
    /// By index of the reduction: the results of this step's reductions to this tensor.
    pub(super) results: Vec<f64>,
    /// What the last step has reported, by index of the report.
    pub(super) reports: Vec<Option<f64>>,
    /// Temporary arrays that outlive a phase of the step.
    pub(super) kept_f32: Vec<Vec<f32>>,
    pub(super) kept_f64: Vec<Vec<f64>>,
}

/// State from a file, for a tensor that has not been seen yet.
#[derive(Clone, Default)]
pub(super) struct Loaded {
    pub(super) t: u64,
    pub(super) states: Vec<(StateId, State, Vec<usize>)>,
    /// What is kept beside the states of the rule.
    pub(super) hidden: Vec<(Array, State, Vec<usize>)>,
    /// Which part of the tensor it was, if not all.
    pub(super) shard: Option<LoadedShard>,
    /// The group that it was in; `None` if it may be in another one now.
    pub(super) group: Option<String>,
}

/// A part of a tensor.
#[derive(Clone, PartialEq)]
pub(super) struct LoadedShard {
    /// Of the whole tensor.
    pub(super) shape: Vec<usize>,
    pub(super) first: usize,
    pub(super) len: usize,
}

impl Group {
    pub(super) fn new(name: String, matcher: Matcher, hypers: Hypers, mut drivers: Vec<Driver>, rule: &Rule) -> Group {
        drivers.sort_by_key(|driver| driver.hyper);
        Group { name, matcher, hypers, drivers, scope: Scope::new(rule.program()), is_taken: false }
    }

    /// Gives each hyper that a schedule drives its value for the step that is about to be taken.
    pub(super) fn drive(&mut self, rule: &Rule) -> Result<(), Error> {
        let mut changed = false;
        // In the order of the hypers: the default of one, which is its schedule's `base`, may use those before it.
        for driver in &mut self.drivers {
            if changed {
                self.hypers.evaluate(rule);
            }
            let base = self.hypers.own(driver.hyper).as_f64().unwrap_or(f64::NAN);
            let value = driver.prepare(base)?;
            let hyper = &rule.program().hypers[driver.hyper];
            if let Some(range) = hyper.interval.filter(|range| !range.contains(value)) {
                let reason = format!("it gives `{}` the value {value}, which is not in {range}", hyper.name);
                return Err(Error::ScheduleValue { schedule: driver.schedule.to_string(), step: driver.s, reason });
            }
            changed |= self.hypers.drive(driver.hyper, Some(value));
        }
        if changed { self.hypers.check(rule, &self.name) } else { Ok(()) }
    }

    /// Puts back what was in force: the step was refused.
    pub(super) fn undrive(&mut self, rule: &Rule) {
        let mut changed = false;
        for driver in &self.drivers {
            changed |= self.hypers.drive(driver.hyper, driver.in_force);
        }
        if changed {
            self.hypers.evaluate(rule);
        }
    }
}

impl Deref for Slot {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut Known {
        &mut self.known
    }
}

impl Slot {
    pub(super) fn new(name: &str, shape: &[usize], storage: Storage, group: usize, rule: &Rule) -> Slot {
        let program = rule.program();
        let own = Own {
            states: vec![State::Absent; program.states.len()],
            results: vec![f64::NAN; program.reductions.len()],
            reports: vec![None; program.reports.len()],
            ..Own::default()
        };
        let geometry = Geometry::new(shape);
        let (name, shape) = (name.to_string(), SmallVec::from_slice(shape));
        Slot { known: Known { name, shape, storage, geometry, group, t: 0, last_call: 0 }, own }
    }

    /// Holds a tensor of a step to what is known.
    pub(super) fn check_tensor(&mut self, tensor: &Tensor<'_>) -> Result<(), Error> {
        self.check_unchanged(tensor.shape(), tensor.param.storage())?;
        if tensor.shard.is_none() && self.geometry.is_whole() {
            // As the shape is what it was.
            return Ok(());
        }
        let now = Geometry::of(tensor);
        if now == self.geometry {
            return Ok(());
        }
        let numel = now.total(Extent::Element);
        if now.first.checked_add(now.len).is_none_or(|end| end > numel) {
            let (tensor, first, len, shape) = (self.name.clone(), now.first, now.len, self.shape.to_vec());
            return Err(Error::ShardOutside { tensor, first, len, shape });
        }
        // Before anything is kept for its elements, it may as well be another part of the tensor.
        if self.own.all().any(|state| state.storage().is_some()) {
            let was = (self.geometry.first, self.geometry.len);
            return Err(Error::ShardChanged { tensor: self.name.clone(), was, now: (now.first, now.len) });
        }
        self.geometry = now;
        Ok(())
    }

    /// An array that belongs to the parameter has its shape, and its type unless `storage` is another that is asked for.
    pub(super) fn check_array(
        &self,
        what: impl fmt::Display,
        found: (&[usize], Storage),
        expected: (&[usize], Storage),
    ) -> Result<(), Error> {
        if found.0 != expected.0 {
            let (tensor, what) = (self.name.clone(), what.to_string());
            let (expected, found) = (expected.0.to_vec(), found.0.to_vec());
            return Err(Error::ArrayShape { tensor, what, expected, found });
        }
        if found.1 != expected.1 {
            let (tensor, what) = (self.name.clone(), what.to_string());
            return Err(Error::ArrayDtype { tensor, what, expected: expected.1, found: found.1 });
        }
        Ok(())
    }

    /// Takes what a file has kept for it.
    pub(super) fn take_loaded(
        &mut self,
        program: &Program,
        stores: &Stores,
        group: &str,
        loaded: &Loaded,
    ) -> Result<(), Error> {
        if let Some(was) = loaded.group.as_ref().filter(|was| *was != group) {
            let (tensor, was, now) = (self.name.clone(), was.clone(), group.to_string());
            return Err(Error::GroupChanged { tensor, was, now });
        }
        self.t = loaded.t;
        if let Some(LoadedShard { shape, first, len }) = &loaded.shard {
            if **shape != *self.shape {
                let (was, now) = (shape.clone(), self.shape.to_vec());
                return Err(Error::ShapeChanged { tensor: self.name.clone(), was, now });
            }
            (self.geometry.first, self.geometry.len) = (*first, *len);
        }
        for (array, state, shape) in loaded.all() {
            if let Some(storage) = state.storage() {
                let expected = stores.storage(array, self.storage, program);
                self.check_loaded(array.extent(program), shape, (storage, expected))?;
            }
        }
        for (array, state, _) in loaded.all() {
            self.own.put(array, state.clone());
        }
        Ok(())
    }

    /// Holds an array that was loaded to the tensor.
    fn check_loaded(
        &self,
        extent: Extent,
        shape: &[usize],
        (found, expected): (Storage, Storage),
    ) -> Result<(), Error> {
        let tensor = self.name.clone();
        if shape != self.array_shape(extent) {
            let (was, now) = (shape.to_vec(), self.array_shape(extent));
            return Err(Error::ShapeChanged { tensor, was, now });
        }
        if found != expected {
            return Err(Error::DtypeChanged { tensor, was: found, now: expected });
        }
        Ok(())
    }

    /// The shape of an array of an extent; that of the elements of a shard is their number.
    pub(super) fn array_shape(&self, extent: Extent) -> Vec<usize> {
        match self.shard() {
            Some(shard) if extent == Extent::Element => vec![shard.len],
            _ => shape::axes(extent, &self.shape),
        }
    }

    /// Which part of the tensor is here, if not all.
    pub(super) fn shard(&self) -> Option<LoadedShard> {
        let Geometry { first, len, .. } = self.geometry;
        (len != self.geometry.total(Extent::Element)).then(|| LoadedShard { shape: self.shape.to_vec(), first, len })
    }

    pub(super) fn check_unchanged(&self, shape: &[usize], storage: Storage) -> Result<(), Error> {
        if *self.shape != *shape {
            return Err(Error::ShapeChanged {
                tensor: self.name.clone(),
                was: self.shape.to_vec(),
                now: shape.to_vec(),
            });
        }
        if self.storage != storage {
            return Err(Error::DtypeChanged { tensor: self.name.clone(), was: self.storage, now: storage });
        }
        Ok(())
    }
}

impl Own {
    /// What is kept in an array of the rule's or beside them, if anything.
    pub(super) fn get(&self, array: Array) -> &State {
        const NOTHING: &State = &State::Absent;
        match array {
            Array::State(id) => self.states.get(id.index()).unwrap_or(NOTHING),
            array => self.hidden.iter().find(|(own, _)| *own == array).map_or(NOTHING, |(_, state)| state),
        }
    }

    pub(super) fn put(&mut self, array: Array, state: State) {
        match array {
            Array::State(id) => self.states[id.index()] = state,
            array => {
                self.hidden.retain(|(own, _)| *own != array);
                if !state.is_absent() {
                    self.hidden.push((array, state));
                }
            }
        }
    }

    /// All that is kept.
    pub(super) fn all(&self) -> impl Iterator<Item = &State> {
        self.states.iter().chain(self.hidden.iter().map(|(_, state)| state))
    }
}

impl Loaded {
    /// What an array was.
    pub(super) fn get(&self, array: Array) -> Option<&State> {
        self.all().find(|(own, ..)| *own == array).map(|(_, state, _)| state)
    }

    /// All arrays and scalars, with their shapes.
    pub(super) fn all(&self) -> impl Iterator<Item = (Array, &State, &[usize])> {
        let hidden = self.hidden.iter().map(|(array, state, shape)| (*array, state, &**shape));
        self.states.iter().map(|(id, state, shape)| (Array::State(*id), state, &**shape)).chain(hidden)
    }
}

impl Scope {
    pub(super) fn new(program: &Program) -> Scope {
        let states = vec![None; program.states.len()];
        let (inputs, reports) = (vec![None; program.inputs.len()], vec![None; program.reports.len()]);
        Scope { next: states.clone(), states, inputs, reports }
    }

    /// Forgets what was given for the next step, and what the last one said.
    pub(super) fn forget_step(&mut self) {
        self.inputs.fill(None);
        self.reports.fill(None);
    }

    /// The step is over, and this much of it is to last.
    pub(super) fn commit(&mut self) {
        for (state, next) in self.states.iter_mut().zip(&mut self.next) {
            *state = next.take().or(*state);
        }
    }
}

/// A group, to read and set its own hypers: what [`Optimizer::group`] gives.
pub struct GroupMut<'a> {
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) index: usize,
}

impl GroupMut<'_> {
    /// Sets a hyper of this group.
    ///
    /// # Errors
    /// Those of [`Optimizer::set`], and [`Error::HyperPerModel`].
    pub fn set(&mut self, name: &str, value: impl Into<HyperValue>) -> Result<(), Error> {
        self.set_many(&[(name, value.into())])
    }

    /// Sets several hypers of this group at once: all or none.
    ///
    /// # Errors
    /// Those of [`set`](Self::set).
    pub fn set_many(&mut self, values: &[(&str, HyperValue)]) -> Result<(), Error> {
        let Optimizer { rule, groups, .. } = self.optimizer;
        let group = &mut groups[self.index];
        for (name, _) in values {
            if hyper::is_per_model(rule.program(), hyper::index(rule.program(), name)?) {
                return Err(Error::HyperPerModel { hyper: name.to_string(), group: group.name.clone() });
            }
        }
        group.hypers = with(rule, &group.hypers, values, &group.name)?;
        Ok(())
    }

    /// The value of a hyper in this group.
    ///
    /// # Errors
    /// [`Error::UnknownHyper`].
    pub fn hyper(&self, name: &str) -> Result<HyperValue, Error> {
        let index = hyper::index(self.optimizer.rule.program(), name)?;
        Ok(self.optimizer.groups[self.index].hypers.value(index).clone())
    }

    /// Gives an input per group for the next step.
    ///
    /// # Errors
    /// [`Error::UnknownInput`], [`Error::InputExtent`].
    pub fn input(&mut self, name: &str, value: f64) -> Result<(), Error> {
        let index = input_index(self.optimizer.rule.program(), name, Extent::Group)?;
        self.optimizer.groups[self.index].scope.inputs[index] = Some(value);
        Ok(())
    }
}

/// Hypers with some of them set anew, held to the rule.
pub(super) fn with(rule: &Rule, old: &Hypers, values: &[(&str, HyperValue)], group: &str) -> Result<Hypers, Error> {
    let mut hypers = old.clone();
    for (name, value) in values {
        let index = hyper::find(rule.program(), name, value)?;
        if rule.program().hypers[index].fixed {
            return Err(Error::HyperFixed { hyper: name.to_string() });
        }
        hypers.set(index, value.clone());
    }
    hypers.check(rule, group)?;
    Ok(hypers)
}

pub(super) fn input_index(program: &Program, name: &str, extent: Extent) -> Result<usize, Error> {
    let Some(index) = program.inputs.iter().position(|input| &*input.name == name) else {
        let known = program.inputs.iter().map(|input| input.name.to_string()).collect();
        return Err(Error::UnknownInput { rule: program.name.to_string(), input: name.to_string(), known });
    };
    let declared = program.inputs[index].extent;
    if declared != extent {
        return Err(Error::InputExtent { input: name.to_string(), extent: declared.name() });
    }
    Ok(index)
}
