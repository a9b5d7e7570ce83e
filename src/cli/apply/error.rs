//! What is wrong with the files of `updraft apply`: each message names file, tensor, and what to do.

use super::super::{Failure, count};
use safetensors::tensor::Dtype;
use std::fmt;
use std::path::PathBuf;

/// What is wrong with the files.
#[derive(Debug)]
pub(in crate::cli) enum ApplyError {
    /// A file cannot be read.
    Read { path: PathBuf, error: std::io::Error },
    /// It is not what it should be.
    NotSafetensors { path: PathBuf, reason: String },
    /// No parameter has the name of this gradient or input.
    NoParameter { path: PathBuf, what: Stacked, tensor: String, params: PathBuf, similar: Option<String> },
    /// A parameter with a gradient is of a type that rules do not compute in.
    ParamDtype { params: PathBuf, tensor: String, dtype: Dtype },
    /// A gradient is of a type that does not go with its parameter's, or an input not of its type.
    Dtype { path: PathBuf, what: Stacked, tensor: String, param: Dtype, found: Dtype },
    /// A gradient or an input has neither its parameter's shape nor one more leading axis.
    Shape { path: PathBuf, what: Stacked, tensor: String, param: Vec<usize>, found: Vec<usize> },
    /// An input per tensor is neither one value nor a list of them.
    Scalar { path: PathBuf, input: String, tensor: String, found: Vec<usize> },
    /// Two gradients are for different numbers of steps.
    Steps { grads: PathBuf, first: (String, usize), second: (String, usize) },
    /// An input is for another number of steps than the gradients.
    InputSteps { path: PathBuf, input: String, tensor: String, found: usize, steps: usize },
    /// A shape that this machine cannot address.
    TooLarge { path: PathBuf, tensor: String },
    /// A line of an input's file is no number.
    InputLine { path: PathBuf, line: usize, text: String },
    /// An input's file ends before the steps do.
    InputLines { path: PathBuf, input: String, lines: usize, steps: usize },
    /// The rule reads an input that has not been given.
    MissingInput { rule: String, input: String, step: usize },
    /// The rule reads an input of this tensor that has not been given: there is no file, or nothing for it in the file.
    MissingInputOf {
        rule: String,
        input: String,
        per_element: bool,
        tensor: String,
        step: usize,
        path: Option<PathBuf>,
    },
    /// The rule treats rows and the like, and the tensor has fewer than two axes.
    NeedsAxes { params: PathBuf, tensor: String, shape: Vec<usize>, rule: String, line: usize, extent: &'static str },
    /// The state to go on from is that of another tensor.
    OtherTensor { state: PathBuf, tensor: String, was: String, now: String },
    /// Two outputs are one file.
    SameOutput { path: PathBuf, first: &'static str, second: &'static str },
    /// There is nothing to report.
    NoReports { rule: String },
    /// A tensor was never in a step.
    NothingToView { view: String, tensor: String },
}

/// What comes with a parameter, with one more leading axis for several steps.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Stacked {
    /// Its gradient.
    Gradient,
    /// An input per element, or per tensor.
    Input(String),
}

impl fmt::Display for Stacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stacked::Gradient => f.write_str("gradient"),
            Stacked::Input(name) => write!(f, "input `{name}`"),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Read { path, error } => write!(f, "cannot read `{}`: {error}", path.display()),
            ApplyError::NotSafetensors { path, reason } => {
                write!(f, "`{}` is not a safetensors file: {reason}", path.display())
            }
            ApplyError::NoParameter { path, what, tensor, params, similar } => {
                let hint = similar.as_ref().map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
                let (path, params) = (path.display(), params.display());
                match what {
                    Stacked::Gradient => write!(f, "`{path}` has a gradient `{tensor}`")?,
                    Stacked::Input(input) => write!(f, "`{path}` gives the input `{input}` for `{tensor}`")?,
                }
                write!(f, ", but `{params}` has no parameter of that name{hint}: rename it or leave it out")
            }
            ApplyError::ParamDtype { params, tensor, dtype } => write!(
                f,
                "`{tensor}` in `{}` is {dtype:?} and has a gradient, but rules step F32, F64, BF16 and F16: convert it, or \
                 leave its gradient out and it is copied",
                params.display()
            ),
            ApplyError::Dtype { path, what, tensor, param, found } => {
                let noun = if matches!(what, Stacked::Gradient) { "gradient" } else { "input" };
                write!(
                    f,
                    "the {what} of `{tensor}` in `{}` is {found:?}, its parameter {param:?}: convert the {noun}",
                    path.display()
                )
            }
            ApplyError::Shape { path, what, tensor, param, found } => {
                write!(
                    f,
                    "the {what} of `{tensor}` in `{}` has shape {found:?}, its parameter {param:?}: ",
                    path.display()
                )?;
                match what {
                    Stacked::Gradient => f.write_str("a gradient has the shape of its parameter"),
                    Stacked::Input(_) => f.write_str("it has the shape of the parameter, for every step"),
                }?;
                f.write_str(", or one more axis before it with an index for each step")
            }
            ApplyError::Scalar { path, input, tensor, found } => write!(
                f,
                "the input `{input}` of `{tensor}` in `{}` has shape {found:?}, but it is per tensor: give one value (F32 or \
                 F64) for every step, or one axis with an index for each",
                path.display()
            ),
            ApplyError::Steps { grads, first, second } => write!(
                f,
                "the gradients in `{}` are for different numbers of steps: `{}` for {}, `{}` for {}",
                grads.display(),
                first.0,
                first.1,
                second.0,
                second.1
            ),
            ApplyError::InputSteps { path, input, tensor, found, steps } => write!(
                f,
                "the input `{input}` of `{tensor}` in `{}` is for {}, the gradients are for {steps}: give as many, or one for \
                 every step, without that axis",
                path.display(),
                count(*found, "step")
            ),
            ApplyError::TooLarge { path, tensor } => {
                write!(f, "`{tensor}` in `{}` is larger than this machine can address", path.display())
            }
            ApplyError::InputLine { path, line, text } => {
                write!(f, "line {line} of `{}` is `{text}`, not a number", path.display())
            }
            ApplyError::InputLines { path, input, lines, steps } => write!(
                f,
                "`{}` gives the input `{input}` for {}, but there are {steps}: add a line for each",
                path.display(),
                count(*lines, "step")
            ),
            ApplyError::MissingInput { rule, input, step } => write!(
                f,
                "{rule} reads the input `{input}` in step {step}: give --input {input}=VALUE, or --input {input}=@FILE with a \
                 line for each step"
            ),
            ApplyError::MissingInputOf { rule, input, per_element, tensor, step, path } => {
                let what = if *per_element { "of its shape" } else { "of one value" };
                write!(f, "{rule} reads the input `{input}` of `{tensor}` in step {step}")?;
                match path {
                    Some(path) => write!(f, ", and `{}` has no tensor `{tensor}`: add one", path.display())?,
                    None => {
                        write!(f, ": give --input {input}=@FILE, a safetensors file with a tensor `{tensor}`")?;
                    }
                }
                write!(f, " {what}, or with one more axis before it with an index for each step")
            }
            ApplyError::NeedsAxes { params, tensor, shape, rule, line, extent } => write!(
                f,
                "`{tensor}` in `{}` has shape {shape:?}, but line {line} of {rule} has a value per {extent}, which needs two \
                 axes or more: guard it with `if rank >= 2 {{ ... }}`, or leave the gradient of `{tensor}` out and it is copied",
                params.display()
            ),
            ApplyError::OtherTensor { state, tensor, was, now } => write!(
                f,
                "the state in `{}` is for `{tensor}` {was}, but it is {now} now: rename the tensor, or leave --state out",
                state.display()
            ),
            ApplyError::SameOutput { path, first, second } if first == second => {
                write!(f, "two {first} are the same file, `{}`: give two", path.display())
            }
            ApplyError::SameOutput { path, first, second } => {
                write!(f, "{first} and {second} are the same file, `{}`: give two", path.display())
            }
            ApplyError::NoReports { rule } => {
                write!(f, "{rule} has no reports: leave --report-out out, or write `report NAME = EXPR` in the rule")
            }
            ApplyError::NothingToView { view, tensor } => {
                write!(
                    f,
                    "there is no view `{view}` of `{tensor}`, because its gradient is for no step: leave --view out"
                )
            }
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Failure {
        match error {
            ApplyError::SameOutput { .. } => Failure::Usage(error.to_string()),
            error => Failure::Message(error.to_string()),
        }
    }
}
