//! Building an optimizer: hypers, groups, and how steps are run.

use super::error::Error;
use super::hyper::{self, HyperValue, Hypers};
use super::optimizer::Optimizer;
use super::plans::{Engine, Plans};
use super::rule::Rule;
use super::scopes::Group;
use super::sources::HostOptions;
use crate::check::program::{HyperDefault, Program};
use crate::ir::Math;
use crate::schedule::{Advance, Driver, Schedule};
use std::fmt;

/// An optimizer that is being built. [`Rule::optimizer`] begins one.
#[derive(Debug)]
pub struct OptimizerBuilder {
    rule: Rule,
    base: Hypers,
    schedules: Vec<Driver>,
    groups: Vec<(String, Selector, Hypers, Vec<Driver>)>,
    math: Math,
    engine: Engine,
    host: HostOptions,
    #[cfg(feature = "jit")]
    lanes: crate::codegen::Lanes,
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
            host: HostOptions::default(),
            #[cfg(feature = "jit")]
            lanes: crate::codegen::Lanes::Simd,
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

    /// Sets how many elements the machine code takes at a time; SIMD unless said. Both give the same bits.
    #[cfg(feature = "jit")]
    pub fn lanes(mut self, lanes: crate::codegen::Lanes) -> Self {
        self.lanes = lanes;
        self
    }

    /// The optimizer.
    ///
    /// # Errors
    /// [`Error::Require`], [`Error::HyperOutOfRange`] for a default that follows from what was set, and
    /// [`Error::BadPattern`].
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
        let plans = Plans::new(
            self.math,
            self.engine,
            #[cfg(feature = "jit")]
            self.lanes,
        );
        Ok(Optimizer::new(self.rule, groups, plans, self.host))
    }
}

/// The group of the tensors that no other group takes.
pub(super) const DEFAULT_GROUP: &str = "default";
