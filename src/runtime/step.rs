//! One step: everything that can fail is done first; then first values, the phases, and what lasts.

use super::arrays::input_id;
use super::error::Error;
use super::first::First;
use super::memory::{Disjoint, DisjointTensor, Span, disjoint};
use super::optimizer::Optimizer;
use super::phase::{Phase, Prepared, PreparedKey, Registers, Worker, holds, operand, uniforms};
use super::plans::{Compiled, outcomes};
use super::scopes::{Own, Slot, input_index};
use super::sources::{Results, Shared, Sources, missing_input};
use super::state::State;
use super::sweep::granule;
use super::tensor::{Key, Tensor};
use super::threads::Threads;
use crate::check::program::{Extent, ReportId, StateId};
use crate::ir::region::{Level, Region};
use crate::ir::step::{Array, Reduced, Source};
use crate::ir::{Facts, Outcome, Scalar};
use crate::schedule::Driver;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Memory that a step works in, kept from step to step.
#[derive(Default)]
pub(super) struct Scratch {
    /// Counts calls of `step`.
    pub(super) call: u64,
    /// The slot of each tensor of the call.
    pub(super) slots: Vec<u32>,
    /// What each tensor of the call runs: an index into `prepared`.
    pub(super) work: Vec<u32>,
    pub(super) prepared: Vec<Prepared>,
    /// How many of `prepared` belong to this call.
    used: usize,
    by_key: HashMap<PreparedKey, u32>,
    spans: Vec<Span>,
    registers: Vec<Scalar>,
    outcomes: Vec<Outcome>,
    stores: Vec<(StateId, f64)>,
    reports: Vec<(ReportId, f64)>,
    /// What a run of the conditions has needed.
    needed: Vec<bool>,
    /// The states that this step has given their first values.
    pub(super) firsts: Vec<First>,
    pub(super) results: Results,
    /// The groups of which values have been folded in this phase, and into what.
    folded: Vec<(u32, Reduced)>,
    workers: Mutex<Vec<Worker>>,
}

/// One tensor of a phase that several threads run.
struct Job<'t, 'a> {
    k: usize,
    own: Own,
    tensor: DisjointTensor<'t, 'a>,
}

impl Optimizer {
    /// Does one step of each tensor: parameters and states change, gradients are only read.
    ///
    /// If the rule says that the step is not taken (`skip if`), or the host does ([`skip_nonfinite`]), it is `Ok` too:
    /// see [`last_skipped`](Self::last_skipped).
    ///
    /// [`skip_nonfinite`]: super::OptimizerBuilder::skip_nonfinite
    ///
    /// # Errors
    /// [`Error::GradShape`], [`Error::GradDtype`], [`Error::ShapeChanged`], [`Error::DtypeChanged`],
    /// [`Error::DuplicateTensor`], [`Error::Overlap`], [`Error::MissingInput`], [`Error::UnknownTensorId`],
    /// [`Error::UnknownInput`], [`Error::ArrayShape`], [`Error::ArrayDtype`], [`Error::MissingCopy`],
    /// [`Error::NeedsAxes`], [`Error::BadShard`] and its like; then nothing has been changed.
    pub fn step(&mut self, tensors: &mut [Tensor<'_>]) -> Result<(), Error> {
        let known = self.tensors.len();
        self.scratch.call += 1;
        self.scratch.firsts.clear();
        let checked = self.groups.iter_mut().try_for_each(|group| group.drive(&self.rule));
        let mut tensors = match checked.and_then(|()| self.check(tensors)) {
            Ok(tensors) => tensors,
            Err(error) => {
                self.take_back(|_, _| true);
                self.groups.iter_mut().for_each(|group| group.undrive(&self.rule));
                // Tensors that this call brought are forgotten again: they have taken no step.
                for slot in self.tensors.drain(known..) {
                    self.by_name.remove(&slot.name);
                }
                return Err(error);
            }
        };
        self.first_values(&mut tensors);
        let model_skips = self.phases(&mut tensors);
        self.finish(&tensors, model_skips);
        Ok(())
    }

    /// Everything that can fail. Nothing that lasts has changed if it does, but that tensors have become known and states
    /// may have first values.
    fn check<'t, 'a>(&mut self, tensors: &'t mut [Tensor<'a>]) -> Result<Disjoint<'t, 'a>, Error> {
        self.identify(tensors)?;
        let (slots, known) = (&self.scratch.slots, &self.tensors);
        let name = |k: usize| known[slots[k] as usize].name.clone();
        let mut tensors = disjoint(tensors, &mut self.scratch.spans, name)?;
        if !self.inits.in_conditions.is_empty() {
            self.first_values_of_conditions(&mut tensors);
        }
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
                        None => self.add(name, tensor.shape(), storage)?,
                    },
                },
            };
            let slot = &mut self.tensors[index as usize];
            slot.check_tensor(tensor)?;
            if slot.last_call == self.scratch.call {
                return Err(Error::DuplicateTensor { tensor: slot.name.clone() });
            }
            slot.last_call = self.scratch.call;
            if tensor.grad.storage().compute() != storage.compute() {
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
            for (name, data) in &tensor.arrays {
                input_index(self.rule.program(), name, Extent::Element)?;
                slot.check_array(format_args!("the input `{name}`"), (data.shape(), data.storage()), (shape, storage))?;
            }
            if let Some(copy) = &tensor.copy {
                let Some(storage) = self.host.copy else {
                    return Err(Error::UnexpectedCopy { tensor: slot.name.clone() });
                };
                slot.check_array("the copy", (copy.shape(), copy.storage()), (shape, storage))?;
            }
            match guess {
                Some(_) => self.scratch.slots[k] = index,
                None => self.scratch.slots.push(index),
            }
        }
        self.scratch.slots.truncate(tensors.len());
        Ok(())
    }

    /// What tensors share.
    pub(super) fn shared(&self) -> Shared<'_> {
        Shared {
            rule: &self.rule,
            host: &self.host,
            groups: &self.groups,
            model: &self.model,
            results: &self.scratch.results,
        }
    }

    /// What the scalar code of the k-th tensor reads.
    pub(super) fn sources<'a>(&'a self, k: usize, tensor: &'a Tensor<'_>) -> Sources<'a> {
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        Sources::of(self.shared(), slot, &slot.own, &tensor.inputs)
    }

    /// Chooses the plan of each tensor, compiles what is missing, and sees to it that everything is there that they read.
    fn prepare(&mut self, tensors: &[Tensor<'_>]) -> Result<(), Error> {
        self.scratch.used = 0;
        self.scratch.by_key.clear();
        self.scratch.work.clear();
        let mut last: Option<u32> = None;
        for (k, tensor) in tensors.iter().enumerate() {
            let slot = &self.tensors[self.scratch.slots[k] as usize];
            let has_tensor_level = self.rule.condition_code(slot.storage).has_tensor_level();
            let (group, t, storage, grad) = (slot.group as u32, slot.t + 1, slot.storage, tensor.grad.storage());
            let mut key = PreparedKey { group, t, storage, grad, zero_grad: tensor.grad.is_mutable(), plan: 0 };
            let found = if has_tensor_level {
                None
            } else {
                last.filter(|index| self.scratch.prepared[*index as usize].key == key)
                    .or_else(|| self.scratch.by_key.get(&key).copied())
            };
            let index = match found {
                Some(index) => index,
                None => {
                    let plan = self.choose(k, tensor)?;
                    if has_tensor_level {
                        key.plan = plan.id;
                    }
                    match self.scratch.by_key.get(&key) {
                        Some(&index) => index,
                        None => self.prepare_one(k, key, plan, tensor)?,
                    }
                }
            };
            self.check_plan(k, index, tensor)?;
            self.scratch.work.push(index);
            last = Some(index);
        }
        Ok(())
    }

    /// The outcomes of the conditions for a tensor. The registers are left in place.
    fn run_conditions(&mut self, k: usize, tensor: &Tensor<'_>) {
        let (mut registers, mut found) =
            (std::mem::take(&mut self.scratch.registers), std::mem::take(&mut self.scratch.outcomes));
        let sources = self.sources(k, tensor);
        let conditions = self.rule.condition_code(sources.slot.storage);
        conditions.run((Level::Model, Level::Tensor), &mut registers, &sources, |_, _| ());
        outcomes(self.rule.program(), conditions, &registers, &mut found);
        (self.scratch.registers, self.scratch.outcomes) = (registers, found);
    }

    /// The outcomes of the conditions for a tensor.
    pub(super) fn outcomes(&mut self, k: usize, tensor: &Tensor<'_>) -> Vec<Outcome> {
        self.run_conditions(k, tensor);
        self.scratch.outcomes.clone()
    }

    /// The plan of a tensor: the conditions are computed, and the plan for their outcomes is found or compiled.
    fn choose(&mut self, k: usize, tensor: &Tensor<'_>) -> Result<Arc<Compiled>, Error> {
        self.run_conditions(k, tensor);
        let mut needed = std::mem::take(&mut self.scratch.needed);
        let mut stores = std::mem::take(&mut self.scratch.stores);
        stores.clear();
        let sources = self.sources(k, tensor);
        let storage = sources.slot.storage;
        let conditions = self.rule.condition_code(storage);
        // A condition in a block that is not taken reads nothing: neither inputs that were not given, nor states.
        let found = self.scratch.outcomes.iter();
        let reached = conditions.outputs.iter().zip(found).filter(|(_, outcome)| **outcome != Outcome::Unreached);
        conditions.trace(reached.map(|(output, _)| *output), &self.scratch.registers, &mut needed);
        for source in conditions.needed_sources(&needed) {
            sources.require(source)?;
            match source {
                Source::State(id) if sources.state(id).is_none() => stores.push((id, sources.first_value(id))),
                _ => {}
            }
        }
        for (id, x) in stores.drain(..) {
            self.put_scalar(k, id, x);
        }
        (self.scratch.needed, self.scratch.stores) = (needed, stores);
        let mut facts = Facts::new(storage, self.plans.math, std::mem::take(&mut self.scratch.outcomes));
        (facts.grad, facts.stores) = (tensor.grad.storage(), self.host.stores.clone());
        facts.host = self.host.facts(tensor.grad.is_mutable());
        facts.reports = std::mem::take(&mut self.host.reports);
        let plan = self.plans.get(self.rule.program(), &facts);
        self.scratch.outcomes = facts.outcomes;
        self.host.reports = facts.reports;
        Ok(plan)
    }

    /// Makes room for what the tensors of a key share.
    fn prepare_one(
        &mut self,
        k: usize,
        key: PreparedKey,
        plan: Arc<Compiled>,
        tensor: &Tensor<'_>,
    ) -> Result<u32, Error> {
        let sources = self.sources(k, tensor);
        plan.sources.iter().try_for_each(|source| sources.require(*source))?;
        let index = self.scratch.used;
        if index == self.scratch.prepared.len() {
            self.scratch.prepared.push(Prepared {
                key,
                plan: plan.clone(),
                tensor: k,
                parts: Vec::new(),
                skip: Registers::default(),
                end: Registers::default(),
                skips: false,
                is_taken: false,
            });
        }
        let prepared = &mut self.scratch.prepared[index];
        if prepared.parts.len() < plan.plan.parts.len() {
            prepared.parts.resize_with(plan.plan.parts.len(), Registers::default);
        }
        (prepared.key, prepared.plan, prepared.tensor) = (key, plan, k);
        (prepared.skips, prepared.is_taken) = (false, false);
        self.scratch.by_key.insert(key, index as u32);
        self.scratch.used += 1;
        Ok(index as u32)
    }

    /// What the plan asks of each tensor.
    fn check_plan(&self, k: usize, prepared: u32, tensor: &Tensor<'_>) -> Result<(), Error> {
        let plan = &self.scratch.prepared[prepared as usize].plan;
        if !plan.asks {
            return Ok(());
        }
        let slot = &self.tensors[self.scratch.slots[k] as usize];
        if let Some((extent, span)) = plan.plan.needs_axes.filter(|_| slot.shape.len() < 2) {
            let program = self.rule.program();
            return Err(Error::NeedsAxes {
                rule: self.rule.name().to_string(),
                tensor: slot.name.clone(),
                shape: slot.shape.to_vec(),
                extent: extent.name(),
                line: program.file.line_column(span.start).0,
            });
        }
        for (array, _) in &plan.arrays {
            match array {
                Array::Input(id) => {
                    let given = tensor.arrays.iter().any(|(name, _)| input_id(self.rule.program(), name) == Some(*id));
                    if !given {
                        return Err(missing_input(&self.rule, *id, slot));
                    }
                }
                Array::Copy if tensor.copy.is_none() => {
                    return Err(Error::MissingCopy { tensor: slot.name.clone() });
                }
                _ => {}
            }
        }
        if let Some(shard) = &tensor.shard {
            if plan.folds && self.exchange.is_none() {
                return Err(Error::NeedsExchange { rule: self.rule.name().to_string(), tensor: slot.name.clone() });
            }
            let sweeps = plan.plan.sweeps().filter(|sweep| sweep.over == Extent::Element && !sweep.folds.is_empty());
            let geometry = &slot.geometry;
            let fits =
                |at: usize, multiple: usize| at.is_multiple_of(multiple) || at == geometry.total(Extent::Element);
            for multiple in sweeps.map(|sweep| granule(sweep, geometry)) {
                let (first, end) = (shard.first, shard.first + geometry.len);
                if geometry.len > 0 && !(fits(first, multiple) && fits(end, multiple)) {
                    return Err(Error::BadShard { tensor: slot.name.clone(), first, end, multiple });
                }
            }
        }
        if plan.has_tensor_level {
            // Inputs per tensor have to be there for each tensor.
            let sources = self.sources(k, tensor);
            plan.sources.iter().try_for_each(|source| sources.require(*source))?;
        }
        Ok(())
    }

    /// Runs all phases, and the scalar code after them. Whether the whole model does not take the step.
    fn phases(&mut self, tensors: &mut Disjoint<'_, '_>) -> bool {
        self.scratch.results.begin(self.rule.program(), self.groups.len());
        for scope in self.groups.iter_mut().map(|group| &mut group.scope).chain([&mut self.model]) {
            scope.next.fill(None);
            scope.reports.fill(None);
        }
        for index in &self.scratch.slots {
            let own = &mut self.tensors[*index as usize].own;
            own.skipped = false;
            own.stores.clear();
            own.reports.fill(None);
        }
        for phase in 0..self.phases {
            if self.skips(phase, tensors.tensors()) {
                return true;
            }
            self.share(phase, tensors.tensors());
            self.run_tensors(phase, tensors);
            self.reduce();
        }
        self.ends(tensors);
        false
    }

    /// Whether one of such tensors that has taken the step has had to do with a state.
    fn is_touched(&self, id: StateId, is_one: impl Fn(&Slot) -> bool) -> bool {
        let work = self.scratch.slots.iter().zip(&self.scratch.work);
        work.into_iter().any(|(index, work)| {
            let slot = &self.tensors[*index as usize];
            let reads = |source: Source| source == Source::State(id);
            let plan = &self.scratch.prepared[*work as usize].plan;
            // A condition in a block that is not taken has read nothing.
            let in_conditions = || {
                let conditions = self.rule.condition_code(slot.storage);
                let outcomes = conditions.outputs.iter().zip(&plan.facts().outcomes);
                let reached = outcomes.filter(|(_, outcome)| **outcome != Outcome::Unreached);
                let sources = conditions.sources_of(reached.map(|(output, _)| *output));
                sources.into_iter().any(reads) || self.inits.in_conditions.contains(&id)
            };
            !slot.own.skipped && is_one(slot) && (plan.sources.iter().copied().any(reads) || in_conditions())
        })
    }

    /// Runs scalar code as far as the tensors of a key share it.
    fn run_shared(
        &mut self,
        prepared: usize,
        region: &Region,
        which: impl Fn(&mut Prepared) -> &mut Registers,
        tensors: &[Tensor<'_>],
    ) {
        let of = &mut self.scratch.prepared[prepared];
        let (k, group) = (of.tensor, of.key.group as usize);
        let mut registers = std::mem::take(&mut which(of).registers);
        let mut stores = std::mem::take(&mut self.scratch.stores);
        stores.clear();
        let sources = self.sources(k, &tensors[k]);
        region.run((Level::Model, Level::Steps), &mut registers, &sources, |id, x| stores.push((id, x)));
        for (id, x) in stores.drain(..) {
            let scope = match self.rule.program().states[id.index()].extent {
                Extent::Model => &mut self.model,
                Extent::Group => &mut self.groups[group].scope,
                // Those of a tensor are its own affair, whatever they are computed from.
                _ => continue,
            };
            scope.next[id.index()] = Some(x);
        }
        self.scratch.stores = stores;
        which(&mut self.scratch.prepared[prepared]).registers = registers;
    }

    /// Decides for the tensors of each key together whether they take the step; whether the whole model does not.
    fn skips(&mut self, phase: u32, tensors: &[Tensor<'_>]) -> bool {
        for index in 0..self.scratch.used {
            let plan = self.scratch.prepared[index].plan.clone();
            let Some(skip) = plan.plan.skip.as_ref().filter(|skip| skip.phase == phase) else { continue };
            self.run_shared(index, &skip.scalars, |prepared| &mut prepared.skip, tensors);
            // Tensors whose plan does not ask take the step: they may have stored something already.
            let of = &mut self.scratch.prepared[index];
            of.skips = !skip.scalars.has_tensor_level() && holds(&skip.scalars, &of.skip.registers);
        }
        let used = &self.scratch.prepared[..self.scratch.used];
        !used.is_empty() && used.iter().all(|prepared| prepared.skips)
    }

    /// Runs the scalar code of a phase as far as tensors share it, and folds what there is one of per group or model.
    fn share(&mut self, phase: u32, tensors: &[Tensor<'_>]) {
        self.scratch.folded.clear();
        for index in 0..self.scratch.used {
            let plan = self.scratch.prepared[index].plan.clone();
            for (i, part) in plan.parts(phase) {
                let region = &part.scalars;
                self.run_shared(index, region, |prepared| &mut prepared.parts[i], tensors);
                let Prepared { key, parts, skips, .. } = &mut self.scratch.prepared[index];
                if !region.has_tensor_level() {
                    let Registers { registers, uniforms: values } = &mut parts[i];
                    values.set(key.storage, uniforms(part), region, registers);
                }
                for fold in part.folds.iter().filter(|fold| fold.from != Extent::Tensor) {
                    // Tensors that do not take the step give nothing.
                    if *skips {
                        continue;
                    }
                    let group = if fold.from == Extent::Group { key.group } else { u32::MAX };
                    if self.scratch.folded.contains(&(group, fold.reduced)) {
                        continue;
                    }
                    self.scratch.folded.push((group, fold.reduced));
                    let x = operand(region, fold.output, &parts[i].registers);
                    let to = fold.reduced.to(self.rule.program());
                    let place =
                        self.scratch.results.index(fold.reduced, (to == Extent::Group).then_some(key.group as usize));
                    let workers = self.scratch.workers.get_mut().unwrap_or_else(PoisonError::into_inner);
                    if workers.is_empty() {
                        workers.push(Worker::default());
                    }
                    workers[0].totals.whole.add_value(place, fold.fold, x);
                }
            }
        }
    }

    /// Keeps the reports per model and group.
    fn keep_reports(&mut self, prepared: usize) {
        let Prepared { plan, end, key, .. } = &self.scratch.prepared[prepared];
        let region = &plan.plan.end;
        let mut found = std::mem::take(&mut self.scratch.reports);
        found.clear();
        found.extend(plan.reports().filter_map(|(id, output)| match end.registers[output.index()] {
            Scalar::F64(x) if region.level(output) < Level::Tensor => Some((id, x)),
            _ => None,
        }));
        let group = key.group as usize;
        for (id, x) in found.drain(..) {
            let scope = match self.rule.program().reports[id.index()].extent {
                Extent::Model => &mut self.model,
                Extent::Group => &mut self.groups[group].scope,
                _ => continue,
            };
            scope.reports[id.index()] = Some(x);
        }
        self.scratch.reports = found;
    }

    /// Runs the parts of a phase for each tensor.
    fn run_tensors(&mut self, phase: u32, tensors: &mut Disjoint<'_, '_>) {
        let threads = Threads(self.pool.as_deref());
        let sizes = self.scratch.slots.iter().map(|index| self.tensors[*index as usize].geometry.len);
        let is_shared_out = self.scratch.slots.len() > 1 && threads.share(sizes.sum());
        // With other processes, all have to come to each exchange in the same order.
        if is_shared_out && self.exchange.is_none() {
            return self.run_jobs(phase, tensors);
        }
        let mut worker = self.worker();
        let Optimizer { rule, host, groups, model, tensors: slots, scratch, pool, exchange, .. } = self;
        let shared = Shared { rule, host, groups, model, results: &scratch.results };
        let run = Phase { phase, shared, threads: Threads(pool.as_deref()), exchange: exchange.as_deref() };
        for (k, (index, work)) in scratch.slots.iter().zip(&scratch.work).enumerate() {
            let Slot { known, own } = &mut slots[*index as usize];
            let work = &scratch.prepared[*work as usize];
            run.tensor(known, own, &mut tensors.get(k), work, &mut worker);
        }
        self.give_back(worker);
    }

    /// The same by several threads.
    fn run_jobs(&mut self, phase: u32, tensors: &mut Disjoint<'_, '_>) {
        let mut jobs: Vec<Job<'_, '_>> = Vec::with_capacity(self.scratch.slots.len());
        for (k, tensor) in tensors.iter_mut().enumerate() {
            let own = std::mem::take(&mut self.tensors[self.scratch.slots[k] as usize].own);
            jobs.push(Job { k, own, tensor });
        }
        let run = self.phase(phase);
        run.threads.for_each(&mut jobs, |Job { k, own, tensor }| {
            let slot = &self.tensors[self.scratch.slots[*k] as usize];
            let work = &self.scratch.prepared[self.scratch.work[*k] as usize];
            let mut worker = self.worker();
            run.tensor(slot, own, tensor, work, &mut worker);
            self.give_back(worker);
        });
        for Job { k, own, .. } in jobs {
            self.tensors[self.scratch.slots[k] as usize].own = own;
        }
    }

    fn phase(&self, phase: u32) -> Phase<'_> {
        let threads = Threads(self.pool.as_deref());
        Phase { phase, shared: self.shared(), threads, exchange: self.exchange.as_deref() }
    }

    /// A worker that nobody else uses.
    fn worker(&self) -> Worker {
        self.scratch.workers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, worker: Worker) {
        self.scratch.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// Finishes the reductions to model and group of a phase.
    fn reduce(&mut self) {
        let Scratch { workers, results, .. } = &mut self.scratch;
        let workers = workers.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((first, others)) = workers.split_first_mut() else { return };
        others.iter_mut().for_each(|other| first.totals.merge(&mut other.totals));
        if let Some(exchange) = &self.exchange {
            first.totals.shards.exchange(&**exchange);
        }
        let totals = &mut first.totals;
        totals.whole.merge(&mut totals.shards);
        totals.whole.finish(|index, value, count| results.set(index, value, count));
    }

    /// Runs the scalar code after the last part, for those that take the step.
    fn ends(&mut self, tensors: &Disjoint<'_, '_>) {
        if self.scratch.prepared[..self.scratch.used].iter().all(|prepared| prepared.plan.plan.end.is_empty()) {
            return;
        }
        for k in 0..self.scratch.slots.len() {
            let taken = !self.tensors[self.scratch.slots[k] as usize].own.skipped;
            self.scratch.prepared[self.scratch.work[k] as usize].is_taken |= taken;
        }
        for index in 0..self.scratch.used {
            let Prepared { plan, is_taken, .. } = &self.scratch.prepared[index];
            let plan = plan.clone();
            if *is_taken && !plan.plan.end.is_empty() {
                self.run_shared(index, &plan.plan.end, |prepared| &mut prepared.end, tensors.tensors());
                self.keep_reports(index);
            }
        }
        let mut worker = self.worker();
        for k in 0..self.scratch.slots.len() {
            let (index, work) = (self.scratch.slots[k] as usize, self.scratch.work[k] as usize);
            let plan = &self.scratch.prepared[work].plan;
            if plan.plan.end.is_empty() || self.tensors[index].own.skipped {
                continue;
            }
            let mut own = std::mem::take(&mut self.tensors[index].own);
            let given = tensors.tensors()[k].given();
            self.phase(0).end(&self.tensors[index], &mut own, given, &self.scratch.prepared[work], &mut worker);
            self.tensors[index].own = own;
        }
        self.give_back(worker);
    }

    /// Makes the step last, for those that take it.
    fn finish(&mut self, tensors: &Disjoint<'_, '_>, model_skips: bool) {
        let mut any_taken = false;
        for k in 0..self.scratch.slots.len() {
            let slot = &mut self.tensors[self.scratch.slots[k] as usize];
            slot.own.skipped |= model_skips;
            if slot.own.skipped {
                slot.own.reports.fill(None);
                continue;
            }
            any_taken = true;
            self.groups[slot.group].is_taken = true;
            let (states, stores) = (&mut slot.own.states, &mut slot.own.stores);
            stores.drain(..).for_each(|(id, x)| states[id.index()] = State::Scalar(x));
            slot.t += 1;
        }
        let is_skipped = !any_taken && !tensors.tensors().is_empty();
        self.take_back(|opt, first| match first {
            First::Model(id) => !opt.is_touched(id, |_| true),
            First::Group(group, id) => !opt.is_touched(id, |slot| slot.group == group),
            First::Tensor(index, _) | First::Hidden(index, _) => opt.tensors[index as usize].own.skipped,
        });
        for group in &mut self.groups {
            if std::mem::take(&mut group.is_taken) {
                group.scope.commit();
            }
            group.scope.inputs.fill(None);
        }
        if any_taken {
            self.model.commit();
        }
        self.model.inputs.fill(None);
        if is_skipped {
            self.groups.iter_mut().for_each(|group| group.undrive(&self.rule));
        } else {
            self.groups.iter_mut().flat_map(|group| &mut group.drivers).for_each(Driver::commit);
        }
        self.last_skipped = is_skipped;
        self.skipped += u64::from(is_skipped);
        if !self.loaded.is_empty() {
            self.loaded.retain(|name, _| !self.by_name.contains_key(name));
        }
    }
}
