//! Going on from a checkpoint gives the bits of never having stopped.

use crate::{Scratch, bytes, optimizer, rule, values};
use updraft::{Optimizer, Rule, SHIPPED, StateValues, Storage, Tensor};

/// Names that a file format might stumble over.
const NAMES: [&str; 8] = ["w", "a/b/t", "@default", "with space", "", "größe λ✓", "\"quoted\\\"\n", "t"];
const SHAPES: [&[usize]; 8] = [&[3], &[2, 3], &[], &[0], &[5], &[1, 4, 2], &[2], &[17]];

/// Some tensors of both types, with parameters of their own.
#[derive(Clone, PartialEq, Debug)]
struct Model {
    narrow: Vec<ndarray::ArrayD<f32>>,
    wide: Vec<ndarray::ArrayD<f64>>,
}

impl Model {
    fn new() -> Model {
        let array = |i: usize, seed| {
            let len = SHAPES[i].iter().product();
            ndarray::ArrayD::from_shape_vec(SHAPES[i], values(seed, len)).unwrap()
        };
        Model {
            narrow: (0..8).map(|i| array(i, i as u64).mapv(|x| x as f32)).collect(),
            wide: (0..8).map(|i| array(i, 50 + i as u64)).collect(),
        }
    }

    /// One step; the tensors that `takes` names take part.
    fn step(&mut self, opt: &mut Optimizer, k: u64, takes: impl Fn(usize) -> bool) {
        let names: Vec<String> =
            (0..16).map(|i| format!("{}{}", NAMES[i % 8], if i < 8 { "" } else { "64" })).collect();
        let grad = |i: usize| {
            let (shape, seed) = (SHAPES[i % 8], 1000 + 100 * k + i as u64);
            ndarray::ArrayD::from_shape_vec(shape, values(seed, shape.iter().product())).unwrap()
        };
        let narrow: Vec<_> = (0..8).map(|i| grad(i).mapv(|x| x as f32)).collect();
        let wide: Vec<_> = (8..16).map(grad).collect();
        let program = opt.rule().program().clone();
        let per_element = |input: &&updraft::check::program::Input| input.extent.name() == "element";
        for input in program.inputs.iter().filter(|input| !per_element(input)) {
            opt.input(&input.name, 1.0 + 0.25 * k as f64).unwrap();
        }
        let arrays: Vec<&str> = program.inputs.iter().filter(per_element).map(|input| &*input.name).collect();
        let (all_narrow, all_wide) = (narrow.clone(), wide.clone());
        let narrow = self.narrow.iter_mut().zip(&narrow).zip(&names);
        let wide = self.wide.iter_mut().zip(&wide).zip(&names[8..]);
        let mut tensors: Vec<Tensor> = narrow
            .zip(&all_narrow)
            .map(|(((p, g), name), x)| arrays.iter().fold(Tensor::new(name, p, g), |t, input| t.input_array(input, x)))
            .chain(wide.zip(&all_wide).map(|(((p, g), name), x)| {
                arrays.iter().fold(Tensor::new(name, p, g), |tensor, input| tensor.input_array(input, x))
            }))
            .enumerate()
            .filter(|(i, _)| takes(*i))
            .map(|(_, tensor)| tensor)
            .collect();
        opt.step(&mut tensors).unwrap();
    }
}

/// Steps, and in one run a checkpoint in between, in each way of going on.
fn compare(build: &dyn Fn() -> Optimizer, name: &str) {
    let file = Scratch::new(name);
    let (mut straight, mut model) = (build(), Model::new());
    for k in 0..3 {
        model.step(&mut straight, k, |i| k != 1 || i % 3 != 0);
    }
    straight.save(&file.0).unwrap();
    let start = model.clone();
    for k in 3..6 {
        model.step(&mut straight, k, |_| true);
    }
    let end = bytes(&straight);

    // Into a new optimizer, before any tensor is known.
    let mut fresh = build();
    // Into one that has gone elsewhere meanwhile.
    let mut used = build();
    let mut elsewhere = Model::new();
    (0..5).for_each(|k| elsewhere.step(&mut used, 70 + k, |i| i != 5));
    // Into one whose tensors are registered.
    let mut registered = build();
    registered.register("w", SHAPES[0], Storage::F32).unwrap();
    for (opt, way) in [(&mut fresh, "new"), (&mut used, "used"), (&mut registered, "registered")] {
        opt.load(&file.0).unwrap();
        assert_eq!(bytes(opt), std::fs::read(&file.0).unwrap(), "{name}, {way}: the file again");
        let mut resumed = start.clone();
        for k in 3..6 {
            resumed.step(opt, k, |_| true);
        }
        assert_eq!(resumed, model, "{name}, {way}");
        assert_eq!(bytes(opt), end, "{name}, {way}: states");
    }
}

#[test]
fn every_shipped_rule_resumes_to_the_bit() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        let build = || {
            let mut builder = rule.optimizer();
            // What makes for the most state.
            for (hyper, value) in [("momentum", 0.9), ("weight_decay", 0.01)] {
                if rule.hypers().any(|h| h.name == hyper) {
                    builder = builder.set(hyper, value).unwrap();
                }
            }
            for flag in ["nesterov", "centered"] {
                if rule.hypers().any(|h| h.name == flag) {
                    builder = builder.set(flag, true).unwrap();
                }
            }
            builder.build().unwrap()
        };
        compare(&build, name);
    }
}

#[test]
fn states_of_every_extent_resume_to_the_bit() {
    let rule = rule(
        "hyper lr = 0.1\nstate m = p\nstate k per tensor = 1\nstate c per group = lr\nstate n per model = 0\n\n\
         n += 0.3\nc = c*1.1 + n\nk = k*1.7 + c\nm = lerp(m, g, 0.25)\nif n > 1.4 { m *= 2 }\np -= lr*m*(k + c + n)*t\n",
    );
    let build = || rule.optimizer().group("of a@b/c", "*64", |g| g.set("lr", 0.03)).unwrap().build().unwrap();
    compare(&build, "extents");
}

#[test]
fn equal_states_give_equal_bytes() {
    let build = || Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    let (mut forwards, mut backwards) = (build(), build());
    let names: Vec<String> = (0..30).map(|i| format!("w{i}")).collect();
    let step = |opt: &mut Optimizer, reverse: bool| {
        let mut params = vec![[1.0f32; 3]; 30];
        let mut tensors: Vec<Tensor> =
            names.iter().zip(&mut params).map(|(name, p)| Tensor::new(name, p, &[0.5; 3])).collect();
        if reverse {
            tensors.reverse();
        }
        opt.step(&mut tensors).unwrap();
    };
    step(&mut forwards, false);
    step(&mut backwards, true);
    assert_eq!(bytes(&forwards), bytes(&backwards));
    step(&mut forwards, false);
    assert_ne!(bytes(&forwards), bytes(&backwards));
}

#[test]
fn tensors_that_have_not_been_seen_since_loading_are_not_lost() {
    let file = Scratch::new("unseen");
    let text = "state m = 0\nstate k per tensor = 0\n\nm += g\nk += 1\np -= m*k\n";
    let mut opt = optimizer(text);
    let (mut a, mut b) = ([1.0f32; 2], [1.0f64; 3]);
    for _ in 0..2 {
        opt.step(&mut [Tensor::new("a", &mut a, &[0.5; 2]), Tensor::new("b", &mut b, &[0.25; 3])]).unwrap();
    }
    opt.save(&file.0).unwrap();
    let mut resumed = optimizer(text);
    resumed.load(&file.0).unwrap();
    // What was loaded can be asked for before the tensor is seen.
    assert_eq!((resumed.steps("a"), resumed.steps("b")), (2, 2));
    assert_eq!(resumed.state("b", "m"), opt.state("b", "m"));
    assert_eq!(resumed.state("b", "k"), Some(StateValues::Scalar(2.0)));
    assert_eq!(resumed.state_bytes(), opt.state_bytes());
    // `a` goes on, `b` has not come yet: a file written now holds both.
    resumed.step(&mut [Tensor::new("a", &mut a.clone(), &[0.5; 2])]).unwrap();
    resumed.save(&file.0).unwrap();
    let mut again = optimizer(text);
    again.load(&file.0).unwrap();
    assert_eq!((again.steps("a"), again.steps("b")), (3, 2));
    let mut c = b;
    opt.step(&mut [Tensor::new("b", &mut b, &[0.25; 3])]).unwrap();
    again.step(&mut [Tensor::new("b", &mut c, &[0.25; 3])]).unwrap();
    assert_eq!(b, c);
}

/// What the file does not hold does not exist afterwards: not the states of before, and not the steps.
#[test]
fn loading_replaces_everything() {
    let (file, text) = (
        Scratch::new("replaces"),
        "hyper on per model = 0\nstate m = 0\nstate k per tensor = 0\nstate n per model = 0\n\n\
        if on != 0 {\n    m += g\n    k += 1\n    g = m*k\n}\nif on != 0 { n += 1 }\np -= g\n",
    );
    let mut opt = optimizer(text);
    opt.step(&mut [Tensor::new("a", &mut [1.0f32; 2], &[0.5; 2])]).unwrap();
    opt.save(&file.0).unwrap();
    let mut used = optimizer(text);
    used.set("on", 1.0).unwrap();
    let (mut a, mut b) = ([1.0f32; 2], [1.0f32; 2]);
    used.step(&mut [Tensor::new("a", &mut a, &[0.5; 2]), Tensor::new("b", &mut b, &[0.5; 2])]).unwrap();
    assert_eq!((used.steps("b"), used.state_bytes()), (1, 2 * (8 + 8) + 8));
    used.load(&file.0).unwrap();
    // A condition among scalars is plain scalar code, so `n` was touched; it is as it was.
    assert_eq!((used.steps("a"), used.steps("b"), used.state_bytes()), (1, 0, 8));
    assert_eq!((used.state("a", "m"), used.state("b", "k")), (None, None));
    assert_eq!(used.state("a", "n"), Some(StateValues::Scalar(0.0)));
    assert_eq!(bytes(&used), bytes(&opt));
}

#[test]
fn a_loaded_state_of_another_shape_is_found_when_the_tensor_comes() {
    let file = Scratch::new("late-shape");
    let text = "state m = 0\n\nm += g\np -= m\n";
    let mut opt = optimizer(text);
    opt.step(&mut [Tensor::new("a", &mut [1.0f32; 2], &[0.5; 2])]).unwrap();
    opt.save(&file.0).unwrap();
    let mut resumed = optimizer(text);
    resumed.load(&file.0).unwrap();
    let before = bytes(&resumed);
    let mut w = [1.0f32; 3];
    let error = resumed.step(&mut [Tensor::new("a", &mut w, &[0.5; 3])]).unwrap_err();
    assert!(matches!(&error, updraft::Error::ShapeChanged { was, now, .. } if *was == [2] && *now == [3]), "{error}");
    let error = resumed.step(&mut [Tensor::new("a", &mut [1.0f64; 2], &[0.5; 2])]).unwrap_err();
    assert!(matches!(error, updraft::Error::DtypeChanged { .. }), "{error}");
    assert!(resumed.register("a", &[4], Storage::F32).is_err());
    assert_eq!((w, bytes(&resumed)), ([1.0; 3], before));
    resumed.step(&mut [Tensor::new("a", &mut [1.0f32; 2], &[0.5; 2])]).unwrap();
    assert_eq!(resumed.steps("a"), 2);
}
