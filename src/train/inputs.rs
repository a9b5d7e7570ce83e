//! What the trainer gives a rule in each step: the loss of the batch, and nothing else.
//!
//! A rule that reads other inputs is found out before anything is trained.

use super::network::{HIDDEN, Network};
use super::run::TrainError;
use crate::check::program::{Extent, Input};
use crate::ir::step::{Array, Source, StepInst};
use crate::ir::{Storage, lower};
use crate::runtime::{Error, Optimizer};

/// Whether the trainer has the inputs that the first step of the rule reads; [`train`] looks too, but after other runs.
///
/// # Errors
/// [`TrainError::Input`].
pub fn check(optimizer: &Optimizer) -> Result<(), TrainError> {
    let program = optimizer.rule().program();
    for shape in [&[HIDDEN[0], HIDDEN[1]][..], &HIDDEN[..1]] {
        let step = lower(program, &optimizer.facts_of(shape, Storage::F32, 1));
        let read = step.insts.iter().filter_map(|inst| match inst {
            StepInst::Source(Source::Input(id)) | StepInst::Load(Array::Input(id)) => Some(&program.inputs[id.index()]),
            _ => None,
        });
        let is_given = |input: &Input| input.default.is_some() || is_loss(input);
        if let Some(input) = read.into_iter().find(|input| !is_given(input)) {
            let (rule, extent) = (program.name.to_string(), input.extent.name());
            return Err(TrainError::Input { rule, input: input.name.to_string(), extent });
        }
    }
    Ok(())
}

/// The input that the trainer gives, whatever scalar there is one of.
fn is_loss(input: &Input) -> bool {
    &*input.name == "loss" && input.extent.is_scalar()
}

/// How the rule gets the loss of a batch, if it reads it.
pub(super) enum LossInput {
    Unread,
    PerModel,
    /// The names of the groups.
    PerGroup(Vec<String>),
    PerTensor,
}

impl LossInput {
    pub(super) fn of(optimizer: &Optimizer) -> LossInput {
        let input = optimizer.rule().program().inputs.iter().find(|input| is_loss(input));
        match input.map(|input| input.extent) {
            None => LossInput::Unread,
            Some(Extent::Model) => LossInput::PerModel,
            Some(Extent::Group) => LossInput::PerGroup(optimizer.groups().map(String::from).collect()),
            Some(_) => LossInput::PerTensor,
        }
    }

    /// A step of the optimizer with this loss.
    pub(super) fn step(&self, optimizer: &mut Optimizer, network: &mut Network, loss: f64) -> Result<(), Error> {
        match self {
            LossInput::Unread => {}
            LossInput::PerModel => optimizer.input_of_rule("loss", loss)?,
            LossInput::PerGroup(groups) => {
                for group in groups {
                    optimizer.group(group)?.input("loss", loss)?;
                }
            }
            LossInput::PerTensor => {
                return optimizer.step(&mut network.tensors().map(|tensor| tensor.input("loss", loss)));
            }
        }
        optimizer.step(&mut network.tensors())
    }
}
