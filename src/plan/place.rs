//! Which sweep does what.
//!
//! Comes in: a step. Goes out: [`Placed`], its stages and, for each stage, what a sweep over the elements stores, folds,
//! keeps and reads. A stage ends where the result of a reduction is needed, so there are as many as the longest chain of
//! reductions; a phase, which all tensors finish together, is one stage or several.
//!
//! What a later stage needs of an earlier one is read again, computed again or kept in a temporary array, whichever moves
//! the fewest bytes: [`smallest_cut`] says it for one sweep whose duties are given, and the duties (when each state is
//! stored, with whom each reduction goes) are improved one by one until no change moves fewer bytes. Of equal plans the
//! one that computes less is taken, and of those the one that keeps less.
//!
//! Arrays of smaller extents are short: what a later stage needs of them is always kept.

use super::cut::{Node, smallest_cut};
use crate::check::program::Extent;
use crate::ir::step::{Array, Fold, Reduced, Step, StepInst, Target};
use crate::ir::{Binary, Op, Type, Unary, Value};
use std::collections::BTreeMap;

/// A stage: the phase that it belongs to, and its number in the phase.
pub(super) type Stage = (u32, u32);

/// What a step consists of, and where each part of it goes.
pub(super) struct Placed {
    /// In order.
    pub(super) stages: Vec<Stage>,
    /// The index of the stage in which each value of the step can be computed first.
    pub(super) first: Vec<usize>,
    /// Of a reduction, the first stage in which it can be folded: smaller arrays and scalars are folded there.
    pub(super) folded: Vec<usize>,
    /// The sweeps over elements, one per stage; those with no duties are not made.
    pub(super) sweeps: Vec<Duties>,
}

/// What one sweep over the elements of a tensor does.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Duties {
    /// Arrays with their new values.
    pub(super) stores: Vec<(Array, Value)>,
    /// Operands of reductions.
    pub(super) folds: Vec<FoldOf>,
    /// Values that a later sweep reads from a temporary array.
    pub(super) keeps: Vec<Value>,
    /// Values that are read, each from where.
    pub(super) reads: BTreeMap<Value, Home>,
}

/// A reduction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct FoldOf {
    pub(super) fold: Fold,
    pub(super) reduced: Reduced,
    pub(super) operand: Value,
    pub(super) to: Extent,
    /// The instruction.
    pub(super) result: Value,
}

/// Where a value lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Home {
    /// In an array, as it was before the step or as it has been stored.
    Array(Array),
    /// In the temporary array of this value.
    Kept,
}

/// The most operations among elements for which plans are compared; longer steps store and fold as early as they can.
const COMPARED: usize = 1024;
/// How many values of elements may be looked at, each once a stage, while a plan is improved: a step of 60 operations in 3
/// stages is changed hundreds of times, one of 1000 in 8 a dozen times.
const LOOKED_AT: usize = 1 << 16;

/// Stages, and the duties of each sweep over elements.
pub(super) fn place(step: &Step) -> Placed {
    let (stages, first) = stages(step);
    let folded = folded(step, &stages, &first);
    let problem = Problem::new(step, (&stages, &first, &folded));
    let sweeps = problem.solve();
    Placed { stages, first, folded, sweeps }
}

/// The stage of a reduction's result.
fn stage_of_result(step: &Step, reduced: Reduced, to: Extent, operand: Stage) -> Stage {
    match (to, reduced) {
        (Extent::Model | Extent::Group, Reduced::Program(id)) => (step.program.reductions[id.index()].phase, 0),
        (Extent::Model | Extent::Group, Reduced::Finite) => (1, 0),
        _ => (operand.0, operand.1 + 1),
    }
}

/// The stages of a step, and the index of that in which each value is known first.
fn stages(step: &Step) -> (Vec<Stage>, Vec<usize>) {
    let mut of: Vec<Stage> = Vec::with_capacity(step.insts.len());
    for (index, inst) in step.insts.iter().enumerate() {
        let mut stage = (0, 0);
        inst.for_each_operand(|v| stage = stage.max(of[v.index()]));
        if let StepInst::Reduce(_, reduced, _) = *inst {
            stage = stage_of_result(step, reduced, step.values[index].0, stage);
        }
        of.push(stage);
    }
    let mut stages = of.clone();
    stages.push((0, 0));
    // All tensors of a model fold in the phase that a reduction ends, whenever this one could first.
    let ended = step.insts.iter().zip(&of).filter_map(|(inst, stage)| match inst {
        StepInst::Reduce(_, reduced, _) if ends_phase(step, *reduced) => Some((stage.0.saturating_sub(1), 0)),
        _ => None,
    });
    stages.extend(ended);
    stages.sort_unstable();
    stages.dedup();
    let first = of.iter().map(|stage| stages.binary_search(stage).unwrap_or(0)).collect();
    (stages, first)
}

/// Whether a reduction is to model or group.
fn ends_phase(step: &Step, reduced: Reduced) -> bool {
    matches!(reduced.to(&step.program), Extent::Model | Extent::Group)
}

/// The first stage in which each reduction can be folded. A tensor that does not take the step gives nothing to the
/// model from the phase on in which that is known, so within that phase it has to be known first.
fn folded(step: &Step, stages: &[Stage], first: &[usize]) -> Vec<usize> {
    let taken = step.insts.iter().find_map(|inst| match inst {
        StepInst::Store(Target::Skip, v) => Some(first[v.index()]),
        _ => None,
    });
    let of = |(index, inst): (usize, &StepInst)| match *inst {
        StepInst::Reduce(_, reduced, v) if ends_phase(step, reduced) => {
            let phase = stages[first[index]].0.saturating_sub(1);
            let begins = stages.iter().position(|stage| stage.0 == phase).unwrap_or(0);
            let known = taken.filter(|taken| stages[*taken].0 == phase).unwrap_or(0);
            first[v.index()].max(begins).max(known)
        }
        StepInst::Reduce(_, _, v) => first[v.index()],
        _ => first[index],
    };
    step.insts.iter().enumerate().map(of).collect()
}

/// A duty that may be done in one of several stages.
struct Choice {
    /// The first and the last stage in which it can be done.
    range: (usize, usize),
    value: Value,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Store(Array),
    Fold(FoldOf),
}

/// The elements of a step as a graph, and the duties that have to be placed.
struct Problem<'a> {
    step: &'a Step,
    first: &'a [usize],
    stages: &'a [Stage],
    /// The values of elements, in order, and where each is among them.
    elements: Vec<Value>,
    index: BTreeMap<Value, usize>,
    choices: Vec<Choice>,
}

/// A placement: the stage of each choice, and the values that are kept, each from the stage on in which it is computed.
#[derive(Clone, PartialEq)]
struct Placement {
    stage: Vec<usize>,
    kept: Vec<Value>,
}

/// What a placement costs, the most important first: bytes per element, work, values kept.
type Cost = (u32, u32, usize);

impl<'a> Problem<'a> {
    fn new(step: &'a Step, (stages, first, folded): (&'a [Stage], &'a [usize], &[usize])) -> Problem<'a> {
        let is_element = |v: Value| step.values[v.index()].0 == Extent::Element;
        let elements: Vec<Value> = (0..step.insts.len())
            .map(|i| Value(i as u32))
            .filter(|v| is_element(*v) && !matches!(step.insts[v.index()], StepInst::Store(..)))
            .collect();
        let index = elements.iter().enumerate().map(|(i, v)| (*v, i)).collect();
        let last = stages.len() - 1;
        // Nothing is stored before it is known that the step is taken.
        let taken = step.insts.iter().find_map(|inst| match inst {
            StepInst::Store(Target::Skip, v) => Some(first[v.index()]),
            _ => None,
        });
        let needed = needed(step, (stages, first, folded));
        let mut choices = Vec::new();
        for (i, inst) in step.insts.iter().enumerate() {
            let (range, value, what) = match *inst {
                StepInst::Store(Target::Array(array), v) if is_element(v) => {
                    ((first[v.index()].max(taken.unwrap_or(0)), last), v, What::Store(array))
                }
                StepInst::Reduce(fold, reduced, operand) if is_element(operand) => {
                    let to = step.values[i].0;
                    let result = Value(i as u32);
                    let what = What::Fold(FoldOf { fold, reduced, operand, to, result });
                    // One to model or group is finished when its phase ends.
                    let latest = match to {
                        Extent::Model | Extent::Group => {
                            stages.iter().rposition(|stage| stage.0 < stages[first[i]].0).unwrap_or(0)
                        }
                        _ => needed[i].saturating_sub(1).min(last),
                    };
                    ((folded[i], latest.max(folded[i])), operand, what)
                }
                _ => continue,
            };
            choices.push(Choice { range, value, what });
        }
        Problem { step, first, stages, elements, index, choices }
    }

    /// The duties of each stage.
    fn solve(&self) -> Vec<Duties> {
        // What nobody reads again but as it was is stored last.
        let is_last = |choice: &Choice| matches!(choice.what, What::Store(Array::Grad | Array::Copy | Array::View));
        let is_store = |choice: &Choice| matches!(choice.what, What::Store(_));
        let early = self.choices.iter().map(|c| if is_last(c) { c.range.1 } else { c.range.0 });
        let late = self.choices.iter().map(|c| c.range.1);
        // Late stores can always be done: until then everything is as it was before the step.
        let naive = self.choices.iter().map(|c| if is_store(c) { c.range.1 } else { c.range.0 });
        let starts: [Vec<usize>; 3] = [early.collect(), late.collect(), naive.collect()];
        let starts = starts.into_iter().map(|stage| Placement { stage, kept: Vec::new() });
        let best = if self.stages.len() == 1 || self.elements.len() > COMPARED {
            starts.filter_map(|start| Some((self.duties(&start)?.1, start))).next()
        } else {
            starts.filter_map(|start| self.improve(start)).min_by_key(|(cost, _)| *cost)
        };
        best.and_then(|(_, best)| self.duties(&best)).map_or_else(Vec::new, |(duties, _)| duties)
    }

    /// Changes one choice at a time for as long as that costs less.
    fn improve(&self, start: Placement) -> Option<(Cost, Placement)> {
        let mut best = (self.duties(&start)?.1, start);
        let mut left = LOOKED_AT / (self.elements.len() * self.stages.len()).max(1);
        loop {
            let mut better: Option<(Cost, Placement)> = None;
            let mut consider = |placement: Placement| {
                let Some(after) = left.checked_sub(1) else { return };
                left = after;
                if let Some((_, cost)) = self.duties(&placement)
                    && cost < better.as_ref().map_or(best.0, |(cost, _)| *cost)
                {
                    better = Some((cost, placement));
                }
            };
            for (k, choice) in self.choices.iter().enumerate() {
                for stage in choice.range.0..=choice.range.1 {
                    if stage != best.1.stage[k] {
                        let mut next = best.1.clone();
                        next.stage[k] = stage;
                        consider(next);
                    }
                }
            }
            for v in self.candidates(&best.1) {
                let mut next = best.1.clone();
                match next.kept.iter().position(|kept| *kept == v) {
                    Some(at) => drop(next.kept.remove(at)),
                    None => next.kept.push(v),
                }
                consider(next);
            }
            match better {
                Some(found) => best = found,
                None => return Some(best),
            }
        }
    }

    /// Values that keeping may spare: those of operations that more than one stage computes.
    fn candidates(&self, placement: &Placement) -> Vec<Value> {
        let Some((duties, _)) = self.duties(placement) else { return Vec::new() };
        let mut seen = BTreeMap::<Value, usize>::new();
        for duties in &duties {
            for v in self.computed(duties) {
                *seen.entry(v).or_default() += 1;
            }
        }
        let compute = self.step.facts.storage.compute();
        let is_worth = |v: &Value| {
            matches!(self.step.insts[v.index()], StepInst::Op(_)) && self.step.values[v.index()].1 == compute
        };
        let again = seen.iter().filter(|(_, times)| **times > 1).map(|(v, _)| *v);
        again.chain(placement.kept.iter().copied()).filter(is_worth).collect()
    }

    /// What a sweep computes: all that its duties need, down to what it reads.
    fn computed(&self, duties: &Duties) -> Vec<Value> {
        let mut needed = vec![false; self.elements.len()];
        for v in duties.wanted() {
            needed[self.index[&v]] = true;
        }
        for i in (0..needed.len()).rev() {
            let v = self.elements[i];
            if needed[i] && !duties.reads.contains_key(&v) {
                self.step.insts[v.index()].for_each_operand(|operand| {
                    if let Some(i) = self.index.get(&operand) {
                        needed[*i] = true;
                    }
                });
            }
        }
        let all = self.elements.iter().zip(&needed).filter(|(v, needed)| **needed && !duties.reads.contains_key(v));
        all.map(|(v, _)| *v).collect()
    }

    /// The duties that a placement gives each stage, and what they cost. `None`: it cannot be done.
    fn duties(&self, placement: &Placement) -> Option<(Vec<Duties>, Cost)> {
        let mut all = vec![Duties::default(); self.stages.len()];
        for (choice, &stage) in self.choices.iter().zip(&placement.stage) {
            match choice.what {
                What::Store(array) => all[stage].stores.push((array, choice.value)),
                What::Fold(fold) => all[stage].folds.push(fold),
            }
        }
        for v in &placement.kept {
            all[self.first[v.index()]].keeps.push(*v);
        }
        let bytes = self.kept_bytes();
        let (mut moved, mut work) = (0, 0);
        for (stage, duties) in all.iter_mut().enumerate() {
            let wanted: Vec<usize> = duties.wanted().map(|v| self.index[&v]).collect();
            if wanted.is_empty() {
                continue;
            }
            let homes = self.homes(placement, stage);
            let nodes: Vec<Node> = self.elements.iter().map(|v| self.node(*v, &homes)).collect();
            let (cut, read) = smallest_cut(&nodes, &wanted)?;
            let reads = cut.into_iter().map(|i| (self.elements[i], homes[&self.elements[i]]));
            duties.reads = reads.collect();
            moved += read + duties.stores.iter().map(|(array, _)| self.bytes(*array)).sum::<u32>();
            moved += bytes * duties.keeps.len() as u32;
        }
        for duties in &all {
            work += self.computed(duties).into_iter().map(|v| weight(self.step.insts[v.index()])).sum::<u32>();
        }
        // A temporary array that lives from phase to phase is memory for every tensor of the model: nothing but bytes
        // is worth it.
        let phase = |stage: usize| self.stages[stage].0;
        for v in &placement.kept {
            let from = phase(self.first[v.index()]);
            let last = all.iter().rposition(|duties| duties.reads.get(v) == Some(&Home::Kept))?;
            work += if phase(last) == from { 0 } else { 1 << 20 };
        }
        Some((all, (moved, work, placement.kept.len())))
    }

    /// Where values lie when the sweep of a stage begins.
    fn homes(&self, placement: &Placement, stage: usize) -> BTreeMap<Value, Home> {
        let mut homes = BTreeMap::new();
        for v in placement.kept.iter().filter(|v| self.first[v.index()] < stage) {
            homes.insert(*v, Home::Kept);
        }
        let mut overwritten = Vec::new();
        for (choice, &stored) in self.choices.iter().zip(&placement.stage) {
            if let What::Store(array) = choice.what
                && stored < stage
            {
                overwritten.push(array);
                // The copy and the gradient may lie in memory of another type, or be gone.
                if !matches!(array, Array::Copy | Array::Grad | Array::View) {
                    homes.insert(choice.value, Home::Array(array));
                }
            }
        }
        for v in &self.elements {
            if let StepInst::Load(array) = self.step.insts[v.index()]
                && !overwritten.contains(&array)
            {
                homes.insert(*v, Home::Array(array));
            }
        }
        homes
    }

    fn node(&self, v: Value, homes: &BTreeMap<Value, Home>) -> Node {
        let mut operands = Vec::new();
        let inst = self.step.insts[v.index()];
        inst.for_each_operand(|operand| operands.extend(self.index.get(&operand)));
        let cost = homes.get(&v).map(|home| match home {
            Home::Array(array) => self.bytes(*array),
            Home::Kept => self.kept_bytes(),
        });
        // A uniform costs nothing to have again, and what was stored may be one.
        let free = !matches!(inst, StepInst::Load(_));
        Node { operands, cost, free }
    }

    fn bytes(&self, array: Array) -> u32 {
        self.step.facts.storage_of(array, &self.step.program).bytes() as u32
    }

    /// Of a value in a temporary array.
    fn kept_bytes(&self) -> u32 {
        self.step.facts.storage.of_results().bytes() as u32
    }
}

impl Duties {
    /// The values that have to be computed or read.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Value> {
        let stored = self.stores.iter().map(|(_, v)| *v);
        let folded = self.folds.iter().map(|fold| fold.operand);
        stored.chain(folded).chain(self.keeps.iter().copied())
    }
}

/// For each value the first stage in which something needs it that is not free to choose; one past the last, if nothing
/// does.
fn needed(step: &Step, (stages, first, folded): (&[Stage], &[usize], &[usize])) -> Vec<usize> {
    let mut needed = vec![stages.len(); step.insts.len()];
    for (index, inst) in step.insts.iter().enumerate().rev() {
        let by = match inst {
            // What the last scalar code stores or reports.
            StepInst::Store(Target::Scalar(_) | Target::Report(_), _) => stages.len(),
            StepInst::Store(_, v) => first[v.index()],
            // Scalars and smaller arrays are folded at once.
            StepInst::Reduce(..) => folded[index],
            // A sweep over a small array, or over elements, computes it as early as it can.
            _ if !step.values[index].0.is_scalar() => first[index],
            _ => needed[index],
        };
        inst.for_each_operand(|v| needed[v.index()] = needed[v.index()].min(by));
    }
    needed
}

/// How long an operation takes, roughly.
fn weight(inst: StepInst) -> u32 {
    match inst {
        StepInst::Op(Op::Binary(Binary::Div, ..) | Op::Unary(Unary::Sqrt, _)) => 8,
        StepInst::Op(Op::Const(_)) | StepInst::Load(_) => 0,
        StepInst::Draw(..) => 60,
        _ => 1,
    }
}

/// Whether a value is a product that a fold can make of what it reads.
pub(super) fn product(step: &Step, v: Value) -> Option<(Value, Value)> {
    match step.insts[v.index()] {
        StepInst::Op(Op::Binary(Binary::Mul, a, b)) if step.values[v.index()].1 != Type::Bool => Some((a, b)),
        _ => None,
    }
}
