//! Passes over a [`Step`]. Each keeps every bit of what is stored. (Equal instructions are already one: `lower` makes
//! them so.)

use super::op::Value;
use super::step::{Step, StepInst};

/// Drops what no store needs, and numbers the rest anew.
pub(super) fn drop_unused(step: Step) -> Step {
    let mut needed = vec![false; step.insts.len()];
    for (index, inst) in step.insts.iter().enumerate().rev() {
        if matches!(inst, StepInst::Store(..)) {
            needed[index] = true;
        }
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
