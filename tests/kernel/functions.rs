//! Each function of elements on special values, in every lane and with every type in memory: all engines give what the
//! evaluator gives, and that is zero, infinite or NaN where libm's function is.

use crate::data::{Array, Data, Engine};
use crate::halves::{HALVES, halves, value_of};
use crate::operations::{around, engines, grid_f32, grid_f64, grid_half, tuples};
use updraft::check::program::Function;
use updraft::ir::{Kernel, Storage, lower, print_kernel};
use updraft::plan::plan;
use updraft::{Math, Rule};

/// What holds of special values in f64; of functions that an instruction computes, the operations say it.
fn libm(function: Function, [x, y, _]: [f64; 3]) -> Option<f64> {
    Some(match function {
        Function::Cbrt => libm::cbrt(x),
        Function::Exp => libm::exp(x),
        Function::Log => libm::log(x),
        Function::Tanh => libm::tanh(x),
        Function::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        Function::Sin => libm::sin(x),
        Function::Cos => libm::cos(x),
        Function::Pow => libm::pow(x, y),
        _ => return None,
    })
}

/// The kernel that assigns the function of `g`, `a` and `b` to `p`.
fn kernel(function: Function, storage: Storage, math: Math) -> Kernel {
    let operands = &["g", "a", "b"][..function.params().len()];
    let value = match function {
        Function::Pow => "g^a".to_string(),
        Function::Isfinite => "if isfinite(g) then 1 else 0".to_string(),
        _ => format!("{}({})", function.name(), operands.join(", ")),
    };
    let text = format!("optimizer f\nstate a = 0\nstate b = 0\n\np = {value}\n");
    let rule = Rule::parse("f", &text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let facts = rule.optimizer().math(math).build().unwrap().facts(storage, 1);
    let plan = plan(&lower(rule.program(), &facts));
    let [sweep] = &plan.sweeps().collect::<Vec<_>>()[..] else { panic!("one sweep") };
    sweep.kernel.clone()
}

/// Numbers of both types for each bit pattern of the grid.
fn values(storage: Storage) -> Vec<f64> {
    match HALVES.iter().find(|(half, ..)| *half == storage) {
        Some((_, mantissa, infinity)) => {
            grid_half(*mantissa, *infinity).iter().map(|bits| value_of(*bits, *mantissa)).collect()
        }
        None if storage == Storage::F32 => grid_f32().iter().map(|x| f64::from(*x)).collect(),
        None => grid_f64(),
    }
}

/// An array of the values of these indices of the grid, over and over.
fn array(storage: Storage, indices: &[usize]) -> Array {
    match HALVES.iter().find(|(half, ..)| *half == storage) {
        Some((_, mantissa, infinity)) => {
            let grid = grid_half(*mantissa, *infinity);
            let bits: Vec<u16> = indices.iter().map(|i| grid[*i]).collect();
            halves(storage, around(&bits).into_iter())
        }
        None if storage == Storage::F32 => {
            let grid = grid_f32();
            Array::F32(around(&indices.iter().map(|i| grid[*i]).collect::<Vec<_>>()))
        }
        None => {
            let grid = grid_f64();
            Array::F64(around(&indices.iter().map(|i| grid[*i]).collect::<Vec<_>>()))
        }
    }
}

/// An element as a number.
fn number(array: &Array, i: usize) -> f64 {
    match array {
        Array::F32(x) => x[i].into(),
        Array::F64(x) => x[i],
        Array::Bf16(x) => x[i].into(),
        Array::F16(x) => x[i].into(),
    }
}

/// Whether a function that is `exact` may be `found` so, as far as special values go.
fn may_be(found: f64, exact: f64, storage: Storage) -> bool {
    let exact = if storage == Storage::F64 { exact } else { f64::from(exact as f32) };
    if exact.is_nan() || found.is_nan() {
        return exact.is_nan() && found.is_nan();
    }
    // What is stored in a half may become zero or infinite by that.
    let special = |x: f64| x == 0.0 || x.is_infinite();
    let narrow = matches!(storage, Storage::Bf16 | Storage::F16);
    found.is_sign_negative() == exact.is_sign_negative()
        && (!special(exact) || found == exact)
        && (!special(found) || narrow || found == exact)
}

fn holds(function: Function, storage: Storage, math: Math) {
    let kernel = kernel(function, storage, math);
    let numbers = values(storage);
    let tuples = tuples(function.params().len() as u32, numbers.len());
    let arrays: Vec<Array> = kernel
        .streams
        .iter()
        .map(|stream| match ["g", "a", "b"].iter().position(|name| *name == stream.name) {
            Some(operand) => array(storage, &tuples.iter().map(|t| t[operand]).collect::<Vec<_>>()),
            None => array(storage, &vec![0; tuples.len()]),
        })
        .collect();
    let result = kernel.streams.iter().position(|stream| stream.name == "p").unwrap();
    let uniforms = if storage == Storage::F64 { Array::F64(vec![]) } else { Array::F32(vec![]) };
    let engines = engines(&kernel);
    for first in 0..8 {
        let offsets = vec![first; arrays.len()];
        let before = Data { arrays: arrays.clone(), uniforms: uniforms.clone(), offsets, len: tuples.len() };
        let mut expected = before.clone();
        expected.run(&kernel, &Engine::Eval);
        for (name, engine) in &engines {
            let mut found = before.clone();
            found.run(&kernel, engine);
            if let Some(difference) = expected.difference(&found, &before) {
                panic!("{name}: {difference}, from {first}\n{}", print_kernel(&kernel));
            }
        }
        for i in first..first + tuples.len() {
            let tuple = tuples[i % tuples.len()].map(|index| numbers[index]);
            let found = number(&expected.arrays[result], i);
            if let Some(exact) = libm(function, tuple) {
                assert!(may_be(found, exact, storage), "{}{tuple:?} is {found}, not {exact}", function.name());
            }
        }
    }
}

#[test]
fn every_function_on_special_values_in_every_lane() {
    for function in Function::NAMED.into_iter().chain([Function::Pow]) {
        for storage in Storage::ALL {
            for math in [Math::Fast, Math::Strict] {
                holds(function, storage, math);
            }
        }
    }
}
