//! Plans of generated rules: never more bytes than the naive plan moves, and every way of having a value again.

use crate::for_rules;
use std::cell::Cell;
use std::collections::BTreeSet;
use updraft::check::program::Extent;
use updraft::ir::region::{Level, outcomes};
use updraft::ir::step::{Array, Reduced, Source, StepInst, Target};
use updraft::ir::{Facts, Scalar, Step, Value, lower, lower_conditions};
use updraft::plan::{Plan, StreamOf, plan};
use updraft::{Math, Rule, Storage};

/// The bytes per element of a plan that keeps nothing: each stage reads all that it is computed from as it was before the
/// step, and everything is stored last.
fn naive_bytes(step: &Step) -> usize {
    let is_element = |v: Value| step.values[v.index()].0 == Extent::Element;
    let mut stages: Vec<(u32, u32)> = Vec::new();
    for (index, inst) in step.insts.iter().enumerate() {
        let mut stage = (0, 0);
        inst.for_each_operand(|v| stage = stage.max(stages[v.index()]));
        if let StepInst::Reduce(_, reduced, _) = inst {
            stage = match (step.values[index].0, reduced) {
                (Extent::Model | Extent::Group, Reduced::Program(id)) => (step.program.reductions[id.index()].phase, 0),
                _ => (stage.0, stage.1 + 1),
            };
        }
        stages.push(stage);
    }
    // All tensors fold in the phase that a reduction to model or group ends; a tensor that may skip, when it is known to
    // take the step.
    let taken = step.insts.iter().find_map(|inst| match inst {
        StepInst::Store(Target::Skip, v) => Some(stages[v.index()]),
        _ => None,
    });
    let folded = |reduced: Reduced, v: Value| {
        let first = stages[v.index()];
        match (reduced.to(&step.program), reduced) {
            (Extent::Model | Extent::Group, Reduced::Program(id)) => {
                let phase = step.program.reductions[id.index()].phase - 1;
                let known = taken.filter(|taken| taken.0 == phase).unwrap_or_default();
                first.max((phase, 0)).max(known)
            }
            _ => first,
        }
    };
    let last = stages.iter().copied().max().unwrap_or_default();
    let mut all: Vec<(u32, u32)> = stages.clone();
    all.extend(step.insts.iter().filter_map(|inst| match *inst {
        StepInst::Reduce(_, reduced, v) => Some(folded(reduced, v)),
        _ => None,
    }));
    all.sort_unstable();
    all.dedup();
    let bytes = step.facts.storage.bytes();
    let mut moved = 0;
    for stage in all {
        let mut pending = Vec::new();
        for inst in &step.insts {
            match *inst {
                StepInst::Reduce(_, reduced, v) if is_element(v) && folded(reduced, v) == stage => pending.push(v),
                StepInst::Store(Target::Array(_), v) if is_element(v) && stage == last => {
                    moved += bytes;
                    pending.push(v);
                }
                _ => {}
            }
        }
        let mut seen: BTreeSet<Value> = pending.iter().copied().collect();
        while let Some(v) = pending.pop() {
            match step.insts[v.index()] {
                StepInst::Load(_) => moved += bytes,
                inst => inst.for_each_operand(|operand| {
                    if is_element(operand) && seen.insert(operand) {
                        pending.push(operand);
                    }
                }),
            }
        }
    }
    moved
}

/// The step of a tensor of this rank before whose first step everything is 0.
pub fn step_of(rule: &Rule, storage: Storage, math: Math, shape: &[usize]) -> Step {
    let conditions = lower_conditions(rule.program(), storage);
    let mut registers = Vec::new();
    let source = |source: Source| match source {
        Source::Flag(id) => {
            Scalar::Bool(rule.hypers().nth(id.index()).and_then(|h| h.default.as_bool()).unwrap_or(false))
        }
        Source::Hyper(id) => Scalar::F64(rule.hypers().nth(id.index()).and_then(|h| h.default.as_f64()).unwrap_or(0.0)),
        Source::Shape(of) => Scalar::F64(of.of(shape)),
        Source::T => Scalar::F64(1.0),
        _ => Scalar::F64(0.0),
    };
    conditions.run((Level::Model, Level::Tensor), &mut registers, source, |_, _| ());
    let mut facts = Facts::new(storage, math, Vec::new());
    outcomes(rule.program(), &conditions, &registers, &mut facts.outcomes);
    lower(rule.program(), &facts)
}

/// Whether a plan reads an array in two sweeps; and whether it keeps elements from one sweep to another.
fn again(plan: &Plan) -> (bool, bool) {
    let mut read: Vec<Array> = Vec::new();
    let mut reads_again = false;
    for sweep in plan.sweeps().filter(|sweep| sweep.over == Extent::Element) {
        for (stream, of) in sweep.kernel.streams.iter().zip(&sweep.streams) {
            if let (StreamOf::Array(array), true) = (of, stream.access.reads()) {
                reads_again |= read.contains(array);
                read.push(*array);
            }
        }
    }
    (reads_again, plan.temps.contains(&Extent::Element))
}

#[test]
fn plans_never_move_more_bytes_than_the_naive_plan() {
    let (reads_again, keeps, sweeps, saved) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    for_rules(1000, 5, |rule, _, values| {
        let math = if values % 2 == 0 { Math::Fast } else { Math::Strict };
        let storage = if values % 3 == 0 { Storage::F64 } else { Storage::F32 };
        for shape in [&[7][..], &[3, 5]] {
            let step = step_of(rule, storage, math, shape);
            let (plan, naive) = (plan(&step), naive_bytes(&step));
            let planned = plan.bytes_per_element();
            if planned > naive {
                return Err(format!("{planned} bytes, where the naive plan has {naive}\n{step}\n{plan}"));
            }
            let (again, kept) = again(&plan);
            reads_again.set(reads_again.get() + u32::from(again));
            keeps.set(keeps.get() + u32::from(kept));
            sweeps.set(plan.sweeps().count().max(sweeps.get()));
            saved.set(saved.get() + u32::from(planned < naive));
        }
        Ok(())
    });
    // A generator that never makes the planner choose tests nothing of it.
    let (reads_again, keeps, sweeps, saved) = (reads_again.get(), keeps.get(), sweeps.get(), saved.get());
    assert!(reads_again > 100 && keeps > 5 && sweeps > 6 && saved > 100, "{reads_again} {keeps} {sweeps} {saved}");
}
