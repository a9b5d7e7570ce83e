//! `updraft apply`: a rule on tensors in safetensors files, so that other programs can hold themselves to it.
//!
//! Comes in: parameters, gradients of one or more steps, a state to go on from. Goes out: the parameters after the last
//! step, those after every step, the state. Tensors match by name and are stepped in the order of their names, all in one
//! call per step. Equal inputs give equal bytes.
//!
//! Files are not trusted: everything that does not fit is an [`ApplyError`] that names file and tensor. Outputs are written
//! together after everything has succeeded, so they may replace what was read.

use super::{Failure, load_rule, load_schedule, parse_schedule, parse_set, warn, write_files};
use crate::check::program::{Extent, Program};
use crate::runtime::in_order;
use crate::{Engine, Error, HyperValue, Math, Optimizer, Rule, Schedule, Tensor};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ndarray::{ArrayD, Axis, ShapeError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// Apply a rule to parameters and gradients in safetensors files
#[derive(clap::Args)]
pub(super) struct Args {
    /// A path, or the name of a shipped rule
    rule: PathBuf,
    /// Parameters before the first step
    #[arg(long, value_name = "FILE")]
    params: PathBuf,
    /// Gradients by the names of their parameters: of the same shape for one step, with one more leading axis for several
    #[arg(long, value_name = "FILE")]
    grads: PathBuf,
    /// Where the parameters after the last step go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the parameters after every step go, with a leading axis
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The state to go on from
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where the state after the last step goes
    #[arg(long, value_name = "FILE")]
    state_out: Option<PathBuf>,
    /// Set a hyper; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// Let a schedule drive a hyper, for instance 'lr=cosine(t_max=1000)'; may be repeated
    #[arg(long, value_name = "HYPER=SCHED", value_parser = parse_schedule)]
    schedule: Vec<(String, String)>,
    /// Give an input: a number for every step, or @FILE with one number a line, a line for each step; schedules get it
    /// after the step
    #[arg(long, value_name = "NAME=VALUE|@FILE", value_parser = parse_input)]
    input: Vec<(String, Given)>,
    /// What runs the kernels; both give the same bits
    #[arg(long, default_value = "jit", value_parser = engines())]
    engine: Engine,
    /// Compute what is written (strict), or regroup scalar factors and contract to fma (fast)
    #[arg(long, default_value = "fast", value_parser = super::emit::maths())]
    math: Math,
}

/// The value of an input as an argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Number(f64),
    File(PathBuf),
}

pub(super) fn parse_input(text: &str) -> Result<(String, Given), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write NAME=VALUE or NAME=@FILE, for instance loss=0.5".to_string());
    };
    let given = match value.strip_prefix('@') {
        Some(path) => Given::File(path.into()),
        None => match value.trim().parse() {
            Ok(number) => Given::Number(number),
            Err(_) => return Err(format!("`{value}` is not a number; a file is given as {name}=@FILE")),
        },
    };
    use unicode_normalization::UnicodeNormalization;
    Ok((name.trim().nfc().collect(), given))
}

fn engines() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(["jit", "eval"]).map(|name| if name == "jit" { Engine::Jit } else { Engine::Eval })
}

/// What is wrong with the files.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// A file cannot be read.
    Read { path: PathBuf, error: std::io::Error },
    /// It is not what it should be.
    NotSafetensors { path: PathBuf, reason: String },
    /// No parameter has the name of this gradient.
    NoParameter { grads: PathBuf, tensor: String, params: PathBuf, similar: Option<String> },
    /// A parameter with a gradient is of a type that rules do not compute in.
    ParamDtype { params: PathBuf, tensor: String, dtype: Dtype },
    /// A gradient is not of its parameter's type.
    GradDtype { grads: PathBuf, tensor: String, param: Dtype, grad: Dtype },
    /// A gradient has neither its parameter's shape nor one more leading axis.
    GradShape { grads: PathBuf, tensor: String, param: Vec<usize>, grad: Vec<usize> },
    /// Two gradients are for different numbers of steps.
    Steps { grads: PathBuf, first: (String, usize), second: (String, usize) },
    /// A shape that this machine cannot address.
    TooLarge { path: PathBuf, tensor: String },
    /// A line of an input's file is no number.
    InputLine { path: PathBuf, line: usize, text: String },
    /// An input's file ends before the steps do.
    InputLines { path: PathBuf, input: String, lines: usize, steps: usize },
    /// The rule reads an input that has not been given.
    MissingInput { rule: String, input: String, step: usize },
    /// The state to go on from is that of another tensor.
    OtherTensor { state: PathBuf, tensor: String, was: String, now: String },
    /// Two outputs are one file.
    SameOutput { path: PathBuf, first: &'static str, second: &'static str },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Read { path, error } => write!(f, "cannot read `{}`: {error}", path.display()),
            ApplyError::NotSafetensors { path, reason } => {
                write!(f, "`{}` is not a safetensors file: {reason}", path.display())
            }
            ApplyError::NoParameter { grads, tensor, params, similar } => {
                let hint = similar.as_ref().map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
                write!(
                    f,
                    "`{}` has a gradient `{tensor}`, but `{}` has no parameter of that name{hint}: rename it or leave it out",
                    grads.display(),
                    params.display()
                )
            }
            ApplyError::ParamDtype { params, tensor, dtype } => write!(
                f,
                "`{tensor}` in `{}` is {dtype:?} and has a gradient, but this version steps F32 and F64 only: convert it, or \
                 leave its gradient out and it is copied",
                params.display()
            ),
            ApplyError::GradDtype { grads, tensor, param, grad } => write!(
                f,
                "the gradient of `{tensor}` in `{}` is {grad:?}, its parameter {param:?}: convert the gradient",
                grads.display()
            ),
            ApplyError::GradShape { grads, tensor, param, grad } => write!(
                f,
                "the gradient of `{tensor}` in `{}` has shape {grad:?}, its parameter {param:?}: a gradient has the shape of \
                 its parameter, or one more axis before it with an index for each step",
                grads.display()
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
                super::count(*lines, "step")
            ),
            ApplyError::MissingInput { rule, input, step } => write!(
                f,
                "{rule} reads the input `{input}` in step {step}: give --input {input}=VALUE, or --input {input}=@FILE with a \
                 line for each step"
            ),
            ApplyError::OtherTensor { state, tensor, was, now } => write!(
                f,
                "the state in `{}` is for `{tensor}` {was}, but it is {now} now: rename the tensor, or leave --state out",
                state.display()
            ),
            ApplyError::SameOutput { path, first, second } => {
                write!(f, "{first} and {second} are the same file, `{}`: give two", path.display())
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

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    distinct(&[
        ("--out", Some(&args.out)),
        ("--trace", args.trace.as_ref()),
        ("--state-out", args.state_out.as_ref()),
    ])?;
    let rule = load_rule(&args.rule)?;
    let mut builder = rule.optimizer().engine(args.engine).math(args.math);
    for (name, value) in &args.set {
        builder = builder.set(name, value.clone())?;
    }
    let mut schedules = Vec::new();
    for (hyper, text) in &args.schedule {
        let schedule = load_schedule(text)?;
        schedules.push(schedule.clone());
        builder = builder.schedule(hyper, schedule)?;
    }
    let mut optimizer = builder.build()?;
    if let Some(path) = &args.state {
        optimizer.load(path).map_err(|error| match error {
            Error::Io { path, error } => ApplyError::Read { path, error }.into(),
            error => Failure::from(error),
        })?;
    }
    let (params_bytes, grads_bytes) = (read(&args.params)?, read(&args.grads)?);
    let params_file = open(&args.params, &params_bytes)?;
    let grads_file = open(&args.grads, &grads_bytes)?;
    let mut params = Params::new(args, &params_file, &grads_file)?;
    let inputs = inputs(&rule, &schedules, &args.input, params.steps)?;
    for step in 0..params.steps {
        take_step(&mut optimizer, &mut params, &inputs, step).map_err(|error| explained(error, args, step))?;
        if args.trace.is_some() {
            params.record(&args.params)?;
        }
    }
    let metadata = SafeTensors::read_metadata(&params_bytes).ok().and_then(|(_, header)| header.metadata().clone());
    let mut outputs: Vec<(&Path, Vec<u8>)> = vec![(&args.out, params.after(metadata)?)];
    if let Some(path) = &args.trace {
        outputs.push((path, params.trace()?));
    }
    if let Some(path) = &args.state_out {
        outputs.push((path, optimizer.to_bytes().map_err(Failure::Message)?));
    }
    if let Some(warning) = optimizer.warning() {
        warn(warning);
    }
    write_files(&outputs.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect::<Vec<_>>())
}

/// Two outputs in one file would leave one of them.
pub(super) fn distinct(given: &[(&'static str, Option<&PathBuf>)]) -> Result<(), ApplyError> {
    let mut seen: Vec<(&'static str, PathBuf)> = Vec::new();
    for &(flag, path) in given {
        let Some(path) = path else { continue };
        let whole = std::fs::canonicalize(path).or_else(|_| {
            // It does not exist yet, but its folder does.
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            std::fs::canonicalize(folder).map(|folder| folder.join(path.file_name().unwrap_or_default()))
        });
        let whole = whole.unwrap_or_else(|_| path.clone());
        if let Some((first, _)) = seen.iter().find(|(_, other)| *other == whole) {
            return Err(ApplyError::SameOutput { path: path.clone(), first, second: flag });
        }
        seen.push((flag, whole));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ApplyError> {
    std::fs::read(path).map_err(|error| ApplyError::Read { path: path.to_path_buf(), error })
}

fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<BTreeMap<String, TensorView<'a>>, ApplyError> {
    let file = SafeTensors::deserialize(bytes);
    let file =
        file.map_err(|error| ApplyError::NotSafetensors { path: path.to_path_buf(), reason: error.to_string() })?;
    Ok(file.tensors().into_iter().collect())
}

/// The parameters, by name.
struct Params<'a> {
    tensors: Vec<Param<'a>>,
    steps: usize,
}

struct Param<'a> {
    name: String,
    /// As it is in the file.
    view: TensorView<'a>,
    /// What is stepped; nothing for a parameter without a gradient.
    stepped: Option<Stepped>,
    /// The bytes after every step so far.
    trace: Vec<u8>,
}

/// A parameter in memory, with its gradients: one more leading axis, the step.
enum Stepped {
    F32(ArrayD<f32>, ArrayD<f32>),
    F64(ArrayD<f64>, ArrayD<f64>),
}

impl<'a> Params<'a> {
    fn new(
        args: &Args,
        params: &BTreeMap<String, TensorView<'a>>,
        grads: &BTreeMap<String, TensorView<'a>>,
    ) -> Result<Params<'a>, ApplyError> {
        if let Some(tensor) = grads.keys().find(|name| !params.contains_key(*name)) {
            let similar = crate::diagnostic::did_you_mean(tensor, params.keys().map(String::as_str));
            return Err(ApplyError::NoParameter {
                grads: args.grads.clone(),
                tensor: tensor.clone(),
                params: args.params.clone(),
                similar: similar.map(String::from),
            });
        }
        let mut tensors = Vec::new();
        let mut steps: Option<(String, usize)> = None;
        for (name, view) in params {
            let mut param = Param { name: name.clone(), view: view.clone(), stepped: None, trace: Vec::new() };
            if let Some(grad) = grads.get(name) {
                let (n, stepped) = stepped(args, name, view, grad)?;
                match &steps {
                    Some((_, m)) if *m == n => {}
                    Some((first, m)) => {
                        let (first, second) = ((first.clone(), *m), (name.clone(), n));
                        return Err(ApplyError::Steps { grads: args.grads.clone(), first, second });
                    }
                    None => steps = Some((name.clone(), n)),
                }
                param.stepped = Some(stepped);
            }
            tensors.push(param);
        }
        Ok(Params { tensors, steps: steps.map_or(0, |(_, n)| n) })
    }

    /// Keeps what every parameter is now.
    fn record(&mut self, path: &Path) -> Result<(), ApplyError> {
        for param in &mut self.tensors {
            let mut trace = std::mem::take(&mut param.trace);
            let bytes = param.bytes();
            // A parameter without a gradient is repeated for every step, which is not bounded by any file.
            if trace.try_reserve(bytes.len()).is_err() {
                return Err(ApplyError::TooLarge { path: path.to_path_buf(), tensor: param.name.clone() });
            }
            trace.extend_from_slice(&bytes);
            param.trace = trace;
        }
        Ok(())
    }

    /// The file of the parameters as they are now.
    fn after(&self, metadata: Option<HashMap<String, String>>) -> Result<Vec<u8>, Failure> {
        let all = self.tensors.iter().map(|param| (param, param.view.shape().to_vec(), param.bytes()));
        let all: Vec<_> = all.collect();
        file(all.iter().map(|(param, shape, bytes)| (*param, shape.clone(), &**bytes)), metadata)
    }

    /// The file of what has been recorded.
    fn trace(&self) -> Result<Vec<u8>, Failure> {
        let shape = |param: &Param<'_>| [&[self.steps], param.view.shape()].concat();
        file(self.tensors.iter().map(|param| (param, shape(param), param.trace.as_slice())), None)
    }
}

fn file<'a>(
    tensors: impl Iterator<Item = (&'a Param<'a>, Vec<usize>, &'a [u8])>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, Failure> {
    let views = tensors.map(|(param, shape, bytes)| {
        TensorView::new(param.view.dtype(), shape, bytes).map(|view| (param.name.as_str(), view))
    });
    let views: Result<Vec<_>, _> = views.collect();
    let bytes = views.and_then(|views| safetensors::serialize(views, metadata));
    bytes.map(in_order).map_err(|error| Failure::Message(format!("cannot make a safetensors file: {error}")))
}

impl Param<'_> {
    /// As stored.
    fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match &self.stepped {
            None => self.view.data().into(),
            Some(Stepped::F32(p, _)) => p.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
            Some(Stepped::F64(p, _)) => p.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
        }
    }
}

/// A parameter with its gradients in memory, and for how many steps there are gradients.
fn stepped(
    args: &Args,
    name: &str,
    param: &TensorView<'_>,
    grad: &TensorView<'_>,
) -> Result<(usize, Stepped), ApplyError> {
    let (grads, tensor) = (args.grads.clone(), name.to_string());
    if !matches!(param.dtype(), Dtype::F32 | Dtype::F64) {
        return Err(ApplyError::ParamDtype { params: args.params.clone(), tensor, dtype: param.dtype() });
    }
    if grad.dtype() != param.dtype() {
        return Err(ApplyError::GradDtype { grads, tensor, param: param.dtype(), grad: grad.dtype() });
    }
    let steps = match grad.shape() {
        shape if shape == param.shape() => 1,
        [steps, shape @ ..] if shape == param.shape() => *steps,
        shape => {
            let (param, grad) = (param.shape().to_vec(), shape.to_vec());
            return Err(ApplyError::GradShape { grads, tensor, param, grad });
        }
    };
    // A shape without elements may still have axes whose product no machine can address.
    let too_large = |_| ApplyError::TooLarge { path: args.params.clone(), tensor: tensor.clone() };
    let all = [&[steps], param.shape()].concat();
    let stepped = match param.dtype() {
        Dtype::F64 => {
            let (param, grad) =
                (array(param.shape(), param.data(), f64::from_le_bytes), array(&all, grad.data(), f64::from_le_bytes));
            Stepped::F64(param.map_err(too_large)?, grad.map_err(too_large)?)
        }
        _ => {
            let (param, grad) =
                (array(param.shape(), param.data(), f32::from_le_bytes), array(&all, grad.data(), f32::from_le_bytes));
            Stepped::F32(param.map_err(too_large)?, grad.map_err(too_large)?)
        }
    };
    Ok((steps, stepped))
}

fn array<const N: usize, T>(shape: &[usize], bytes: &[u8], read: fn([u8; N]) -> T) -> Result<ArrayD<T>, ShapeError> {
    let (whole, _) = bytes.as_chunks::<N>();
    ArrayD::from_shape_vec(shape, whole.iter().map(|bytes| read(*bytes)).collect())
}

/// One call of the optimizer.
fn take_step(optimizer: &mut Optimizer, params: &mut Params<'_>, inputs: &[Input], step: usize) -> Result<(), Error> {
    let program = optimizer.rule().program().clone();
    for input in inputs {
        // Schedules get it when the step is complete.
        let Some(index) = input.index else { continue };
        match program.inputs[index].extent {
            Extent::Model => optimizer.input_of_rule(&input.name, input.at(step))?,
            Extent::Group => optimizer.group("default")?.input(&input.name, input.at(step))?,
            // These go with each tensor.
            _ => {}
        }
    }
    let mut tensors = Vec::new();
    for Param { name, stepped, .. } in &mut params.tensors {
        let mut tensor = match stepped {
            None => continue,
            Some(Stepped::F32(p, g)) => Tensor::new(name, p, g.index_axis(Axis(0), step)),
            Some(Stepped::F64(p, g)) => Tensor::new(name, p, g.index_axis(Axis(0), step)),
        };
        for input in inputs.iter().filter(|input| input.is_per_tensor(&program)) {
            tensor = tensor.input(&input.name, input.at(step));
        }
        tensors.push(tensor);
    }
    optimizer.step(&mut tensors)?;
    for input in inputs {
        optimizer.observe(&input.name, input.at(step));
    }
    Ok(())
}

/// An error of a step in terms of the files.
fn explained(error: Error, args: &Args, step: usize) -> Failure {
    let other = |tensor, was, now| match &args.state {
        Some(state) => ApplyError::OtherTensor { state: state.clone(), tensor, was, now }.into(),
        None => Failure::Message(format!("`{tensor}` was {was} and is {now}")),
    };
    match error {
        Error::MissingInput { rule, input, .. } => ApplyError::MissingInput { rule, input, step: step + 1 }.into(),
        Error::ShapeChanged { tensor, was, now } => {
            other(tensor, format!("of shape {was:?}"), format!("of shape {now:?}"))
        }
        Error::DtypeChanged { tensor, was, now } => {
            other(tensor, format!("of type {}", was.name()), format!("of type {}", now.name()))
        }
        error => error.into(),
    }
}

/// An input with its values.
struct Input {
    name: String,
    /// Which of the program's; nothing if schedules alone read it.
    index: Option<usize>,
    /// One for each step, or one for all.
    values: Result<Vec<f64>, f64>,
}

impl Input {
    fn is_per_tensor(&self, program: &Program) -> bool {
        self.index.is_some_and(|index| program.inputs[index].extent == Extent::Tensor)
    }

    fn at(&self, step: usize) -> f64 {
        match &self.values {
            Ok(values) => values[step],
            Err(value) => *value,
        }
    }
}

/// The inputs that were given, all there for all steps. Of one that is given twice the last counts.
fn inputs(rule: &Rule, schedules: &[Schedule], given: &[(String, Given)], steps: usize) -> Result<Vec<Input>, Failure> {
    let program: &Program = rule.program();
    let mut inputs: Vec<Input> = Vec::new();
    for (name, given) in given {
        let index = program.inputs.iter().position(|input| *input.name == **name);
        if index.is_none() && !schedules.iter().any(|schedule| schedule.reads(name)) {
            let of_schedules = schedules.iter().flat_map(Schedule::inputs);
            let mut known: Vec<String> =
                program.inputs.iter().map(|input| &*input.name).chain(of_schedules).map(String::from).collect();
            known.dedup();
            return Err(Error::UnknownInput { rule: rule.name().to_string(), input: name.clone(), known }.into());
        }
        let values = match given {
            Given::Number(value) => Err(*value),
            Given::File(path) => Ok(read_numbers(path, name, steps)?),
        };
        inputs.retain(|input| input.name != *name);
        inputs.push(Input { name: name.clone(), index, values });
    }
    Ok(inputs)
}

/// The numbers of a file, one a line; blank lines at its end do not count.
pub(super) fn read_numbers(path: &Path, input: &str, steps: usize) -> Result<Vec<f64>, ApplyError> {
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
