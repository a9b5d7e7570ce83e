//! What a host joins to a rule: scales, skips, averages, copies, gradients that become 0, reports, views, draws, inputs per
//! element.

use crate::{Scratch, bytes, rule, values, values_f32};
use ndarray::{Array2, ArrayD, IxDyn};
use updraft::{Error, Optimizer, Rule, Schedule, StateValues, Storage, Tensor};

const SKIPS: &str = "hyper lr = 0.5\nstate m = p\nstate c per model = 1\nstate d per model = norm(p per model)\n\
                     state k per tensor = 0\ninput loss\n\nlet size = norm(g per model)\nskip if not isfinite(size) or loss > 2\n\
                     m = 0.5*m + g\nc += 1\nk += 1\np -= lr * m / (1 + d) + c + k\n";

fn step(opt: &mut Optimizer, (w, b): (&mut [f32], &mut [f64]), (gw, gb): (&[f32], &[f64]), loss: f64) {
    opt.input("loss", loss).unwrap();
    opt.step(&mut [Tensor::new("w", w, gw), Tensor::new("b", b, gb)]).unwrap();
}

/// A skipped step changes no byte: of parameters, of states old and new, of schedules.
#[test]
fn a_skipped_step_leaves_every_byte() {
    let halved = Schedule::shipped("step").unwrap().set("step_size", 1).unwrap().set("gamma", 0.5).unwrap();
    let build = || rule(SKIPS).optimizer().schedule("lr", halved.clone()).unwrap().build().unwrap();
    let (mut opt, mut other) = (build(), build());
    let (gw, gb) = (values_f32(1, 50), values(2, 30));
    let mut bad = gb.clone();
    bad[29] = f64::INFINITY;
    let (mut w, mut b) = (values_f32(3, 50), values(4, 30));
    let (mut v, mut a) = (w.clone(), b.clone());
    let (first_w, first_b) = (w.clone(), b.clone());
    // Before the first step that is taken, nothing is kept.
    let empty = bytes(&opt);
    step(&mut opt, (&mut w, &mut b), (&gw, &bad), 0.0);
    step(&mut opt, (&mut w, &mut b), (&gw, &gb), 3.0);
    assert!(opt.last_skipped() && opt.skipped() == 2);
    assert_eq!((&w, &b), (&first_w, &first_b));
    assert_eq!((opt.state_bytes(), opt.steps("w")), (0, 0));
    assert!(bytes(&opt) == empty);
    for k in 0..4 {
        step(&mut opt, (&mut w, &mut b), (&gw, &gb), 0.0);
        step(&mut other, (&mut v, &mut a), (&gw, &gb), 0.0);
        assert!(!opt.last_skipped());
        let before = bytes(&opt);
        step(&mut opt, (&mut w, &mut b), (&gw, &if k % 2 == 0 { bad.clone() } else { gb.clone() }), 3.0);
        assert!(opt.last_skipped());
        assert!(bytes(&opt) == before);
        assert_eq!((&w, &b), (&v, &a));
        assert_eq!(opt.hyper("lr").unwrap(), other.hyper("lr").unwrap());
    }
    assert!(bytes(&opt) == bytes(&other));
    // An input belongs to the step that it was given for, taken or not.
    let error = opt.step(&mut [Tensor::new("w", &mut w, &gw)]).unwrap_err();
    assert!(matches!(error, Error::MissingInput { .. }), "{error}");
}

#[test]
fn a_skip_per_tensor_concerns_that_tensor_alone() {
    let text = "hyper lr = 1\nstate m = p\nstate n per model = 0\n\nskip if norm(g) > 4\nn += 1\nm += g\np -= lr * m\n";
    let mut opt = rule(text).optimizer().build().unwrap();
    let (mut x, mut y) = ([1.0f32; 2], [1.0f32; 2]);
    opt.step(&mut [Tensor::new("x", &mut x, &[3.0, 4.0]), Tensor::new("y", &mut y, &[1.0, 1.0])]).unwrap();
    assert_eq!((x, y), ([1.0; 2], [-1.0; 2]));
    assert_eq!((opt.steps("x"), opt.steps("y"), opt.last_skipped(), opt.skipped()), (0, 1, false, 0));
    assert_eq!((opt.state("x", "m"), opt.state("y", "m")), (None, Some(StateValues::F32(&[2.0; 2]))));
    assert_eq!(opt.state("y", "n"), Some(StateValues::Scalar(1.0)));
    opt.step(&mut [Tensor::new("x", &mut x, &[3.0, 4.0])]).unwrap();
    assert!(opt.last_skipped());
    assert_eq!(opt.state("y", "n"), Some(StateValues::Scalar(1.0)));
}

#[test]
fn gradients_that_are_not_finite_are_skipped_and_scales_undone() {
    let build = || Rule::shipped("adam").unwrap().optimizer().unscale(true).skip_nonfinite(true).build().unwrap();
    let mut opt = build();
    let mut plain = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    opt.set_loss_scale(1024.0).unwrap();
    let g = values_f32(1, 3000);
    let scaled: Vec<f32> = g.iter().map(|x| x * 1024.0).collect();
    let (mut w, mut v) = (values_f32(2, 3000), values_f32(2, 3000));
    let mut b = [1.0f64];
    for _ in 0..3 {
        opt.step(&mut [Tensor::new("w", &mut w, &scaled)]).unwrap();
        plain.step(&mut [Tensor::new("w", &mut v, &g)]).unwrap();
        let before = w.clone();
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            opt.step(&mut [Tensor::new("w", &mut w, &scaled), Tensor::new("b", &mut b, &[bad])]).unwrap();
            assert!(opt.last_skipped());
        }
        assert_eq!((&w, b), (&before, [1.0]));
    }
    // A power of two scales exactly.
    assert_eq!(w, v);
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(opt.set_loss_scale(scale), Err(Error::HostOption { .. })));
    }
}

#[test]
fn gradients_become_zero_if_the_step_is_taken() {
    let mut opt = rule("hyper lr = 1\n\nskip if max(abs(g) per model) > 8\np -= lr * g\n").optimizer().build().unwrap();
    let (mut w, mut g) = ([1.0f32; 3], [9.0f32; 3]);
    opt.step(&mut [Tensor::zero_grad("w", &mut w, &mut g)]).unwrap();
    assert_eq!((w, g), ([1.0; 3], [9.0; 3]));
    g = [2.0; 3];
    // In any layout, and next to a tensor whose gradient stays.
    let mut gaps = Array2::<f64>::from_elem((2, 3), 2.0);
    let (mut x, kept) = (Array2::<f64>::zeros((3, 2)), Array2::<f64>::ones((3, 2)));
    let mut y = Array2::<f64>::zeros((3, 2));
    opt.step(&mut [
        Tensor::zero_grad("w", &mut w, &mut g),
        Tensor::zero_grad("x", &mut x, gaps.view_mut().reversed_axes()),
        Tensor::new("y", &mut y, &kept),
    ])
    .unwrap();
    assert_eq!((w, g), ([-1.0; 3], [0.0; 3]));
    assert_eq!((gaps, x), (Array2::zeros((2, 3)), Array2::from_elem((3, 2), -2.0)));
    assert_eq!((y[[0, 0]], kept[[0, 0]]), (-1.0, 1.0));
}

#[test]
fn averages_are_kept_saved_and_loaded() {
    let build = || Rule::shipped("sgd").unwrap().optimizer().set("lr", 0.5).unwrap().average(0.75).unwrap().build();
    let (mut opt, g) = (build().unwrap(), values(1, 10));
    let mut w = values(2, 10);
    let mut expected = w.clone();
    let file = Scratch::new("average");
    assert_eq!(opt.average("w"), None);
    for k in 0..4 {
        opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
        expected.iter_mut().zip(&w).for_each(|(average, w)| *average = 0.75f64 * *average + 0.25 * w);
        let Some(StateValues::F64(average)) = opt.average("w") else { panic!("no average") };
        for (average, expected) in average.iter().zip(&expected) {
            assert!((average - expected).abs() < 1e-12);
        }
        if k == 1 {
            opt.save(&file.0).unwrap();
            opt = build().unwrap();
            opt.load(&file.0).unwrap();
            assert!(opt.average("w").is_some());
            let error = Rule::shipped("sgd").unwrap().optimizer().build().unwrap().load(&file.0).unwrap_err();
            assert!(error.to_string().contains("average"), "{error}");
        }
    }
    assert_eq!(opt.state_bytes(), 80);
    assert!(Rule::shipped("sgd").unwrap().optimizer().average(1.5).is_err());
}

#[test]
fn copies_are_of_the_type_asked_for() {
    let mut opt = Rule::shipped("sgd").unwrap().optimizer().copy_as(Storage::F32).build().unwrap();
    let (mut w, g) = (values(1, 2000), values(2, 2000));
    let mut copy = vec![0.0f32; 2000];
    opt.step(&mut [Tensor::new("w", &mut w, &g).copy_to(&mut copy)]).unwrap();
    assert!(w.iter().zip(&copy).all(|(w, copy)| *w as f32 == *copy));
    let before = w.clone();
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap_err();
    assert!(matches!(error, Error::MissingCopy { .. }), "{error}");
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).copy_to(&mut copy[..7])]).unwrap_err();
    assert!(matches!(error, Error::ArrayShape { .. }), "{error}");
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).copy_to(&mut vec![0.0f64; 2000])]).unwrap_err();
    assert!(matches!(error, Error::ArrayDtype { expected: Storage::F32, found: Storage::F64, .. }), "{error}");
    assert_eq!(w, before);
    let mut opt = Rule::shipped("sgd").unwrap().optimizer().build().unwrap();
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).copy_to(&mut copy)]).unwrap_err();
    assert!(matches!(error, Error::UnexpectedCopy { .. }), "{error}");
}

#[test]
fn reports_are_those_of_the_last_step() {
    let text = "hyper lr = 0.5\n\nlet size = norm(g per model)\nreport total = size\nreport of_group = sum(g per group)\n\
                report own = max(g)\nreport rate = lr\nskip if size > 100\np -= lr * g\n";
    let builder = rule(text).optimizer().group("b", "b*", |g| g.set("lr", 0.0)).unwrap();
    let builder = builder.report("own").unwrap().report("total").unwrap().report("of_group").unwrap();
    let mut opt = builder.report("rate").unwrap().build().unwrap();
    let (mut a, mut b) = ([0.0f64; 2], [0.0f64; 1]);
    assert_eq!(opt.report("total"), None);
    opt.step(&mut [Tensor::new("a", &mut a, &[3.0, 0.0]), Tensor::new("b", &mut b, &[4.0])]).unwrap();
    assert_eq!(opt.report("total"), Some(5.0));
    assert_eq!((opt.report_of("total", "a"), opt.report("own")), (Some(5.0), None));
    assert_eq!((opt.report_of("own", "a"), opt.report_of("own", "b")), (Some(3.0), Some(4.0)));
    assert_eq!((opt.report_of("of_group", "a"), opt.report_of("of_group", "b")), (Some(3.0), Some(4.0)));
    assert_eq!((opt.report_of("rate", "a"), opt.report_of("rate", "b")), (Some(0.5), Some(0.0)));
    assert_eq!((opt.report("none"), opt.report_of("own", "none")), (None, None));
    opt.step(&mut [Tensor::new("a", &mut a, &[300.0, 0.0])]).unwrap();
    assert_eq!((opt.last_skipped(), opt.report("total"), opt.report_of("own", "a")), (true, None, None));
    let error = rule(text).optimizer().report("totl").unwrap_err();
    assert!(error.to_string().contains("did you mean `total`?"), "{error}");
}

#[test]
fn views_are_derived_from_what_is_kept() {
    let text = "hyper lr = 1\nhyper beta = 0.5\nstate z = p\nstate r per row = 0\nstate k per tensor = 3\n\n\
                z -= lr * g\nr += sum(g per row)\nk += 1\np = z\n\
                view mixed = beta*p + (1 - beta)*z\nview rows = p*0 + r + k + t\n";
    let mut opt = rule(text).optimizer().build().unwrap();
    let mut w = ArrayD::<f64>::ones(IxDyn(&[2, 3]));
    let g = ArrayD::<f64>::ones(IxDyn(&[2, 3]));
    opt.register("w", &[2, 3], Storage::F64).unwrap();
    assert_eq!(opt.view("mixed", "w", &w).unwrap(), w);
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
    let before = bytes(&opt);
    w.fill(4.0);
    assert_eq!(opt.view("mixed", "w", &w).unwrap(), ArrayD::from_elem(IxDyn(&[2, 3]), 2.0));
    assert_eq!(opt.view("rows", "w", &w).unwrap(), ArrayD::from_elem(IxDyn(&[2, 3]), 3.0 + 4.0 + 1.0));
    assert!(bytes(&opt) == before);
    let error = opt.view("mixd", "w", &w).unwrap_err();
    assert!(error.to_string().contains("did you mean `mixed`?"), "{error}");
    assert!(matches!(opt.view("mixed", "v", &w), Err(Error::UnknownTensor { .. })));
    assert!(matches!(opt.view("mixed", "w", &[1.0f64; 6]), Err(Error::ArrayShape { .. })));
    // Of a tensor that has only been loaded.
    let file = Scratch::new("view");
    opt.save(&file.0).unwrap();
    let mut opt = rule(text).optimizer().build().unwrap();
    opt.load(&file.0).unwrap();
    assert_eq!(opt.view("mixed", "w", &w).unwrap(), ArrayD::from_elem(IxDyn(&[2, 3]), 2.0));
}

#[test]
fn draws_depend_on_seed_name_and_step() {
    let run = |seed: u64, names: [&str; 2]| {
        let mut opt = rule("hyper lr = 1\n\np += lr * uniform() + 0*g\n").optimizer().seed(seed).build().unwrap();
        let (mut x, mut y) = (vec![0.0f32; 3000], vec![0.0f32; 3000]);
        let g = vec![0.0f32; 3000];
        opt.step(&mut [Tensor::new(names[0], &mut x, &g), Tensor::new(names[1], &mut y, &g)]).unwrap();
        let first = x.clone();
        opt.step(&mut [Tensor::new(names[0], &mut x, &g), Tensor::new(names[1], &mut y, &g)]).unwrap();
        (first, x, y)
    };
    let (first, x, y) = run(0, ["x", "y"]);
    assert_eq!(run(0, ["x", "y"]), (first.clone(), x.clone(), y.clone()));
    assert_eq!(run(0, ["y", "x"]).1, y);
    assert_ne!(run(1, ["x", "y"]).1, x);
    assert_ne!(x.iter().zip(&first).map(|(x, first)| x - first).collect::<Vec<_>>(), first);
    assert!(first.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = first.iter().sum::<f32>() / 3000.0;
    assert!((mean - 0.5).abs() < 0.03, "{mean}");
    // The seed is part of what is saved.
    let file = Scratch::new("seed");
    let opt = rule("hyper lr = 1\n\np += lr * uniform() + 0*g\n").optimizer().seed(5).build().unwrap();
    opt.save(&file.0).unwrap();
    let error = rule("hyper lr = 1\n\np += lr * uniform() + 0*g\n").optimizer().build().unwrap().load(&file.0);
    assert!(error.unwrap_err().to_string().contains("seed 5"));
}

#[test]
fn inputs_per_element_have_the_parameters_shape_and_type() {
    let text = "hyper on = 1\ninput mask per element\n\nif on != 0 { p -= mask * g } else { p -= g }\n";
    let mut opt = rule(text).optimizer().build().unwrap();
    let (mut w, g) = (Array2::<f32>::zeros((2, 3)), Array2::<f32>::ones((2, 3)));
    let mask = Array2::from_shape_fn((3, 2), |(i, j)| (i + 3 * j) as f32);
    opt.step(&mut [Tensor::new("w", &mut w, &g).input_array("mask", mask.t())]).unwrap();
    assert_eq!(w, -&mask.t());
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap_err();
    assert!(matches!(error, Error::MissingInput { extent: "element", .. }), "{error}");
    assert!(error.to_string().contains("input_array(\"mask\""), "{error}");
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).input_array("mask", &mask)]).unwrap_err();
    assert!(matches!(error, Error::ArrayShape { .. }), "{error}");
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).input_array("mask", &Array2::<f64>::ones((2, 3)))]);
    assert!(matches!(error, Err(Error::ArrayDtype { .. })));
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g).input("mask", 1.0)]).unwrap_err();
    assert!(matches!(error, Error::InputExtent { .. }), "{error}");
    opt.set("on", 0.0).unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
}

#[test]
fn what_needs_axes_is_refused_without_them() {
    let text = "hyper lr = 1\nstate r per row = 0\n\nr += sum(g^2 per row)\np -= lr * g / sqrt(r)\n";
    let mut opt = rule(text).optimizer().build().unwrap();
    let (mut w, mut b) = (Array2::<f32>::ones((2, 2)), [1.0f32; 3]);
    let g = Array2::<f32>::ones((2, 2));
    let error = opt.step(&mut [Tensor::new("w", &mut w, &g), Tensor::new("b", &mut b, &[1.0; 3])]).unwrap_err();
    assert!(matches!(&error, Error::NeedsAxes { tensor, .. } if tensor == "b"), "{error}");
    assert!(error.to_string().contains("if rank >= 2"), "{error}");
    assert_eq!((w.sum(), opt.steps("w"), opt.state_bytes()), (4.0, 0, 0));
    let text = "hyper lr = 1\nstate r per row = 0\n\nif rank >= 2 {\n    r += sum(g^2 per row)\n    p -= lr * g / sqrt(r)\n\
                } else {\n    p -= lr * g\n}\n";
    let mut opt = rule(text).optimizer().build().unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &g), Tensor::new("b", &mut b, &[1.0; 3])]).unwrap();
    assert_eq!(b, [0.0; 3]);
    assert_eq!(opt.state("w", "r"), Some(StateValues::F32(&[2.0, 2.0])));
    assert_eq!((opt.state("b", "r"), opt.state_bytes()), (None, 8));
}

/// States of small arrays come back from a file with their shapes.
#[test]
fn states_of_every_extent_are_saved_and_loaded() {
    let text = "hyper lr = 0.1\nstate r per row = 0\nstate c per col = 0\nstate u per unit = 0\nstate m per matrix = 0\n\n\
                r += mean(g^2 per row)\nc += mean(g^2 per col)\nu += max(g per unit)\nm += sum(g per matrix)\n\
                p -= lr * g / (r + c + u + m)\n";
    let file = Scratch::new("extents");
    let g = ArrayD::from_shape_vec(IxDyn(&[2, 3, 4]), values(1, 24)).unwrap();
    let run = |resumes: bool| {
        let mut opt = rule(text).optimizer().build().unwrap();
        let mut w = ArrayD::from_shape_vec(IxDyn(&[2, 3, 4]), values(2, 24)).unwrap();
        for step in 0..4 {
            opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
            if resumes && step == 1 {
                opt.save(&file.0).unwrap();
                opt = rule(text).optimizer().build().unwrap();
                opt.load(&file.0).unwrap();
            }
        }
        (w, bytes(&opt))
    };
    assert!(run(true) == run(false));
    let tensors = std::fs::read(&file.0).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&tensors).unwrap();
    let shape = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    assert_eq!((shape("w/r"), shape("w/c")), (vec![2, 3], vec![2, 4]));
    assert_eq!((shape("w/u"), shape("w/m")), (vec![2], vec![2]));
    let mut opt = rule(text).optimizer().build().unwrap();
    opt.register("w", &[3, 2, 4], Storage::F64).unwrap();
    assert!(matches!(opt.load(&file.0), Err(Error::Checkpoint { .. })));
}

/// A pool of the host's runs the steps, and changes no bit of them.
#[test]
fn the_host_may_lend_its_threads() {
    let run = |pool: Option<usize>| {
        let mut builder = updraft::Rule::shipped("clip_adamw").unwrap().optimizer();
        let pool = pool.map(|n| std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap()));
        builder = pool.clone().into_iter().fold(builder, |builder, pool| builder.pool(pool));
        let mut opt = builder.build().unwrap();
        assert!(
            pool.is_none_or(|pool| std::sync::Arc::strong_count(&pool) == 2),
            "the optimizer holds the pool itself"
        );
        let g: Vec<f32> = (0..100_003).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let (mut w, mut v) = (g.clone(), g[..40_000].to_vec());
        for _ in 0..3 {
            let tensors = [Tensor::new("w", &mut w, &g), Tensor::new("v", &mut v, &g[..40_000])];
            opt.step(&mut { tensors }).unwrap();
        }
        w.iter().chain(&v).map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let alone = run(None);
    for threads in [1, 2, 3] {
        assert!(run(Some(threads)) == alone, "{threads} threads");
    }
}
