//! The engines, held to the oracle after every step.

use crate::generate::Random;
use crate::oracle::{Oracle, OracleTensor, Place};
use half::{bf16, f16};
use ndarray::{ArrayViewD, ArrayViewMutD};
use updraft::check::program::{Extent, ReportId, StateId};
use updraft::codegen::{Codegen, Isa, Lanes};
use updraft::ir::narrow::Narrow;
use updraft::ir::step::Array;
use updraft::ir::{Column, Type};
use updraft::{Engine, Math, Optimizer, Rule, StateValues, Storage, Store, Stores, Tensor};

/// The hypers of each group that are no defaults: the rest has none.
const GROUPS: [&[(&str, f64)]; 2] = [&[], &[("a", -0.6), ("d", 1.25)]];

/// What lies around each tensor.
const CANARY: f64 = -77.0;

/// How likely values are that are no ordinary numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Never: a NaN would soon be all that is left to compare.
    Tame,
    /// Zeros of both signs, and equal values.
    Few,
    /// NaN, infinities, denormals, huge values.
    Wild,
}

fn value(values: Values, random: &mut Random) -> f64 {
    const WILD: [f64; 10] = [0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, 5e-324, 3e38, -1.7e308];
    match values {
        Values::Few => random.pick(&[0.0, -0.0, 1.0, -1.0, 0.5, 2.0]),
        Values::Wild if random.once_in(16) => random.pick(&WILD),
        _ => (random.bits() >> 11) as f64 / (1u64 << 50) as f64 - 4.0,
    }
}

fn column(storage: Storage, len: usize, values: Values, random: &mut Random) -> Column {
    let numbers = (0..len).map(|_| value(values, random));
    match storage {
        Storage::F32 => Column::F32(numbers.map(|x| x as f32).collect()),
        Storage::F64 => Column::F64(numbers.collect()),
        half => Column::F32(numbers.map(|x| (x as f32).narrow(half)).collect()),
    }
}

/// The bits of each value, all NaNs alike.
fn bits(column: &Column) -> Vec<u64> {
    match column {
        Column::F32(x) => x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.to_bits().into() }).collect(),
        Column::F64(x) => x.iter().map(|x| scalar_bits(*x)).collect(),
        other => panic!("a column of {}", other.ty().name()),
    }
}

fn scalar_bits(x: f64) -> u64 {
    if x.is_nan() { u64::MAX } else { x.to_bits() }
}

/// A part of a column.
fn part(column: &Column, range: std::ops::Range<usize>) -> Column {
    match column {
        Column::F32(x) => Column::F32(x[range].to_vec()),
        Column::F64(x) => Column::F64(x[range].to_vec()),
        other => panic!("a column of {}", other.ty().name()),
    }
}

/// Memory of any type.
enum Memory {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
}

impl Memory {
    /// These values, which the type has.
    fn new(storage: Storage, values: &[f64]) -> Memory {
        let values = values.iter();
        match storage {
            Storage::F32 => Memory::F32(values.map(|x| *x as f32).collect()),
            Storage::F64 => Memory::F64(values.copied().collect()),
            Storage::Bf16 => Memory::Bf16(values.map(|x| x.to_bf16()).collect()),
            Storage::F16 => Memory::F16(values.map(|x| x.to_f16()).collect()),
        }
    }

    fn column(&self) -> Column {
        match self {
            Memory::F32(x) => Column::F32(x.clone()),
            Memory::F64(x) => Column::F64(x.clone()),
            Memory::Bf16(x) => Column::F32(x.iter().map(|x| x.to_f32()).collect()),
            Memory::F16(x) => Column::F32(x.iter().map(|x| x.to_f32()).collect()),
        }
    }
}

fn numbers(column: &Column) -> Vec<f64> {
    match column {
        Column::F32(x) => x.iter().map(|x| f64::from(*x)).collect(),
        Column::F64(x) => x.clone(),
        other => panic!("a column of {}", other.ty().name()),
    }
}

/// A state as the oracle has it: values of the compute type.
fn of_state(state: StateValues<'_>, compute: Type) -> Option<Column> {
    let column = match state {
        StateValues::F32(x) => Column::F32(x.to_vec()),
        StateValues::F64(x) => Column::F64(x.to_vec()),
        StateValues::Bf16(x) => Memory::Bf16(x.to_vec()).column(),
        StateValues::F16(x) => Memory::F16(x.to_vec()).column(),
        StateValues::Scalar(_) => return None,
    };
    Some(match compute {
        Type::F32 => Column::F32(numbers(&column).into_iter().map(|x| x as f32).collect()),
        _ => Column::F64(numbers(&column)),
    })
}

/// The type of what is kept.
fn storage_of(state: StateValues<'_>) -> Option<Storage> {
    match state {
        StateValues::F32(_) => Some(Storage::F32),
        StateValues::F64(_) => Some(Storage::F64),
        StateValues::Bf16(_) => Some(Storage::Bf16),
        StateValues::F16(_) => Some(Storage::F16),
        StateValues::Scalar(_) => None,
    }
}

/// How things are kept, and tensors of types for which that can be.
pub fn stores(rule: &Rule, places: &mut [Place], random: &mut Random) -> Stores {
    let mut stores = Stores::default();
    if random.once_in(3) {
        return stores;
    }
    if random.once_in(2) {
        stores.param = Some(random.pick(&[Store::F32, Store::Bf16Stochastic, Store::Bf16Kahan]));
    }
    let state = |state: &updraft::check::program::State| {
        (!state.extent.is_scalar() && random.once_in(2)).then(|| random.pick(&Store::ALL))
    };
    stores.states = rule.program().states.iter().map(state).collect();
    let f32_alone = stores.param.is_some() || stores.states.iter().flatten().any(|store| store.is_of_f32());
    let halves = [Storage::F32, Storage::Bf16, Storage::F16];
    for place in places {
        place.storage = match stores.param {
            Some(Store::Bf16Stochastic | Store::Bf16Kahan) => Storage::Bf16,
            _ if f32_alone => random.pick(&halves),
            _ => random.pick(&Storage::ALL),
        };
        place.grad = if place.storage == Storage::F64 { Storage::F64 } else { random.pick(&halves) };
    }
    stores
}

/// An engine with parameters of its own, each between canaries.
struct Subject {
    name: &'static str,
    opt: Optimizer,
    buffers: Vec<Memory>,
}

impl Subject {
    fn all(
        rule: &Rule,
        (math, stores): (Math, &Stores),
        seed: u64,
        tensors: &[(Place, Column)],
    ) -> Result<Vec<Subject>, String> {
        let builder = || -> Result<updraft::OptimizerBuilder, updraft::Error> {
            let mut builder = rule.optimizer().math(math).seed(seed);
            let states = rule.program().states.iter().map(|state| &*state.name).zip(stores.states.iter().copied());
            for (name, store) in states.chain([("p", stores.param)]) {
                if let Some(store) = store {
                    builder = builder.store(name, store)?;
                }
            }
            for report in &rule.program().reports {
                builder = builder.report(&report.name)?;
            }
            builder.group("own", "own.*", |mut group| {
                for (name, x) in GROUPS[1] {
                    group = group.set(name, *x)?;
                }
                Ok(group)
            })
        };
        let mut all = Vec::new();
        let fastest = Isa::host().map(Isa::codegen);
        for (name, engine, lanes, codegen) in [
            ("the evaluator of kernels", Engine::Eval, Lanes::One, None),
            ("one-lane code", Engine::Jit, Lanes::One, fastest),
            ("Cranelift's code", Engine::Jit, Lanes::Simd, Some(Codegen::Cranelift)),
            ("SIMD code", Engine::Jit, Lanes::Simd, fastest),
        ] {
            let build = || {
                let builder = builder()?.engine(engine).lanes(lanes);
                match codegen {
                    None => builder.build(),
                    Some(codegen) => builder.codegen(codegen).build(),
                }
            };
            let opt = build().map_err(|e: updraft::Error| e.to_string())?;
            all.push(Subject { name, opt, buffers: tensors.iter().map(lay).collect() });
        }
        Ok(all)
    }

    fn step(&mut self, places: &[Place], grads: &[Option<Memory>]) -> Result<(), String> {
        let mut tensors = Vec::new();
        for ((place, grad), buffer) in places.iter().zip(grads).zip(&mut self.buffers) {
            let Some(grad) = grad else { continue };
            let range = place.offset..place.offset + place.len();
            tensors.push(match buffer {
                Memory::F32(p) => tensor(place, &mut p[range], grad),
                Memory::F64(p) => tensor(place, &mut p[range], grad),
                Memory::Bf16(p) => tensor(place, &mut p[range], grad),
                Memory::F16(p) => tensor(place, &mut p[range], grad),
            });
        }
        self.opt.step(&mut tensors).map_err(|e| e.to_string())?;
        self.opt.warning().map_or(Ok(()), |warning| Err(warning.to_string()))
    }
}

fn tensor<'a, T: updraft::runtime::Element>(place: &'a Place, p: &'a mut [T], g: &'a Memory) -> Tensor<'a> {
    let p = ArrayViewMutD::from_shape(&place.shape[..], p).unwrap();
    let shape = &place.shape[..];
    match g {
        Memory::F32(g) => Tensor::mixed(&place.name, p, ArrayViewD::from_shape(shape, g).unwrap()),
        Memory::F64(g) => Tensor::mixed(&place.name, p, ArrayViewD::from_shape(shape, g).unwrap()),
        Memory::Bf16(g) => Tensor::mixed(&place.name, p, ArrayViewD::from_shape(shape, g).unwrap()),
        Memory::F16(g) => Tensor::mixed(&place.name, p, ArrayViewD::from_shape(shape, g).unwrap()),
    }
}

/// A parameter between canaries.
fn lay((place, param): &(Place, Column)) -> Memory {
    let mut values = vec![CANARY; place.offset];
    values.extend(numbers(param));
    values.extend([CANARY; 5]);
    Memory::new(place.storage, &values)
}

/// Runs `steps` steps of every engine against the oracle.
pub fn compare(
    rule: &Rule,
    (math, stores): (Math, &Stores),
    places: &[Place],
    steps: u64,
    random: &mut Random,
) -> Result<(), String> {
    let values = random.pick(&[Values::Tame, Values::Tame, Values::Tame, Values::Few, Values::Wild]);
    let mut fill = |place: &Place, storage| column(storage, place.len(), values, random);
    let tensors: Vec<(Place, Column)> =
        places.iter().map(|place| (place.clone(), fill(place, place.storage))).collect();
    let grads: Vec<Vec<Option<Column>>> = (0..steps)
        .map(|k| {
            // In the second step every other tensor is missing, so that `t` differs from then on.
            places
                .iter()
                .enumerate()
                .map(|(i, place)| (k != 1 || i % 2 == 0).then(|| fill(place, place.grad)))
                .collect()
        })
        .collect();
    let seed = 7;
    let mut oracle = Oracle::new(rule, (math, stores), seed, &GROUPS, &tensors);
    let mut subjects = Subject::all(rule, (math, stores), seed, &tensors)?;
    for (k, grads) in grads.iter().enumerate() {
        oracle.step(grads);
        let memory = |(grad, place): (&Option<Column>, &Place)| {
            grad.as_ref().map(|grad| Memory::new(place.grad, &numbers(grad)))
        };
        let in_memory: Vec<Option<Memory>> = grads.iter().zip(places).map(memory).collect();
        for subject in &mut subjects {
            subject
                .step(places, &in_memory)
                .and_then(|()| agree((rule, stores), &oracle, subject, grads))
                .map_err(|e| format!("{}, step {}: {e}", subject.name, k + 1))?;
        }
    }
    Ok(())
}

/// Parameters, states, steps, reports, whether the step was taken, and canaries.
fn agree(
    (rule, stores): (&Rule, &Stores),
    oracle: &Oracle,
    subject: &Subject,
    grads: &[Option<Column>],
) -> Result<(), String> {
    let opt = &subject.opt;
    let given: Vec<&OracleTensor> =
        oracle.tensors.iter().zip(grads).filter(|(_, grad)| grad.is_some()).map(|(tensor, _)| tensor).collect();
    if opt.last_skipped() != (!given.is_empty() && given.iter().all(|tensor| tensor.skipped)) {
        return Err(format!("the step was skipped: {}", opt.last_skipped()));
    }
    for (index, tensor) in oracle.tensors.iter().enumerate() {
        let place = &tensor.place;
        let of = |what: &str| format!("{what} of {} {:?}", place.name, place.shape);
        let buffer = &subject.buffers[index].column();
        let end = place.offset + place.len();
        same(&of("p"), &tensor.param, &part(buffer, place.offset..end))?;
        let around = [part(buffer, 0..place.offset), part(buffer, end..buffer.len())];
        if around.iter().flat_map(bits).any(|x| x != CANARY.to_bits() && x != u64::from((CANARY as f32).to_bits())) {
            return Err(format!("memory outside of {} was written", of("p")));
        }
        if opt.steps(&place.name) != tensor.t {
            return Err(format!("{} are {}, not {}", of("the steps"), opt.steps(&place.name), tensor.t));
        }
        for (id, state) in rule.program().states.iter().enumerate() {
            let what = of(&state.name);
            let (id, actual) = (StateId(id as u32), opt.state(&place.name, &state.name));
            if state.extent.is_scalar() {
                match (oracle.scalar(index, id), actual) {
                    (Some(expected), Some(StateValues::Scalar(x))) if scalar_bits(x) == scalar_bits(expected) => {}
                    (None, None) => {}
                    // What no tensor has touched that has taken a step is not there, whoever asks.
                    (None, Some(_)) if tensor.t == 0 => {}
                    (expected, actual) => return Err(format!("{what} is {actual:?}, not {expected:?}")),
                }
                continue;
            }
            let storage = stores.state(id, place.storage, rule.program()).storage();
            if let Some(found) = actual.and_then(storage_of).filter(|found| *found != storage) {
                return Err(format!("{what} is kept as {}, not {}", found.name(), storage.name()));
            }
            for array in [Array::State(id), Array::StateRest(id)] {
                kept(rule, tensor, opt, array)?;
            }
        }
        kept(rule, tensor, opt, Array::Master)?;
        kept(rule, tensor, opt, Array::ParamRest)?;
        if grads[index].is_some() {
            reports(rule, tensor, opt)?;
        }
    }
    Ok(())
}

/// An array of a tensor, or that it has none.
fn kept(rule: &Rule, tensor: &OracleTensor, opt: &Optimizer, array: Array) -> Result<(), String> {
    let (place, name) = (&tensor.place, array.name(rule.program()));
    let what = format!("{name} of {} {:?}", place.name, place.shape);
    let actual = opt.state(&place.name, &name).and_then(|state| of_state(state, place.storage.compute()));
    match (tensor.arrays.get(&array), actual) {
        (Some(expected), Some(actual)) => same(&what, expected, &actual),
        (None, None) => Ok(()),
        (expected, actual) => Err(format!("{what} is {actual:?}, not {expected:?}")),
    }
}

fn reports(rule: &Rule, tensor: &OracleTensor, opt: &Optimizer) -> Result<(), String> {
    for (id, report) in rule.program().reports.iter().enumerate() {
        let expected = tensor.reports.get(&ReportId(id as u32)).copied();
        let actual = opt.report_of(&report.name, &tensor.place.name);
        // One of a group or the model is there if any of its tensors has taken the step.
        let is_shared = report.extent != Extent::Tensor;
        match (expected.map(scalar_bits), actual.map(scalar_bits)) {
            (expected, actual) if expected == actual => {}
            (None, Some(_)) if is_shared => {}
            _ => return Err(format!("{} of {} is {actual:?}, not {expected:?}", report.name, tensor.place.name)),
        }
    }
    Ok(())
}

fn same(what: &str, expected: &Column, actual: &Column) -> Result<(), String> {
    if expected.len() != actual.len() || expected.ty() != actual.ty() {
        return Err(format!("{what} has {} elements, not {}", actual.len(), expected.len()));
    }
    let differs = bits(expected).iter().zip(bits(actual)).position(|(e, a)| *e != a);
    let show = |column: &Column, i: usize| match column {
        Column::F32(x) => format!("{:?}", x[i]),
        Column::F64(x) => format!("{:?}", x[i]),
        other => format!("{other:?}"),
    };
    match differs {
        Some(i) => Err(format!("{what}[{i}] is {}, not {}", show(actual, i), show(expected, i))),
        None => Ok(()),
    }
}
