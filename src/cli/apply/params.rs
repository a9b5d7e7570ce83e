//! The parameters of `updraft apply`, with their gradients and inputs: from files into memory, checked, and back.

use super::Args;
use super::error::{ApplyError, Stacked};
use super::floats::{Floats, go_together, sized};
use super::inputs::{Input, Values};
use crate::cli::Failure;
use crate::runtime::in_order;
use crate::{Error, Optimizer, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub(super) fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<BTreeMap<String, TensorView<'a>>, ApplyError> {
    let file = SafeTensors::deserialize(bytes);
    let file =
        file.map_err(|error| ApplyError::NotSafetensors { path: path.to_path_buf(), reason: error.to_string() })?;
    Ok(file.tensors().into_iter().collect())
}

/// The parameters, by name.
pub(super) struct Params<'a> {
    pub(super) tensors: Vec<Param<'a>>,
    pub(super) steps: usize,
}

pub(super) struct Param<'a> {
    pub(super) name: String,
    /// As it is in the file.
    view: TensorView<'a>,
    /// What is stepped; nothing for a parameter without a gradient.
    pub(super) stepped: Option<Stepped>,
    /// The bytes after every step so far.
    trace: Vec<u8>,
}

/// A parameter in memory, with what comes with it. Gradients and inputs have one more leading axis, the step; an input of
/// length 1 is the same in every step.
pub(super) struct Stepped {
    param: Floats,
    grad: Floats,
    inputs: Vec<(String, Floats)>,
    /// Inputs per tensor.
    scalars: Vec<(String, Vec<f64>)>,
}

impl Stepped {
    fn tensor<'t>(&'t mut self, name: &'t str, step: usize) -> Tensor<'t> {
        let Stepped { param, grad, inputs, scalars } = self;
        let mut tensor = param.tensor(name, grad, step);
        for (input, array) in &*inputs {
            tensor = array.input(tensor, input, step);
        }
        for (input, values) in &*scalars {
            tensor = tensor.input(input, if values.len() == 1 { values[0] } else { values[step] });
        }
        tensor
    }
}

impl<'a> Params<'a> {
    pub(super) fn new(
        args: &Args,
        params: &BTreeMap<String, TensorView<'a>>,
        grads: &BTreeMap<String, TensorView<'a>>,
    ) -> Result<Params<'a>, ApplyError> {
        let mut all = Params { tensors: Vec::new(), steps: 0 };
        for (name, view) in params {
            all.tensors.push(Param { name: name.clone(), view: view.clone(), stepped: None, trace: Vec::new() });
        }
        all.has_all(args, &args.grads, &Stacked::Gradient, grads)?;
        let mut steps: Option<(String, usize)> = None;
        for param in &mut all.tensors {
            let Some(grad) = grads.get(&param.name) else { continue };
            let (n, stepped) = stepped(args, &param.name, &param.view, grad)?;
            match &steps {
                Some((_, m)) if *m == n => {}
                Some((first, m)) => {
                    let (first, second) = ((first.clone(), *m), (param.name.clone(), n));
                    return Err(ApplyError::Steps { grads: args.grads.clone(), first, second });
                }
                None => steps = Some((param.name.clone(), n)),
            }
            param.stepped = Some(stepped);
        }
        all.steps = steps.map_or(0, |(_, n)| n);
        Ok(all)
    }

    /// Everything in a file of gradients or inputs has a parameter.
    fn has_all(
        &self,
        args: &Args,
        path: &Path,
        what: &Stacked,
        found: &BTreeMap<String, TensorView<'_>>,
    ) -> Result<(), ApplyError> {
        let names = || self.tensors.iter().map(|param| param.name.as_str());
        let Some(tensor) = found.keys().find(|name| !names().any(|known| known == name.as_str())) else {
            return Ok(());
        };
        let similar = crate::diagnostic::did_you_mean(tensor, names()).map(String::from);
        let (path, params) = (path.to_path_buf(), args.params.clone());
        Err(ApplyError::NoParameter { path, what: what.clone(), tensor: tensor.clone(), params, similar })
    }

    /// Takes an input that comes with each tensor: one per element, or one per tensor from a file of tensors. Where the
    /// file has none for a tensor, the rule may have a default, or not read it.
    pub(super) fn take_input(&mut self, args: &Args, input: &Input) -> Result<(), ApplyError> {
        let steps = self.steps;
        match &input.values {
            Values::Tensors(path, bytes) => {
                let found = open(path, bytes)?;
                self.has_all(args, path, &Stacked::Input(input.name.clone()), &found)?;
                for param in &mut self.tensors {
                    let (Some(stepped), Some(view)) = (&mut param.stepped, found.get(&param.name)) else { continue };
                    let of = InputOf { path, input, tensor: &param.name, steps };
                    if input.is_per_element() {
                        of.array(&param.view, view, stepped)?;
                    } else {
                        let values = of.scalars(view)?;
                        stepped.scalars.push((input.name.clone(), values));
                    }
                }
            }
            Values::Always(x) if input.is_per_element() => {
                for param in &mut self.tensors {
                    let shape = [&[1], param.view.shape()].concat();
                    if let Some(stepped) = &mut param.stepped {
                        let array = Floats::filled(*x, shape, &stepped.param);
                        stepped.inputs.push((input.name.clone(), array));
                    }
                }
            }
            Values::Always(_) | Values::Steps(_) => {}
        }
        Ok(())
    }

    /// The parameters that are stepped.
    pub(super) fn stepped(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().filter(|param| param.stepped.is_some()).map(|param| param.name.as_str())
    }

    /// What a step takes.
    pub(super) fn at(&mut self, step: usize) -> Vec<Tensor<'_>> {
        let tensors = self.tensors.iter_mut().filter_map(|Param { name, stepped, .. }| {
            let stepped = stepped.as_mut()?;
            Some(stepped.tensor(name, step))
        });
        tensors.collect()
    }

    /// Keeps what every parameter is now.
    pub(super) fn record(&mut self, path: &Path) -> Result<(), ApplyError> {
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
    pub(super) fn after(&self, metadata: Option<HashMap<String, String>>) -> Result<Vec<u8>, Failure> {
        let all = self.tensors.iter().map(|param| (param, param.view.shape().to_vec(), param.bytes()));
        let all: Vec<_> = all.collect();
        file(all.iter().map(|(param, shape, bytes)| (*param, shape.clone(), &**bytes)), metadata)
    }

    /// The file of what has been recorded.
    pub(super) fn trace(&self) -> Result<Vec<u8>, Failure> {
        let shape = |param: &Param<'_>| [&[self.steps], param.view.shape()].concat();
        file(self.tensors.iter().map(|param| (param, shape(param), param.trace.as_slice())), None)
    }

    /// The file of a view of every stepped parameter.
    pub(super) fn view(&self, optimizer: &mut Optimizer, view: &str) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        for param in &self.tensors {
            let tensor = param.name.as_str();
            let Some(stepped) = &param.stepped else { continue };
            let bytes = stepped.param.view(optimizer, view, tensor);
            let bytes = bytes.map_err(|error| match error {
                Error::UnknownTensor { tensor, .. } => {
                    ApplyError::NothingToView { view: view.to_string(), tensor }.into()
                }
                error => Failure::from(error),
            })?;
            all.push((param, bytes));
        }
        file(all.iter().map(|(param, bytes)| (*param, param.view.shape().to_vec(), bytes.as_slice())), None)
    }
}

fn file<'p, 'a: 'p>(
    tensors: impl Iterator<Item = (&'p Param<'a>, Vec<usize>, &'p [u8])>,
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
    fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.stepped {
            None => self.view.data().into(),
            Some(stepped) => stepped.param.bytes().into(),
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
    let tensor = name.to_string();
    let other =
        || ApplyError::ParamDtype { params: args.params.clone(), tensor: name.to_string(), dtype: param.dtype() };
    // A shape without elements may still have axes whose product no machine can address.
    let too_large = || ApplyError::TooLarge { path: args.params.clone(), tensor: tensor.clone() };
    let found = Floats::read(param.dtype(), param.shape(), param.data());
    if found.is_none() {
        return Err(other());
    }
    let steps = steps_of(&args.grads, Stacked::Gradient, name, param, grad)?.unwrap_or(1);
    let stacked = [&[steps], param.shape()].concat();
    let stepped = Stepped {
        param: sized(found, other(), too_large)?,
        grad: sized(Floats::read(grad.dtype(), &stacked, grad.data()), other(), too_large)?,
        inputs: Vec::new(),
        scalars: Vec::new(),
    };
    Ok((steps, stepped))
}

/// The length of the axis that a gradient or an input has before those of its parameter; `None` if it has none.
fn steps_of(
    path: &Path,
    what: Stacked,
    name: &str,
    param: &TensorView<'_>,
    found: &TensorView<'_>,
) -> Result<Option<usize>, ApplyError> {
    let (path, tensor) = (path.to_path_buf(), name.to_string());
    let fits = match what {
        Stacked::Gradient => go_together(param.dtype(), found.dtype()),
        Stacked::Input(_) => found.dtype() == param.dtype(),
    };
    if !fits || Floats::read(found.dtype(), &[0], &[]).is_none() {
        return Err(ApplyError::Dtype { path, what, tensor, param: param.dtype(), found: found.dtype() });
    }
    match found.shape() {
        shape if shape == param.shape() => Ok(None),
        [steps, shape @ ..] if shape == param.shape() => Ok(Some(*steps)),
        shape => {
            let (param, found) = (param.shape().to_vec(), shape.to_vec());
            Err(ApplyError::Shape { path, what, tensor, param, found })
        }
    }
}

/// An input of one tensor in a file.
struct InputOf<'x> {
    path: &'x Path,
    input: &'x Input,
    tensor: &'x str,
    steps: usize,
}

impl InputOf<'_> {
    /// There are as many as there are steps.
    fn fits(&self, found: usize) -> Result<(), ApplyError> {
        if found == self.steps {
            return Ok(());
        }
        Err(ApplyError::InputSteps {
            path: self.path.to_path_buf(),
            input: self.input.name.clone(),
            tensor: self.tensor.to_string(),
            found,
            steps: self.steps,
        })
    }

    fn array(&self, param: &TensorView<'_>, view: &TensorView<'_>, stepped: &mut Stepped) -> Result<(), ApplyError> {
        let name = self.input.name.clone();
        let steps = steps_of(self.path, Stacked::Input(name.clone()), self.tensor, param, view)?;
        steps.map_or(Ok(()), |steps| self.fits(steps))?;
        let too_large = |_| ApplyError::TooLarge { path: self.path.to_path_buf(), tensor: self.tensor.to_string() };
        let shape = [&[steps.unwrap_or(1)], param.shape()].concat();
        if let Some(array) = Floats::read(view.dtype(), &shape, view.data()) {
            stepped.inputs.push((name, array.map_err(too_large)?));
        }
        Ok(())
    }

    fn scalars(&self, view: &TensorView<'_>) -> Result<Vec<f64>, ApplyError> {
        let values = Floats::read(view.dtype(), &[view.shape().iter().product()], view.data());
        let values = values.and_then(Result::ok).map(|values| values.values());
        match (values, view.shape()) {
            (Some(values), []) => Ok(values),
            (Some(values), [steps]) => self.fits(*steps).map(|()| values),
            (_, found) => Err(ApplyError::Scalar {
                path: self.path.to_path_buf(),
                input: self.input.name.clone(),
                tensor: self.tensor.to_string(),
                found: found.to_vec(),
            }),
        }
    }
}
