//! A phase of a step: the parts of each tensor's plan that can run before the reductions that end it are known.

use super::arrays::with_arrays;
use super::folds::Totals;
use super::memory::DisjointTensor;
use super::plans::Compiled;
use super::scopes::{Known, Own};
use super::sources::{Shared, Sources};
use super::sweep::{HostArrays, Room, SweepRun, TypedRoom};
use super::tensor::{Erase, Given};
use super::threads::Threads;
use super::uniforms::UniformValues;
use crate::check::program::Extent;
use crate::ir::random::Key;
use crate::ir::region::{Level, Region};
use crate::ir::step::Reduced;
use crate::ir::{Exchange, Scalar, Storage, Type};
use crate::plan::{Part, Skip, StreamOf};
use std::marker::PhantomData;
use std::sync::Arc;

/// Tensors for which the scalar code gives the same, as long as it does not look at the tensor itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PreparedKey {
    pub(super) group: u32,
    pub(super) t: u64,
    pub(super) storage: Storage,
    pub(super) grad: Storage,
    pub(super) zero_grad: bool,
    /// The plan, where tensors of one group and t may have different ones; else 0.
    pub(super) plan: u64,
}

/// A plan with its scalar code run as far as it is the same for all tensors of a key.
pub(super) struct Prepared {
    pub(super) key: PreparedKey,
    pub(super) plan: Arc<Compiled>,
    /// One of its tensors: of the call, by index.
    pub(super) tensor: usize,
    /// By index of the part.
    pub(super) parts: Vec<Registers>,
    pub(super) skip: Registers,
    pub(super) end: Registers,
    /// Whether the tensors do not take the step, if scalar code that they share says so.
    pub(super) skips: bool,
    /// Whether any of its tensors takes the step.
    pub(super) is_taken: bool,
}

/// What scalar code has given.
#[derive(Default)]
pub(super) struct Registers {
    pub(super) registers: Vec<Scalar>,
    pub(super) uniforms: UniformValues,
}

/// Memory that one thread works in.
#[derive(Default)]
pub(super) struct Worker {
    room: Room,
    here: Registers,
    pub(super) totals: PhaseTotals,
}

/// Reductions to model and group under way.
#[derive(Default)]
pub(super) struct PhaseTotals {
    /// Of elements of which other processes have others.
    pub(super) shards: Totals,
    /// Of what every process has.
    pub(super) whole: Totals,
}

impl PhaseTotals {
    pub(super) fn merge(&mut self, other: &mut PhaseTotals) {
        self.shards.merge(&mut other.shards);
        self.whole.merge(&mut other.whole);
    }
}

/// One phase, for all tensors.
#[derive(Clone, Copy)]
pub(super) struct Phase<'a> {
    pub(super) phase: u32,
    pub(super) shared: Shared<'a>,
    pub(super) threads: Threads<'a>,
    pub(super) exchange: Option<&'a dyn Exchange>,
}

/// Whether the one output of a region is true.
pub(super) fn holds(region: &Region, registers: &[Scalar]) -> bool {
    region.outputs.first().is_some_and(|output| registers[output.index()] == Scalar::Bool(true))
}

/// How many outputs of a part's scalar code are uniforms.
pub(super) fn uniforms(part: &Part) -> usize {
    part.sweep.as_ref().map_or(0, |sweep| sweep.kernel.uniforms.len())
}

/// The value of an operand of a fold.
pub(super) fn operand(region: &Region, output: usize, registers: &[Scalar]) -> f64 {
    match registers[region.outputs[output].index()] {
        Scalar::F64(x) => x,
        Scalar::Bool(holds) => f64::from(u8::from(holds)),
    }
}

impl Phase<'_> {
    /// Runs the parts of one tensor.
    pub(super) fn tensor(
        &self,
        slot: &Known,
        own: &mut Own,
        tensor: &mut DisjointTensor<'_, '_>,
        work: &Prepared,
        worker: &mut Worker,
    ) {
        // `identify` has seen to it that parameter and gradient are of the slot's type.
        match slot.storage.compute() {
            Type::F32 => self.tensor_of::<f32>(slot, own, tensor, work, worker),
            _ => self.tensor_of::<f64>(slot, own, tensor, work, worker),
        }
    }

    fn tensor_of<T: Erase>(
        &self,
        slot: &Known,
        own: &mut Own,
        tensor: &mut DisjointTensor<'_, '_>,
        work: &Prepared,
        worker: &mut Worker,
    ) {
        let plan = &work.plan;
        let skip = plan.plan.skip.as_ref();
        if own.skipped && skip.is_some_and(|skip| plan.parts(self.phase).all(|(index, _)| index >= skip.before)) {
            return;
        }
        if !plan.parts(self.phase).any(|(_, part)| part.sweep.is_some()) {
            return self.parts::<T>(slot, own, (tensor.tensor().given(), None), work, worker);
        }
        let Some(elements) = tensor.elements() else { return };
        let given = elements.given;
        let mut copies = std::mem::take(&mut worker.room.copies);
        self.keep::<T>(own, plan, worker);
        with_arrays(elements, self.shared.rule.program(), &mut copies, |arrays| {
            self.parts::<T>(slot, own, (given, Some(arrays)), work, worker);
        });
        self.keep::<T>(own, plan, worker);
        worker.room.copies = copies;
    }

    /// Exchanges the temporary arrays that outlive a phase with what the worker has in their place: before and after the
    /// parts are run.
    fn keep<T: Erase>(&self, own: &mut Own, plan: &Compiled, worker: &mut Worker) {
        let temps = &mut T::room(&mut worker.room).temps;
        if temps.len() < plan.kept.len() {
            temps.resize_with(plan.kept.len(), Vec::new);
        }
        if !plan.kept.contains(&true) {
            return;
        }
        let kept = T::kept(own);
        if kept.len() < plan.kept.len() {
            kept.resize_with(plan.kept.len(), Vec::new);
        }
        for index in (0..plan.kept.len()).filter(|index| plan.kept[*index]) {
            std::mem::swap(&mut temps[index], &mut kept[index]);
        }
    }

    /// The parts of one tensor, one after the other, so that a small one stays in the cache.
    fn parts<T: Erase>(
        &self,
        slot: &Known,
        own: &mut Own,
        (given, mut arrays): (Given<'_, '_>, Option<&mut HostArrays<'_>>),
        work: &Prepared,
        worker: &mut Worker,
    ) {
        let plan = &*work.plan;
        let mut skip = plan.plan.skip.as_ref().filter(|skip| skip.phase == self.phase);
        let before = plan.plan.skip.as_ref().map_or(usize::MAX, |skip| skip.before);
        for (index, part) in plan.parts(self.phase) {
            if let Some(skip) = skip.take_if(|skip| index >= skip.before) {
                self.decide(slot, own, given, (skip, work), worker);
            }
            if own.skipped && index >= before {
                break;
            }
            self.part::<T>(slot, own, (given, arrays.as_deref_mut()), (index, part, work), worker);
        }
        if let Some(skip) = skip {
            self.decide(slot, own, given, (skip, work), worker);
        }
    }

    /// Whether the tensor takes the step.
    fn decide(
        &self,
        slot: &Known,
        own: &mut Own,
        given: Given<'_, '_>,
        (skip, work): (&Skip, &Prepared),
        worker: &mut Worker,
    ) {
        own.skipped = work.skips;
        if skip.scalars.has_tensor_level() {
            self.scalars(slot, own, given, (&skip.scalars, &work.skip), worker);
            own.skipped = holds(&skip.scalars, &worker.here.registers);
        }
    }

    /// Runs the scalar code of one tensor after that which it shares with others; the registers are the worker's then.
    fn scalars(
        &self,
        slot: &Known,
        own: &mut Own,
        given: Given<'_, '_>,
        (region, shared): (&Region, &Registers),
        worker: &mut Worker,
    ) {
        let registers = &mut worker.here.registers;
        registers.clone_from(&shared.registers);
        let mut stores = std::mem::take(&mut own.stores);
        let sources = Sources::of(self.shared, slot, own, given.inputs);
        region.run((Level::Tensor, Level::Tensor), registers, &sources, |id, x| stores.push((id, x)));
        own.stores = stores;
    }

    fn part<T: Erase>(
        &self,
        slot: &Known,
        own: &mut Own,
        (given, arrays): (Given<'_, '_>, Option<&mut HostArrays<'_>>),
        (index, part, work): (usize, &Part, &Prepared),
        worker: &mut Worker,
    ) {
        let plan = &*work.plan;
        let shared = &work.parts[index];
        let is_own = part.scalars.has_tensor_level();
        if is_own {
            self.scalars(slot, own, given, (&part.scalars, shared), worker);
            worker.here.uniforms.set(slot.storage, uniforms(part), &part.scalars, &worker.here.registers);
        }
        let Worker { here, room, totals } = worker;
        let values = if is_own { &*here } else { shared };
        for fold in part.folds.iter().filter(|fold| fold.from == Extent::Tensor) {
            let x = operand(&part.scalars, fold.output, &values.registers);
            totals.whole.add_value(self.index(fold.reduced, slot), fold.fold, x);
        }
        let (Some(sweep), Some(arrays)) = (&part.sweep, arrays) else { return };
        let draws = sweep.streams.iter().any(|stream| matches!(stream, StreamOf::Draw(..)));
        let run = SweepRun::<T> {
            program: self.shared.rule.program(),
            plan,
            part: index,
            sweep,
            geometry: &slot.geometry,
            uniforms: &values.uniforms,
            key: if draws { Key::new(self.shared.host.seed, &slot.name) } else { Key([0; 2]) },
            t: slot.t + 1,
            threads: self.threads,
            exchange: self.exchange.filter(|_| given.is_shard),
            _type: PhantomData,
        };
        let TypedRoom { temps, pieces, .. } = T::room(room);
        run.run(arrays, own, temps, pieces);
        for (fold, folding) in sweep.folds.iter().zip(pieces.foldings()) {
            match (fold.to, fold.reduced) {
                (Extent::Model | Extent::Group, reduced) => {
                    let crosses = given.is_shard && sweep.over == Extent::Element;
                    let totals = if crosses { &mut totals.shards } else { &mut totals.whole };
                    totals.add(self.index(reduced, slot), fold.fold, folding.total());
                }
                (Extent::Tensor, Reduced::Program(id)) => own.results[id.index()] = folding.total().value(),
                _ => {}
            }
        }
    }

    /// Where a reduction to model or group is.
    fn index(&self, reduced: Reduced, slot: &Known) -> usize {
        let to = reduced.to(self.shared.rule.program());
        self.shared.results.index(reduced, (to == Extent::Group).then_some(slot.group))
    }

    /// The scalar code after the last part.
    pub(super) fn end(&self, slot: &Known, own: &mut Own, given: Given<'_, '_>, work: &Prepared, worker: &mut Worker) {
        let region = &work.plan.plan.end;
        let registers = if region.has_tensor_level() {
            self.scalars(slot, own, given, (region, &work.end), worker);
            &worker.here.registers
        } else {
            &work.end.registers
        };
        for (id, output) in work.plan.reports() {
            let extent = self.shared.rule.program().reports[id.index()].extent;
            if let (Extent::Tensor, Scalar::F64(x)) = (extent, registers[output.index()]) {
                own.reports[id.index()] = Some(x);
            }
        }
    }
}
