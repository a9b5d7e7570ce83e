//! What scalar code reads from outside: hypers, inputs, states as they are before the step, results of reductions.

use super::error::Error;
use super::hyper::{HyperValue, Hypers};
use super::rule::Rule;
use super::scopes::{Group, Known, Own, Scope};
use crate::check::program::{Extent, HyperDefault, HyperId, InputId, ListRef, NodeKind, Program, ReportId, StateId};
use crate::ir::region::Outside;
use crate::ir::shape;
use crate::ir::step::{Host, Reduced, Source};
use crate::ir::{Arrays, Facts, Math, Scalar, Scalars, Storage, Stores, eval_step, lower_init};

/// What the host has joined to the rule when building, and the numbers that belong to it.
#[derive(Clone, Debug)]
pub(super) struct HostOptions {
    pub(super) unscale: bool,
    pub(super) loss_scale: f64,
    pub(super) skip_nonfinite: bool,
    pub(super) average: Option<f64>,
    pub(super) copy: Option<Storage>,
    /// How the parameter and the states are kept.
    pub(super) stores: Stores,
    /// In order.
    pub(super) reports: Vec<ReportId>,
    /// Of random draws.
    pub(super) seed: u64,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions {
            unscale: false,
            loss_scale: 1.0,
            skip_nonfinite: false,
            average: None,
            copy: None,
            stores: Stores::default(),
            reports: Vec::new(),
            seed: 0,
        }
    }
}

impl HostOptions {
    /// What is joined to the step of a tensor.
    pub(super) fn facts(&self, zero_grad: bool) -> Host {
        let HostOptions { unscale, skip_nonfinite, copy, .. } = *self;
        Host { unscale, skip_nonfinite, average: self.average.is_some(), copy, zero_grad }
    }
}

/// The results of this step's reductions to the model and to groups, by the scope and the reduction.
#[derive(Default)]
pub(super) struct Results {
    reductions: usize,
    values: Vec<f64>,
    counts: Vec<f64>,
}

impl Results {
    /// Nothing is known yet.
    pub(super) fn begin(&mut self, program: &Program, groups: usize) {
        self.reductions = program.reductions.len();
        let len = (1 + groups) * (self.reductions + 1);
        for values in [&mut self.values, &mut self.counts] {
            values.clear();
            values.resize(len, f64::NAN);
        }
    }

    /// Where a reduction to the model (`None`) or to a group is.
    pub(super) fn index(&self, reduced: Reduced, group: Option<usize>) -> usize {
        let reduction = match reduced {
            Reduced::Program(id) => id.index(),
            Reduced::Finite => self.reductions,
        };
        group.map_or(0, |group| 1 + group) * (self.reductions + 1) + reduction
    }

    pub(super) fn set(&mut self, index: usize, value: f64, count: u64) {
        (self.values[index], self.counts[index]) = (value, count as f64);
    }
}

/// What the scalar code of one tensor reads.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) rule: &'a Rule,
    pub(super) host: &'a HostOptions,
    pub(super) hypers: &'a Hypers,
    pub(super) group: &'a Scope,
    pub(super) model: &'a Scope,
    pub(super) results: &'a Results,
    /// The steps of the tensor, this one included.
    pub(super) t: u64,
    pub(super) slot: &'a Known,
    /// What belongs to the slot, wherever it is now.
    pub(super) own: &'a Own,
    pub(super) inputs: &'a [(&'a str, f64)],
}

impl<'a> Sources<'a> {
    pub(super) fn of(shared: Shared<'a>, slot: &'a Known, own: &'a Own, inputs: &'a [(&'a str, f64)]) -> Sources<'a> {
        let Shared { rule, host, groups, model, results } = shared;
        let group = &groups[slot.group];
        let (hypers, group) = (&group.hypers, &group.scope);
        Sources { rule, host, hypers, group, model, results, t: slot.t + 1, slot, own, inputs }
    }
}

/// What the tensors of a step share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) rule: &'a Rule,
    pub(super) host: &'a HostOptions,
    pub(super) groups: &'a [Group],
    pub(super) model: &'a Scope,
    pub(super) results: &'a Results,
}

impl Sources<'_> {
    pub(super) fn get(&self, source: Source) -> Scalar {
        Scalar::F64(match source {
            Source::Hyper(_) | Source::Flag(_) | Source::Mode(..) => {
                return self.hypers.scalar(self.rule.program(), source).unwrap_or(Scalar::F64(f64::NAN));
            }
            Source::Given(id) => return Scalar::Bool(self.given(id).is_some()),
            Source::T => self.t as f64,
            Source::Input(id) => self.input(id).unwrap_or(f64::NAN),
            Source::State(id) => self.state(id).unwrap_or_else(|| self.first_value(id)),
            Source::Shape(which) => which.of(&self.slot.shape),
            Source::Count(of, to) => shape::per(of, to, &self.slot.shape) as f64,
            Source::Reduced(reduced) => match (self.scope(reduced), reduced) {
                (Some(index), _) => self.results.values.get(index).copied().unwrap_or(f64::NAN),
                (None, Reduced::Program(id)) => self.own.results[id.index()],
                (None, Reduced::Finite) => f64::NAN,
            },
            Source::Counted(reduced) => {
                let index = self.scope(reduced);
                index.and_then(|index| self.results.counts.get(index).copied()).unwrap_or(f64::NAN)
            }
            Source::LossScale => self.host.loss_scale,
            Source::AverageDecay => self.host.average.unwrap_or(f64::NAN),
            // Only schedules have these.
            Source::S | Source::Base => f64::NAN,
        })
    }

    /// Where the result of a reduction to the model or to this group is.
    fn scope(&self, reduced: Reduced) -> Option<usize> {
        match reduced.to(self.rule.program()) {
            Extent::Model => Some(self.results.index(reduced, None)),
            Extent::Group => Some(self.results.index(reduced, Some(self.slot.group))),
            _ => None,
        }
    }

    /// A scalar state as it is before the step; `None` if nothing has touched it yet.
    pub(super) fn state(&self, id: StateId) -> Option<f64> {
        match self.rule.program().states[id.index()].extent {
            Extent::Model => self.model.states[id.index()],
            Extent::Group => self.group.states[id.index()],
            _ => self.own.states.get(id.index())?.scalar(),
        }
    }

    /// The first value of a scalar state that reduces nothing: it depends on hypers and on the parameter's type and shape.
    /// One that reduces the parameters is not known here; whoever asks for it before it has been put in place learns
    /// that by a NaN.
    pub(super) fn first_value(&self, id: StateId) -> f64 {
        let program = self.rule.program();
        let parts = program.postorder(program.states[id.index()].init);
        if parts.into_iter().any(|part| matches!(program.node(part).kind, NodeKind::Reduce(..))) {
            return f64::NAN;
        }
        let facts = Facts::new(self.slot.storage, Math::Strict, Vec::new());
        let mut scalars = scalars_of(program, self.hypers, &self.slot.shape);
        eval_step(&lower_init(program, id, &facts), &mut Arrays::default(), &mut scalars);
        scalars.states.get(&id).copied().unwrap_or(f64::NAN)
    }

    /// An input: what the host gave last, else its default.
    pub(super) fn input(&self, id: InputId) -> Option<f64> {
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

    /// An input that scalar code reads has to be there.
    pub(super) fn require(&self, source: Source) -> Result<(), Error> {
        let Source::Input(id) = source else { return Ok(()) };
        if self.input(id).is_some() {
            return Ok(());
        }
        Err(missing_input(self.rule, id, self.slot))
    }
}

pub(super) fn missing_input(rule: &Rule, id: InputId, slot: &Known) -> Error {
    let input = &rule.program().inputs[id.index()];
    Error::MissingInput {
        rule: rule.name().to_string(),
        input: input.name.to_string(),
        extent: input.extent.name(),
        tensor: slot.name.clone(),
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

/// The hypers of a group as the evaluator of steps takes them.
pub(super) fn scalars_of(program: &Program, hypers: &Hypers, shape: &[usize]) -> Scalars {
    let mut scalars = Scalars { shape: Some(shape.to_vec()), ..Scalars::default() };
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
