//! Rules that reduce, draw, or are made of fragments, against their references by hand: all tensors of a model, 50 steps, to
//! the bit under strict math.

mod reference;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};
use reference::Real;
use reference::cases::Hypers;
use reference::model::Model;
use reference::model_cases::MODEL_CASES;
use reference::models::{self, MODELS, Needs, SMALL};
use updraft::{Engine, Math, Optimizer, Rule, SHIPPED_FRAGMENTS, StateValues, Tensor};

const STEPS: u64 = 50;
const ENGINES: [Engine; 2] = [Engine::Jit, Engine::Eval];

/// Tensors of every rank, empty ones, and one of more than one block of a sum.
const SHAPES: &[&[usize]] = &[
    &[],
    &[0],
    &[1],
    &[7],
    &[3, 5],
    &[4, 16],
    &[2, 3, 5],
    &[2, 3, 1, 4],
    &[0, 4],
    &[67],
    &[5, 33],
    &[40, 40],
    // More rows than a block of a column's sum has.
    &[70, 3],
];

/// A rule by name: shipped, or one of those that are here to use a fragment.
fn rule(name: &str) -> Rule {
    match SMALL.iter().find(|(small, _)| *small == name) {
        Some((_, text)) => Rule::parse(name, text).unwrap(),
        None => Rule::shipped(name).unwrap(),
    }
}

fn optimizer(name: &str, hypers: Hypers, engine: Engine) -> Optimizer {
    let rule = rule(name);
    let mut builder = rule.optimizer().math(Math::Strict).engine(engine);
    for &(hyper, value) in hypers {
        let is_flag = rule.hypers().any(|info| info.name == hyper && info.default.as_bool().is_some());
        builder = if is_flag { builder.set(hyper, value != 0.0) } else { builder.set(hyper, value) }.unwrap();
    }
    builder.build().unwrap()
}

/// What a value is for: the parameters before the first step, gradients, inputs.
#[derive(Clone, Copy)]
enum Role {
    Param,
    Grad,
    Input,
}

/// A well-mixed word for a position in a run (the finaliser of splitmix64).
fn word(role: Role, tensor: usize, step: u64, index: usize) -> u64 {
    let mut x = (role as u64) << 50 ^ (tensor as u64) << 40 ^ step << 20 ^ index as u64;
    x = x.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Values in (-2, 2), of which one in six is zero.
fn ordinary(word: u64) -> f64 {
    if word.is_multiple_of(6) {
        return 0.0;
    }
    (word >> 11) as f64 / (1_u64 << 51) as f64 - 2.0
}

/// Ordinary values, among them signed zeros, subnormals and sizes whose squares overflow or vanish.
fn extreme(word: u64) -> f64 {
    let small = [0.0, -0.0, 1e-40, -1e-45, 5e-324, -1e-310, -3e-25, f64::from(f32::MIN_POSITIVE)];
    let large = [1e18, 1e25, -1e19];
    match (small.get((word % 97) as usize), large.get((word >> 3) as usize % 9973)) {
        (Some(value), _) | (None, Some(value)) => *value,
        (None, None) => ordinary(word >> 7),
    }
}

/// The same with NaN, infinities and the largest `f32`, few enough that a sum is a number in some steps.
fn wild(word: u64) -> f64 {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from(f32::MAX), -f64::from(f32::MAX)];
    match special.get((word >> 5) as usize % 9973) {
        Some(value) => *value,
        None => extreme(word),
    }
}

/// Zeros only: no norm is more than 0.
fn zero(_: u64) -> f64 {
    0.0
}

/// What gradients are.
#[derive(Clone, Copy)]
enum Slope {
    /// Values that have nothing to do with the parameters.
    Any,
    /// The parameters themselves, so that each step leads to a minimum, and rules find their distance from it.
    Down,
}

/// What rules draw first, by running one that gives nothing else: the numbers themselves are tested elsewhere.
const PROBE: &str = "optimizer probe\nlet z = normal()\np = z\n";

/// The tests for one dtype; the public API takes slices of a concrete type.
macro_rules! dtype {
    ($T:ident, $Values:ident) => {
        mod $T {
            use super::*;

            fn values(role: Role, step: u64, value: fn(u64) -> f64) -> Vec<Vec<$T>> {
                let one = |(k, shape): (usize, &&[usize])| {
                    let len = shape.iter().product();
                    (0..len).map(|i| $T::of(value(word(role, k, step, i)))).collect()
                };
                SHAPES.iter().enumerate().map(one).collect()
            }

            /// One call for all tensors of a step, with an input per element if there is one.
            fn step(
                opt: &mut Optimizer,
                names: &[String],
                p: &mut [Vec<$T>],
                g: &[Vec<$T>],
                input: Option<(&'static str, &[Vec<$T>])>,
            ) {
                let mut tensors: Vec<Tensor> = Vec::new();
                for (k, p) in p.iter_mut().enumerate() {
                    let shape = IxDyn(SHAPES[k]);
                    let view = |x| ArrayViewD::from_shape(shape.clone(), x).unwrap();
                    let p = ArrayViewMutD::from_shape(shape.clone(), &mut p[..]).unwrap();
                    let mut tensor = Tensor::new(&names[k], p, view(&g[k][..]));
                    if let Some((name, values)) = input {
                        tensor = tensor.input_array(name, view(&values[k][..]));
                    }
                    tensors.push(tensor);
                }
                opt.step(&mut tensors).unwrap();
            }

            /// Runs a case beside its reference.
            fn run((rule, hypers): (&str, Hypers), engine: Engine, value: fn(u64) -> f64, slope: Slope) {
                let mut opt = optimizer(rule, hypers, engine);
                let mut probe = Rule::parse("probe", PROBE).unwrap().optimizer().engine(engine).build().unwrap();
                let names: Vec<String> = SHAPES.iter().map(|shape| format!("w{shape:?}")).collect();
                let mut p = values(Role::Param, 0, value);
                let mut drawn = p.clone();
                let tensors = SHAPES.iter().map(|shape| shape.to_vec()).zip(p.clone()).collect();
                let mut model = Model::new(models::defaults(rule), hypers, tensors);
                for t in 1..=STEPS {
                    let g = match slope {
                        Slope::Any => values(Role::Grad, t, value),
                        Slope::Down => p.clone(),
                    };
                    let elements = values(Role::Input, t, value);
                    let mut input = None;
                    for needs in models::needs(rule) {
                        match *needs {
                            Needs::Model(name) => {
                                let given = value(word(Role::Input, SHAPES.len(), t, 0));
                                opt.input(name, given).unwrap();
                                model.inputs.insert(name, given);
                            }
                            Needs::Elements(name) => {
                                input = Some((name, &elements[..]));
                                for (tensor, elements) in model.tensors.iter_mut().zip(&elements) {
                                    tensor.inputs.insert(name, elements.clone());
                                }
                            }
                            Needs::Normal => {
                                step(&mut probe, &names, &mut drawn, &g, None);
                                for (tensor, drawn) in model.tensors.iter_mut().zip(&drawn) {
                                    tensor.inputs.insert("normal", drawn.clone());
                                }
                            }
                        }
                    }
                    for (tensor, g) in model.tensors.iter_mut().zip(&g) {
                        tensor.g.clone_from(g);
                        tensor.t += 1;
                    }
                    step(&mut opt, &names, &mut p, &g, input);
                    models::step::<$T>(rule)(&mut model);
                    let place = format!("{rule} {hypers:?} {engine:?} t={t}");
                    for k in 0..SHAPES.len() {
                        same(&opt, &model, k, (&names[k], &p[k]), &place);
                    }
                }
            }

            /// The parameters and states of a tensor, to the bit.
            fn same(opt: &Optimizer, model: &Model<$T>, k: usize, (name, got): (&str, &[$T]), place: &str) {
                let tensor = &model.tensors[k];
                let assert_same = |got: &[$T], want: &[$T], what: &str| {
                    assert_eq!(got.len(), want.len(), "{place} {name}/{what}: length");
                    for (i, (got, want)) in got.iter().zip(want).enumerate() {
                        assert!(got.same(*want), "{place} {name}/{what}[{i}]: got {got:?}, want {want:?}");
                    }
                };
                assert_same(got, &tensor.p, "p");
                for state in &opt.rule().program().states {
                    let state = &*state.name;
                    let scalar = tensor.scalars.get(state).or_else(|| model.scalars.get(state));
                    match (opt.state(name, state), tensor.arrays.get(state), scalar) {
                        (Some(StateValues::$Values(got)), Some(want), None) => assert_same(got, want, state),
                        (Some(StateValues::Scalar(got)), None, Some(want)) => {
                            assert!(got.same(*want), "{place} {name}/{state}: got {got}, want {want}");
                        }
                        (None, None, None) => {}
                        // What is empty may as well not exist.
                        (None, Some(want), None) if want.is_empty() => {}
                        (got, array, scalar) => {
                            panic!("{place} {name}/{state}: got {got:?}, want {array:?} or {scalar:?}")
                        }
                    }
                }
                let known: BTreeSet<&str> = opt.rule().program().states.iter().map(|state| &*state.name).collect();
                for state in tensor.arrays.keys().chain(tensor.scalars.keys()).chain(model.scalars.keys()) {
                    assert!(known.contains(state), "{place}: the rule has no state {state}");
                }
            }

            fn all(value: fn(u64) -> f64, slope: Slope) {
                for engine in ENGINES {
                    for case in MODEL_CASES {
                        run(*case, engine, value, slope);
                    }
                }
            }

            #[test]
            fn strict_equals_the_reference() {
                all(ordinary, Slope::Any);
            }

            #[test]
            fn strict_equals_the_reference_downhill() {
                all(ordinary, Slope::Down);
            }

            #[test]
            fn strict_equals_the_reference_on_extreme_values() {
                all(extreme, Slope::Any);
            }

            #[test]
            fn strict_equals_the_reference_on_wild_values() {
                all(wild, Slope::Any);
            }

            #[test]
            fn strict_equals_the_reference_on_zeros() {
                all(zero, Slope::Any);
            }
        }
    };
}

dtype!(f32, F32);
dtype!(f64, F64);

#[test]
fn every_hyper_is_off_its_default_in_a_case() {
    for name in MODELS {
        let defaults = models::defaults(name);
        let rule = rule(name);
        let hypers: BTreeSet<&str> = rule.hypers().map(|hyper| hyper.name).collect();
        assert_eq!(hypers, defaults.iter().map(|(hyper, _)| *hyper).collect(), "{name}");
        for hyper in rule.hypers() {
            let default = match hyper.default.as_bool() {
                Some(flag) => f64::from(u8::from(flag)),
                None => hyper.default.as_f64().unwrap(),
            };
            let known = defaults.iter().find(|(known, _)| *known == hyper.name).unwrap();
            // NaN stands for a default that is made of other hypers.
            assert!(known.1 == default || known.1.is_nan(), "{name}: {}", hyper.name);
            let mut cases = MODEL_CASES.iter().filter(|(rule, _)| rule == name);
            assert!(
                cases.any(|(_, set)| set.iter().any(|(x, value)| *x == hyper.name && *value != default)),
                "no case of {name} moves {}",
                hyper.name
            );
        }
    }
}

#[test]
fn every_fragment_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("optimizers");
    for (fragment, _) in SHIPPED_FRAGMENTS {
        let uses = |text: &str| text.lines().any(|line| line.split([' ', '(']).take(2).eq(["use", fragment]));
        let rules = MODELS.iter().map(|name| match SMALL.iter().find(|(small, _)| small == name) {
            Some((_, text)) => text.to_string(),
            None => fs::read_to_string(root.join(format!("{name}.opt"))).unwrap(),
        });
        assert!(rules.into_iter().any(|text| uses(&text)), "no rule with a reference uses {fragment}");
    }
}
