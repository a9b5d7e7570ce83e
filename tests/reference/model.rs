//! References of rules that reduce: a step of all tensors of a model at once.
//!
//! A reference is one function over a [`Model`], in the plainest form: statement by statement over whole arrays, each sum by
//! [`sums`](super::sums). How to add a rule: write the function, add its line to [`models!`] in `models.rs` and its cases to
//! `model_cases.rs`.
//!
//! - Hypers: `let [lr, eps] = model.hypers(["lr", "eps"]);`; a flag is 0 or 1.
//! - The gradient is `tensor.g`, which a function may change as it likes; the harness sets it before every step.
//! - `tensor.t` counts the step that is being taken; a rule that skips the step takes it back.
//! - A state is taken out of its tensor by [`Tensor::take`] (which makes it in the first step that asks for it) and put back
//!   by [`Tensor::keep`], so that several can be changed side by side. What is not kept does not exist. Scalar states of a
//!   tensor are [`Tensor::scalars`], those of the model [`Model::scalars`], with the same names as in the rule; those of a
//!   used rule have its name before them, as in `adamw.m`.
//! - Inputs per model are `model.inputs["loss"]`, inputs per element `tensor.inputs["hessian"]`. `tensor.inputs["normal"]`
//!   are the numbers that the rule's first `normal()` draws (see the harness).

use std::collections::BTreeMap;

use super::Real;
use super::sums::{Per, axes};

/// All tensors of a model with their states, and the settings of a rule.
pub struct Model<T> {
    pub tensors: Vec<Tensor<T>>,
    /// States per model.
    pub scalars: BTreeMap<&'static str, f64>,
    /// Inputs per model.
    pub inputs: BTreeMap<&'static str, f64>,
    settings: BTreeMap<&'static str, f64>,
}

/// A tensor with its gradient and states.
pub struct Tensor<T> {
    pub shape: Vec<usize>,
    pub p: Vec<T>,
    pub g: Vec<T>,
    /// The steps taken, this one included.
    pub t: u64,
    /// States per element, row, column, unit or matrix.
    pub arrays: BTreeMap<&'static str, Vec<T>>,
    /// States per tensor.
    pub scalars: BTreeMap<&'static str, f64>,
    /// Inputs per element.
    pub inputs: BTreeMap<&'static str, Vec<T>>,
}

impl<T: Real> Model<T> {
    /// A model before its first step. `defaults` are all hypers of the rule, `set` those that are off their default.
    pub fn new(
        defaults: &[(&'static str, f64)],
        set: &[(&'static str, f64)],
        tensors: Vec<(Vec<usize>, Vec<T>)>,
    ) -> Self {
        let mut settings: BTreeMap<_, _> = defaults.iter().copied().collect();
        for (name, value) in set {
            assert!(settings.insert(name, *value).is_some(), "no hyper {name}");
        }
        let tensor = |(shape, p): (Vec<usize>, Vec<T>)| Tensor {
            shape,
            g: p.clone(),
            p,
            t: 0,
            arrays: BTreeMap::new(),
            scalars: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        Model {
            tensors: tensors.into_iter().map(tensor).collect(),
            scalars: BTreeMap::new(),
            inputs: BTreeMap::new(),
            settings,
        }
    }

    /// The settings of some hypers; a flag is 0 or 1.
    pub fn hypers<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        names.map(|name| *self.settings.get(name).unwrap_or_else(|| panic!("no hyper {name}")))
    }

    /// A state per model, which starts as `first` in the first step that asks for it.
    pub fn scalar(&mut self, name: &'static str, first: f64) -> &mut f64 {
        self.scalars.entry(name).or_insert(first)
    }

    /// One array of every tensor, for a reduction to the model.
    pub fn each(&self, array: impl Fn(&Tensor<T>) -> Vec<T>) -> Vec<Vec<T>> {
        self.tensors.iter().map(array).collect()
    }
}

impl<T: Real> Tensor<T> {
    /// Takes a state per element out, to be changed and kept again; it starts as `first`.
    pub fn take(&mut self, name: &'static str, first: f64) -> Vec<T> {
        let len = self.p.len();
        self.arrays.remove(name).unwrap_or_else(|| vec![T::of(first); len])
    }

    /// The same for a state per row, column, unit or matrix.
    pub fn take_per(&mut self, per: Per, name: &'static str, first: f64) -> Vec<T> {
        let len = per.results(&self.shape);
        self.arrays.remove(name).unwrap_or_else(|| vec![T::of(first); len])
    }

    /// The same for a state that starts as the values of an array.
    pub fn take_from(&mut self, name: &'static str, first: &[T]) -> Vec<T> {
        self.arrays.remove(name).unwrap_or_else(|| first.to_vec())
    }

    /// Puts a state back.
    pub fn keep(&mut self, name: &'static str, state: Vec<T>) {
        self.arrays.insert(name, state);
    }

    /// A state per tensor, which starts as `first`.
    pub fn scalar(&mut self, name: &'static str, first: f64) -> &mut f64 {
        self.scalars.entry(name).or_insert(first)
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// How many elements there are.
    pub fn numel(&self) -> usize {
        self.p.len()
    }

    /// The last but one axis; 1 of a tensor that has none.
    pub fn rows(&self) -> usize {
        axes(&self.shape).1
    }

    /// The last axis; 1 of a tensor that has none.
    pub fn cols(&self) -> usize {
        axes(&self.shape).2
    }

    /// To which matrix, row, column or unit an element belongs.
    pub fn of(&self, per: Per, element: usize) -> usize {
        per.of(element, &self.shape)
    }
}
