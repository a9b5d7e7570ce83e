//! What a host can get wrong while building and stepping.

use super::checkpoint::CheckpointError;
use crate::diagnostic::CompileError;
use crate::ir::{Storage, Store};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why something was refused. Nothing has been changed.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    /// The rule does not compile.
    Compile(CompileError),
    /// No shipped schedule has this name.
    UnknownSchedule { schedule: String, similar: Option<String> },
    /// The text of a schedule cannot be read.
    ScheduleText { text: String, reason: String },
    /// A schedule has no usable value at this step.
    ScheduleValue { schedule: String, step: u64, reason: String },
    /// A file cannot be read or written.
    Io { path: PathBuf, error: std::io::Error },
    /// No shipped rule has this name.
    UnknownRule { rule: String, similar: Option<String> },
    /// The rule has no such hyper.
    UnknownHyper { rule: String, hyper: String, similar: Option<String>, known: Vec<String> },
    /// The value is not in the hyper's interval, or it is NaN.
    HyperOutOfRange { hyper: String, value: f64, interval: Option<String> },
    /// A number for a flag, an unknown mode, and the like.
    HyperKind { hyper: String, expected: String, given: String },
    /// A flag or a `fixed` hyper is set when building only.
    HyperFixed { hyper: String },
    /// A hyper `per model` has one value for all groups.
    HyperPerModel { hyper: String, group: String },
    /// A `require` of the rule does not hold.
    Require { rule: String, condition: String, message: String, group: String },
    /// No group has this name.
    UnknownGroup { group: String, known: Vec<String> },
    /// Two groups have one name.
    DuplicateGroup { group: String },
    /// The pattern of a group is not a glob.
    BadPattern { group: String, pattern: String, error: String },
    /// The rule has no such input.
    UnknownInput { rule: String, input: String, known: Vec<String> },
    /// An input is given per another extent than the rule says.
    InputExtent { input: String, extent: &'static str },
    /// The step reads an input that has not been given.
    MissingInput { rule: String, input: String, extent: &'static str, tensor: String },
    /// The gradient has not the parameter's shape.
    GradShape { tensor: String, param: Vec<usize>, grad: Vec<usize> },
    /// The gradient has a type that does not go with the parameter's.
    GradDtype { tensor: String, param: Storage, grad: Storage },
    /// The rule has no such state.
    UnknownState { rule: String, state: String, similar: Option<String>, known: Vec<String> },
    /// A state that is one number for many elements is f64.
    StoreScalar { state: String, store: Store, extent: &'static str },
    /// A parameter lies where the host has it, as the host has it.
    StoreParam { store: Store },
    /// A parameter of this type, or its states, cannot be kept like this.
    StoreDtype { tensor: String, what: String, store: Store, param: Storage },
    /// An array that comes with a tensor has not the parameter's shape.
    ArrayShape { tensor: String, what: String, expected: Vec<usize>, found: Vec<usize> },
    /// An array that comes with a tensor has not the type that it must have.
    ArrayDtype { tensor: String, what: String, expected: Storage, found: Storage },
    /// The optimizer writes the parameter to a copy, and the tensor has none.
    MissingCopy { tensor: String },
    /// The tensor has a copy, and the optimizer was not built to write any.
    UnexpectedCopy { tensor: String },
    /// The rule treats rows, columns or the like, and the tensor has fewer than two axes.
    NeedsAxes { rule: String, tensor: String, shape: Vec<usize>, extent: &'static str, line: usize },
    /// A shard is not a part of its tensor.
    ShardOutside { tensor: String, first: usize, len: usize, shape: Vec<usize> },
    /// A shard is another part of its tensor than the one whose states are kept: index of the first element and length.
    ShardChanged { tensor: String, was: (usize, usize), now: (usize, usize) },
    /// A shard is cut where the rule folds values together that belong to one process.
    BadShard { tensor: String, first: usize, end: usize, multiple: usize },
    /// The rule reduces over a tensor of which other processes have parts.
    NeedsExchange { rule: String, tensor: String },
    /// A number that belongs to a host option is not one that it can have.
    HostOption { option: &'static str, value: f64, expected: &'static str },
    /// The optimizer has not been asked for this when building, or the rule does not have it.
    UnknownReport { rule: String, report: String, similar: Option<String>, known: Vec<String> },
    /// The rule has no such view.
    UnknownView { rule: String, view: String, similar: Option<String>, known: Vec<String> },
    /// Nothing is kept for this tensor: it has not been in a step.
    UnknownTensor { tensor: String, similar: Option<String> },
    /// The threads could not be started.
    Threads { reason: String },
    /// A tensor has another shape than in its first step.
    ShapeChanged { tensor: String, was: Vec<usize>, now: Vec<usize> },
    /// A tensor has another type than in its first step.
    DtypeChanged { tensor: String, was: Storage, now: Storage },
    /// Two tensors of one step have one name.
    DuplicateTensor { tensor: String },
    /// An id that this optimizer did not give.
    UnknownTensorId,
    /// The memory of two buffers overlaps, and one of them is written.
    Overlap { first: String, second: String },
    /// A pointer of a raw tensor cannot be what was promised.
    BadPointer { tensor: String, buffer: &'static str, problem: &'static str },
    /// A checkpoint that cannot be used here; the path is that of its file, if it came from one.
    Checkpoint { path: Option<PathBuf>, reason: CheckpointError },
    /// A tensor that was in one group when its checkpoint was written is in another now.
    GroupChanged { tensor: String, was: String, now: String },
    /// The code generator has no text for the rule.
    Codegen { rule: String, reason: String },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

fn did_you_mean(similar: &Option<String>) -> String {
    similar.as_ref().map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Compile(error) => error.fmt(f),
            Error::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Error::UnknownRule { rule, similar } => {
                write!(f, "no shipped rule is called `{rule}`{}; `updraft list` shows all", did_you_mean(similar))
            }
            Error::UnknownSchedule { schedule, similar } => {
                write!(
                    f,
                    "no shipped schedule is called `{schedule}`{}; a file is named by its path",
                    did_you_mean(similar)
                )
            }
            Error::ScheduleText { text, reason } => write!(f, "schedule `{text}`: {reason}"),
            Error::ScheduleValue { schedule, step, reason } => {
                write!(f, "schedule `{schedule}`, step {step}: {reason}")
            }
            Error::UnknownHyper { rule, hyper, similar, known } => {
                write!(f, "{rule} has no hyper `{hyper}`{}; it has {}", did_you_mean(similar), list(known))
            }
            Error::HyperOutOfRange { hyper, value, interval: Some(interval) } => {
                write!(f, "`{hyper}` = {value} is not in {interval}")
            }
            Error::HyperOutOfRange { hyper, value, interval: None } => write!(f, "`{hyper}` = {value} is not a number"),
            Error::HyperKind { hyper, expected, given } => write!(f, "`{hyper}` is {expected}, not {given}"),
            Error::HyperFixed { hyper } => {
                write!(f, "`{hyper}` can be set when the optimizer is built, not afterwards: build another optimizer")
            }
            Error::HyperPerModel { hyper, group } => {
                write!(f, "`{hyper}` is per model: it cannot be set for the group `{group}` alone; set it for all")
            }
            // A schedule has no groups.
            Error::Require { rule, condition, message, group } if group.is_empty() => {
                write!(f, "{rule}: {message} (`{condition}` does not hold)")
            }
            Error::Require { rule, condition, message, group } => {
                write!(f, "{rule}: {message} (group `{group}`: `{condition}` does not hold)")
            }
            Error::UnknownState { rule, state, similar, known } => {
                write!(f, "{rule} has no state `{state}`{}; it has {}", did_you_mean(similar), list(known))
            }
            Error::StoreScalar { state, store, extent } => {
                let store = store.name();
                write!(f, "`{state}` is one number per {extent}, which is kept as f64: it cannot be kept as {store}")
            }
            Error::StoreParam { store } => {
                let store = store.name();
                write!(
                    f,
                    "`p` cannot be kept as {store}: a parameter has the type of its tensor; \
                     say f32 for a master copy, bf16-stochastic or bf16-kahan"
                )
            }
            Error::StoreDtype { tensor, what, store, param } => {
                let for_which = match (what.as_str(), store) {
                    ("p", Store::F32) => "which is for parameters of f32, bf16 and f16",
                    ("p", _) => "which is for parameters of bf16",
                    _ => "which is for states of parameters of f32, bf16 and f16",
                };
                let (store, param) = (store.name(), param.name());
                write!(f, "`{what}` is kept as {store}, {for_which}, but ")?;
                if tensor.is_empty() { write!(f, "they are {param}") } else { write!(f, "`{tensor}` is {param}") }
            }
            Error::UnknownGroup { group, known } => {
                write!(f, "there is no group `{group}`; the groups are {}", list(known))
            }
            Error::DuplicateGroup { group } => write!(f, "two groups are called `{group}`: rename one"),
            Error::BadPattern { group, pattern, error } => {
                write!(f, "group `{group}`: `{pattern}` is not a pattern: {error}")
            }
            Error::UnknownInput { rule, input, known } => {
                write!(f, "{rule} has no input `{input}`; it has {}", list(known))
            }
            Error::InputExtent { input, extent } => {
                write!(f, "the input `{input}` is per {extent}: {}", give(extent, input))
            }
            Error::MissingInput { rule, input, extent, tensor } => write!(
                f,
                "{rule} reads the input `{input}` in this step of `{tensor}`, and it has not been given: {}",
                give(extent, input)
            ),
            Error::GradShape { tensor, param, grad } => {
                write!(f, "`{tensor}` has shape {param:?}, its gradient {grad:?}: they must be equal")
            }
            Error::GradDtype { tensor, param, grad } => {
                write!(
                    f,
                    "`{tensor}` is {}, its gradient {}: f32, bf16 and f16 go together, f64 goes with f64",
                    param.name(),
                    grad.name()
                )
            }
            Error::ArrayShape { tensor, what, expected, found } => {
                write!(f, "`{tensor}` has shape {expected:?}, {what} {found:?}: they must be equal")
            }
            Error::ArrayDtype { tensor, what, expected, found } => {
                write!(f, "`{tensor}`: {what} is {}, and must be {}", found.name(), expected.name())
            }
            Error::MissingCopy { tensor } => write!(
                f,
                "this optimizer writes each parameter to a copy too, and `{tensor}` has none: give it with \
                 `Tensor::new(...).copy_to(...)`"
            ),
            Error::UnexpectedCopy { tensor } => write!(
                f,
                "`{tensor}` has a copy, but this optimizer writes none: build it with `copy_as(...)`, or leave the copy out"
            ),
            Error::NeedsAxes { rule, tensor, shape, extent, line } => write!(
                f,
                "`{tensor}` has shape {shape:?}, but line {line} of {rule} needs two axes or more: it has a value per \
                 {extent}; guard that with `if rank >= 2 {{ ... }}`, or give the tensor to another optimizer"
            ),
            Error::ShardOutside { tensor, first, len, shape } => {
                write!(
                    f,
                    "`{tensor}`: {len} elements from the one of index {first} are no part of a tensor of shape {shape:?}"
                )
            }
            Error::ShardChanged { tensor, was, now } => write!(
                f,
                "`{tensor}` was the {} elements from index {} before and is the {} from {} now: its state belongs to the \
                 old part; use another name, or `reset`",
                was.1, was.0, now.1, now.0
            ),
            Error::BadShard { tensor, first, end, multiple } => write!(
                f,
                "`{tensor}` is the part from element {first} to {end}, but for this rule it must be cut at multiples of \
                 {multiple} elements (or at its end): cut it there"
            ),
            Error::NeedsExchange { rule, tensor } => write!(
                f,
                "`{tensor}` is a shard, and {rule} reduces over whole tensors: build the optimizer with `exchange(...)`, \
                 which adds up what the processes have"
            ),
            Error::HostOption { option, value, expected } => write!(f, "{option} = {value} is not {expected}"),
            Error::UnknownReport { rule, report, similar, known } => {
                write!(f, "{rule} has no report `{report}`{}; it has {}", did_you_mean(similar), list(known))
            }
            Error::UnknownView { rule, view, similar, known } => {
                write!(f, "{rule} has no view `{view}`{}; it has {}", did_you_mean(similar), list(known))
            }
            Error::UnknownTensor { tensor, similar } => {
                write!(f, "no step has had a tensor `{tensor}`{}", did_you_mean(similar))
            }
            Error::Threads { reason } => write!(f, "the threads could not be started: {reason}"),
            Error::ShapeChanged { tensor, was, now } => write!(
                f,
                "`{tensor}` had shape {was:?} before and has {now:?} now: its state belongs to the old shape; use another \
                 name, or `reset`"
            ),
            Error::DtypeChanged { tensor, was, now } => write!(
                f,
                "`{tensor}` was {} before and is {} now: its state belongs to the old type; use another name, or `reset`",
                was.name(),
                now.name()
            ),
            Error::DuplicateTensor { tensor } => {
                write!(f, "two tensors of this step are called `{tensor}`: state is kept by name, so rename one")
            }
            Error::UnknownTensorId => {
                f.write_str("this id was not given by this optimizer's `register`, or the optimizer was reset since")
            }
            Error::Overlap { first, second } => {
                write!(f, "the memory of {first} overlaps {second}: a step would write what it reads; copy one")
            }
            Error::BadPointer { tensor, buffer, problem } => write!(f, "the {buffer} of `{tensor}` {problem}"),
            Error::Checkpoint { path: Some(path), reason } => write!(f, "{}: {reason}", path.display()),
            Error::Checkpoint { path: None, reason } => write!(f, "the checkpoint cannot be used: {reason}"),
            Error::GroupChanged { tensor, was, now } => write!(
                f,
                "`{tensor}` was in the group `{was}` when the checkpoint was written, and is in `{now}` now: build the optimizer \
                 with the groups of then, or ask for migration"
            ),
            Error::Codegen { rule, reason } => write!(f, "{rule}: {reason}"),
        }
    }
}

/// How an input of this extent is given.
fn give(extent: &str, input: &str) -> String {
    match extent {
        "model" => format!("call `optimizer.input(\"{input}\", ...)` before the step"),
        "group" => format!("call `optimizer.group(...)?.input(\"{input}\", ...)` before the step"),
        "element" => format!("give it with the tensor: `Tensor::new(...).input_array(\"{input}\", ...)`"),
        _ => format!("give it with the tensor: `Tensor::new(...).input(\"{input}\", ...)`"),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<CheckpointError> for Error {
    fn from(reason: CheckpointError) -> Error {
        Error::Checkpoint { path: None, reason }
    }
}

impl Error {
    /// The same of a checkpoint that came from a file.
    pub(crate) fn of_file(self, path: &Path) -> Error {
        match self {
            Error::Checkpoint { reason, .. } => Error::Checkpoint { path: Some(path.to_path_buf()), reason },
            error => error,
        }
    }
}

impl From<CompileError> for Error {
    fn from(error: CompileError) -> Error {
        Error::Compile(error)
    }
}
