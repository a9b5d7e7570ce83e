//! Every shipped rule against its reference by hand, and against torch's and optax's trajectories.
//!
//! Strict math must equal the reference to the bit; fast math and the golden vectors are held to
//! the tolerances of `tests/golden/README.md`.

mod reference;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reference::cases::{CASES, FLAGS, Hypers};
use reference::{Real, Reference, reference};
use safetensors::SafeTensors;
use updraft::{Engine, Math, Optimizer, Rule, StateValues, Tensor};

const STEPS: u64 = 50;
const LENGTHS: [usize; 4] = [0, 1, 7, 67];
const ENGINES: [Engine; 2] = [Engine::Jit, Engine::Eval];

fn optimizer(rule: &str, hypers: &[(&str, f64)], math: Math, engine: Engine) -> Optimizer {
    let rule = Rule::shipped(rule).unwrap();
    let mut builder = rule.optimizer().math(math).engine(engine);
    for &(name, value) in hypers {
        builder = if FLAGS.contains(&name) {
            builder.set(name, value != 0.0).unwrap()
        } else {
            builder.set(name, value).unwrap()
        };
    }
    builder.build().unwrap()
}

/// A well-mixed word for a position in a run (the finaliser of splitmix64).
fn word(tensor: usize, step: u64, index: usize) -> u64 {
    let mut x = (tensor as u64) << 40 ^ step << 20 ^ index as u64;
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

/// Ordinary values among NaN, infinities, signed zeros, subnormals and the extremes of `f32`.
fn wild(word: u64) -> f64 {
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e-40,
        -1e-45,
        5e-324,
        -1e-310,
        f64::from(f32::MAX),
        f64::from(f32::MIN_POSITIVE),
    ];
    // Few enough that most elements stay finite for some steps.
    match special.get((word % 197) as usize) {
        Some(value) => *value,
        None => ordinary(word >> 7),
    }
}

fn assert_same<T: Real>(got: &[T], want: &[T], place: &str) {
    assert_eq!(got.len(), want.len(), "{place}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.same(*want), "{place}[{i}]: got {got:?}, want {want:?}");
    }
}

fn assert_close<T: Real>(got: &[T], want: &[T], (relative, absolute): (f64, f64), place: &str) {
    assert_eq!(got.len(), want.len(), "{place}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = relative * want.wide().abs() + absolute;
        let error = (got.wide() - want.wide()).abs();
        assert!(error <= bound, "{place}[{i}]: got {got:?}, want {want:?}");
    }
}

/// The tests for one dtype; the public API takes slices of a concrete type.
macro_rules! dtype {
    ($T:ident, $Values:ident, $tolerance:expr) => {
        mod $T {
            use super::*;

            const TOLERANCE: (f64, f64) = $tolerance;

            /// One call for all tensors of a step.
            fn step(opt: &mut Optimizer, names: &[String], p: &mut [Vec<$T>], g: &[Vec<$T>]) {
                let mut tensors: Vec<Tensor> = Vec::new();
                for ((name, p), g) in names.iter().zip(p).zip(g) {
                    tensors.push(Tensor::new(name, &mut p[..], &g[..]));
                }
                opt.step(&mut tensors).unwrap();
            }

            /// Runs a case beside its references; `check` sees every tensor after every step.
            fn run(
                (rule, hypers): (&str, Hypers),
                (math, engine): (Math, Engine),
                value: fn(u64) -> f64,
                check: fn(&Optimizer, &str, &[$T], &[$T], &dyn Reference<$T>, &str),
            ) {
                let mut opt = optimizer(rule, hypers, math, engine);
                let names: Vec<String> = LENGTHS.iter().map(|len| format!("w{len}")).collect();
                let values = |step: u64| -> Vec<Vec<$T>> {
                    let tensor = |k: usize| (0..LENGTHS[k]).map(|i| $T::of(value(word(k, step, i)))).collect();
                    (0..LENGTHS.len()).map(tensor).collect()
                };
                let mut p = values(0);
                let mut expected = p.clone();
                let mut references: Vec<_> = LENGTHS.iter().map(|len| reference::<$T>(rule, hypers, *len)).collect();
                for t in 1..=STEPS {
                    let g = values(t);
                    step(&mut opt, &names, &mut p, &g);
                    for k in 0..LENGTHS.len() {
                        references[k].step(&mut expected[k], &g[k]);
                        let place = format!("{rule} {hypers:?} t={t} {}", names[k]);
                        check(&opt, &names[k], &p[k], &expected[k], &*references[k], &place);
                    }
                }
            }

            /// Parameters and states, to the bit.
            fn same(opt: &Optimizer, name: &str, got: &[$T], want: &[$T], reference: &dyn Reference<$T>, place: &str) {
                assert_same(got, want, &format!("{place}/p"));
                for state in reference.states() {
                    let want = reference.state(state).unwrap();
                    let place = format!("{place}/{state}");
                    match opt.state(name, state) {
                        Some(StateValues::$Values(got)) => assert_same(got, want, &place),
                        Some(_) => panic!("{place}: not a state of {}", stringify!($T)),
                        // A state exists from the first step that touches it.
                        None => assert!(want.iter().all(|x| x.same(0.0)), "{place}: missing"),
                    }
                }
                for state in reference.scalars() {
                    let want = reference.scalar(state).unwrap();
                    match opt.state(name, state) {
                        Some(StateValues::Scalar(got)) => {
                            assert!(got.same(want), "{place}/{state}: got {got}, want {want}");
                        }
                        _ => panic!("{place}/{state}: not a scalar state"),
                    }
                }
            }

            /// Parameters, within the golden tolerances.
            fn close(_: &Optimizer, _: &str, got: &[$T], want: &[$T], _: &dyn Reference<$T>, place: &str) {
                assert_close(got, want, TOLERANCE, place);
            }

            #[test]
            fn strict_equals_the_reference() {
                for engine in ENGINES {
                    for case in CASES {
                        run(*case, (Math::Strict, engine), ordinary, same);
                    }
                }
            }

            #[test]
            fn strict_equals_the_reference_on_wild_values() {
                for engine in ENGINES {
                    for case in CASES {
                        run(*case, (Math::Strict, engine), wild, same);
                    }
                }
            }

            #[test]
            fn fast_is_close_to_the_reference() {
                for engine in ENGINES {
                    for case in CASES {
                        run(*case, (Math::Fast, engine), ordinary, close);
                    }
                }
            }

            fn read(file: &Path) -> Vec<(String, Vec<$T>)> {
                const BYTES: usize = size_of::<$T>();
                let bytes = fs::read(file).unwrap();
                let mut tensors = Vec::new();
                for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                    let chunks = view.data().chunks_exact(BYTES);
                    let values = chunks.map(|x| $T::from_le_bytes(x.try_into().unwrap()));
                    tensors.push((name, values.collect()));
                }
                tensors.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
                tensors
            }

            /// The part of each recorded tensor that belongs to one step.
            fn at(recorded: &[(String, Vec<$T>)], step: usize, p: &[Vec<$T>]) -> Vec<Vec<$T>> {
                let part = |(k, (_, all)): (usize, &(String, Vec<$T>))| {
                    let len = p[k].len();
                    all[step * len..][..len].to_vec()
                };
                recorded.iter().enumerate().map(part).collect()
            }

            #[test]
            fn golden_trajectories() {
                let cases = golden(stringify!($T));
                assert_eq!(cases.len(), 16, "cases of {}", stringify!($T));
                for dir in cases {
                    let case = GoldenCase::read(&dir);
                    let grads = read(&dir.join("grads.safetensors"));
                    let expect = read(&dir.join("expect.safetensors"));
                    for (math, engine) in
                        [Math::Strict, Math::Fast].into_iter().flat_map(|math| ENGINES.map(|engine| (math, engine)))
                    {
                        let mut opt = optimizer(&case.rule, &case.hypers(), math, engine);
                        let (names, mut p): (Vec<_>, Vec<_>) =
                            read(&dir.join("params.safetensors")).into_iter().unzip();
                        for s in 0..case.steps {
                            let g = at(&grads, s, &p);
                            step(&mut opt, &names, &mut p, &g);
                            for ((got, want), name) in p.iter().zip(at(&expect, s, &p)).zip(&names) {
                                let place = format!("{} step {} {name}", dir.display(), s + 1);
                                assert_close(got, &want, TOLERANCE, &place);
                            }
                        }
                    }
                }
            }
        }
    };
}

dtype!(f32, F32, (4e-6, 2e-6));
dtype!(f64, F64, (1e-11, 1e-12));

/// What a `case.json` says.
struct GoldenCase {
    rule: String,
    hyper: Vec<(String, f64)>,
    steps: usize,
}

impl GoldenCase {
    fn read(dir: &Path) -> GoldenCase {
        let text = fs::read_to_string(dir.join("case.json")).unwrap();
        let case: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = |value: &serde_json::Value| match value.as_bool() {
            Some(flag) => f64::from(u8::from(flag)),
            None => value.as_f64().unwrap(),
        };
        let hyper = case["hyper"].as_object().unwrap();
        GoldenCase {
            rule: case["rule"].as_str().unwrap().to_owned(),
            // Numbers first, then flags; the order is free, because `require`s are checked when building.
            hyper: {
                let mut hyper: Vec<_> = hyper.iter().map(|(k, v)| (k.clone(), number(v))).collect();
                hyper.sort_by_key(|(name, _)| FLAGS.contains(&name.as_str()));
                hyper
            },
            steps: case["steps"].as_u64().unwrap() as usize,
        }
    }

    fn hypers(&self) -> Vec<(&str, f64)> {
        self.hyper.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }
}

/// The folders of the golden cases of one dtype.
fn golden(dtype: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/optimizers");
    let mut dirs: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|x| x.unwrap().path()).collect();
    dirs.retain(|dir| dir.extension().is_some_and(|x| x == dtype));
    dirs.sort();
    dirs
}

#[test]
fn every_rule_has_a_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("optimizers");
    let files = fs::read_dir(root).unwrap().map(|x| x.unwrap().path());
    let rules = files.filter(|file| file.extension().is_some_and(|x| x == "opt"));
    let names: BTreeSet<String> = rules.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let models = reference::models::MODELS.iter().filter(|name| reference::models::SMALL.iter().all(|x| x.0 != **name));
    assert_eq!(names, reference::RULES.iter().chain(models).map(|x| x.to_string()).collect());
}

#[test]
fn every_hyper_is_off_its_default_in_a_case() {
    for name in reference::RULES {
        let defaults = reference::hypers(name);
        let rule = Rule::shipped(name).unwrap();
        let hypers: BTreeSet<String> = rule.hypers().map(|hyper| hyper.name.to_string()).collect();
        assert_eq!(hypers, defaults.iter().map(|(hyper, _)| hyper.to_string()).collect(), "{name}");
        for (hyper, default) in defaults {
            let mut cases = CASES.iter().filter(|(rule, _)| rule == name);
            assert!(
                cases.any(|(_, set)| set.iter().any(|(x, value)| x == hyper && value != default)),
                "no case of {name} moves {hyper}"
            );
        }
    }
}

#[test]
fn a_state_that_no_setting_asks_for_does_not_exist() {
    let unused: &[(&str, Hypers, &[&str])] = &[
        ("sgd", &[], &["m"]),
        ("rmsprop", &[], &["m", "b"]),
        ("rmsprop", &[("centered", 1.0)], &["b"]),
        ("rmsprop", &[("momentum", 0.9)], &["m"]),
        ("signum", &[("momentum", 0.0)], &["m"]),
    ];
    for (rule, hypers, states) in unused {
        let mut opt = optimizer(rule, hypers, Math::Strict, Engine::Eval);
        for _ in 0..2 {
            opt.step(&mut [Tensor::new("w", &mut [1.0_f32, 2.0][..], &[0.5, 0.0][..])]).unwrap();
        }
        for state in *states {
            assert!(opt.state("w", state).is_none(), "{rule} {hypers:?} keeps {state}");
        }
    }
}
