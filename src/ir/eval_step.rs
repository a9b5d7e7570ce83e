//! What a [`Step`] means: the oracle of `plan`.
//!
//! Comes in: a step, whole arrays and scalars as they are before it. Goes out: arrays and scalar states as they are
//! after it. Each instruction is done for the whole array before the next, which is what evaluation rule 1 says.

use super::eval::{Column, Scalar, apply, apply_scalar};
use super::op::{Const, Type};
use super::region::list;
use super::step::{Array, Source, Step, StepInst, Target};
use crate::check::program::{HyperId, ListRef, StateId};
use std::collections::BTreeMap;

/// The arrays of one tensor. Each holds the compute type's values, as long as the parameter.
#[derive(Clone, Debug, Default)]
pub struct Arrays(pub BTreeMap<Array, Column>);

/// The scalars that a step of one tensor reads, and the scalar states that it changes.
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
}

/// Runs a step on whole arrays.
///
/// # Panics
/// If an array or scalar that the step reads is missing: a test's mistake.
pub fn eval_step(step: &Step, arrays: &mut Arrays, scalars: &mut Scalars) {
    let len = arrays.0.get(&Array::Param).map_or(0, Column::len);
    let mut columns: Vec<Column> = Vec::with_capacity(step.insts.len());
    let mut known: Vec<Option<Scalar>> = Vec::with_capacity(step.insts.len());
    let mut array_stores = Vec::new();
    let mut scalar_stores = Vec::new();
    for (inst, (extent, _)) in step.insts.iter().zip(&step.values) {
        let mut column = Column::default();
        let mut scalar = None;
        match *inst {
            StepInst::Source(source) => scalar = Some(scalars.source(source)),
            StepInst::Load(array) => column = arrays.0[&array].clone(),
            StepInst::Round(v) => {
                let Some(Scalar::F64(x)) = known[v.index()] else { panic!("%{} is no scalar", v.0) };
                let constant = match step.facts.storage.compute() {
                    Type::F32 => Const::f32(x as f32),
                    _ => Const::f64(x),
                };
                column.fill(constant, len);
            }
            StepInst::Draw(..) | StepInst::Spread(_) | StepInst::Reduce(..) => {}
            StepInst::List(function, which, operand) => {
                let elements: &[f64] = match which {
                    ListRef::Hyper(id) => scalars.lists.get(&id).map_or(&[], |list| list),
                    ListRef::Constant(index) => &step.program.lists[index as usize],
                };
                scalar = Some(list(function, elements, operand.and_then(|v| known[v.index()])));
            }
            StepInst::Op(op) if extent.is_scalar() => {
                scalar = Some(apply_scalar(op, |v| known[v.index()].expect("a scalar operand")));
            }
            StepInst::Op(op) => apply(op, len, |v| &columns[v.index()], &mut column),
            StepInst::Store(Target::Array(array), v) => array_stores.push((array, v)),
            StepInst::Store(Target::Scalar(id), v) => scalar_stores.push((id, v)),
            StepInst::Store(..) => {}
        }
        columns.push(column);
        known.push(scalar);
    }
    for (array, v) in array_stores {
        arrays.0.insert(array, columns[v.index()].clone());
    }
    for (id, v) in scalar_stores {
        if let Some(Scalar::F64(x)) = known[v.index()] {
            scalars.states.insert(id, x);
        }
    }
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
            _ => Scalar::F64(f64::NAN),
        }
    }
}
