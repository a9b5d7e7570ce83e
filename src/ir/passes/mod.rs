//! Passes over a [`Step`]. Each keeps every bit of what is stored. (Equal instructions are already one: `lower` makes
//! them so.)

use super::op::Value;
use super::step::{Outcome, Reduced, Step, StepInst};
use crate::check::program::{ExprId, Extent};

/// Drops what no store needs, and numbers the rest anew. What this tensor gives to a reduction that others may use
/// stays.
pub(super) fn drop_unused(step: Step) -> Step {
    let mut needed = vec![false; step.insts.len()];
    for (index, inst) in step.insts.iter().enumerate().rev() {
        needed[index] |= match inst {
            StepInst::Store(..) => true,
            StepInst::Reduce(_, reduced, _) => is_for_others(&step, *reduced),
            _ => false,
        };
        if needed[index] {
            inst.for_each_operand(|v| needed[v.index()] = true);
        }
    }
    // Where each instruction goes; where a dropped one would have gone is where the next one begins.
    let mut place = Vec::with_capacity(needed.len() + 1);
    let mut next = 0;
    for needed in &needed {
        place.push(next);
        next += u32::from(*needed);
    }
    place.push(next);
    let mut out = Step { insts: Vec::new(), values: Vec::new(), statements: Vec::new(), ..step };
    for (index, inst) in step.insts.iter().enumerate() {
        if needed[index] {
            out.insts.push(inst.map_operands(|v| Value(place[v.index()])));
            out.values.push(step.values[index]);
        }
    }
    for (first, text) in step.statements {
        out.statements.push((place[first] as usize, text));
    }
    out
}

/// Whether tensors of other plans may use the result of a reduction: it is of several tensors, and a condition that
/// selects the plan may come out differently for them.
fn is_for_others(step: &Step, reduced: Reduced) -> bool {
    let to = reduced.to(&step.program);
    let conditions = step.program.conditions.iter().zip(&step.facts.outcomes);
    let mut reached = conditions.filter(|(_, outcome)| **outcome != Outcome::Unreached);
    let differs = |cond: ExprId| !step.program.node(cond).extent.fits_in(to);
    matches!(to, Extent::Model | Extent::Group) && reached.any(|(condition, _)| differs(condition.cond))
}
