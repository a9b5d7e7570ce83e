//! What a [`Step`] means: the oracle of `plan`.
//!
//! Comes in: the steps of the tensors of a model, whole arrays and scalars as they are before them. Goes out: arrays and
//! scalar states as they are after them. Each instruction is done for the whole array before the next, which is what
//! evaluation rule 1 says; a reduction to model or group waits for every tensor, phase by phase.

use super::eval::{Column, Scalar, apply, apply_scalar};
use super::exchange::{Alone, Exchange};
use super::op::{Const, Type, Value};
use super::random::{self, Key};
use super::region::list;
use super::shape;
use super::step::{Array, Fold, Reduced, Source, Step, StepInst, Target};
use super::sum::{ExactSum, Lane, max_run, min_run, sum_columns, sum_run};
use crate::check::program::{Extent, HyperId, ListRef, ReportId, StateId};
use std::collections::{BTreeMap, BTreeSet};

/// The arrays of one tensor. Each holds values of the compute type that its storage type has, as many as the tensor has of its extent.
#[derive(Clone, Debug, Default)]
pub struct Arrays(pub BTreeMap<Array, Column>);

/// The scalars that a step of one tensor reads, and what it gives besides arrays.
#[derive(Clone, Debug, Default)]
pub struct Scalars {
    /// By index of the hyper: a number, or a flag.
    pub hypers: Vec<Option<Scalar>>,
    /// The mode of each hyper that has modes: its index.
    pub modes: BTreeMap<HyperId, u32>,
    /// The lists, by index of the hyper.
    pub lists: BTreeMap<HyperId, Vec<f64>>,
    /// By index of the input.
    pub inputs: Vec<f64>,
    /// The steps of this tensor, this one included.
    pub t: u64,
    /// The scalar states.
    pub states: BTreeMap<StateId, f64>,
    /// The shape of the tensor; of the whole one, if it is a shard. `None`: one axis, as long as the parameter.
    pub shape: Option<Vec<usize>>,
    /// Where in the whole tensor the first element stands.
    pub first: usize,
    /// Whether other processes have the rest of it.
    pub is_shard: bool,
    /// What random numbers are made from.
    pub key: Key,
    /// What the loss was multiplied by.
    pub loss_scale: f64,
    /// How much of the average stays in a step.
    pub average_decay: f64,
    /// The reports that the step gives.
    pub reports: BTreeMap<ReportId, f64>,
    /// Whether the step was not taken; then nothing else has changed.
    pub skipped: bool,
}

/// One tensor of a model, and the group that it belongs to.
#[derive(Debug)]
pub struct TensorStep<'a> {
    /// What is done.
    pub step: &'a Step,
    /// The arrays.
    pub arrays: &'a mut Arrays,
    /// The scalars.
    pub scalars: &'a mut Scalars,
    /// A number that tensors of one group share.
    pub group: usize,
}

/// Runs a step on whole arrays: that of a model with one tensor.
///
/// # Panics
/// If an array or scalar that the step reads is missing: a test's mistake.
pub fn eval_step(step: &Step, arrays: &mut Arrays, scalars: &mut Scalars) {
    eval_steps(&mut [TensorStep { step, arrays, scalars, group: 0 }], &Alone);
}

/// Runs the steps of all tensors of a model, phase by phase. Partial results of shards cross through `exchange`; all
/// shards of a tensor and all tensors come in the same order everywhere. What is no shard is whole, and the same, in
/// every process.
///
/// A tensor that does not take the step gives nothing to the reductions that end the phase in which that is known, nor to
/// later ones: what is wrong with it does not spoil the others.
///
/// # Panics
/// If an array or scalar that a step reads is missing: a test's mistake.
pub fn eval_steps(tensors: &mut [TensorStep<'_>], exchange: &dyn Exchange) {
    let mut runs: Vec<Run> = tensors.iter().map(Run::new).collect();
    let mut known = BTreeMap::new();
    let phases = tensors.iter().map(|tensor| phases(tensor.step)).max().unwrap_or(0);
    for phase in 1..=phases {
        for (run, tensor) in runs.iter_mut().zip(&*tensors) {
            run.advance(tensor, &known, exchange);
            if run.skips(tensor.step) {
                run.given.clear();
            }
        }
        // Of shards, which cross to other processes, and of what every process has.
        let mut partial: BTreeMap<(Reduced, usize), [Option<Partial>; 2]> = BTreeMap::new();
        let mut groups = BTreeSet::new();
        for run in &mut runs {
            for given in run.given.extract_if(.., |given| given.phase == phase) {
                // A value per group is one of the group, however many tensors it has.
                if given.of_group.is_none_or(|group| groups.insert((given.to.0, group))) {
                    let all = &mut partial.entry(given.to).or_default()[usize::from(!given.of_shard)];
                    all.get_or_insert_with(|| Partial::new(given.part.fold)).merge(&given.part);
                }
            }
        }
        for (key, [shards, whole]) in partial {
            let shards = shards.map(|mut shards| {
                shards.exchange(exchange);
                shards
            });
            let parts = [shards, whole].into_iter().flatten().reduce(|mut all, part| {
                all.merge(&part);
                all
            });
            known.extend(parts.map(|part| (key, part)));
        }
    }
    for (run, tensor) in runs.iter().zip(tensors) {
        run.finish(tensor);
    }
}

/// How many phases a step has: one more than its reductions to model and group end.
fn phases(step: &Step) -> u32 {
    let ended = step.insts.iter().zip(&step.values).filter_map(|(inst, (extent, _))| match inst {
        StepInst::Reduce(_, reduced, _) if matches!(extent, Extent::Model | Extent::Group) => {
            Some(phase(step, *reduced))
        }
        _ => None,
    });
    ended.max().unwrap_or(0) + 1
}

/// In which phase the result of a reduction to model or group is known.
fn phase(step: &Step, reduced: Reduced) -> u32 {
    match reduced {
        Reduced::Program(id) => step.program.reductions[id.index()].phase,
        Reduced::Finite => 1,
    }
}

/// A part of a reduction.
#[derive(Clone, Debug)]
struct Partial {
    fold: Fold,
    sum: ExactSum,
    /// For the greatest; of the least, the negated value.
    extreme: f64,
}

impl Partial {
    fn new(fold: Fold) -> Partial {
        Partial { fold, sum: ExactSum::default(), extreme: f64::NEG_INFINITY }
    }

    fn of<T: Lane + Into<f64>>(fold: Fold, values: &[T]) -> Partial {
        let mut partial = Partial { fold, sum: sum_run(values), extreme: f64::NEG_INFINITY };
        match fold {
            Fold::Sum => {}
            Fold::Min => partial.extreme = -min_run(values),
            Fold::Max => partial.extreme = max_run(values),
        }
        partial
    }

    fn merge(&mut self, other: &Partial) {
        self.sum.merge(&other.sum);
        self.extreme = max_run(&[self.extreme, other.extreme]);
    }

    fn exchange(&mut self, exchange: &dyn Exchange) {
        let mut words = vec![0; ExactSum::WORDS];
        self.sum.words(&mut words);
        exchange.sum(&mut words);
        self.sum = ExactSum::from_words(&words);
        if self.fold != Fold::Sum {
            exchange.max(std::slice::from_mut(&mut self.extreme));
        }
    }

    fn value(&self) -> f64 {
        match self.fold {
            Fold::Sum => self.sum.round(),
            Fold::Min => -self.extreme,
            Fold::Max => self.extreme,
        }
    }
}

/// What a tensor gives to a reduction to model or group.
struct Given {
    to: (Reduced, usize),
    /// The phase in which the result is known.
    phase: u32,
    /// The group whose value it is, if it is one per group.
    of_group: Option<usize>,
    /// Whether other processes give to it too.
    of_shard: bool,
    part: Partial,
}

/// What an instruction gives: an array or a scalar; a store gives neither.
#[derive(Default)]
struct Result {
    column: Column,
    scalar: Option<Scalar>,
}

/// One tensor on the way through its step.
struct Run {
    shape: Vec<usize>,
    /// The elements that are here.
    len: usize,
    /// By index of the instruction, if it has been done.
    results: Vec<Option<Result>>,
    /// What it has given to reductions to model and group whose phase has not ended.
    given: Vec<Given>,
    /// The reductions that it has given to.
    has_given: BTreeSet<Reduced>,
}

impl Run {
    fn new(tensor: &TensorStep<'_>) -> Run {
        let len = tensor.arrays.0.get(&Array::Param).map_or(0, Column::len);
        let shape = tensor.scalars.shape.clone().unwrap_or_else(|| vec![len]);
        let mut results = Vec::new();
        results.resize_with(tensor.step.insts.len(), || None);
        Run { shape, len, results, given: Vec::new(), has_given: BTreeSet::new() }
    }

    fn column(&self, v: Value) -> &Column {
        self.results[v.index()].as_ref().map(|result| &result.column).expect("operands come first")
    }

    fn scalar(&self, v: Value) -> Option<Scalar> {
        self.results[v.index()].as_ref().and_then(|result| result.scalar)
    }

    /// Whether it is known that the step is not taken.
    fn skips(&self, step: &Step) -> bool {
        step.insts.iter().any(|inst| match inst {
            StepInst::Store(Target::Skip, v) => self.scalar(*v) == Some(Scalar::Bool(true)),
            _ => false,
        })
    }

    /// Does all instructions that need nothing of other tensors but what is known.
    fn advance(
        &mut self,
        tensor: &TensorStep<'_>,
        reduced: &BTreeMap<(Reduced, usize), Partial>,
        exchange: &dyn Exchange,
    ) {
        for (index, inst) in tensor.step.insts.iter().enumerate() {
            let mut can_be_done = self.results[index].is_none();
            inst.for_each_operand(|v| can_be_done &= self.results[v.index()].is_some());
            if can_be_done {
                self.results[index] = self.instruction(index, tensor, reduced, exchange);
            }
        }
    }

    /// Does one instruction. `None`: it needs what other tensors have not given yet.
    fn instruction(
        &mut self,
        index: usize,
        tensor: &TensorStep<'_>,
        reduced: &BTreeMap<(Reduced, usize), Partial>,
        exchange: &dyn Exchange,
    ) -> Option<Result> {
        let step = tensor.step;
        let (extent, _) = step.values[index];
        let mut column = Column::default();
        let mut scalar = None;
        match step.insts[index] {
            StepInst::Source(Source::Counted(which)) => {
                let partial = reduced.get(&key(step, which, tensor.group))?;
                scalar = Some(Scalar::F64(partial.sum.count() as f64));
            }
            StepInst::Source(Source::Count(of, to)) => {
                scalar = Some(Scalar::F64(shape::per(of, to, &self.shape) as f64));
            }
            StepInst::Source(Source::Shape(of)) => scalar = Some(Scalar::F64(of.of(&self.shape))),
            StepInst::Source(source) => scalar = Some(tensor.scalars.source(source)),
            StepInst::Load(array) => column = tensor.arrays.0[&array].clone(),
            StepInst::Draw(id, word) => column = self.draw(tensor, id.0, word, extent),
            StepInst::Round(v) => {
                let Some(Scalar::F64(x)) = self.scalar(v) else { panic!("%{} is no scalar", v.0) };
                let constant = match step.facts.storage.compute() {
                    Type::F32 => Const::f32(x as f32),
                    _ => Const::f64(x),
                };
                column.fill(constant, self.len_of(extent));
            }
            StepInst::Spread(v) => {
                let small = step.values[v.index()].0;
                column = self.spread(tensor, self.column(v), small, extent);
            }
            StepInst::Reduce(fold, which, v) => {
                let from = step.values[v.index()].0;
                if !matches!(extent, Extent::Model | Extent::Group) {
                    let (array, value) = self.reduce(tensor, (fold, v), from, extent, exchange);
                    (column, scalar) = (array, value.map(Scalar::F64));
                } else if let Some(partial) = reduced.get(&key(step, which, tensor.group)) {
                    scalar = Some(Scalar::F64(partial.value()));
                } else {
                    if self.has_given.insert(which) {
                        let part = match self.scalar(v) {
                            Some(Scalar::F64(x)) => Partial::of(fold, &[x]),
                            _ => Partial::of_column(fold, self.column(v)),
                        };
                        let of_group = (which.of(&step.program) == Extent::Group).then_some(tensor.group);
                        let (to, phase) = (key(step, which, tensor.group), phase(step, which));
                        let of_shard = from == Extent::Element && tensor.scalars.is_shard;
                        self.given.push(Given { to, phase, of_group, of_shard, part });
                    }
                    return None;
                }
            }
            StepInst::List(function, which, operand) => {
                let elements: &[f64] = match which {
                    ListRef::Hyper(id) => tensor.scalars.lists.get(&id).map_or(&[], |list| list),
                    ListRef::Constant(index) => &step.program.lists[index as usize],
                };
                scalar = Some(list(function, elements, operand.and_then(|v| self.scalar(v))));
            }
            StepInst::Op(op) if extent.is_scalar() => {
                scalar = Some(apply_scalar(op, |v| self.scalar(v).expect("a scalar operand")));
            }
            StepInst::Op(op) => apply(op, self.len_of(extent), |v| self.column(v), &mut column),
            StepInst::Store(..) => {}
        }
        Some(Result { column, scalar })
    }

    /// How many values of an extent are here: elements may be a shard's, all others are the whole tensor's.
    fn len_of(&self, extent: Extent) -> usize {
        if extent == Extent::Element { self.len } else { shape::len(extent, &self.shape) }
    }

    fn draw(&self, tensor: &TensorStep<'_>, draw: u32, word: u32, extent: Extent) -> Column {
        let first = if extent == Extent::Element { tensor.scalars.first as u64 } else { 0 };
        let (key, t, len) = (tensor.scalars.key, tensor.scalars.t, self.len_of(extent));
        match tensor.step.facts.storage.compute() {
            Type::F32 => {
                let mut out = vec![0f32; len];
                random::fill(key, t, draw, word, first, &mut out);
                Column::F32(out)
            }
            _ => {
                let mut out = vec![0f64; len];
                random::fill(key, t, draw, word, first, &mut out);
                Column::F64(out)
            }
        }
    }

    fn spread(&self, tensor: &TensorStep<'_>, values: &Column, small: Extent, large: Extent) -> Column {
        fn each<T: Copy>(values: &[T], owners: impl Iterator<Item = usize>) -> Vec<T> {
            owners.map(|owner| values[owner]).collect()
        }
        let first = if large == Extent::Element { tensor.scalars.first } else { 0 };
        let owners = (first..first + self.len_of(large)).map(|i| shape::owner(small, large, &self.shape, i));
        match values {
            Column::F32(x) => Column::F32(each(x, owners)),
            Column::F64(x) => Column::F64(each(x, owners)),
            other => panic!("a spread of {}", other.ty().name()),
        }
    }

    /// A reduction within the tensor: an array, or a scalar.
    fn reduce(
        &self,
        tensor: &TensorStep<'_>,
        (fold, v): (Fold, Value),
        from: Extent,
        to: Extent,
        exchange: &dyn Exchange,
    ) -> (Column, Option<f64>) {
        let first = if from == Extent::Element { tensor.scalars.first } else { 0 };
        // Shards have parts of elements; of all else each process has everything.
        let is_shard = from == Extent::Element && tensor.scalars.is_shard;
        let mut partials = match self.column(v) {
            Column::F32(x) => self.partials(fold, x, first, from, to),
            Column::F64(x) => self.partials(fold, x, first, from, to),
            other => panic!("a reduction of {}", other.ty().name()),
        };
        if is_shard {
            partials.iter_mut().for_each(|partial| partial.exchange(exchange));
        }
        if to == Extent::Tensor {
            return (Column::default(), Some(partials[0].value()));
        }
        let values = partials.iter().map(Partial::value);
        let column = match tensor.step.facts.storage.compute() {
            Type::F32 => Column::F32(values.map(|x| x as f32).collect()),
            _ => Column::F64(values.collect()),
        };
        (column, None)
    }

    /// The part that the values here have in each result.
    fn partials<T: Lane + Into<f64>>(
        &self,
        fold: Fold,
        values: &[T],
        first: usize,
        from: Extent,
        to: Extent,
    ) -> Vec<Partial> {
        let mut partials = vec![Partial::new(fold); shape::len(to, &self.shape)];
        let (rows, cols, _) = shape::matrices(&self.shape);
        if (to, from) == (Extent::Col, Extent::Element) {
            // A shard holds whole rows, in matrices that are whole or in blocks of rows that are.
            let matrix = (rows * cols).max(1);
            let mut start = 0;
            while start < values.len() {
                let at = (first + start) / matrix;
                let end = values.len().min((at + 1) * matrix - first);
                let part = &values[start..end];
                for (c, sum) in sum_columns(part, cols).into_iter().enumerate() {
                    let column: Vec<T> = part.iter().skip(c).step_by(cols).copied().collect();
                    let mut partial = Partial::of(fold, &column);
                    partial.sum = sum;
                    partials[at * cols + c].merge(&partial);
                }
                start = end;
            }
            return partials;
        }
        let mut start = 0;
        while start < values.len() {
            let owner = shape::owner(to, from, &self.shape, first + start);
            let mut end = start + 1;
            while end < values.len() && shape::owner(to, from, &self.shape, first + end) == owner {
                end += 1;
            }
            partials[owner].merge(&Partial::of(fold, &values[start..end]));
            start = end;
        }
        partials
    }

    /// Stores everything, unless the step is not taken.
    fn finish(&self, tensor: &mut TensorStep<'_>) {
        let stores = tensor.step.insts.iter().filter_map(|inst| match inst {
            StepInst::Store(target, v) => Some((*target, *v)),
            _ => None,
        });
        tensor.scalars.skipped = self.skips(tensor.step);
        if tensor.scalars.skipped {
            return;
        }
        for (target, v) in stores {
            match (target, self.scalar(v)) {
                (Target::Array(array), _) => drop(tensor.arrays.0.insert(array, self.column(v).clone())),
                (Target::Scalar(id), Some(Scalar::F64(x))) => drop(tensor.scalars.states.insert(id, x)),
                (Target::Report(id), Some(Scalar::F64(x))) => drop(tensor.scalars.reports.insert(id, x)),
                _ => {}
            }
        }
    }
}

impl Partial {
    fn of_column(fold: Fold, values: &Column) -> Partial {
        match values {
            Column::F32(x) => Partial::of(fold, x),
            Column::F64(x) => Partial::of(fold, x),
            other => panic!("a reduction of {}", other.ty().name()),
        }
    }
}

/// A reduction to model is one; one to group is one of each group.
fn key(step: &Step, reduced: Reduced, group: usize) -> (Reduced, usize) {
    (reduced, if reduced.to(&step.program) == Extent::Group { 1 + group } else { 0 })
}

impl Scalars {
    /// What a source gives.
    ///
    /// # Panics
    /// If it is missing: a test's mistake.
    pub fn source(&self, source: Source) -> Scalar {
        match source {
            Source::Hyper(id) | Source::Flag(id) => self.hypers[id.index()].expect("every hyper has a value"),
            Source::Mode(id, mode) => Scalar::Bool(self.modes.get(&id) == Some(&mode)),
            Source::Given(_) => Scalar::Bool(true),
            Source::Input(id) => Scalar::F64(self.inputs[id.index()]),
            Source::T => Scalar::F64(self.t as f64),
            Source::State(id) => Scalar::F64(self.states[&id]),
            Source::LossScale => Scalar::F64(self.loss_scale),
            Source::AverageDecay => Scalar::F64(self.average_decay),
            Source::Shape(of) => Scalar::F64(of.of(self.shape.as_deref().unwrap_or_default())),
            // A step has no result of a reduction from outside, and only schedules have the others.
            Source::Count(..) | Source::Counted(_) | Source::Reduced(_) | Source::S | Source::Base => {
                Scalar::F64(f64::NAN)
            }
        }
    }
}
