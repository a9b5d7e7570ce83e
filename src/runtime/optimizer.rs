//! [`Optimizer`]: a rule with hypers, groups and state.

use super::builder::Matcher;
use super::error::Error;
use super::hyper::{self, HyperValue, Hypers};
use super::memory::{Disjoint, Span, disjoint};
use super::plans::{Compiled, CompiledSweep, Engine, Plans, outcomes};
use super::rule::Rule;
use super::state::{State, StateValues};
use super::tensor::{Erase, GradElements, Key, ParamElements, Tensor, TensorId};
use crate::check::program::{Extent, HyperDefault, HyperId, InputId, ListRef, Program, StateId};
use crate::ir::region::{Level, Outside, Region};
use crate::ir::step::{Array, Source};
use crate::ir::{
    Args, Arrays, Buffer, Column, Facts, Outcome, Scalar, Scalars, Storage, Uniforms, eval_step, lower_init,
};
use crate::schedule::{Advance, Driver};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A rule at work: hypers by group, state by tensor.
///
/// ```
/// use updraft::{Rule, Tensor};
/// let mut opt = Rule::shipped("adam")?.optimizer().set("lr", 0.1)?.build()?;
/// let mut w = vec![1.0f32; 3];
/// opt.step(&mut [Tensor::new("w", &mut w, &[0.5, 0.0, -0.5])])?;
/// assert_eq!(opt.steps("w"), 1);
/// assert_eq!(opt.state_bytes(), 2 * 3 * 4);
/// opt.set("lr", 0.01)?;
/// # Ok::<(), updraft::Error>(())
/// ```
pub struct Optimizer {
    pub(super) rule: Rule,
    pub(super) groups: Vec<Group>,
    pub(super) model: Scope,
    pub(super) tensors: Vec<Slot>,
    pub(super) by_name: HashMap<String, u32>,
    generation: u32,
    /// State that was loaded for tensors that have not been seen yet.
    pub(super) loaded: HashMap<String, Loaded>,
    pub(super) plans: Plans,
    scratch: Scratch,
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimizer")
            .field("rule", &self.rule.name())
            .field("groups", &self.groups().collect::<Vec<_>>())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

/// Tensors with hypers of their own.
pub(super) struct Group {
    pub(super) name: String,
    matcher: Matcher,
    pub(super) hypers: Hypers,
    /// In the order of their hypers.
    pub(super) drivers: Vec<Driver>,
    pub(super) scope: Scope,
}

/// The scalars that belong to a group, or to the model.
#[derive(Clone, Default)]
pub(super) struct Scope {
    /// By index of the state; `None` where it is of another extent or no plan has touched it.
    pub(super) states: Vec<Option<f64>>,
    /// What the states become when the step is over.
    next: Vec<Option<f64>>,
    /// What the host has given for the next step, by index of the input.
    inputs: Vec<Option<f64>>,
}

/// A tensor that the optimizer knows.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) storage: Storage,
    group: usize,
    pub(super) t: u64,
    /// By index of the state.
    pub(super) states: Vec<State>,
    /// The last call of `step` that took it.
    last_call: u64,
}

/// State from a file, for a tensor that has not been seen yet.
#[derive(Clone, Default)]
pub(super) struct Loaded {
    pub(super) t: u64,
    pub(super) states: Vec<(StateId, State, Vec<usize>)>,
}

/// Memory that a step works in, kept from step to step.
#[derive(Default)]
struct Scratch {
    /// Counts calls of `step`.
    call: u64,
    /// The slot of each tensor of the call.
    slots: Vec<u32>,
    /// What each tensor of the call runs: an index into `prepared`.
    work: Vec<u32>,
    prepared: Vec<Prepared>,
    /// How many of `prepared` belong to this call.
    used: usize,
    by_key: HashMap<PreparedKey, u32>,
    spans: Vec<Span>,
    registers: Vec<Scalar>,
    outcomes: Vec<Outcome>,
    stores: Vec<(StateId, f64)>,
    /// What a run of the conditions has needed.
    needed: Vec<bool>,
    /// First values of states per tensor that conditions have read: the slot, the state and the value.
    touched: Vec<(u32, StateId, f64)>,
    param_f32: Vec<f32>,
    param_f64: Vec<f64>,
    grad_f32: Vec<f32>,
    grad_f64: Vec<f64>,
}

/// Tensors for which the scalar code gives the same, as long as it does not look at the tensor itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PreparedKey {
    group: u32,
    t: u64,
    storage: Storage,
    /// The plan, where tensors of one group and t may have different ones; else 0.
    plan: u64,
}

/// A plan with its scalar code run as far as it is the same for all tensors of a key.
struct Prepared {
    key: PreparedKey,
    plan: Arc<Compiled>,
    registers: Vec<Scalar>,
    uniforms: UniformValues,
}

#[derive(Default)]
struct UniformValues {
    f32: Vec<f32>,
    f64: Vec<f64>,
}

impl UniformValues {
    fn clear(&mut self) {
        self.f32.clear();
        self.f64.clear();
    }

    /// The outputs of `region`, each rounded once.
    fn set(&mut self, storage: Storage, region: &Region, registers: &[Scalar]) {
        self.clear();
        for output in &region.outputs {
            let Scalar::F64(x) = registers[output.index()] else { continue };
            match storage {
                Storage::F32 => self.f32.push(x as f32),
                Storage::F64 => self.f64.push(x),
            }
        }
    }

    fn values(&self, storage: Storage) -> Uniforms<'_> {
        match storage {
            Storage::F32 => Uniforms::F32(&self.f32),
            Storage::F64 => Uniforms::F64(&self.f64),
        }
    }
}

impl Group {
    pub(super) fn new(name: String, matcher: Matcher, hypers: Hypers, mut drivers: Vec<Driver>, rule: &Rule) -> Group {
        drivers.sort_by_key(|driver| driver.hyper);
        Group { name, matcher, hypers, drivers, scope: Scope::new(rule.program()) }
    }

    /// Gives each hyper that a schedule drives its value for the step that is about to be taken.
    fn drive(&mut self, rule: &Rule) -> Result<(), Error> {
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

impl Slot {
    fn new(name: &str, shape: &[usize], storage: Storage, group: usize, rule: &Rule) -> Slot {
        let states = vec![State::Absent; rule.program().states.len()];
        Slot { name: name.to_string(), shape: shape.to_vec(), storage, group, t: 0, states, last_call: 0 }
    }
}

impl Scope {
    fn new(program: &Program) -> Scope {
        let states = vec![None; program.states.len()];
        Scope { next: states.clone(), states, inputs: vec![None; program.inputs.len()] }
    }

    /// A state keeps its first value from the first step that reads it, unless that step stores another.
    fn keep(&mut self, id: StateId, first_value: f64) {
        self.next[id.index()].get_or_insert(first_value);
    }
}

/// What the scalar code of one tensor reads.
struct Sources<'a> {
    rule: &'a Rule,
    hypers: &'a Hypers,
    group: &'a Scope,
    model: &'a Scope,
    /// The steps of the tensor, this one included.
    t: u64,
    slot: &'a Slot,
    inputs: &'a [(&'a str, f64)],
}

impl Sources<'_> {
    fn get(&self, source: Source) -> Scalar {
        match source {
            Source::Hyper(_) | Source::Flag(_) | Source::Mode(..) => {
                self.hypers.scalar(self.rule.program(), source).unwrap_or(Scalar::F64(f64::NAN))
            }
            Source::Given(id) => Scalar::Bool(self.given(id).is_some()),
            // Only schedules have these.
            Source::S | Source::Base => Scalar::F64(f64::NAN),
            Source::T => Scalar::F64(self.t as f64),
            Source::Input(id) => Scalar::F64(self.input(id).unwrap_or(f64::NAN)),
            Source::State(id) => Scalar::F64(self.state(id).unwrap_or_else(|| self.first_value(id))),
        }
    }

    /// A scalar state as it is before the step; `None` if nothing has touched it yet.
    fn state(&self, id: StateId) -> Option<f64> {
        match self.rule.program().states[id.index()].extent {
            Extent::Model => self.model.states[id.index()],
            Extent::Group => self.group.states[id.index()],
            _ => self.slot.states[id.index()].scalar(),
        }
    }

    /// The first value of a scalar state: it depends on hypers and on the parameter's type alone.
    fn first_value(&self, id: StateId) -> f64 {
        let program = self.rule.program();
        let facts = Facts { storage: self.slot.storage, math: crate::ir::Math::Strict, outcomes: Vec::new() };
        let mut scalars = scalars_of(program, self.hypers);
        eval_step(&lower_init(program, id, &facts), &mut Arrays::default(), &mut scalars);
        scalars.states.get(&id).copied().unwrap_or(f64::NAN)
    }

    /// An input: what the host gave last, else its default.
    fn input(&self, id: InputId) -> Option<f64> {
        self.given(id).or_else(|| self.hypers.input_default(id.index()))
    }

    /// What the host gave.
    fn given(&self, id: InputId) -> Option<f64> {
        let input = &self.rule.program().inputs[id.index()];
        match input.extent {
            Extent::Model => self.model.inputs[id.index()],
            Extent::Group => self.group.inputs[id.index()],
            _ => self.inputs.iter().rfind(|(name, _)| *name == &*input.name).map(|(_, x)| *x),
        }
    }
}

impl Outside for &Sources<'_> {
    fn scalar(&self, source: Source) -> Scalar {
        self.get(source)
    }

    fn list(&self, list: ListRef) -> &[f64] {
        self.hypers.list(self.rule.program(), list)
    }
}

fn sources_of<'a>(
    rule: &'a Rule,
    groups: &'a [Group],
    model: &'a Scope,
    slot: &'a Slot,
    tensor: &'a Tensor<'_>,
) -> Sources<'a> {
    let group = &groups[slot.group];
    let (hypers, group) = (&group.hypers, &group.scope);
    Sources { rule, hypers, group, model, t: slot.t + 1, slot, inputs: &tensor.inputs }
}

/// The hypers of a group as the evaluator of steps takes them.
fn scalars_of(program: &Program, hypers: &Hypers) -> Scalars {
    let mut scalars = Scalars::default();
    for (index, hyper) in program.hypers.iter().enumerate() {
        let id = HyperId(index as u32);
        scalars.hypers.push(match hypers.value(index) {
            HyperValue::Number(x) => Some(Scalar::F64(*x)),
            HyperValue::Flag(flag) => Some(Scalar::Bool(*flag)),
            HyperValue::Mode(_) | HyperValue::List(_) => None,
        });
        match (&hyper.default, hypers.value(index)) {
            (HyperDefault::Mode(modes), HyperValue::Mode(mode)) => {
                let position = modes.iter().position(|known| known == mode);
                scalars.modes.extend(position.map(|position| (id, position as u32)));
            }
            (_, HyperValue::List(elements)) => scalars.lists.extend([(id, elements.to_vec())]),
            _ => {}
        }
    }
    scalars
}

impl Optimizer {
    pub(super) fn new(rule: Rule, groups: Vec<Group>, plans: Plans) -> Optimizer {
        Optimizer {
            model: Scope::new(rule.program()),
            rule,
            groups,
            tensors: Vec::new(),
            by_name: HashMap::new(),
            generation: 0,
            loaded: HashMap::new(),
            plans,
            scratch: Scratch::default(),
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// What was asked to run the kernels.
    pub fn engine(&self) -> Engine {
        self.plans.engine
    }

    /// Why the evaluator runs although machine code was asked for; `None` if all is as asked. Worth showing once.
    pub fn warning(&self) -> Option<&str> {
        self.plans.warning.as_deref()
    }

    /// What the plan is made for that step `t` of a tensor of the group `default` takes, if scalar states have their
    /// first values and inputs their defaults, else 0.
    ///
    /// ```
    /// use updraft::{Outcome, Rule, Storage};
    /// let opt = Rule::shipped("adam")?.optimizer().set("weight_decay", 0.1)?.build()?;
    /// assert_eq!(opt.facts(Storage::F32, 1).outcomes, [Outcome::False, Outcome::True]); // maximize, weight_decay != 0
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn facts(&self, storage: Storage, t: u64) -> Facts {
        let group = &self.groups[self.groups.len() - 1];
        let (empty, rule) = (Scope::new(self.rule.program()), &self.rule);
        let slot = &Slot::new("", &[], storage, self.groups.len() - 1, rule);
        let sources = Sources { rule, hypers: &group.hypers, group: &empty, model: &empty, t, slot, inputs: &[] };
        let read = |source| match source {
            Source::Input(id) => Scalar::F64(sources.input(id).unwrap_or(0.0)),
            source => sources.get(source),
        };
        let conditions = rule.condition_code(storage);
        let (mut registers, mut found) = (Vec::new(), Vec::new());
        conditions.run((Level::Model, Level::Tensor), &mut registers, read, |_, _| ());
        outcomes(rule.program(), conditions, &registers, &mut found);
        Facts { storage, math: self.plans.math, outcomes: found }
    }

    /// The names of the groups, in the order in which they are tried.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.name.as_str())
    }

    /// How many plans have been compiled so far. It grows where a step needs other code than those before it (a condition
    /// came out differently, a tensor has another type), never because a hyper has another value.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().build()?;
    /// for lr in [0.1, 0.01] {
    ///     opt.set("lr", lr)?;
    ///     opt.step(&mut [Tensor::new("w", &mut [1.0f32], &[0.5])])?;
    /// }
    /// assert_eq!(opt.compiled_plans(), 1);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn compiled_plans(&self) -> u64 {
        self.plans.made
    }

    // Hypers and inputs.

    /// Sets a hyper of all groups. Nothing is recompiled.
    ///
    /// # Errors
    /// [`Error::UnknownHyper`], [`Error::HyperKind`], [`Error::HyperOutOfRange`], [`Error::HyperFixed`],
    /// [`Error::Require`]; then nothing has been changed.
    pub fn set(&mut self, name: &str, value: impl Into<HyperValue>) -> Result<(), Error> {
        self.set_many(&[(name, value.into())])
    }

    /// Sets several hypers of all groups at once: all or none. `require`s are checked after the last.
    ///
    /// ```
    /// let mut opt = updraft::Rule::shipped("adam")?.optimizer().build()?;
    /// opt.set_many(&[("lr", 0.1.into()), ("beta1", 0.5.into())])?;
    /// assert!(opt.set_many(&[("lr", 0.2.into()), ("beta1", 1.5.into())]).is_err());
    /// assert_eq!(opt.hyper("lr")?.as_f64(), Some(0.1));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`set`](Self::set).
    pub fn set_many(&mut self, values: &[(&str, HyperValue)]) -> Result<(), Error> {
        let mut changed = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            changed.push(with(&self.rule, &group.hypers, values, &group.name)?);
        }
        for (group, hypers) in self.groups.iter_mut().zip(changed) {
            group.hypers = hypers;
        }
        Ok(())
    }

    /// The value of a hyper in the group `default`: of one that a schedule drives, what the last step used.
    ///
    /// # Errors
    /// [`Error::UnknownHyper`].
    pub fn hyper(&self, name: &str) -> Result<HyperValue, Error> {
        let index = hyper::index(self.rule.program(), name)?;
        Ok(self.groups[self.groups.len() - 1].hypers.value(index).clone())
    }

    /// A group, to read and set its own hypers.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`].
    pub fn group(&mut self, name: &str) -> Result<GroupMut<'_>, Error> {
        match self.groups.iter().position(|group| group.name == name) {
            Some(index) => Ok(GroupMut { optimizer: self, index }),
            None => {
                Err(Error::UnknownGroup { group: name.to_string(), known: self.groups().map(String::from).collect() })
            }
        }
    }

    /// Gives an input per model for the next step, and to the schedules that have an input of this name what was observed
    /// in the step just completed. After a step that succeeded it has to be given again.
    ///
    /// # Errors
    /// [`Error::UnknownInput`], [`Error::InputExtent`].
    pub fn input(&mut self, name: &str, value: f64) -> Result<(), Error> {
        let known = self.observe(name, value);
        match self.input_of_rule(name, value) {
            Err(_) if known => Ok(()),
            result => result,
        }
    }

    /// Gives an input per model to the rule alone.
    pub(crate) fn input_of_rule(&mut self, name: &str, value: f64) -> Result<(), Error> {
        let index = input_index(self.rule.program(), name, Extent::Model)?;
        self.model.inputs[index] = Some(value);
        Ok(())
    }

    /// Gives the schedules alone what was observed in the step just completed; false if none reads it.
    pub(crate) fn observe(&mut self, name: &str, value: f64) -> bool {
        let mut known = false;
        for driver in self.groups.iter_mut().flat_map(|group| &mut group.drivers) {
            known |= driver.observe(name, value);
        }
        known
    }

    #[cfg(feature = "cli")]
    /// Whether a schedule reads this input.
    pub(crate) fn observes(&self, name: &str) -> bool {
        self.groups.iter().flat_map(|group| &group.drivers).any(|driver| driver.schedule.reads(name))
    }

    #[cfg(feature = "cli")]
    /// What schedules drive in the group `default`: the hyper, the schedule, and the value that the last step used.
    pub(crate) fn driven(&self) -> impl Iterator<Item = (&str, &crate::schedule::Schedule, Option<f64>)> {
        let drivers = self.groups.iter().rev().take(1).flat_map(|group| &group.drivers);
        drivers.map(|driver| (&*self.rule.program().hypers[driver.hyper].name, &driver.schedule, driver.in_force))
    }

    /// An epoch is over: schedules that advance with epochs take their next step.
    pub fn end_epoch(&mut self) {
        let drivers = self.groups.iter_mut().flat_map(|group| &mut group.drivers);
        drivers.filter(|driver| driver.advance == Advance::Epoch).for_each(Driver::advance);
    }

    // What is known of tensors.

    /// Makes a tensor known before its first step, and gives an id that is found without comparing names.
    ///
    /// # Errors
    /// [`Error::ShapeChanged`], [`Error::DtypeChanged`].
    ///
    /// ```
    /// use updraft::{Rule, Storage, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().build()?;
    /// let id = opt.register("w", &[2], Storage::F32)?;
    /// opt.step(&mut [Tensor::with_id(id, &mut [1.0f32, 2.0], &[0.0, 0.0])])?;
    /// assert_eq!(opt.steps("w"), 1);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn register(&mut self, name: &str, shape: &[usize], storage: Storage) -> Result<TensorId, Error> {
        let index = match self.by_name.get(name) {
            Some(&index) => {
                check_unchanged(&self.tensors[index as usize], shape, storage)?;
                index
            }
            None => self.add(name, shape, storage)?,
        };
        Ok(TensorId { index, generation: self.generation })
    }

    /// How many steps a tensor has taken; 0 if it is not known.
    pub fn steps(&self, tensor: &str) -> u64 {
        match self.by_name.get(tensor) {
            Some(&index) => self.tensors[index as usize].t,
            None => self.loaded.get(tensor).map_or(0, |loaded| loaded.t),
        }
    }

    /// A state of a tensor (one per group or model: the value that the tensor sees); `None` if no plan has touched it. Of a
    /// tensor that was loaded and has not been seen since, only its own states are known.
    pub fn state(&self, tensor: &str, state: &str) -> Option<StateValues<'_>> {
        let id = self.rule.program().states.iter().position(|s| &*s.name == state)?;
        let Some(index) = self.by_name.get(tensor) else {
            let loaded = self.loaded.get(tensor)?;
            return loaded
                .states
                .iter()
                .find(|(state, ..)| state.index() == id)
                .and_then(|(_, state, _)| state.values());
        };
        let slot = &self.tensors[*index as usize];
        match self.rule.program().states[id].extent {
            Extent::Model => self.model.states[id].map(StateValues::Scalar),
            Extent::Group => self.groups[slot.group].scope.states[id].map(StateValues::Scalar),
            _ => slot.states[id].values(),
        }
    }

    /// The bytes of all states.
    pub fn state_bytes(&self) -> usize {
        let tensors: usize = self.tensors.iter().flat_map(|slot| &slot.states).map(State::bytes).sum();
        let unseen = self.loaded.iter().filter(|(name, _)| !self.by_name.contains_key(*name));
        let unseen: usize = unseen.flat_map(|(_, loaded)| &loaded.states).map(|(_, state, _)| state.bytes()).sum();
        let scopes = self.groups.iter().map(|group| &group.scope).chain([&self.model]);
        let scalars: usize =
            scopes.flat_map(|scope| &scope.states).map(|state| if state.is_some() { 8 } else { 0 }).sum();
        tensors + unseen + scalars
    }

    /// Forgets every tensor and every state. Hypers and groups stay.
    pub fn reset(&mut self) {
        self.tensors.clear();
        self.by_name.clear();
        self.loaded.clear();
        self.generation += 1;
        self.scratch = Scratch { call: self.scratch.call, ..Scratch::default() };
        let program = self.rule.program().clone();
        self.model = Scope::new(&program);
        for group in &mut self.groups {
            group.scope = Scope::new(&program);
            group.drivers.iter_mut().for_each(Driver::reset);
            group.undrive(&self.rule);
        }
    }

    fn add(&mut self, name: &str, shape: &[usize], storage: Storage) -> Result<u32, Error> {
        let group = self.groups.iter().position(|group| group.matcher.matches(name, shape)).unwrap_or(0);
        let mut slot = Slot::new(name, shape, storage, group, &self.rule);
        if let Some(loaded) = self.loaded.get(name) {
            slot.t = loaded.t;
            for (id, state, state_shape) in &loaded.states {
                let Some(state_storage) = state.storage() else {
                    slot.states[id.index()] = state.clone();
                    continue;
                };
                if state_shape != shape {
                    let (was, now) = (state_shape.clone(), shape.to_vec());
                    return Err(Error::ShapeChanged { tensor: name.to_string(), was, now });
                }
                if state_storage != storage {
                    return Err(Error::DtypeChanged { tensor: name.to_string(), was: state_storage, now: storage });
                }
                slot.states[id.index()] = state.clone();
            }
        }
        let index = self.tensors.len() as u32;
        self.tensors.push(slot);
        self.by_name.insert(name.to_string(), index);
        Ok(index)
    }

    // The step.

    /// Does one step of each tensor: parameters and states change, gradients are only read.
    ///
    /// # Errors
    /// [`Error::GradShape`], [`Error::GradDtype`], [`Error::ShapeChanged`], [`Error::DtypeChanged`],
    /// [`Error::DuplicateTensor`], [`Error::Overlap`], [`Error::MissingInput`], [`Error::UnknownTensorId`],
    /// [`Error::UnknownInput`]; then nothing has been changed.
    pub fn step(&mut self, tensors: &mut [Tensor<'_>]) -> Result<(), Error> {
        let known = self.tensors.len();
        self.scratch.call += 1;
        let checked = self.groups.iter_mut().try_for_each(|group| group.drive(&self.rule));
        let mut tensors = match checked.and_then(|()| self.check(tensors)) {
            Ok(tensors) => tensors,
            Err(error) => {
                self.groups.iter_mut().for_each(|group| group.undrive(&self.rule));
                // Tensors that this call brought are forgotten again: they have taken no step.
                for slot in self.tensors.drain(known..) {
                    self.by_name.remove(&slot.name);
                }
                return Err(error);
            }
        };
        for (index, state, x) in self.scratch.touched.drain(..) {
            self.tensors[index as usize].states[state.index()] = State::Scalar(x);
        }
        for k in 0..tensors.tensors().len() {
            self.run(k, &mut tensors);
        }
        if !self.loaded.is_empty() {
            self.loaded.retain(|name, _| !self.by_name.contains_key(name));
        }
        for scope in self.groups.iter_mut().map(|group| &mut group.scope).chain([&mut self.model]) {
            for (state, next) in scope.states.iter_mut().zip(&mut scope.next) {
                *state = next.take().or(*state);
            }
            scope.inputs.fill(None);
        }
        self.groups.iter_mut().flat_map(|group| &mut group.drivers).for_each(Driver::commit);
        Ok(())
    }

    /// Everything that can fail. Nothing that lasts has changed if it does, but that tensors have become known.
    fn check<'t, 'a>(&mut self, tensors: &'t mut [Tensor<'a>]) -> Result<Disjoint<'t, 'a>, Error> {
        self.identify(tensors)?;
        let (slots, known) = (&self.scratch.slots, &self.tensors);
        let name = |k: usize| known[slots[k] as usize].name.clone();
        let tensors = disjoint(tensors, &mut self.scratch.spans, name)?;
        self.prepare(tensors.tensors())?;
        Ok(tensors)
    }

    /// Finds the slot of each tensor, and holds the tensors to what is known.
    fn identify(&mut self, tensors: &[Tensor<'_>]) -> Result<(), Error> {
        for (k, tensor) in tensors.iter().enumerate() {
            let (shape, storage) = (tensor.param.shape(), tensor.param.storage());
            // The k-th tensor of a call is nearly always the k-th of the last.
            let guess = self.scratch.slots.get(k).copied();
            let index = match tensor.key {
                Key::Id(id) => {
                    if id.generation != self.generation || id.index as usize >= self.tensors.len() {
                        return Err(Error::UnknownTensorId);
                    }
                    id.index
                }
                Key::Name(name) => match guess {
                    Some(index) if self.tensors.get(index as usize).is_some_and(|slot| slot.name == name) => index,
                    _ => match self.by_name.get(name) {
                        Some(&index) => index,
                        None => self.add(name, shape, storage)?,
                    },
                },
            };
            let slot = &mut self.tensors[index as usize];
            check_unchanged(slot, shape, storage)?;
            if slot.last_call == self.scratch.call {
                return Err(Error::DuplicateTensor { tensor: slot.name.clone() });
            }
            slot.last_call = self.scratch.call;
            if tensor.grad.storage() != storage {
                let tensor_name = slot.name.clone();
                return Err(Error::GradDtype { tensor: tensor_name, param: storage, grad: tensor.grad.storage() });
            }
            if tensor.grad.shape() != shape {
                let (param, grad) = (shape.to_vec(), tensor.grad.shape().to_vec());
                return Err(Error::GradShape { tensor: slot.name.clone(), param, grad });
            }
            for (name, _) in &tensor.inputs {
                input_index(self.rule.program(), name, Extent::Tensor)?;
            }
            match guess {
                Some(_) => self.scratch.slots[k] = index,
                None => self.scratch.slots.push(index),
            }
        }
        Ok(())
    }

    /// Chooses the plan of each tensor, compiles what is missing, and runs the scalar code that tensors share. Changes
    /// nothing that lasts but the plans.
    fn prepare(&mut self, tensors: &[Tensor<'_>]) -> Result<(), Error> {
        self.scratch.used = 0;
        self.scratch.by_key.clear();
        self.scratch.work.clear();
        self.scratch.touched.clear();
        for scope in self.groups.iter_mut().map(|group| &mut group.scope).chain([&mut self.model]) {
            scope.next.fill(None);
        }
        let mut last: Option<u32> = None;
        for (k, tensor) in tensors.iter().enumerate() {
            let slot = &self.tensors[self.scratch.slots[k] as usize];
            let conditions = self.rule.condition_code(slot.storage);
            let mut key = PreparedKey { group: slot.group as u32, t: slot.t + 1, storage: slot.storage, plan: 0 };
            let found = if conditions.has_tensor_level() {
                None
            } else {
                last.filter(|index| self.scratch.prepared[*index as usize].key == key)
                    .or_else(|| self.scratch.by_key.get(&key).copied())
            };
            let index = match found {
                Some(index) => index,
                None => {
                    let plan = self.choose(k, tensor)?;
                    if self.rule.condition_code(key.storage).has_tensor_level() {
                        key.plan = plan.id;
                    }
                    match self.scratch.by_key.get(&key) {
                        Some(&index) => index,
                        None => self.prepare_one(k, key, plan, tensor)?,
                    }
                }
            };
            self.check_inputs(k, index, tensor)?;
            self.scratch.work.push(index);
            last = Some(index);
        }
        Ok(())
    }

    /// The plan of a tensor: the conditions are computed, and the plan for their outcomes is found or compiled.
    fn choose(&mut self, k: usize, tensor: &Tensor<'_>) -> Result<Arc<Compiled>, Error> {
        let index = self.scratch.slots[k];
        let slot = &self.tensors[index as usize];
        let storage = slot.storage;
        let conditions = self.rule.condition_code(storage);
        let sources = sources_of(&self.rule, &self.groups, &self.model, slot, tensor);
        let Scratch { registers, outcomes: found, needed, touched, stores, .. } = &mut self.scratch;
        conditions.run((Level::Model, Level::Tensor), registers, &sources, |_, _| ());
        outcomes(self.rule.program(), conditions, registers, found);
        // A condition in a block that is not taken reads nothing: neither inputs that were not given, nor states.
        let reached = conditions.outputs.iter().zip(&*found).filter(|(_, outcome)| **outcome != Outcome::Unreached);
        conditions.trace(reached.map(|(output, _)| *output), registers, needed);
        stores.clear();
        for source in conditions.needed_sources(needed) {
            require_input(source, &sources)?;
            match source {
                Source::State(id) if sources.state(id).is_none() => stores.push((id, sources.first_value(id))),
                _ => {}
            }
        }
        let group = slot.group;
        for (id, x) in stores.drain(..) {
            match self.rule.program().states[id.index()].extent {
                Extent::Model => self.model.keep(id, x),
                Extent::Group => self.groups[group].scope.keep(id, x),
                _ => touched.push((index, id, x)),
            }
        }
        let found = std::mem::take(found);
        let mut facts = Facts { storage, math: self.plans.math, outcomes: found };
        let plan = self.plans.get(self.rule.program(), &facts);
        self.scratch.outcomes = std::mem::take(&mut facts.outcomes);
        Ok(plan)
    }

    /// Runs the scalar code that the tensors of a key share.
    fn prepare_one(
        &mut self,
        k: usize,
        key: PreparedKey,
        plan: Arc<Compiled>,
        tensor: &Tensor<'_>,
    ) -> Result<u32, Error> {
        let index = self.scratch.used;
        if index == self.scratch.prepared.len() {
            self.scratch.prepared.push(Prepared {
                key,
                plan: plan.clone(),
                registers: Vec::new(),
                uniforms: UniformValues::default(),
            });
        }
        let mut registers = std::mem::take(&mut self.scratch.prepared[index].registers);
        let mut stores = std::mem::take(&mut self.scratch.stores);
        stores.clear();
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        let sources = sources_of(&self.rule, &self.groups, &self.model, slot, tensor);
        for source in plan.scalars.iter().flat_map(Region::sources) {
            require_input(source, &sources)?;
            match source {
                Source::State(id) if sources.state(id).is_none() => stores.push((id, sources.first_value(id))),
                _ => {}
            }
        }
        let first_values = stores.len();
        if let Some(region) = &plan.scalars {
            region.run((Level::Model, Level::Steps), &mut registers, &sources, |id, x| stores.push((id, x)));
        }
        for (index, (id, x)) in stores.drain(..).enumerate() {
            let scope = match self.rule.program().states[id.index()].extent {
                Extent::Model => &mut self.model,
                Extent::Group => &mut self.groups[key.group as usize].scope,
                // Those of the tensor are its own affair: `run` sees to them.
                _ => continue,
            };
            if index < first_values {
                scope.keep(id, x);
            } else {
                scope.next[id.index()] = Some(x);
            }
        }
        self.scratch.stores = stores;
        let prepared = &mut self.scratch.prepared[index];
        match &plan.scalars {
            // `run` sets them for each tensor.
            Some(region) if region.has_tensor_level() => {}
            Some(region) => prepared.uniforms.set(key.storage, region, &registers),
            None => prepared.uniforms.clear(),
        }
        prepared.key = key;
        prepared.plan = plan;
        prepared.registers = registers;
        self.scratch.by_key.insert(key, index as u32);
        self.scratch.used += 1;
        Ok(index as u32)
    }

    /// Inputs per tensor have to be there for each tensor.
    fn check_inputs(&self, k: usize, prepared: u32, tensor: &Tensor<'_>) -> Result<(), Error> {
        let Some(region) = &self.scratch.prepared[prepared as usize].plan.scalars else { return Ok(()) };
        if !region.has_tensor_level() {
            return Ok(());
        }
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        let sources = sources_of(&self.rule, &self.groups, &self.model, slot, tensor);
        region.sources().try_for_each(|source| require_input(source, &sources))
    }

    /// Runs the plan of one tensor. Nothing can fail any more.
    fn run(&mut self, k: usize, tensors: &mut Disjoint<'_, '_>) {
        let index = self.scratch.slots[k] as usize;
        let work = self.scratch.work[k] as usize;
        let plan = self.scratch.prepared[work].plan.clone();
        let slot = &self.tensors[index];
        if let Some(region) = plan.scalars.as_ref().filter(|region| region.has_tensor_level()) {
            let sources = sources_of(&self.rule, &self.groups, &self.model, slot, &tensors.tensors()[k]);
            let Scratch { prepared, stores, .. } = &mut self.scratch;
            stores.clear();
            // A state keeps its first value from the first step that reads it, stored or not.
            for source in region.sources() {
                let Source::State(id) = source else { continue };
                if self.rule.program().states[id.index()].extent == Extent::Tensor && sources.state(id).is_none() {
                    stores.push((id, sources.first_value(id)));
                }
            }
            let Prepared { registers, uniforms, .. } = &mut prepared[work];
            region.run((Level::Tensor, Level::Tensor), registers, &sources, |id, x| stores.push((id, x)));
            uniforms.set(slot.storage, region, registers);
            for (id, x) in stores.drain(..) {
                self.tensors[index].states[id.index()] = State::Scalar(x);
            }
        }
        let slot = &mut self.tensors[index];
        if let Some(sweep) = &plan.sweep {
            let hypers = &self.groups[slot.group].hypers;
            let program = self.rule.program();
            let Scratch { prepared, param_f32, param_f64, grad_f32, grad_f64, .. } = &mut self.scratch;
            let uniforms = prepared[work].uniforms.values(slot.storage);
            let run = SweepOfTensor { program, facts: &plan.facts, sweep, hypers, uniforms, states: &mut slot.states };
            // `identify` has seen to it that parameter and gradient are of the slot's type.
            match slot.storage {
                Storage::F32 => {
                    if let Some((p, g)) = tensors.elements::<f32>(k) {
                        run.run(p, g, param_f32, grad_f32);
                    }
                }
                Storage::F64 => {
                    if let Some((p, g)) = tensors.elements::<f64>(k) {
                        run.run(p, g, param_f64, grad_f64);
                    }
                }
            }
        }
        slot.t += 1;
    }
}

fn require_input(source: Source, sources: &Sources<'_>) -> Result<(), Error> {
    let Source::Input(id) = source else { return Ok(()) };
    if sources.input(id).is_some() {
        return Ok(());
    }
    let input = &sources.rule.program().inputs[id.index()];
    Err(Error::MissingInput {
        rule: sources.rule.name().to_string(),
        input: input.name.to_string(),
        extent: input.extent.name(),
        tensor: sources.slot.name.clone(),
    })
}

/// One sweep over one tensor.
struct SweepOfTensor<'a> {
    program: &'a Arc<Program>,
    facts: &'a Facts,
    sweep: &'a CompiledSweep,
    hypers: &'a Hypers,
    uniforms: Uniforms<'a>,
    states: &'a mut [State],
}

impl SweepOfTensor<'_> {
    /// Runs over any layout: what is not row-major is copied, and the parameter copied back.
    fn run<T: Erase>(
        self,
        param: ParamElements<'_, '_, T>,
        grad: GradElements<'_, '_, T>,
        param_copy: &mut Vec<T>,
        grad_copy: &mut Vec<T>,
    ) {
        let grad = match grad {
            GradElements::Slice(slice) => slice,
            GradElements::View(view) => match view.as_slice() {
                Some(slice) => slice,
                None => {
                    grad_copy.clear();
                    grad_copy.extend(view.iter().copied());
                    grad_copy
                }
            },
        };
        match param {
            ParamElements::Slice(slice) => self.run_slices(slice, grad),
            ParamElements::View(view) => {
                if let Some(slice) = view.as_slice_mut() {
                    return self.run_slices(slice, grad);
                }
                param_copy.clear();
                param_copy.extend(view.iter().copied());
                self.run_slices(param_copy, grad);
                view.iter_mut().zip(param_copy.iter()).for_each(|(to, from)| *to = *from);
            }
        }
    }

    fn run_slices<T: Erase>(self, param: &mut [T], grad: &[T]) {
        first_values(self.program, self.facts, self.sweep, self.hypers, self.states, param);
        // The buffers in the order of the streams: each state is borrowed once, in its own order.
        let mut buffers: SmallVec<[Option<Buffer<'_>>; 12]> = SmallVec::new();
        buffers.resize_with(self.sweep.arrays.len(), || None);
        let place = |array: Array| self.sweep.arrays.iter().position(|a| *a == array);
        for (id, state) in self.states.iter_mut().enumerate() {
            if let Some(stream) = place(Array::State(StateId(id as u32))) {
                buffers[stream] = state.buffer();
            }
        }
        if let Some(stream) = place(Array::Param) {
            buffers[stream] = Some(T::buffer_mut(param));
        }
        if let Some(stream) = place(Array::Grad) {
            buffers[stream] = Some(T::buffer(grad));
        }
        match Args::new(&self.sweep.kernel, buffers.into_iter().flatten(), self.uniforms) {
            Ok(mut args) => self.sweep.run(&mut args),
            // A tensor that silently takes no step would be worse.
            Err(error) => unreachable!("the arguments were made for this kernel: {error}"),
        }
    }
}

/// Gives the states that a sweep is the first to touch their first values.
fn first_values<T: Erase>(
    program: &Arc<Program>,
    facts: &Facts,
    sweep: &CompiledSweep,
    hypers: &Hypers,
    states: &mut [State],
    param: &[T],
) {
    for (array, stream) in sweep.arrays.iter().zip(&sweep.kernel.streams) {
        let Array::State(id) = *array else { continue };
        if !states[id.index()].is_absent() {
            continue;
        }
        if !stream.access.reads() {
            states[id.index()] = State::zeros(facts.storage, param.len());
            continue;
        }
        // A first value that is the same for every element is computed for one.
        let is_one_value = program.node(program.states[id.index()].init).extent.is_scalar();
        let column = T::column(if is_one_value && !param.is_empty() { &param[..1] } else { param });
        let mut arrays = Arrays([(Array::Param, column)].into());
        let mut scalars = scalars_of(program, hypers);
        eval_step(&lower_init(program, id, facts), &mut arrays, &mut scalars);
        states[id.index()] = match arrays.0.remove(array) {
            Some(Column::F32(x)) if is_one_value && x.len() == 1 => State::filled_f32(param.len(), x[0]),
            Some(Column::F64(x)) if is_one_value && x.len() == 1 => State::filled_f64(param.len(), x[0]),
            Some(Column::F32(x)) => State::F32(x),
            Some(Column::F64(x)) => State::F64(x),
            _ => State::zeros(facts.storage, param.len()),
        };
    }
}

/// A group, to read and set its own hypers: what [`Optimizer::group`] gives.
pub struct GroupMut<'a> {
    optimizer: &'a mut Optimizer,
    index: usize,
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
fn with(rule: &Rule, old: &Hypers, values: &[(&str, HyperValue)], group: &str) -> Result<Hypers, Error> {
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

fn input_index(program: &Program, name: &str, extent: Extent) -> Result<usize, Error> {
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

fn check_unchanged(slot: &Slot, shape: &[usize], storage: Storage) -> Result<(), Error> {
    if slot.shape != shape {
        return Err(Error::ShapeChanged { tensor: slot.name.clone(), was: slot.shape.clone(), now: shape.to_vec() });
    }
    if slot.storage != storage {
        return Err(Error::DtypeChanged { tensor: slot.name.clone(), was: slot.storage, now: storage });
    }
    Ok(())
}
