//! What a step of a rule costs, beside the least that its memory traffic costs.
//!
//! Comes in: a rule with its hypers, and a [`Case`]: sizes, type, threads, code generator. Goes out: [`Figures`], the time of
//! a step and of its [floor](floor::Floor) per element. Both are measured in turn in one process, on memory that has been
//! written before, with values as training has them, after the first steps: so that neither first touches, nor compilation,
//! nor denormal numbers, nor another program that comes and goes are taken for the cost of the rule.

mod floor;

use crate::check::program::{Extent, Input};
use crate::plan::Plan;
use crate::runtime::Element;
use crate::{Codegen, Error, Math, Optimizer, OptimizerBuilder, Rule, Storage, Tensor};
use floor::Floor;
use ndarray::{ArrayView, ArrayViewMut};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Of each tensor.
    pub(crate) elements: usize,
    /// How many tensors a step takes.
    pub(crate) tensors: usize,
    /// Of parameters and gradients.
    pub(crate) storage: Storage,
    /// How many threads share a step.
    pub(crate) threads: usize,
    /// What compiles the rule, and the floor.
    pub(crate) codegen: Codegen,
    /// How the rule's arithmetic is compiled.
    pub(crate) math: Math,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Of a step, in nanoseconds per element.
    pub(crate) rule: Spread,
    /// Of its floor.
    pub(crate) floor: Spread,
    /// What a step moves.
    pub(crate) bytes_per_element: usize,
    /// Why the evaluator ran instead of machine code, if it did.
    pub(crate) warning: Option<String>,
}

/// Repeated measurements of one thing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    /// A quarter of them is below this.
    pub(crate) low: f64,
    /// The one in the middle.
    pub(crate) median: f64,
    /// A quarter of them is above this.
    pub(crate) high: f64,
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Spread {
        times.sort_by(f64::total_cmp);
        let at = |quarter: usize| times.get(times.len() * quarter / 4).copied().unwrap_or(f64::NAN);
        Spread { low: at(1), median: at(2), high: at(3) }
    }

    /// Half the distance between the quartiles, as a share of the median.
    pub(crate) fn relative(self) -> f64 {
        (self.high - self.low) / (2.0 * self.median)
    }
}

/// How many steps come before the first that counts. After the eighth, rules that begin with another formula have left it
/// (radam), and those that do more every fifth, sixth or tenth step do not.
const WARM_UP: usize = 8;

/// The least that is timed at once: many times what reading the clock takes.
const SAMPLE: Duration = Duration::from_micros(20);

/// How long the rule and the floor take turns of, roughly.
const TURN: Duration = Duration::from_millis(4);

/// Measures a rule in one case, for about this time.
///
/// # Errors
/// Those of building the optimizer, and of its steps.
pub(crate) fn measure(builder: OptimizerBuilder, case: &Case, time: Duration) -> Result<Figures, Error> {
    let mut optimizer = builder.math(case.math).codegen(case.codegen).threads(case.threads).build()?;
    match case.storage {
        Storage::F32 => measure_of::<f32>(&mut optimizer, case, time),
        Storage::Bf16 => measure_of::<half::bf16>(&mut optimizer, case, time),
        Storage::F16 => measure_of::<half::f16>(&mut optimizer, case, time),
        Storage::F64 => measure_of::<f64>(&mut optimizer, case, time),
    }
}

/// A type of elements that benchmarks are made of.
trait Value: Element {
    /// The nearest value.
    fn of(x: f64) -> Self;
}

impl Value for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
}

impl Value for f64 {
    fn of(x: f64) -> f64 {
        x
    }
}

impl Value for half::bf16 {
    fn of(x: f64) -> half::bf16 {
        half::bf16::from_f64(x)
    }
}

impl Value for half::f16 {
    fn of(x: f64) -> half::f16 {
        half::f16::from_f64(x)
    }
}

fn measure_of<T: Value>(optimizer: &mut Optimizer, case: &Case, time: Duration) -> Result<Figures, Error> {
    let mut arrays: Vec<Arrays<T>> =
        (0..case.tensors).map(|index| Arrays::new(optimizer.rule(), case, index)).collect();
    let inputs = Inputs::of(optimizer.rule());
    let mut tensors: Vec<Tensor<'_>> = arrays.iter_mut().map(|arrays| arrays.tensor(&inputs)).collect();
    let mut step = |optimizer: &mut Optimizer| {
        inputs.give(optimizer)?;
        optimizer.step(&mut tensors)
    };
    let mut one = Duration::MAX;
    for _ in 0..WARM_UP {
        let start = Instant::now();
        step(optimizer)?;
        one = one.min(start.elapsed());
    }
    let plan: Option<Plan> = optimizer.last_plan().cloned();
    let bytes_per_element = plan.as_ref().map_or(0, Plan::bytes_per_element);
    let mut floor = plan.map(|plan| Floor::new(optimizer, &plan, case));
    let repeat = 1 + SAMPLE.as_nanos() / one.as_nanos().max(1);
    let samples = 1 + TURN.as_nanos() / (one.as_nanos().max(1) * repeat);
    let elements = (case.elements * case.tensors) as f64;
    // The first of a turn brings its memory into the cache, and does not count.
    let turn = |times: &mut Vec<f64>, run: &mut dyn FnMut() -> Result<(), Error>| {
        run()?;
        for _ in 0..samples {
            let start = Instant::now();
            for _ in 0..repeat {
                run()?;
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / (repeat as f64 * elements));
        }
        Ok::<(), Error>(())
    };
    let (mut of_rule, mut of_floor) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while of_rule.len() < 3 || start.elapsed() < time {
        turn(&mut of_rule, &mut || step(optimizer))?;
        if let Some(floor) = &mut floor {
            turn(&mut of_floor, &mut || {
                floor.run();
                Ok(())
            })?;
        }
    }
    let warning = optimizer.warning().map(str::to_string);
    Ok(Figures { rule: Spread::of(of_rule), floor: Spread::of(of_floor), bytes_per_element, warning })
}

/// The arrays of one tensor.
struct Arrays<T> {
    name: String,
    shape: (usize, usize),
    param: Vec<T>,
    grad: Vec<T>,
    /// One for each input per element.
    inputs: Vec<Vec<T>>,
}

/// The inputs that a rule cannot do without.
struct Inputs {
    scalars: Vec<(String, Extent)>,
    arrays: Vec<String>,
}

/// What every scalar input is given as: a loss, say.
const INPUT: f64 = 1.0;

impl Inputs {
    fn of(rule: &Rule) -> Inputs {
        let needed = |input: &&Input| input.default.is_none();
        let inputs = rule.program().inputs.iter().filter(needed);
        let (arrays, scalars): (Vec<&Input>, Vec<&Input>) = inputs.partition(|input| input.extent == Extent::Element);
        Inputs {
            scalars: scalars.into_iter().map(|input| (input.name.to_string(), input.extent)).collect(),
            arrays: arrays.into_iter().map(|input| input.name.to_string()).collect(),
        }
    }

    /// Gives those of the next step that belong to no tensor.
    fn give(&self, optimizer: &mut Optimizer) -> Result<(), Error> {
        for (name, extent) in &self.scalars {
            match extent {
                Extent::Model => optimizer.input(name, INPUT)?,
                Extent::Group => optimizer.group("default")?.input(name, INPUT)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<T: Value> Arrays<T> {
    /// Parameters and gradients of the size that they have in training, never so small that they are denormal.
    fn new(rule: &Rule, case: &Case, index: usize) -> Arrays<T> {
        let mut random = ChaCha8Rng::seed_from_u64(index as u64);
        let mut normal = |scale: f64| (0..case.elements).map(|_| T::of(scale * normal(&mut random))).collect();
        let (param, grad): (Vec<T>, Vec<T>) = (normal(0.05), normal(0.01));
        // Estimates of curvature, for instance.
        let inputs = Inputs::of(rule).arrays.iter().map(|_| normal(0.1)).collect();
        Arrays { name: format!("tensor {index}"), shape: shape(case.elements), param, grad, inputs }
    }

    fn tensor<'a>(&'a mut self, inputs: &'a Inputs) -> Tensor<'a> {
        let shape = self.shape;
        let param = ArrayViewMut::from_shape(shape, &mut self.param).expect("as many elements as the shape has");
        let view = |slice: &'a [T]| ArrayView::from_shape(shape, slice).expect("as many elements as the shape has");
        let mut tensor = Tensor::new(&self.name, param, view(&self.grad));
        for (name, array) in inputs.arrays.iter().zip(&self.inputs) {
            tensor = tensor.input_array(name, view(array));
        }
        let of_tensors = inputs.scalars.iter().filter(|(_, extent)| *extent == Extent::Tensor);
        of_tensors.fold(tensor, |tensor, (name, _)| tensor.input(name, INPUT))
    }
}

/// The matrix of this many elements that is nearest to a square: some rules need rows and columns.
fn shape(elements: usize) -> (usize, usize) {
    let rows = (1..=elements.isqrt()).rev().find(|rows| elements.is_multiple_of(*rows)).unwrap_or(1);
    (rows, elements / rows)
}

/// A normal number (Box and Muller), except that none is nearer to 0 than 1e-4.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let mut uniform = || (f64::from(random.next_u32()) + 0.5) / f64::from(u32::MAX);
    let x = (-2.0 * uniform().ln()).max(0.0).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    x.abs().max(1e-4).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_as_square_as_they_can_be() {
        assert_eq!([1, 7, 12, 1 << 14, 1 << 15].map(shape), [(1, 1), (1, 7), (3, 4), (128, 128), (128, 256)]);
    }

    #[test]
    fn a_spread_is_the_quartiles() {
        let spread = Spread::of(vec![5.0, 1.0, 2.0, 4.0, 3.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(spread.relative(), 1.0 / 3.0);
    }
}
