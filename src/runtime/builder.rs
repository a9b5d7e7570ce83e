//! Building an optimizer: hypers, groups, and how steps are run.

use super::error::Error;
use super::hyper::{self, HyperValue, Hypers};
use super::optimizer::Optimizer;
use super::plans::{Denormals, Engine, Plans};
use super::rule::Rule;
use super::scopes::Group;
use super::sources::HostOptions;
use crate::check::program::{HyperDefault, Program, ReportId};
use crate::diagnostic::did_you_mean;
use crate::ir::{Exchange, Math, Storage, Store};
use crate::schedule::{Advance, Driver, Schedule};
use std::fmt;
use std::sync::Arc;

/// An optimizer that is being built. [`Rule::optimizer`] begins one.
pub struct OptimizerBuilder {
    rule: Rule,
    base: Hypers,
    schedules: Vec<Driver>,
    groups: Vec<(String, Selector, Hypers, Vec<Driver>)>,
    math: Math,
    engine: Engine,
    denormals: Denormals,
    host: HostOptions,
    threads: usize,
    pool: Option<Arc<rayon::ThreadPool>>,
    exchange: Option<Arc<dyn Exchange>>,
    #[cfg(feature = "jit")]
    lanes: crate::codegen::Lanes,
    #[cfg(feature = "jit")]
    codegen: Option<crate::codegen::Codegen>,
}

impl fmt::Debug for OptimizerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptimizerBuilder")
            .field("rule", &self.rule.name())
            .field("base", &self.base)
            .field("host", &self.host)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Which tensors belong to a group: a glob over names (`*.bias`), or a closure over name and shape.
pub struct Selector(Kind);

enum Kind {
    Glob(String),
    Closure(Closure),
}

/// Whether a tensor of this name and shape belongs to the group.
type Closure = Box<dyn Fn(&str, &[usize]) -> bool + Send + Sync>;

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Glob(pattern) => write!(f, "{pattern:?}"),
            Kind::Closure(_) => f.write_str("a closure"),
        }
    }
}

impl From<&str> for Selector {
    fn from(pattern: &str) -> Selector {
        Selector(Kind::Glob(pattern.to_string()))
    }
}

impl From<String> for Selector {
    fn from(pattern: String) -> Selector {
        Selector(Kind::Glob(pattern))
    }
}

impl<F: Fn(&str, &[usize]) -> bool + Send + Sync + 'static> From<F> for Selector {
    fn from(closure: F) -> Selector {
        Selector(Kind::Closure(Box::new(closure)))
    }
}

/// A selector whose pattern has been read.
pub(super) enum Matcher {
    Glob(glob::Pattern),
    Closure(Closure),
    /// Every tensor that no other group takes.
    Rest,
}

impl Matcher {
    pub(super) fn matches(&self, name: &str, shape: &[usize]) -> bool {
        match self {
            Matcher::Glob(pattern) => pattern.matches(name),
            Matcher::Closure(closure) => closure(name, shape),
            Matcher::Rest => true,
        }
    }
}

/// A group that is being built.
#[derive(Debug)]
pub struct GroupBuilder<'a> {
    rule: &'a Rule,
    name: String,
    hypers: Hypers,
    schedules: Vec<Driver>,
}

impl GroupBuilder<'_> {
    /// Sets a hyper for this group.
    ///
    /// # Errors
    /// Those of [`OptimizerBuilder::set`], and [`Error::HyperPerModel`].
    pub fn set(mut self, name: &str, value: impl Into<HyperValue>) -> Result<Self, Error> {
        let value = value.into();
        let index = hyper::find(self.rule.program(), name, &value)?;
        if hyper::is_per_model(self.rule.program(), index) {
            return Err(Error::HyperPerModel { hyper: name.to_string(), group: self.name });
        }
        self.hypers.set(index, value);
        Ok(self)
    }

    /// Lets a schedule drive a hyper of this group.
    ///
    /// # Errors
    /// Those of [`OptimizerBuilder::schedule`], and [`Error::HyperPerModel`].
    pub fn schedule(mut self, name: &str, schedule: Schedule, advance: Advance) -> Result<Self, Error> {
        let driver = driver(self.rule.program(), name, schedule, advance)?;
        if hyper::is_per_model(self.rule.program(), driver.hyper) {
            return Err(Error::HyperPerModel { hyper: name.to_string(), group: self.name });
        }
        self.schedules.retain(|other| other.hyper != driver.hyper);
        self.schedules.push(driver);
        Ok(self)
    }
}

/// A schedule for a hyper that can be driven: a number that is not fixed.
fn driver(program: &Program, name: &str, schedule: Schedule, advance: Advance) -> Result<Driver, Error> {
    let index = hyper::index(program, name)?;
    let hyper = &program.hypers[index];
    if !matches!(hyper.default, HyperDefault::Number(_)) {
        let (expected, given) = ("not a number, so no schedule can drive it".to_string(), "a schedule".to_string());
        return Err(Error::HyperKind { hyper: name.to_string(), expected, given });
    }
    if hyper.fixed {
        return Err(Error::HyperFixed { hyper: name.to_string() });
    }
    schedule.check()?;
    Ok(Driver::new(schedule, index, advance))
}

impl OptimizerBuilder {
    pub(super) fn new(rule: Rule) -> OptimizerBuilder {
        let base = Hypers::new(&rule);
        OptimizerBuilder {
            rule,
            base,
            schedules: Vec::new(),
            groups: Vec::new(),
            math: Math::default(),
            engine: Engine::default(),
            denormals: Denormals::default(),
            host: HostOptions::default(),
            threads: 1,
            pool: None,
            exchange: None,
            #[cfg(feature = "jit")]
            lanes: crate::codegen::Lanes::Simd,
            #[cfg(feature = "jit")]
            codegen: None,
        }
    }

    /// Sets a hyper for all groups that do not set it themselves. `require`s are checked by [`build`](Self::build), so
    /// the order of settings does not matter.
    ///
    /// # Errors
    /// [`Error::UnknownHyper`], [`Error::HyperKind`], [`Error::HyperOutOfRange`].
    pub fn set(mut self, name: &str, value: impl Into<HyperValue>) -> Result<Self, Error> {
        let value = value.into();
        let index = hyper::find(self.rule.program(), name, &value)?;
        self.base.set(index, value);
        Ok(self)
    }

    /// Lets a schedule drive a hyper of all groups that do not drive it themselves. The hyper's own value is the
    /// schedule's `base`.
    ///
    /// ```
    /// use updraft::{Rule, Schedule, Tensor};
    /// let halved = Schedule::shipped("step")?.set("step_size", 1)?.set("gamma", 0.5)?;
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.schedule("lr", halved)?.build()?;
    /// let mut w = [10.0f64];
    /// for _ in 0..3 {
    ///     opt.step(&mut [Tensor::new("w", &mut w, &[1.0])])?;
    /// }
    /// assert_eq!(w, [10.0 - 1.0 - 0.5 - 0.25]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownHyper`], [`Error::HyperKind`], [`Error::HyperFixed`], and those of the schedule's own hypers.
    pub fn schedule(self, name: &str, schedule: Schedule) -> Result<Self, Error> {
        self.schedule_every(name, schedule, Advance::Step)
    }

    /// Like [`schedule`](Self::schedule), with a say in what completes a step of the schedule.
    ///
    /// # Errors
    /// Those of [`schedule`](Self::schedule).
    pub fn schedule_every(mut self, name: &str, schedule: Schedule, advance: Advance) -> Result<Self, Error> {
        let driver = driver(self.rule.program(), name, schedule, advance)?;
        self.schedules.retain(|other| other.hyper != driver.hyper);
        self.schedules.push(driver);
        Ok(self)
    }

    /// Adds a group of tensors with hypers of its own. The first group that matches a tensor has it; tensors that none
    /// matches are in the group `default`.
    ///
    /// ```
    /// use updraft::Rule;
    /// let opt = Rule::shipped("adamw")?
    ///     .optimizer()
    ///     .group("no_decay", "*.bias", |g| g.set("weight_decay", 0.0))?
    ///     .group("small", |_: &str, shape: &[usize]| shape.len() < 2, |g| g.set("lr", 1e-4))?
    ///     .build()?;
    /// assert_eq!(opt.groups().collect::<Vec<_>>(), ["no_decay", "small", "default"]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the closure, and [`Error::DuplicateGroup`].
    pub fn group(
        mut self,
        name: &str,
        selector: impl Into<Selector>,
        build: impl for<'a> FnOnce(GroupBuilder<'a>) -> Result<GroupBuilder<'a>, Error>,
    ) -> Result<Self, Error> {
        if name == DEFAULT_GROUP || self.groups.iter().any(|(other, ..)| other == name) {
            return Err(Error::DuplicateGroup { group: name.to_string() });
        }
        let empty = Hypers::new(&self.rule);
        let group =
            build(GroupBuilder { rule: &self.rule, name: name.to_string(), hypers: empty, schedules: Vec::new() })?;
        self.groups.push((name.to_string(), selector.into(), group.hypers, group.schedules));
        Ok(self)
    }

    /// Sets how the arithmetic is compiled; [`Math::Fast`] unless said.
    pub fn math(mut self, math: Math) -> Self {
        self.math = math;
        self
    }

    /// Sets what runs the kernels; [`Engine::Jit`] unless said. All engines give the same bits.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets what kernels do with denormal numbers; [`Denormals::Keep`] unless said.
    ///
    /// ```
    /// use updraft::{Denormals, Rule, Tensor};
    /// let rule = Rule::shipped("sgd")?;
    /// let (kept, flushed) = (rule.optimizer().set("lr", 1.0)?, rule.optimizer().set("lr", 1.0)?);
    /// let (mut a, mut b) = ([1e-40f32], [1e-40f32]);
    /// kept.build()?.step(&mut [Tensor::new("w", &mut a, &[0.0])])?;
    /// flushed.denormals(Denormals::Flush).build()?.step(&mut [Tensor::new("w", &mut b, &[0.0])])?;
    /// assert_eq!((a, b), ([1e-40], [0.0]));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn denormals(mut self, denormals: Denormals) -> Self {
        self.denormals = denormals;
        self
    }

    /// Sets how many elements the machine code takes at a time; SIMD unless said. Both give the same bits.
    #[cfg(feature = "jit")]
    pub fn lanes(mut self, lanes: crate::codegen::Lanes) -> Self {
        self.lanes = lanes;
        self
    }

    /// Sets what makes the machine code; the fastest that this machine runs, unless said. All gives the same bits. If the
    /// machine does not run its code, the evaluator runs instead, with a [`warning`](Optimizer::warning).
    ///
    /// ```
    /// use updraft::{Codegen, Rule, Tensor};
    /// let step = |codegen| {
    ///     let mut opt = Rule::shipped("adam")?.optimizer().codegen(codegen).build()?;
    ///     let mut w = [1.0f32; 9];
    ///     opt.step(&mut [Tensor::new("w", &mut w, &[0.5; 9])]).map(|()| w)
    /// };
    /// assert_eq!(step(Codegen::Cranelift)?, step(Codegen::Wide)?);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    #[cfg(feature = "jit")]
    pub fn codegen(mut self, codegen: crate::codegen::Codegen) -> Self {
        self.codegen = Some(codegen);
        self
    }

    /// Divides each gradient by the loss scale first: the loss was multiplied by it, so that small gradients do not
    /// vanish. [`Optimizer::set_loss_scale`] says how much it is.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.unscale(true).build()?;
    /// opt.set_loss_scale(4.0)?;
    /// let mut w = [1.0f32];
    /// opt.step(&mut [Tensor::new("w", &mut w, &[2.0])])?;
    /// assert_eq!(w, [0.5]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn unscale(mut self, unscale: bool) -> Self {
        self.host.unscale = unscale;
        self
    }

    /// Takes no step in which any gradient of the model has an element that is not finite. Nothing changes then; see
    /// [`Optimizer::last_skipped`].
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("adam")?.optimizer().skip_nonfinite(true).build()?;
    /// let (mut w, mut b) = ([1.0f32], [2.0f32; 2]);
    /// opt.step(&mut [Tensor::new("w", &mut w, &[0.5]), Tensor::new("b", &mut b, &[0.5, f32::INFINITY])])?;
    /// assert!(opt.last_skipped());
    /// assert_eq!((w, b, opt.steps("w")), ([1.0], [2.0; 2], 0));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn skip_nonfinite(mut self, skip: bool) -> Self {
        self.host.skip_nonfinite = skip;
        self
    }

    /// Keeps an exponential moving average of each parameter, in the same pass over memory: after a step it is
    /// `decay*average + (1 - decay)*p`. It begins as the parameter before its first step; see [`Optimizer::average`].
    ///
    /// ```
    /// use updraft::{Rule, StateValues, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.average(0.75)?.build()?;
    /// let mut w = [4.0f32];
    /// opt.step(&mut [Tensor::new("w", &mut w, &[4.0])])?;
    /// assert_eq!(w, [0.0]);
    /// assert_eq!(opt.average("w"), Some(StateValues::F32(&[3.0])));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::HostOption`], if `decay` is not in [0, 1].
    pub fn average(mut self, decay: f64) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::HostOption { option: "average", value: decay, expected: "in [0, 1]" });
        }
        self.host.average = Some(decay);
        Ok(self)
    }

    /// Writes each new parameter to a second array too, rounded to this type: every tensor then needs
    /// [`copy_to`](super::Tensor::copy_to).
    ///
    /// ```
    /// use updraft::{Rule, Storage, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 1.0)?.copy_as(Storage::F32).build()?;
    /// let (mut w, mut copy) = ([1.0f64 / 3.0], [0.0f32]);
    /// opt.step(&mut [Tensor::new("w", &mut w, &[0.0]).copy_to(&mut copy)])?;
    /// assert_eq!(copy, [1.0f32 / 3.0]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn copy_as(mut self, storage: Storage) -> Self {
        self.host.copy = Some(storage);
        self
    }

    /// Says how a state is kept from step to step, or the parameter, `p`. What is not said is as the rule says (`state m as
    /// bf16`), else as the parameter. The rule does not know of it: it computes in f32 for f32, bf16 and f16, and what a
    /// step assigns to a state or the parameter last is rounded.
    ///
    /// A parameter has the type of its tensor. Of one that is bf16 or f16, [`Store::F32`] keeps a master copy, which
    /// begins as the parameter and which the rule works on; the tensor gets its rounding, and what the host writes to it
    /// afterwards is not seen. [`Store::Bf16Stochastic`] and [`Store::Bf16Kahan`] are for bf16.
    ///
    /// ```
    /// use updraft::{Rule, StateValues, Store, Tensor};
    /// let mut opt = Rule::shipped("adam")?.optimizer().store("m", Store::Bf16)?.store("v", Store::Bf16)?.build()?;
    /// opt.step(&mut [Tensor::new("w", &mut [1.0f32; 3], &[0.5; 3])])?;
    /// assert!(matches!(opt.state("w", "m"), Some(StateValues::Bf16(_))));
    /// assert_eq!(opt.state_bytes(), 2 * 3 * 2);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownState`], [`Error::StoreScalar`], [`Error::StoreParam`]. That a tensor is of a type that cannot be
    /// kept like this is found when it is first seen: [`Error::StoreDtype`].
    pub fn store(mut self, name: &str, store: Store) -> Result<Self, Error> {
        let program = self.rule.program();
        if name == "p" {
            if !matches!(store, Store::F32 | Store::Bf16Stochastic | Store::Bf16Kahan) {
                return Err(Error::StoreParam { store });
            }
            self.host.stores.param = Some(store);
            return Ok(self);
        }
        let names = || program.states.iter().map(|state| &*state.name).chain(["p"]);
        let Some(index) = program.states.iter().position(|state| &*state.name == name) else {
            return Err(Error::UnknownState {
                rule: self.rule.name().to_string(),
                state: name.to_string(),
                similar: did_you_mean(name, names()).map(str::to_string),
                known: names().map(str::to_string).collect(),
            });
        };
        let extent = program.states[index].extent;
        if extent.is_scalar() {
            return Err(Error::StoreScalar { state: name.to_string(), store, extent: extent.name() });
        }
        let mut states = self.host.stores.states.to_vec();
        states.resize(program.states.len(), None);
        states[index] = Some(store);
        self.host.stores.states = states.into();
        Ok(self)
    }

    /// Asks for a report of the rule: [`Optimizer::report`] and [`Optimizer::report_of`] give it after each step. What is
    /// not asked for is not computed.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let text = "optimizer clipped\nhyper lr = 0.1\n\nreport size = norm(g per model)\np -= lr * g\n";
    /// let mut opt = Rule::parse("clipped", text)?.optimizer().report("size")?.build()?;
    /// opt.step(&mut [Tensor::new("w", &mut [1.0f32, 1.0], &[3.0, 4.0])])?;
    /// assert_eq!(opt.report("size"), Some(5.0));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownReport`].
    pub fn report(mut self, name: &str) -> Result<Self, Error> {
        let reports = &self.rule.program().reports;
        let Some(index) = reports.iter().position(|report| &*report.name == name) else {
            return Err(Error::UnknownReport {
                rule: self.rule.name().to_string(),
                report: name.to_string(),
                similar: did_you_mean(name, reports.iter().map(|report| &*report.name)).map(str::to_string),
                known: reports.iter().map(|report| report.name.to_string()).collect(),
            });
        };
        let id = ReportId(index as u32);
        if let Err(place) = self.host.reports.binary_search(&id) {
            self.host.reports.insert(place, id);
        }
        Ok(self)
    }

    /// Sets what random draws begin with; 0 unless said. They depend on it, on the tensor's name, its `t` and the index of
    /// the element, and on nothing else.
    pub fn seed(mut self, seed: u64) -> Self {
        self.host.seed = seed;
        self
    }

    /// Runs steps by so many threads, of a pool of the optimizer's own; 1 unless said, 0 for as many as the machine has
    /// cores. It changes no bit of any result.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("adam")?.optimizer().threads(2).build()?;
    /// let (mut w, g) = (vec![1.0f32; 100_000], vec![0.5f32; 100_000]);
    /// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Runs steps by the threads of a pool that the host has, whatever [`threads`](Self::threads) says: so that the host's
    /// own work and several optimizers do not ask for more threads than there are cores.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use updraft::{Rule, Tensor};
    /// let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build()?);
    /// let mut opt = Rule::shipped("adam")?.optimizer().pool(pool.clone()).build()?;
    /// let (mut w, g) = (vec![1.0f32; 100_000], vec![0.5f32; 100_000]);
    /// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pool(mut self, pool: Arc<rayon::ThreadPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Says how to reach the processes that have other parts of the same tensors: see
    /// [`Tensor::shard`](super::Tensor::shard). A tensor that is no shard is taken to be whole, and the same, in every
    /// process.
    pub fn exchange(mut self, exchange: Arc<dyn Exchange>) -> Self {
        self.exchange = Some(exchange);
        self
    }

    /// The optimizer.
    ///
    /// # Errors
    /// [`Error::Require`], [`Error::HyperOutOfRange`] for a default that follows from what was set, and
    /// [`Error::BadPattern`], and [`Error::Threads`] if the system has none to give.
    pub fn build(self) -> Result<Optimizer, Error> {
        let mut groups = Vec::new();
        for (name, selector, hypers, mut schedules) in self.groups {
            let matcher = match selector.0 {
                Kind::Closure(closure) => Matcher::Closure(closure),
                Kind::Glob(pattern) => match glob::Pattern::new(&pattern) {
                    Ok(pattern) => Matcher::Glob(pattern),
                    Err(error) => return Err(Error::BadPattern { group: name, pattern, error: error.msg.to_string() }),
                },
            };
            // A group that sets the hyper of a schedule sets the schedule's `base` for its own tensors.
            let own: Vec<usize> = schedules.iter().map(|driver| driver.hyper).collect();
            schedules.extend(self.schedules.iter().filter(|driver| !own.contains(&driver.hyper)).cloned());
            groups.push(Group::new(name, matcher, hypers.over(&self.base), schedules, &self.rule));
        }
        groups.push(Group::new(DEFAULT_GROUP.to_string(), Matcher::Rest, self.base, self.schedules, &self.rule));
        for group in &mut groups {
            group.hypers.check(&self.rule, &group.name)?;
        }
        #[cfg_attr(not(feature = "jit"), expect(unused_mut, reason = "there is no code to choose"))]
        let mut plans = Plans::new(self.math, self.engine, self.denormals);
        #[cfg(feature = "jit")]
        {
            (plans.lanes, plans.codegen) = (self.lanes, self.codegen);
        }
        let mut optimizer = Optimizer::new(self.rule, groups, plans, self.host);
        optimizer.exchange = self.exchange;
        optimizer.pool = self.pool;
        if self.threads != 1 && optimizer.pool.is_none() {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads);
            let pool = pool.thread_name(|index| format!("updraft-{index}")).build();
            let pool = pool.map_err(|error| Error::Threads { reason: error.to_string() })?;
            optimizer.pool = Some(Arc::new(pool));
        }
        Ok(optimizer)
    }
}

/// The group of the tensors that no other group takes.
pub(super) const DEFAULT_GROUP: &str = "default";
