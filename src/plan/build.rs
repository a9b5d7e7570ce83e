//! From a placed step to a [`Plan`]: kernels, and the scalar code that each needs.
//!
//! Within a stage the sweeps over smaller arrays come first, because larger ones spread their values; each is a part of
//! its own. A value of a smaller array that another sweep reads is kept in a temporary array, and so is one that a state
//! held before it was overwritten.

use super::place::{Duties, FoldOf, Home, Placed, product};
use super::{ArrayFold, Part, Plan, ScalarFold, Skip, StreamOf, Sweep, Whole};
use crate::check::program::Extent;
use crate::ir::region::Region;
use crate::ir::step::{Array, Source, Step, StepInst, Target};
use crate::ir::{Access, Const, Kernel, KernelInst, Op, Storage, Stream, Type, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The extents of arrays, in the order in which their sweeps come within a stage.
const ORDER: [Extent; 5] = [Extent::Matrix, Extent::Unit, Extent::Row, Extent::Col, Extent::Element];

/// Makes the plan.
pub(super) fn build(step: &Step, placed: Placed) -> Plan {
    let scalars = scalar_code(step);
    let mut build = Build { step, scalars, placed, temps: Vec::new(), temp_of: BTreeMap::new() };
    build.keep_small();
    let mut parts = Vec::new();
    let mut uniforms = Vec::new();
    let skip = build.skip_value();
    let mut skip_before = None;
    for stage in 0..build.placed.stages.len() {
        if skip.is_some_and(|skip| build.placed.first[skip.index()] == stage) {
            skip_before = Some(parts.len());
        }
        if let Some((part, outputs)) = build.scalar_folds(stage) {
            parts.push(part);
            uniforms = outputs;
        }
        for extent in ORDER {
            let duties = match extent {
                Extent::Element => build.placed.sweeps[stage].clone(),
                _ => build.small_duties(stage, extent),
            };
            if let Some((part, outputs)) = build.part(stage, extent, &duties) {
                parts.push(part);
                uniforms = outputs;
            }
        }
    }
    let reports: Vec<Value> = build.stored(|target| matches!(target, Target::Report(_)));
    // What is stored may be what a sweep reduces: then it comes after.
    let reduces = step.insts.iter().any(|inst| matches!(inst, StepInst::Reduce(..)));
    let alone = parts.len() <= 1 && skip.is_none() && reports.is_empty() && !reduces;
    let mut end = build.region(Vec::new(), false);
    if !alone {
        end = build.region(reports, true);
    } else if let Some(part) = parts.first_mut() {
        part.scalars = build.region(uniforms, true);
        if let Some(sweep) = &mut part.sweep {
            sweep.kernel.uniforms = uniform_names(&part.scalars);
        }
    } else {
        let region = build.region(Vec::new(), true);
        if !region.is_empty() {
            parts.push(Part { phase: 0, scalars: region, folds: Vec::new(), sweep: None });
        }
    }
    let skip = skip.map(|skip| Skip {
        before: skip_before.unwrap_or(parts.len()),
        phase: build.placed.stages[build.placed.first[skip.index()]].0,
        scalars: build.region(vec![skip], false),
        extent: step.values[skip.index()].0,
    });
    let temps = build.temps.iter().map(|v| step.values[v.index()].0).collect();
    let (program, facts) = (step.program.clone(), step.facts.clone());
    let stores = step.insts.iter().filter_map(|inst| match inst {
        StepInst::Store(Target::Report(id), _) => Some(*id),
        _ => None,
    });
    let reports = stores.collect();
    Plan { program, facts, parts, skip, end, reports, temps, needs_axes: step.needs_axes }
}

fn uniform_names(scalars: &Region) -> Vec<String> {
    scalars.outputs.iter().map(|v| scalars.value_name(*v)).collect()
}

/// The instructions of a step with the results of reductions as scalars from outside.
fn scalar_code(step: &Step) -> Vec<StepInst> {
    let from_outside = |(index, inst): (usize, &StepInst)| match *inst {
        StepInst::Reduce(_, reduced, _) if step.values[index].0.is_scalar() => {
            StepInst::Source(Source::Reduced(reduced))
        }
        inst => inst,
    };
    step.insts.iter().enumerate().map(from_outside).collect()
}

struct Build<'a> {
    step: &'a Step,
    /// The instructions as scalar code sees them.
    scalars: Vec<StepInst>,
    placed: Placed,
    /// The value of each temporary array.
    temps: Vec<Value>,
    temp_of: BTreeMap<Value, u32>,
}

impl Build<'_> {
    fn region(&self, outputs: Vec<Value>, with_stores: bool) -> Region {
        Region::of(&self.scalars, &self.step.values, outputs, &self.step.program, with_stores)
    }

    fn extent(&self, v: Value) -> Extent {
        self.step.values[v.index()].0
    }

    /// The values that are stored to such targets, in order.
    fn stored(&self, is: impl Fn(Target) -> bool) -> Vec<Value> {
        let stored = self.step.insts.iter().filter_map(|inst| match *inst {
            StepInst::Store(target, v) if is(target) => Some(v),
            _ => None,
        });
        stored.collect()
    }

    fn skip_value(&self) -> Option<Value> {
        self.stored(|target| target == Target::Skip).first().copied()
    }

    /// The stage in which arrays of smaller extents are stored: the last, when nothing that is computed from what they
    /// held can come after.
    fn last(&self) -> usize {
        self.placed.stages.len() - 1
    }

    fn temp(&mut self, v: Value) -> u32 {
        if let Some(temp) = self.temp_of.get(&v) {
            return *temp;
        }
        let temp = self.temps.len() as u32;
        self.temps.push(v);
        self.temp_of.insert(v, temp);
        temp
    }

    /// What a temporary array is called: what it holds, as the rule says it, if that is told by its place in the step.
    fn temp_name(&self, temp: u32) -> String {
        let v = self.temps[temp as usize];
        let name = self.value_name(v);
        let is_taken = |other: &Value| self.value_name(*other) == name;
        if self.temps.iter().filter(|other| is_taken(other)).count() > 1 { format!("{name} %{}", v.0) } else { name }
    }

    fn value_name(&self, v: Value) -> String {
        let program = &self.step.program;
        match self.step.insts[v.index()] {
            StepInst::Load(array) => return format!("old({})", array.name(program)),
            StepInst::Reduce(_, reduced, _) => return format!("fold of {}", reduced.text(program)),
            _ => {}
        }
        let statements = &self.step.statements;
        let next = statements.partition_point(|(first, _)| *first <= v.index());
        let end = statements.get(next).map_or(self.step.insts.len(), |(first, _)| *first);
        let is_last = self.step.insts[v.index() + 1..end].iter().all(|inst| matches!(inst, StepInst::Store(..)));
        let text = next.checked_sub(1).map_or("", |index| statements[index].1.as_str());
        let (name, is_new) = match text.strip_prefix("let ") {
            Some(text) => (text.split(' ').next(), ""),
            None => (text.split_once(" = ").map(|(name, _)| name).filter(|name| !name.contains(' ')), "new "),
        };
        match name {
            Some(name) if is_last => format!("{is_new}{name}"),
            Some(name) => format!("part of {name}"),
            None => format!("%{}", v.0),
        }
    }

    /// Whether an array is stored as another type than it is computed in.
    fn is_converted(&self, array: Array) -> bool {
        let facts = &self.step.facts;
        facts.storage_of(array, &self.step.program) != facts.storage.of_results()
    }

    /// Whether a small array is stored by this step.
    fn is_stored(&self, array: Array) -> bool {
        self.step.insts.iter().any(|inst| matches!(inst, StepInst::Store(Target::Array(a), _) if *a == array))
    }

    /// Gives a temporary array to each value that a sweep finds in memory: results of reductions per row and the like, and
    /// values of smaller arrays that another sweep uses.
    fn keep_small(&mut self) {
        let mut kept = BTreeSet::new();
        for duties in &self.placed.sweeps {
            kept.extend(duties.keeps.iter().copied());
        }
        let mut elsewhere = Vec::new();
        for (index, inst) in self.step.insts.iter().enumerate() {
            let own = self.step.values[index].0;
            if matches!(inst, StepInst::Reduce(..)) && !own.is_scalar() {
                kept.insert(Value(index as u32));
            }
            inst.for_each_operand(|v| {
                if self.extent(v).needs_axes() && self.is_elsewhere(v, *inst, index) {
                    elsewhere.push(v);
                }
            });
        }
        let compute = self.step.facts.storage.compute();
        while let Some(v) = elsewhere.pop() {
            let (extent, ty) = self.step.values[v.index()];
            if ty == compute {
                kept.insert(v);
            } else if extent.needs_axes() {
                // A condition has no array to lie in: it is computed again from what has.
                self.step.insts[v.index()].for_each_operand(|operand| elsewhere.push(operand));
            }
        }
        kept.retain(|v| self.extent(*v).needs_axes() || self.extent(*v) == Extent::Element);
        for v in kept {
            self.temp(v);
        }
    }

    /// Whether an instruction uses the value of a smaller array in another sweep than the one that computes it.
    fn is_elsewhere(&self, v: Value, user: StepInst, index: usize) -> bool {
        if matches!(self.step.insts[v.index()], StepInst::Round(_)) {
            // A uniform is had again for nothing, except where it is spread.
            return matches!(user, StepInst::Spread(_));
        }
        let stage = match user {
            StepInst::Store(..) => self.last(),
            StepInst::Reduce(..) => self.placed.folded[index],
            _ => self.placed.first[index],
        };
        if let StepInst::Load(array) = self.step.insts[v.index()] {
            let is_spread = matches!(user, StepInst::Spread(_));
            // Only values of the compute type are spread.
            return is_spread && self.is_converted(array)
                || self.is_stored(array) && (is_spread || stage < self.last());
        }
        matches!(user, StepInst::Spread(_)) || stage != self.placed.first[v.index()]
    }

    /// What the sweep over a smaller extent does in a stage: it computes what is kept of it, and folds; in the last stage
    /// it stores.
    fn small_duties(&self, stage: usize, extent: Extent) -> Duties {
        let mut duties = Duties::default();
        for (index, inst) in self.step.insts.iter().enumerate() {
            match *inst {
                StepInst::Store(Target::Array(array), v)
                    if array.extent(&self.step.program) == extent && stage == self.last() =>
                {
                    duties.stores.push((array, v));
                }
                StepInst::Reduce(fold, reduced, operand)
                    if self.extent(operand) == extent && self.placed.folded[index] == stage =>
                {
                    let result = Value(index as u32);
                    duties.folds.push(FoldOf { fold, reduced, operand, to: self.extent(result), result });
                }
                _ => {}
            }
        }
        for v in &self.temps {
            let is_computed = !matches!(self.step.insts[v.index()], StepInst::Reduce(..));
            if is_computed && self.extent(*v) == extent && self.placed.first[v.index()] == stage {
                duties.keeps.push(*v);
            }
        }
        for (index, (own, _)) in self.step.values.iter().enumerate() {
            let v = Value(index as u32);
            if *own != extent {
                continue;
            }
            let is_reduced = matches!(self.step.insts[index], StepInst::Reduce(..));
            match self.step.insts[index] {
                StepInst::Load(array) if !duties.keeps.contains(&v) && self.temp_of.contains_key(&v) => {
                    // As it was before the step: in the sweep that stores it, that is what it still holds.
                    let stored_here = stage == self.last();
                    duties.reads.insert(v, if stored_here { Home::Array(array) } else { Home::Kept });
                }
                StepInst::Load(array) => drop(duties.reads.insert(v, Home::Array(array))),
                _ if self.temp_of.contains_key(&v) && (is_reduced || self.placed.first[index] < stage) => {
                    duties.reads.insert(v, Home::Kept);
                }
                _ => {}
            }
        }
        duties
    }

    /// Scalars of this stage that become part of reductions to model or group.
    fn scalar_folds(&self, stage: usize) -> Option<(Part, Vec<Value>)> {
        let mut folds = Vec::new();
        let mut outputs = Vec::new();
        for (index, inst) in self.step.insts.iter().enumerate() {
            if let StepInst::Reduce(fold, reduced, operand) = *inst
                && self.extent(operand).is_scalar()
                && self.placed.folded[index] == stage
            {
                let from = reduced.of(&self.step.program);
                folds.push(ScalarFold { fold, reduced, output: outputs.len(), from });
                outputs.push(operand);
            }
        }
        let phase = self.placed.stages[stage].0;
        let scalars = self.region(outputs.clone(), false);
        (!folds.is_empty()).then_some((Part { phase, scalars, folds, sweep: None }, outputs))
    }

    /// The part of one sweep and the scalars that its kernel's uniforms are, if it has anything to do.
    fn part(&self, stage: usize, over: Extent, duties: &Duties) -> Option<(Part, Vec<Value>)> {
        duties.wanted().next()?;
        let (mut sweep, uniforms) = KernelOf::new(self, over, duties).build();
        let scalars = self.region(uniforms.clone(), false);
        sweep.kernel.uniforms = uniform_names(&scalars);
        let phase = self.placed.stages[stage].0;
        Some((Part { phase, scalars, folds: Vec::new(), sweep: Some(sweep) }, uniforms))
    }

    /// A scalar that is the same in every step, rounded to the compute type.
    fn constant(&self, scalar: Value) -> Option<Const> {
        match (self.step.insts[scalar.index()], self.step.facts.storage.compute()) {
            (StepInst::Op(Op::Const(Const::F64(bits))), Type::F32) => Some(Const::f32(f64::from_bits(bits) as f32)),
            (StepInst::Op(Op::Const(Const::F64(bits))), _) => Some(Const::F64(bits)),
            _ => None,
        }
    }
}

/// A fold of values that lie in memory, or of products of them.
struct Direct {
    of: (Value, Option<Value>),
    after: bool,
}

/// Whether an array may hold something else than what was stored, or is gone.
fn is_apart(array: Array) -> bool {
    matches!(array, Array::Copy | Array::Grad | Array::View)
}

/// One kernel being made.
struct KernelOf<'b, 'a> {
    build: &'b Build<'a>,
    over: Extent,
    duties: &'b Duties,
    kernel: Kernel,
    streams: Vec<StreamOf>,
    index: BTreeMap<StreamOf, u32>,
    uniforms: Vec<Value>,
    /// Where the value of each instruction of the step is in the kernel.
    place: BTreeMap<Value, Value>,
}

impl<'b, 'a> KernelOf<'b, 'a> {
    fn new(build: &'b Build<'a>, over: Extent, duties: &'b Duties) -> KernelOf<'b, 'a> {
        let kernel = Kernel {
            name: build.step.program.name.to_string(),
            compute: build.step.facts.storage.compute(),
            uniforms: Vec::new(),
            streams: Vec::new(),
            body: Vec::new(),
        };
        KernelOf {
            build,
            over,
            duties,
            kernel,
            streams: Vec::new(),
            index: BTreeMap::new(),
            uniforms: Vec::new(),
            place: BTreeMap::new(),
        }
    }

    /// The sweep, and the scalars that its kernel's uniforms are.
    fn build(mut self) -> (Sweep, Vec<Value>) {
        let step = self.build.step;
        // Folds that need no operand from the kernel: of values that lie in memory, or of products of two of them.
        let direct: Vec<Option<Direct>> = self.duties.folds.iter().map(|fold| self.direct(fold.operand)).collect();
        let mut wanted: BTreeSet<Value> =
            self.duties.stores.iter().map(|(array, v)| self.before_rounding(*array, *v)).collect();
        wanted.extend(self.duties.keeps.iter().copied());
        let folded = self.duties.folds.iter().zip(&direct).filter(|(_, direct)| direct.is_none());
        wanted.extend(folded.map(|(fold, _)| fold.operand));
        let needed = self.needed(&wanted);
        for index in 0..step.insts.len() {
            let v = Value(index as u32);
            if needed.contains(&v) {
                self.value(v);
            }
            // In the order of the step, as everything else.
            if let StepInst::Store(Target::Array(array), value) = step.insts[index]
                && self.duties.stores.contains(&(array, value))
            {
                let stream = self.stream(StreamOf::Array(array), false);
                self.store(stream, self.before_rounding(array, value));
            }
        }
        for v in self.duties.keeps.clone() {
            let stream = self.stream(StreamOf::Temp(self.build.temp_of[&v]), false);
            self.store(stream, v);
        }
        let mut folds = Vec::new();
        for (k, (fold, direct)) in self.duties.folds.iter().zip(direct).enumerate() {
            let (of, after) = match direct {
                Some(Direct { of: (a, b), after }) => {
                    let a = self.stream_of(a, after);
                    ((a, b.map(|b| self.stream_of(b, after))), after)
                }
                None => {
                    let stream = self.stream(StreamOf::Folded(k as u32), false);
                    self.store(stream, fold.operand);
                    ((stream, None), true)
                }
            };
            let into = self.build.temp_of.get(&fold.result).copied();
            folds.push(ArrayFold { fold: fold.fold, reduced: fold.reduced, of, after, to: fold.to, into });
        }
        (Sweep { over: self.over, kernel: self.kernel, streams: self.streams, folds }, self.uniforms)
    }

    /// What is stored so that `v` lies in the array: storing rounds by itself.
    fn before_rounding(&self, array: Array, v: Value) -> Value {
        let step = self.build.step;
        match step.insts[v.index()] {
            StepInst::Op(Op::Narrow(storage, x))
                if storage == step.facts.storage_of(array, &step.program) && !self.duties.reads.contains_key(&v) =>
            {
                x
            }
            _ => v,
        }
    }

    /// The arrays in memory that a fold's operand is, or is the product of.
    fn direct(&self, operand: Value) -> Option<Direct> {
        let forms = [Some((operand, None)), product(self.build.step, operand).map(|(a, b)| (a, Some(b)))];
        let lie = |of: (Value, Option<Value>), after| {
            // What lies there as another type, only the kernel can read.
            let is_there = |v: Value| match self.home(v, after) {
                Some(StreamOf::Array(array)) => !self.build.is_converted(array),
                home => home.is_some(),
            };
            is_there(of.0) && of.1.is_none_or(is_there)
        };
        forms.into_iter().flatten().find_map(|of| {
            // Rather after: then the kernel has brought it into cache, together with all else that it reads.
            let after = [true, false].into_iter().find(|after| lie(of, *after))?;
            Some(Direct { of, after })
        })
    }

    /// Where a value lies in memory before the kernel has run on a block, or after it.
    fn home(&self, v: Value, after: bool) -> Option<StreamOf> {
        let written = |array: Array| self.duties.stores.iter().any(|(stored, _)| *stored == array);
        let read = self.duties.reads.get(&v).map(|home| match home {
            Home::Array(array) => StreamOf::Array(*array),
            Home::Kept => StreamOf::Temp(self.build.temp_of[&v]),
        });
        if !after {
            return read;
        }
        let stored = self.duties.stores.iter().find(|(array, stored)| *stored == v && !is_apart(*array));
        match (read, stored) {
            (Some(StreamOf::Array(array)), None) if written(array) => None,
            (Some(home), None) => Some(home),
            (_, Some((array, _))) => Some(StreamOf::Array(*array)),
            (None, None) => self.duties.keeps.contains(&v).then(|| StreamOf::Temp(self.build.temp_of[&v])),
        }
    }

    /// The stream that a fold reads a value from.
    fn stream_of(&mut self, v: Value, after: bool) -> u32 {
        match self.home(v, after) {
            // What the kernel has just written lies in cache: reading it moves nothing.
            Some(of) => match self.index.get(&of) {
                Some(index) => *index,
                None => self.stream(of, true),
            },
            None => unreachable!("what is folded directly lies in memory"),
        }
    }

    /// What the kernel has to compute or load for these.
    fn needed(&self, wanted: &BTreeSet<Value>) -> BTreeSet<Value> {
        let mut needed = wanted.clone();
        let mut pending: Vec<Value> = wanted.iter().copied().collect();
        while let Some(v) = pending.pop() {
            if self.duties.reads.contains_key(&v) {
                continue;
            }
            match self.build.step.insts[v.index()] {
                StepInst::Round(_) | StepInst::Spread(_) => {}
                inst => inst.for_each_operand(|operand| {
                    if needed.insert(operand) {
                        pending.push(operand);
                    }
                }),
            }
        }
        needed
    }

    /// The instruction that gives a value.
    fn value(&mut self, v: Value) {
        let inst = match (self.duties.reads.contains_key(&v), self.build.step.insts[v.index()]) {
            (true, _) => {
                let stream = self.read(v);
                KernelInst::Load(stream)
            }
            (_, StepInst::Round(scalar)) => match self.build.constant(scalar) {
                Some(constant) => KernelInst::Op(Op::Const(constant)),
                None => {
                    self.uniforms.push(scalar);
                    KernelInst::Uniform(self.uniforms.len() as u32 - 1)
                }
            },
            (_, StepInst::Spread(small)) => {
                let whole = match (self.build.temp_of.get(&small), self.build.step.insts[small.index()]) {
                    (Some(temp), _) => Whole::Temp(*temp),
                    (None, StepInst::Load(array)) => Whole::Array(array),
                    (None, _) => unreachable!("what is spread lies in memory"),
                };
                KernelInst::Load(self.stream(StreamOf::Spread(whole), true))
            }
            (_, StepInst::Draw(id, word)) => KernelInst::Load(self.stream(StreamOf::Draw(id, word), true)),
            (_, StepInst::Op(op)) => KernelInst::Op(op.map_operands(|operand| self.place[&operand])),
            _ => return,
        };
        self.place.insert(v, Value(self.kernel.body.len() as u32));
        self.kernel.body.push(inst);
    }

    fn store(&mut self, stream: u32, v: Value) {
        let at = self.place[&v];
        self.kernel.body.push(KernelInst::Store(stream, at));
    }

    /// The stream that a value is read from.
    fn read(&mut self, v: Value) -> u32 {
        match self.home(v, false) {
            Some(of) => self.stream(of, true),
            None => unreachable!("what is read lies in memory"),
        }
    }

    /// The index of a stream, which is made if it is new.
    fn stream(&mut self, of: StreamOf, read: bool) -> u32 {
        let access = if read { Access::Read } else { Access::Write };
        if let Some(&index) = self.index.get(&of) {
            let stream = &mut self.kernel.streams[index as usize];
            if stream.access != access {
                stream.access = Access::ReadWrite;
            }
            return index;
        }
        let index = self.streams.len() as u32;
        let (name, storage, block) = self.describe(of);
        self.kernel.streams.push(Stream { name, storage, access, block });
        self.streams.push(of);
        self.index.insert(of, index);
        index
    }

    fn describe(&self, of: StreamOf) -> (String, Storage, bool) {
        let (program, facts) = (&self.build.step.program, &self.build.step.facts);
        let temp = |temp: u32| self.build.temp_name(temp);
        let compute = facts.storage.of_results();
        match of {
            StreamOf::Array(array) => (array.name(program).into(), facts.storage_of(array, program), false),
            StreamOf::Temp(index) => (temp(index), compute, false),
            StreamOf::Spread(Whole::Array(array)) => {
                (format!("{} per {}", array.name(program), array.extent(program).name()), compute, true)
            }
            StreamOf::Spread(Whole::Temp(index)) => {
                let extent = self.build.extent(self.build.temps[index as usize]);
                (format!("{} per {}", temp(index), extent.name()), compute, true)
            }
            StreamOf::Draw(id, word) => (format!("draw {}.{word}", id.0), compute, true),
            StreamOf::Folded(k) => (format!("fold {k}"), compute, true),
        }
    }
}
