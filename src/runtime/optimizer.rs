//! [`Optimizer`]: a rule with hypers, groups and state.

use super::error::Error;
use super::first::Inits;
use super::hyper::{self, HyperValue};
use super::plans::{Engine, Plans, outcomes};
use super::rule::Rule;
use super::scopes::{Group, GroupMut, Loaded, Scope, Slot, input_index, with};
use super::sources::{HostOptions, Shared, Sources};
use super::state::{State, StateValues};
use super::step::Scratch;
use super::tensor::TensorId;
use crate::check::program::{Extent, Program, StateId};
use crate::ir::region::Level;
use crate::ir::step::{Array, Source};
#[cfg(feature = "cli")]
use crate::ir::{Args, Kernel};
use crate::ir::{Exchange, Facts, Scalar, Storage, Store, Stores, Type};
#[cfg(feature = "cli")]
use crate::plan::Plan;
use crate::plan::phases;
use crate::schedule::{Advance, Driver};
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
    pub(super) generation: u32,
    /// State that was loaded for tensors that have not been seen yet.
    pub(super) loaded: HashMap<String, Loaded>,
    pub(super) plans: Plans,
    /// What the host has joined to the rule.
    pub(super) host: HostOptions,
    /// The processes that have other parts of the same tensors.
    pub(super) exchange: Option<Arc<dyn Exchange>>,
    /// More threads than the calling one.
    pub(super) pool: Option<Arc<rayon::ThreadPool>>,
    pub(super) inits: Inits,
    /// Of every step.
    pub(super) phases: u32,
    pub(super) last_skipped: bool,
    pub(super) skipped: u64,
    pub(super) scratch: Scratch,
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

impl Optimizer {
    pub(super) fn new(rule: Rule, groups: Vec<Group>, plans: Plans, host: HostOptions) -> Optimizer {
        // One of each compute type.
        let storages = [Storage::F32, Storage::F64];
        let conditions = storages.into_iter().flat_map(|storage| rule.condition_code(storage).sources());
        Optimizer {
            inits: Inits::new(rule.program(), conditions),
            phases: phases(rule.program(), host.facts(false)),
            host,
            exchange: None,
            pool: None,
            last_skipped: false,
            skipped: 0,
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
    /// first values and inputs their defaults, else 0. The tensor is a matrix, 64 by 64.
    ///
    /// ```
    /// use updraft::{Outcome, Rule, Storage};
    /// let opt = Rule::shipped("adam")?.optimizer().set("weight_decay", 0.1)?.build()?;
    /// assert_eq!(opt.facts(Storage::F32, 1).outcomes, [Outcome::False, Outcome::True]); // maximize, weight_decay != 0
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn facts(&self, storage: Storage, t: u64) -> Facts {
        self.facts_of(&[64, 64], storage, t)
    }

    /// Like [`facts`](Self::facts), for a tensor of this shape.
    pub fn facts_of(&self, shape: &[usize], storage: Storage, t: u64) -> Facts {
        let group = &self.groups[self.groups.len() - 1];
        let empty = Scope::new(self.rule.program());
        let slot = &Slot::new("", shape, storage, self.groups.len() - 1, &self.rule);
        let shared = Shared { model: &empty, ..self.shared() };
        let sources = Sources { t, hypers: &group.hypers, group: &empty, ..Sources::of(shared, slot, &slot.own, &[]) };
        let read = |source| match source {
            Source::Input(id) => Scalar::F64(sources.input(id).unwrap_or(0.0)),
            source => sources.get(source),
        };
        let conditions = self.rule.condition_code(storage);
        let (mut registers, mut found) = (Vec::new(), Vec::new());
        conditions.run((Level::Model, Level::Tensor), &mut registers, read, |_, _| ());
        outcomes(self.rule.program(), conditions, &registers, &mut found);
        let facts = Facts::new(storage, self.plans.math, found);
        let (host, stores) = (self.host.facts(false), self.host.stores.clone());
        Facts { host, stores, reports: self.host.reports.clone(), ..facts }
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

    #[cfg(feature = "cli")]
    /// The plan of the first tensor of the last step.
    pub(crate) fn last_plan(&self) -> Option<&Plan> {
        let index = *self.scratch.work.first()?;
        Some(&self.scratch.prepared[index as usize].plan.plan)
    }

    #[cfg(feature = "cli")]
    /// What runs a kernel that is not the rule's: the fastest code there is, in the floating-point mode of the rule's.
    pub(crate) fn runner(&mut self, kernel: Kernel) -> impl Fn(&mut Args<'_>) + Send + Sync + use<> {
        let codegen = self.plans.codegen.take();
        let (runner, denormals) = (self.plans.code(&kernel), self.plans.denormals());
        self.plans.codegen = codegen;
        move |args| runner.run(&kernel, denormals, args)
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

    #[cfg(feature = "cli")]
    /// The value of a hyper in the group `default`, without its schedule.
    pub(crate) fn own_hyper(&self, name: &str) -> Option<&HyperValue> {
        let index = hyper::index(self.rule.program(), name).ok()?;
        Some(self.groups.last()?.hypers.own(index))
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
                self.tensors[index as usize].check_unchanged(shape, storage)?;
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
    ///
    /// What is kept beside the states is found by its name in a checkpoint: `@master`, `@p.compensation`,
    /// `@m.compensation` of a state `m`.
    pub fn state(&self, tensor: &str, state: &str) -> Option<StateValues<'_>> {
        let program = self.rule.program();
        let array = array_named(program, state)?;
        let Some(index) = self.by_name.get(tensor) else {
            return self.loaded.get(tensor)?.get(array)?.values();
        };
        let slot = &self.tensors[*index as usize];
        match (array, array.extent(program)) {
            (Array::State(id), Extent::Model) => self.model.states[id.index()].map(StateValues::Scalar),
            (Array::State(id), Extent::Group) => {
                self.groups[slot.group].scope.states[id.index()].map(StateValues::Scalar)
            }
            _ => slot.own.get(array).values(),
        }
    }

    /// The bytes of all states.
    pub fn state_bytes(&self) -> usize {
        let own = self.tensors.iter().flat_map(|slot| slot.own.all());
        let tensors: usize = own.map(State::bytes).sum();
        let unseen = self.loaded.iter().filter(|(name, _)| !self.by_name.contains_key(*name));
        let unseen: usize = unseen.flat_map(|(_, loaded)| loaded.all()).map(|(_, state, _)| state.bytes()).sum();
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
        let call = self.scratch.call;
        self.scratch = Scratch::default();
        self.scratch.call = call;
        (self.last_skipped, self.skipped) = (false, 0);
        let program = self.rule.program().clone();
        self.model = Scope::new(&program);
        for group in &mut self.groups {
            group.scope = Scope::new(&program);
            group.drivers.iter_mut().for_each(Driver::reset);
            group.undrive(&self.rule);
        }
    }

    /// Whether what has been said about how things are kept can be for a tensor of this type.
    pub(crate) fn check_stores(&self, tensor: &str, param: Storage) -> Result<(), Error> {
        let Stores { param: own, states } = &self.host.stores;
        let fits = |store: Store| store.storage() == param || (store == Store::F32 && param.compute() == Type::F32);
        let own = own.filter(|store| !fits(*store)).map(|store| ("p".to_string(), store));
        let states = self.rule.program().states.iter().zip(&**states);
        let state = states.filter_map(|(state, store)| {
            let store = store.filter(|store| store.is_of_f32() && param.compute() != Type::F32)?;
            Some((state.name.to_string(), store))
        });
        match own.into_iter().chain(state).next() {
            Some((what, store)) => Err(Error::StoreDtype { tensor: tensor.to_string(), what, store, param }),
            None => Ok(()),
        }
    }

    pub(super) fn add(&mut self, name: &str, shape: &[usize], storage: Storage) -> Result<u32, Error> {
        self.check_stores(name, storage)?;
        let group = self.groups.iter().position(|group| group.matcher.matches(name, shape)).unwrap_or(0);
        let mut slot = Slot::new(name, shape, storage, group, &self.rule);
        if let Some(loaded) = self.loaded.get(name) {
            slot.take_loaded(self.rule.program(), &self.host.stores, &self.groups[group].name, loaded)?;
        }
        let index = self.tensors.len() as u32;
        self.tensors.push(slot);
        self.by_name.insert(name.to_string(), index);
        Ok(index)
    }
}

/// The array of this name: a state, or what is kept beside them.
pub(super) fn array_named(program: &Program, name: &str) -> Option<Array> {
    let ids = (0..program.states.len() as u32).map(StateId);
    let beside = [Array::Average, Array::Master, Array::ParamRest];
    let all = ids.clone().map(Array::State).chain(beside).chain(ids.map(Array::StateRest));
    all.into_iter().find(|array| array.name(program) == name)
}
