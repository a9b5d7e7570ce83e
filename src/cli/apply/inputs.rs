//! The inputs of `updraft apply`: numbers, lines of numbers, or files of tensors.

use super::error::ApplyError;
use super::{Given, is_safetensors, read};
use crate::check::program::{Extent, Program};
use crate::cli::Failure;
use crate::{Error, Rule, Schedule};
use std::path::{Path, PathBuf};

/// An input with its values.
pub(super) struct Input {
    pub(super) name: String,
    /// One per what; nothing if schedules alone read it.
    pub(super) extent: Option<Extent>,
    pub(super) values: Values,
}

pub(super) enum Values {
    /// One number for all steps.
    Always(f64),
    /// One for each step.
    Steps(Vec<f64>),
    /// The bytes of a file that has a tensor for each parameter.
    Tensors(PathBuf, Vec<u8>),
}

impl Input {
    pub(super) fn is_per_element(&self) -> bool {
        self.extent == Some(Extent::Element)
    }

    /// The name and the number of a step, of an input per tensor that is the same for all.
    pub(super) fn of_tensors(&self, step: usize) -> Option<(&str, f64)> {
        let is_per_tensor = self.extent == Some(Extent::Tensor);
        self.at(step).filter(|_| is_per_tensor).map(|value| (self.name.as_str(), value))
    }

    /// The number of a step, if all tensors have the same.
    pub(super) fn at(&self, step: usize) -> Option<f64> {
        match &self.values {
            Values::Always(value) => Some(*value),
            Values::Steps(values) => Some(values[step]),
            Values::Tensors(..) => None,
        }
    }
}

/// The inputs that were given, all there for all steps. Of one that is given twice the last counts.
pub(super) fn inputs(
    rule: &Rule,
    schedules: &[Schedule],
    given: &[(String, Given)],
    steps: usize,
) -> Result<Vec<Input>, Failure> {
    let program: &Program = rule.program();
    let mut inputs: Vec<Input> = Vec::new();
    for (name, given) in given {
        let extent = program.inputs.iter().find(|input| *input.name == **name).map(|input| input.extent);
        if extent.is_none() && !schedules.iter().any(|schedule| schedule.reads(name)) {
            let of_schedules = schedules.iter().flat_map(Schedule::inputs);
            let mut known: Vec<String> =
                program.inputs.iter().map(|input| &*input.name).chain(of_schedules).map(String::from).collect();
            known.dedup();
            return Err(Error::UnknownInput { rule: rule.name().to_string(), input: name.clone(), known }.into());
        }
        let values = match given {
            Given::Number(value) => Values::Always(*value),
            Given::File(path) => values(path, name, extent, steps)?,
        };
        inputs.retain(|input| input.name != *name);
        inputs.push(Input { name: name.clone(), extent, values });
    }
    Ok(inputs)
}

/// What a file gives: tensors for an input per element, for one per tensor these or lines, for others lines.
fn values(path: &Path, name: &str, extent: Option<Extent>, steps: usize) -> Result<Values, ApplyError> {
    if matches!(extent, Some(Extent::Tensor | Extent::Element)) {
        let bytes = read(path)?;
        if is_safetensors(&bytes) {
            return Ok(Values::Tensors(path.to_path_buf(), bytes));
        }
        if extent == Some(Extent::Element) {
            let reason = format!("the input `{name}` is per element, so its file has a tensor for each parameter");
            return Err(ApplyError::NotSafetensors { path: path.to_path_buf(), reason });
        }
    }
    Ok(Values::Steps(read_numbers(path, name, steps)?))
}

/// The numbers of a file, one a line; blank lines at its end do not count.
pub(in crate::cli) fn read_numbers(path: &Path, input: &str, steps: usize) -> Result<Vec<f64>, ApplyError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| ApplyError::Read { path: path.to_path_buf(), error })?;
    let lines = text.trim_end().lines().enumerate();
    let numbers = lines.map(|(index, line)| {
        let text = line.trim().to_string();
        text.parse().map_err(|_| ApplyError::InputLine { path: path.to_path_buf(), line: index + 1, text })
    });
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>()?;
    if numbers.len() < steps {
        let (input, lines) = (input.to_string(), numbers.len());
        return Err(ApplyError::InputLines { path: path.to_path_buf(), input, lines, steps });
    }
    Ok(numbers)
}
