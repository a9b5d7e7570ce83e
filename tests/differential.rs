//! Every engine gives the bits of the oracles, for rules that nobody wrote.
//!
//! `eval_step` runs the lowered step on whole arrays; it is the oracle of the planner. The evaluator of kernels runs the
//! plan; it is the oracle of code generation. One-lane and SIMD machine code follow. All are compared after every step,
//! for several tensors of different lengths and offsets at once, some of which miss a step so that `t` differs.

#[path = "generate/rule.rs"]
mod generate;

use generate::rule;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::sync::Arc;
use updraft::check::program::{Extent, Program, StateId};
use updraft::codegen::Lanes;
use updraft::ir::region::{Level, outcomes};
use updraft::ir::step::{Array, Source, StepInst, Target};
use updraft::ir::{Arrays, Column, Scalar, Scalars, eval_step, lower, lower_conditions, lower_init};
use updraft::runtime::Element;
use updraft::{Codegen, Engine, Facts, Math, Optimizer, Outcome, Rule, SHIPPED, StateValues, Storage, Tensor};

// Values. ---------------------------------------------------------------------------------------------------------

/// A small generator, so that a seed alone reproduces a case.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Mostly ordinary, often not.
    fn value(&mut self) -> f64 {
        const WILD: [f64; 14] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e-40,
            -1e-45,
            5e-324,
            1e38,
            -3.4e38,
            1.7e308,
            1e-20,
        ];
        match self.below(4) {
            0 => WILD[self.below(WILD.len())],
            _ => (self.next() >> 11) as f64 / (1u64 << 52) as f64 * 4.0 - 4.0,
        }
    }
}

/// f32 and f64.
trait Real: Element + PartialEq + std::fmt::Debug {
    const STORAGE: Storage;
    fn from_f64(x: f64) -> Self;
    /// The bits, all NaNs alike.
    fn bits(self) -> u64;
    fn column(values: &[Self]) -> Column;
    fn values(column: &Column) -> &[Self];
    fn state<'a>(state: StateValues<'a>) -> &'a [Self];
}

macro_rules! real {
    ($ty:ident, $variant:ident) => {
        impl Real for $ty {
            const STORAGE: Storage = Storage::$variant;
            fn from_f64(x: f64) -> $ty {
                x as $ty
            }
            fn bits(self) -> u64 {
                if self.is_nan() { u64::MAX } else { self.to_bits().into() }
            }
            fn column(values: &[$ty]) -> Column {
                Column::$variant(values.to_vec())
            }
            fn values(column: &Column) -> &[$ty] {
                match column {
                    Column::$variant(values) => values,
                    other => panic!("a column of {other:?}"),
                }
            }
            fn state<'a>(state: StateValues<'a>) -> &'a [$ty] {
                match state {
                    StateValues::$variant(values) => values,
                    other => panic!("a state of {other:?}"),
                }
            }
        }
    };
}
real!(f32, F32);
real!(f64, F64);

// The oracle. -------------------------------------------------------------------------------------------------------

/// What the rule means, with `eval_step` alone: no planner, no kernels, no runtime.
struct Oracle<T> {
    program: Arc<Program>,
    math: Math,
    hypers: Vec<Option<Scalar>>,
    shared: BTreeMap<StateId, f64>,
    tensors: Vec<OracleTensor<T>>,
}

struct OracleTensor<T> {
    t: u64,
    param: Vec<T>,
    arrays: BTreeMap<StateId, Column>,
    scalars: BTreeMap<StateId, f64>,
}

impl<T: Real> Oracle<T> {
    fn new(rule: &Rule, math: Math, params: &[Vec<T>]) -> Oracle<T> {
        let hypers = rule.hypers().map(|hyper| match (hyper.default.as_f64(), hyper.default.as_bool()) {
            (Some(x), _) => Some(Scalar::F64(x)),
            (_, flag) => flag.map(Scalar::Bool),
        });
        let tensor = |param: &Vec<T>| OracleTensor {
            t: 0,
            param: param.clone(),
            arrays: BTreeMap::new(),
            scalars: BTreeMap::new(),
        };
        Oracle {
            program: rule.program().clone(),
            math,
            hypers: hypers.collect(),
            shared: BTreeMap::new(),
            tensors: params.iter().map(tensor).collect(),
        }
    }

    fn is_shared(&self, id: StateId) -> bool {
        matches!(self.program.states[id.index()].extent, Extent::Model | Extent::Group)
    }

    fn scalars(&self, tensor: &OracleTensor<T>) -> Scalars {
        let default = |input: &updraft::check::program::Input| match input.default {
            Some(id) => match self.program.node(id).kind {
                updraft::check::program::NodeKind::Number(x) => x,
                _ => panic!("generated defaults are numbers"),
            },
            None => 0.0,
        };
        let mut states = self.shared.clone();
        states.extend(&tensor.scalars);
        Scalars {
            hypers: self.hypers.clone(),
            inputs: self.program.inputs.iter().map(default).collect(),
            t: tensor.t + 1,
            states,
            ..Scalars::default()
        }
    }

    /// One step of each tensor that takes part.
    fn step(&mut self, grads: &[Option<Vec<T>>]) {
        let mut shared = self.shared.clone();
        for (index, grad) in grads.iter().enumerate() {
            let Some(grad) = grad else { continue };
            let mut scalars = self.scalars(&self.tensors[index]);
            let facts = self.facts(&mut scalars);
            let step = lower(&self.program, &facts);
            let mut arrays = Arrays::default();
            arrays.0.insert(Array::Param, T::column(&self.tensors[index].param));
            arrays.0.insert(Array::Grad, T::column(grad));
            for (id, column) in &self.tensors[index].arrays {
                arrays.0.insert(Array::State(*id), column.clone());
            }
            self.first_values(&step, &facts, &mut arrays, &mut scalars);
            eval_step(&step, &mut arrays, &mut scalars);
            let tensor = &mut self.tensors[index];
            tensor.t += 1;
            for (array, column) in arrays.0 {
                match array {
                    Array::Param => tensor.param = T::values(&column).to_vec(),
                    Array::State(id) => drop(tensor.arrays.insert(id, column)),
                    _ => {}
                }
            }
            for (id, x) in scalars.states {
                if self.program.states[id.index()].extent == Extent::Tensor {
                    self.tensors[index].scalars.insert(id, x);
                } else {
                    shared.insert(id, x);
                }
            }
        }
        self.shared = shared;
    }

    /// The outcomes of the conditions for one tensor.
    fn facts(&self, scalars: &mut Scalars) -> Facts {
        let conditions = lower_conditions(&self.program, T::STORAGE);
        // All are computed, but only what a condition that is reached has read is touched.
        let touched = scalars;
        let mut all = touched.clone();
        let scalars = &mut all;
        for source in conditions.sources() {
            self.first_scalar(source, scalars);
        }
        let mut registers = Vec::new();
        let source = |source: Source| scalars.source(source);
        conditions.run((Level::Model, Level::Tensor), &mut registers, source, |_, _| ());
        let mut found = Vec::new();
        outcomes(&self.program, &conditions, &registers, &mut found);
        let reached = conditions.outputs.iter().zip(&found).filter(|(_, outcome)| **outcome != Outcome::Unreached);
        let mut needed = Vec::new();
        conditions.trace(reached.map(|(output, _)| *output), &registers, &mut needed);
        for source in conditions.needed_sources(&needed) {
            self.first_scalar(source, touched);
        }
        Facts::new(T::STORAGE, self.math, found)
    }

    fn first_scalar(&self, source: Source, scalars: &mut Scalars) {
        let Source::State(id) = source else { return };
        if scalars.states.contains_key(&id) {
            return;
        }
        let facts = Facts::new(T::STORAGE, self.math, Vec::new());
        eval_step(&lower_init(&self.program, id, &facts), &mut Arrays::default(), scalars);
    }

    /// The first values of the states that this step is the first to touch.
    fn first_values(&self, step: &updraft::ir::Step, facts: &Facts, arrays: &mut Arrays, scalars: &mut Scalars) {
        for inst in &step.insts {
            match inst {
                StepInst::Source(source) => self.first_scalar(*source, scalars),
                StepInst::Load(Array::State(id)) | StepInst::Store(Target::Array(Array::State(id)), _)
                    if !arrays.0.contains_key(&Array::State(*id)) =>
                {
                    eval_step(&lower_init(&self.program, *id, facts), arrays, scalars);
                }
                _ => {}
            }
        }
    }
}

// The comparison. ---------------------------------------------------------------------------------------------------

/// Where a tensor lies: its length, and how many elements it is off the start of its buffer.
type Place = (usize, usize);

fn compare<T: Real>(rule: &Rule, math: Math, places: &[Place], steps: u64, seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let mut fill = |len: usize| (0..len).map(|_| T::from_f64(random.value())).collect::<Vec<T>>();
    let params: Vec<Vec<T>> = places.iter().map(|(len, _)| fill(*len)).collect();
    let grads: Vec<Vec<Option<Vec<T>>>> = (0..steps)
        .map(|k| {
            // In the second step every other tensor is missing, so that `t` differs from then on.
            places.iter().enumerate().map(|(i, (len, _))| (k != 1 || i % 2 == 0).then(|| fill(*len))).collect()
        })
        .collect();
    let mut oracle = Oracle::new(rule, math, &params);
    let builder = || rule.optimizer().math(math);
    let mut engines: Vec<(&str, Optimizer, Vec<Vec<T>>)> = Vec::new();
    for (name, builder) in [
        ("the evaluator of kernels", builder().engine(Engine::Eval)),
        ("one-lane code", builder().lanes(Lanes::One)),
        ("Cranelift's code", builder().codegen(Codegen::Cranelift)),
        ("SIMD code", builder()),
    ] {
        // Each tensor lies between canaries.
        let canary = T::from_f64(-77.25);
        let lay = |((len, offset), values): (&Place, &Vec<T>)| {
            let mut buffer = vec![canary; offset + len + 5];
            buffer[*offset..offset + len].copy_from_slice(values);
            buffer
        };
        let buffers = places.iter().zip(&params).map(lay).collect();
        engines.push((name, builder.build().map_err(|e| e.to_string())?, buffers));
    }
    let names: Vec<String> = (0..places.len()).map(|i| format!("w{i}")).collect();
    for (k, grads) in grads.iter().enumerate() {
        oracle.step(grads);
        for (engine, opt, buffers) in &mut engines {
            let mut tensors = Vec::new();
            for (i, buffer) in buffers.iter_mut().enumerate() {
                let (len, offset) = places[i];
                if let Some(grad) = &grads[i] {
                    tensors.push(Tensor::new(&names[i], &mut buffer[offset..offset + len], &grad[..]));
                }
            }
            opt.step(&mut tensors).map_err(|e| format!("{engine}: {e}"))?;
            drop(tensors);
            if let Some(warning) = opt.warning() {
                return Err(format!("{engine}: {warning}"));
            }
            agree(&oracle, opt, &names, buffers, places).map_err(|e| format!("{engine}, step {}: {e}", k + 1))?;
        }
    }
    Ok(())
}

/// Parameters, states, steps and canaries.
fn agree<T: Real>(
    oracle: &Oracle<T>,
    opt: &Optimizer,
    names: &[String],
    buffers: &[Vec<T>],
    places: &[Place],
) -> Result<(), String> {
    let same = |what: &str, expected: &[T], actual: &[T]| {
        if expected.len() != actual.len() {
            return Err(format!("{what} has {} elements, not {}", actual.len(), expected.len()));
        }
        match expected.iter().zip(actual).position(|(e, a)| e.bits() != a.bits()) {
            Some(i) => {
                Err(format!("{what}[{i}] is {:?}, not {:?} (length {})", actual[i], expected[i], expected.len()))
            }
            None => Ok(()),
        }
    };
    for (i, (len, offset)) in places.iter().enumerate() {
        let (tensor, buffer) = (&oracle.tensors[i], &buffers[i]);
        same("p", &tensor.param, &buffer[*offset..offset + len])?;
        if buffer[..*offset].iter().chain(&buffer[offset + len..]).any(|x| *x != T::from_f64(-77.25)) {
            return Err(format!("memory outside of tensor {i} was written"));
        }
        if opt.steps(&names[i]) != tensor.t {
            return Err(format!("tensor {i} has taken {} steps, not {}", opt.steps(&names[i]), tensor.t));
        }
        for (index, state) in oracle.program.states.iter().enumerate() {
            let id = StateId(index as u32);
            let actual = opt.state(&names[i], &state.name);
            if state.extent == Extent::Element {
                match (tensor.arrays.get(&id), actual) {
                    (Some(expected), Some(actual)) => same(&state.name, T::values(expected), T::state(actual))?,
                    (None, None) => {}
                    (expected, actual) => {
                        return Err(format!("{}: {:?} against {:?}", state.name, actual.is_some(), expected.is_some()));
                    }
                }
                continue;
            }
            let expected = if oracle.is_shared(id) { oracle.shared.get(&id) } else { tensor.scalars.get(&id) };
            if let (Some(expected), true) = (expected, tensor.t > 0) {
                match actual {
                    Some(StateValues::Scalar(x)) if x.bits() == expected.bits() => {}
                    other => return Err(format!("{} is {other:?}, not {expected}", state.name)),
                }
            }
        }
    }
    Ok(())
}

fn compare_all(rule: &Rule, storage: Storage, places: &[Place], steps: u64, seed: u64) -> Result<(), String> {
    for math in [Math::Strict, Math::Fast] {
        let result = match storage {
            Storage::F32 => compare::<f32>(rule, math, places, steps, seed),
            _ => compare::<f64>(rule, math, places, steps, seed),
        };
        result.map_err(|e| format!("{} {}: {e}", storage.name(), math.name()))?;
    }
    Ok(())
}

/// The seed of the rules: `UPDRAFT_SEED`, else one that never changes.
fn seed() -> u64 {
    std::env::var("UPDRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

/// Runs `test` on `cases` generated rules. A failure prints the smallest rule that fails, and the seed.
fn for_rules(cases: u32, salt: u64, test: impl Fn(&Rule, Storage, u64) -> Result<(), String>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    bytes[8..16].copy_from_slice(&salt.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy = (rule(), proptest::arbitrary::any::<(bool, u64)>()).prop_map(|(rule, (wide, values))| {
        (Shown(rule.text()), if wide { Storage::F64 } else { Storage::F32 }, values)
    });
    let result = runner.run(&strategy, |(Shown(text), storage, values)| {
        let rule = Rule::parse("generated", &text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        test(&rule, storage, values).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("UPDRAFT_SEED={} (of this test: {salt})\n{error}", seed());
    }
}

/// A text that a failure prints with its line ends.
#[derive(Clone)]
struct Shown(String);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

#[test]
fn generated_rules_at_drawn_lengths() {
    for_rules(2000, 1, |rule, storage, values| {
        let mut random = Random(values);
        let places: Vec<Place> = (0..8).map(|_| (random.below(68), random.below(4))).collect();
        compare_all(rule, storage, &places, 3, values)
    });
}

/// Every length from 0 to 67 at every offset from 0 to 3.
fn all_places() -> Vec<Place> {
    (0..=67).flat_map(|len| (0..4).map(move |offset| (len, offset))).collect()
}

#[test]
fn generated_rules_at_all_lengths() {
    for_rules(20, 2, |rule, storage, values| compare_all(rule, storage, &all_places(), 3, values));
}

#[test]
fn generated_rules_at_a_million_elements() {
    for_rules(5, 3, |rule, storage, values| compare_all(rule, storage, &[(1_000_003, 1)], 1, values));
}

#[test]
fn shipped_rules_at_all_lengths() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        // Those that see more than one element at a time have tests of their own: tests/reductions.rs, tests/sweeps.
        let program = rule.program();
        if !program.reductions.is_empty() || !program.inputs.is_empty() || program.draws > 0 {
            continue;
        }
        for storage in [Storage::F32, Storage::F64] {
            if let Err(error) = compare_all(&rule, storage, &all_places(), 3, seed()) {
                panic!("{name}, UPDRAFT_SEED={}: {error}", seed());
            }
        }
    }
}

/// A generator that never reaches a form tests nothing with it.
#[test]
fn the_generator_reaches_every_form() {
    let mut seen = String::new();
    let collected = std::cell::RefCell::new(&mut seen);
    let mut bytes = [0; 32];
    bytes[0] = 9;
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    runner
        .run(&rule().prop_map(|rule| rule.text()), |text| {
            collected.borrow_mut().push_str(&text);
            Ok(())
        })
        .unwrap();
    for form in [
        "old(m)",
        "sqrt(",
        "rsqrt(",
        "sign(",
        "floor(",
        "ceil(",
        "round(",
        "min(",
        "max(",
        "clamp(",
        "lerp(",
        "fma(",
        "isfinite(",
        "square(",
        "mix(",
        "%",
        ")^-",
        "else {",
        " and ",
        " or ",
        "not (",
        "let l",
        "let s",
        "epsilon",
        "kt +=",
        "kg = ",
        "km = ",
        "sigmoid(",
        "cbrt(",
        "-=",
        "*=",
        "/=",
        "if f1",
        "!= ",
        ">= ",
    ] {
        assert!(seen.contains(form), "no generated rule has `{form}`");
    }
}
