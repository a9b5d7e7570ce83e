//! How things are kept: halves as parameters, gradients and states, master copies, compensation, rounding at random.

use crate::{Scratch, bytes, optimizer, rule, values, values_f32};
use half::{bf16, f16};
use updraft::{Engine, Error, Math, Optimizer, OptimizerBuilder, Rule, StateValues, Storage, Store, Tensor};

/// The nearest bf16, ties to even, by hand: of a finite number.
fn to_bf16(x: f32) -> f32 {
    let bits = u64::from(x.to_bits());
    let (low, rest) = (bits >> 16 << 16, bits & 0xffff);
    let up = rest > 0x8000 || (rest == 0x8000 && bits >> 16 & 1 == 1);
    f32::from_bits((low + if up { 0x1_0000 } else { 0 }) as u32)
}

fn halves(seed: u64, len: usize) -> Vec<bf16> {
    values_f32(seed, len).into_iter().map(bf16::from_f32).collect()
}

fn wide(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

fn shipped(name: &str, stores: &[(&str, Store)]) -> OptimizerBuilder {
    let builder = Rule::shipped(name).unwrap().optimizer();
    stores.iter().fold(builder, |builder, (what, store)| builder.store(what, *store).unwrap())
}

/// AdamW as written, with what is assigned last rounded by `p`, `m` and `v`.
struct AdamW {
    p: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl AdamW {
    fn step(&mut self, g: &[f32], t: f64, round: [fn(f32) -> f32; 3]) {
        let (lr, b1, b2, eps, decay) = (1e-2, 0.9, 0.999, 1e-8, 0.01);
        let (c1, c2) = (1.0 - libm::pow(b1, t), 1.0 - libm::pow(b2, t));
        let f = |x: f64| x as f32;
        for (((p, m), v), g) in self.p.iter_mut().zip(&mut self.m).zip(&mut self.v).zip(g) {
            let decayed = *p * f(1.0 - lr * decay);
            *m = round[1](f(b1) * *m + f(1.0 - b1) * g);
            *v = round[2](f(b2) * *v + f(1.0 - b2) * (g * g));
            *p = round[0](decayed - f(lr) * (*m / f(c1)) / ((*v / f(c2)).sqrt() + f(eps)));
        }
    }
}

#[test]
fn adamw_in_bf16_by_hand() {
    const KEEP: fn(f32) -> f32 = |x| x;
    let all_bf16: [fn(f32) -> f32; 3] = [to_bf16; 3];
    let states = [("m", Store::Bf16), ("v", Store::Bf16)];
    for engine in [Engine::Eval, Engine::Jit] {
        let build = |stores: &[(&str, Store)]| {
            let builder = shipped("adamw", stores).math(Math::Strict).engine(engine);
            builder.set("lr", 1e-2).unwrap().build().unwrap()
        };
        // All bf16; bf16 with gradients of f32; f32 with states of bf16; bf16 with a master copy.
        let mut opts = [build(&[]), build(&[]), build(&states), build(&[("p", Store::F32)])];
        let p: Vec<bf16> = halves(1, 37);
        let mut narrow = [p.clone(), p.clone(), p.clone()];
        let mut single = wide(&p);
        let begin = || AdamW { p: wide(&p), m: vec![0.0; 37], v: vec![0.0; 37] };
        let mut expected = [begin(), begin(), begin(), begin()];
        for t in 1..=5 {
            let g = halves(100 + t, 37);
            let fine = values_f32(200 + t, 37);
            let [a, b, c] = &mut narrow;
            opts[0].step(&mut [Tensor::new("w", a, &g)]).unwrap();
            opts[1].step(&mut [Tensor::mixed("w", b, &fine)]).unwrap();
            opts[2].step(&mut [Tensor::mixed("w", &mut single, &g)]).unwrap();
            opts[3].step(&mut [Tensor::new("w", c, &g)]).unwrap();
            let t = t as f64;
            expected[0].step(&wide(&g), t, all_bf16);
            expected[1].step(&fine, t, all_bf16);
            expected[2].step(&wide(&g), t, [KEEP, to_bf16, to_bf16]);
            expected[3].step(&wide(&g), t, [KEEP; 3]);
            assert_eq!(wide(&narrow[0]), expected[0].p);
            assert_eq!(wide(&narrow[1]), expected[1].p);
            assert_eq!(single, expected[2].p);
            assert_eq!(opts[3].state("w", "@master"), Some(StateValues::F32(&expected[3].p)));
            assert_eq!(wide(&narrow[2]), expected[3].p.iter().map(|x| to_bf16(*x)).collect::<Vec<_>>());
            for (opt, expected) in opts.iter().zip(&expected).take(3) {
                for (name, expected) in [("m", &expected.m), ("v", &expected.v)] {
                    let Some(StateValues::Bf16(found)) = opt.state("w", name) else { panic!("{name} is no bf16") };
                    assert_eq!(wide(found), *expected);
                }
            }
            assert_eq!(opts[3].state("w", "v"), Some(StateValues::F32(&expected[3].v)));
        }
        assert_eq!(opts.each_ref().map(Optimizer::state_bytes), [4 * 37, 4 * 37, 4 * 37, 12 * 37]);
    }
}

#[test]
fn a_rule_says_how_its_states_are_kept() {
    let text = "state m as bf16 = 1/3\nstate v as f16 = p\nstate r per row as bf16 = 0\n\n\
        m += g\nv += m\nr = mean(v per row)\np = v + r\n";
    let mut opt = optimizer(text);
    let mut w = ndarray::arr2(&[[1.0f32, 2.0], [3.0, 4.0]]);
    let g = ndarray::arr2(&[[0.1f32; 2]; 2]);
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
    let m = to_bf16(to_bf16(1.0 / 3.0) + 0.1);
    assert_eq!(opt.state("w", "m"), Some(StateValues::Bf16(&[bf16::from_f32(m); 4])));
    let v = [1.0, 2.0, 3.0, 4.0].map(|p: f32| f16::from_f32(p + m));
    assert_eq!(opt.state("w", "v"), Some(StateValues::F16(&v)));
    let row = |a: f16, b: f16| bf16::from_f32(((a.to_f64() + b.to_f64()) / 2.0) as f32);
    let r = [row(v[0], v[1]), row(v[2], v[3])];
    assert_eq!(opt.state("w", "r"), Some(StateValues::Bf16(&r)));
    assert_eq!(w[(1, 0)], v[2].to_f32() + r[1].to_f32());
    // What the host says goes before it.
    let mut opt = rule(text).optimizer().store("m", Store::F32).unwrap().build().unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
    assert!(matches!(opt.state("w", "m"), Some(StateValues::F32(_))));
}

/// Read before its last assignment, a state is what it was assigned; after it, what is stored.
#[test]
fn the_last_assignment_rounds() {
    let text = "state m as bf16 = 0\nstate a = 0\nstate b = 0\nstate c = 0\n\n\
        m = g\na = m\nif g > 0 {\n    m = g + 1\n    b = m\n}\nc = m\n";
    let mut opt = optimizer(text);
    let x = 1.0f32 / 3.0;
    opt.step(&mut [Tensor::new("w", &mut [0.0f32; 2], &[x, -x])]).unwrap();
    assert_eq!(opt.state("w", "a"), Some(StateValues::F32(&[x, -x])));
    assert_eq!(opt.state("w", "b"), Some(StateValues::F32(&[to_bf16(x + 1.0), 0.0])));
    assert_eq!(opt.state("w", "c"), Some(StateValues::F32(&[to_bf16(x + 1.0), to_bf16(-x)])));
    // Which assignment is the last one depends on the plan.
    let (again, once) = ("m = g + 1", "a += 1");
    for (then, otherwise) in [(again, once), (once, again)] {
        let text = format!(
            "hyper k = 1\nstate m as bf16 = 0\nstate a = 0\n\n\
             m = g\na = m\nif k > 0 {{\n    {then}\n}} else {{\n    {otherwise}\n}}\n"
        );
        let mut opt = optimizer(&text);
        for (k, taken) in [(1.0, then), (0.0, otherwise)] {
            opt.set("k", k).unwrap();
            opt.step(&mut [Tensor::new("w", &mut [0.0f32; 1], &[x])]).unwrap();
            let a = if taken == again { x } else { to_bf16(x) + 1.0 };
            assert_eq!(opt.state("w", "a"), Some(StateValues::F32(&[a])), "{text} {k}");
        }
    }
}

#[test]
fn the_mean_of_random_roundings_is_the_value() {
    // Three tenths of the way from 1 to the next bf16.
    let x = 1.0 + 0.3 / 128.0;
    let (mut sum, count) = (0.0, 1000 * 64);
    for seed in 0..1000 {
        let rule = rule("state m = 0\n\nm = g\np -= g\n");
        let builder = rule.optimizer().seed(seed).store("p", Store::Bf16Stochastic).unwrap();
        let mut opt = builder.store("m", Store::Bf16Stochastic).unwrap().build().unwrap();
        let mut w = [bf16::ZERO; 64];
        opt.step(&mut [Tensor::mixed("w", &mut w, &[-x as f32; 64])]).unwrap();
        assert!(w.iter().all(|w| [1.0, 1.0 + 1.0 / 128.0].contains(&w.to_f32())), "{w:?}");
        sum += w.iter().map(|w| w.to_f64()).sum::<f64>();
        // Each array has draws of its own.
        let Some(StateValues::Bf16(m)) = opt.state("w", "m") else { panic!("m is no bf16") };
        assert!(m.iter().zip(&w).any(|(m, w)| -*m != *w));
    }
    let deviation = (0.3f64 * 0.7 / f64::from(count)).sqrt() / 128.0;
    assert!((sum / f64::from(count) - x).abs() < 5.0 * deviation, "{}", sum / f64::from(count));
}

#[test]
fn what_is_not_finite_stays() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0, 1e-45];
    for store in [Store::Bf16Stochastic, Store::Bf16Kahan, Store::Bf16] {
        let rule = rule("state m = 0\n\nm = g\n");
        for seed in 0..20 {
            let mut opt = rule.optimizer().seed(seed).store("m", store).unwrap().build().unwrap();
            opt.step(&mut [Tensor::new("w", &mut [0.0f32; 6], &special)]).unwrap();
            let Some(StateValues::Bf16(m)) = opt.state("w", "m") else { panic!("m is no bf16") };
            assert!(m[0].is_nan());
            assert_eq!([m[1], m[2]], [bf16::INFINITY, bf16::NEG_INFINITY]);
            assert!(m[3] >= bf16::MAX && m[4].to_bits() == 0x8000 && m[5] >= bf16::ZERO, "{m:?}");
        }
    }
    // And is read as what it was.
    let rule = rule("state m = 0\nstate n = 0\n\nn = m\nm = g\n");
    let mut opt = rule.optimizer().store("m", Store::Bf16Kahan).unwrap().build().unwrap();
    for _ in 0..2 {
        opt.step(&mut [Tensor::new("w", &mut [0.0f32; 2], &[f32::INFINITY, f32::MAX])]).unwrap();
    }
    assert_eq!(opt.state("w", "n"), Some(StateValues::F32(&[f32::INFINITY; 2])));
}

/// Steps too small for a bf16 are lost, unless what is lost is kept.
#[test]
fn compensation_keeps_small_steps() {
    let run = |stores: &[(&str, Store)]| {
        let mut opt = shipped("sgd", stores).set("lr", 1.0).unwrap().build().unwrap();
        let mut w = [bf16::ONE; 3];
        for _ in 0..64 {
            opt.step(&mut [Tensor::mixed("w", &mut w, &[2f32.powi(-12); 3])]).unwrap();
        }
        w
    };
    assert_eq!(run(&[]), [bf16::ONE; 3]);
    assert_eq!(run(&[("p", Store::Bf16Kahan)]), [bf16::from_f32(1.0 - 2f32.powi(-6)); 3]);
    assert_eq!(run(&[("p", Store::F32)]), [bf16::from_f32(1.0 - 2f32.powi(-6)); 3]);
}

/// The settings of the tests below.
const SETTINGS: [&[(&str, Store)]; 5] = [
    &[],
    &[("p", Store::F32), ("m", Store::Bf16)],
    &[("p", Store::Bf16Stochastic), ("m", Store::Bf16Stochastic), ("v", Store::F16)],
    &[("p", Store::Bf16Kahan), ("m", Store::Bf16Kahan), ("v", Store::Bf16Kahan)],
    &[("p", Store::F32), ("m", Store::F64), ("v", Store::Bf16Stochastic)],
];

fn steps(opt: &mut Optimizer, w: &mut [bf16], range: std::ops::Range<u64>) {
    for k in range {
        let g = values_f32(50 + k, w.len());
        opt.step(&mut [Tensor::mixed("w", &mut *w, &g)]).unwrap();
    }
}

#[test]
fn resuming_gives_the_same_bits() {
    for stores in SETTINGS {
        let build = || shipped("adamw", stores).average(0.5).unwrap().seed(3).build().unwrap();
        let file = Scratch::new("stores");
        let (mut straight, mut w) = (build(), halves(1, 29));
        steps(&mut straight, &mut w, 0..3);
        straight.save(&file.0).unwrap();
        let mut resumed_w = w.clone();
        steps(&mut straight, &mut w, 3..6);
        let mut resumed = build();
        resumed.load(&file.0).unwrap();
        assert_eq!(bytes(&resumed), std::fs::read(&file.0).unwrap());
        assert_eq!(resumed.state_bytes(), straight.state_bytes());
        steps(&mut resumed, &mut resumed_w, 3..6);
        assert_eq!(resumed_w, w, "{stores:?}");
        assert_eq!(bytes(&resumed), bytes(&straight), "{stores:?}");
        // The parameter may come first.
        let mut known = build();
        known.register("w", &[29], Storage::Bf16).unwrap();
        known.load(&file.0).unwrap();
        for other in SETTINGS.iter().filter(|other| **other != stores) {
            let mut other = shipped("adamw", other).average(0.5).unwrap().seed(3).build().unwrap();
            let Err(Error::Checkpoint { reason, .. }) = other.load(&file.0) else { panic!("it was loaded") };
            let reason = reason.to_string();
            assert!(reason.contains("when building") && reason.contains('`'), "{reason}");
        }
    }
    let file = Scratch::new("dtypes");
    let mut opt = shipped("adamw", SETTINGS[2]).build().unwrap();
    steps(&mut opt, &mut halves(1, 3), 0..1);
    opt.save(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let dtype = |name: &str| tensors.tensor(name).unwrap().dtype();
    assert_eq!([dtype("w/m"), dtype("w/v")], [safetensors::Dtype::BF16, safetensors::Dtype::F16]);
}

#[test]
fn threads_lanes_and_shards_change_no_bit() {
    use updraft::codegen::Lanes;
    const LEN: usize = 60_000;
    for stores in SETTINGS {
        let run = |builder: OptimizerBuilder| {
            let (mut opt, mut w) = (builder.build().unwrap(), halves(1, LEN));
            steps(&mut opt, &mut w, 0..2);
            (w, bytes(&opt))
        };
        let build = || shipped("adamw", stores).seed(9);
        let expected = run(build());
        assert_eq!(run(build().threads(3)), expected, "{stores:?}");
        assert_eq!(run(build().lanes(Lanes::One)), expected, "{stores:?}");
        assert_eq!(run(build().engine(Engine::Eval)), expected, "{stores:?}");
        let mut w = halves(1, LEN);
        for part in [0..1001, 1001..LEN] {
            let mut opt = build().build().unwrap();
            for k in 0..2 {
                let g = values_f32(50 + k, LEN);
                let tensor = Tensor::mixed("w", &mut w[part.clone()], &g[part.clone()]);
                opt.step(&mut [tensor.shard(&[LEN], part.start)]).unwrap();
            }
        }
        assert_eq!(w, expected.0, "{stores:?}");
    }
}

#[test]
#[allow(unsafe_code)]
fn halves_of_every_layout() {
    let expected = |p: &[f16], g: &[f16]| -> Vec<f16> {
        p.iter().zip(g).map(|(p, g)| f16::from_f32(g.to_f32().mul_add(-0.5, p.to_f32()))).collect()
    };
    let sgd = || Rule::shipped("sgd").unwrap().optimizer().set("lr", 0.5).unwrap();
    let of = |seed| values(seed, 6).into_iter().map(f16::from_f64).collect::<Vec<f16>>();
    let (p, g) = (of(1), of(2));
    let new = expected(&p, &g);

    let mut raw = p.clone();
    // SAFETY: both vectors have six elements and are not used until the step is over.
    let tensor = unsafe { Tensor::raw_f16("w", raw.as_mut_ptr(), g.as_ptr(), &[2, 3]) };
    sgd().build().unwrap().step(&mut [tensor]).unwrap();
    assert_eq!(raw, new);

    let mut view = ndarray::Array2::from_shape_vec((2, 3), p.clone()).unwrap();
    let grads = ndarray::Array2::from_shape_vec((2, 3), g.clone()).unwrap();
    let (v, g_t) = (view.view_mut().reversed_axes(), grads.view().reversed_axes());
    sgd().build().unwrap().step(&mut [Tensor::new("w", v, g_t)]).unwrap();
    assert_eq!(view.as_slice().unwrap(), new);

    let (mut w, mut zeroed, mut copy) = (p.clone(), g.clone(), vec![bf16::ZERO; 6]);
    let mut opt = sgd().copy_as(Storage::Bf16).average(0.0).unwrap().build().unwrap();
    opt.step(&mut [Tensor::zero_grad("w", &mut w, &mut zeroed).copy_to(&mut copy)]).unwrap();
    assert_eq!((&w, &zeroed), (&new, &vec![f16::ZERO; 6]));
    assert_eq!(copy, new.iter().map(|x| bf16::from_f32(x.to_f32())).collect::<Vec<_>>());
    let average: Vec<f32> = new.iter().map(|x| x.to_f32()).collect();
    assert_eq!(opt.average("w"), Some(StateValues::F32(&average)));
}

#[test]
fn what_cannot_be_kept_so_is_said() {
    let text = "state momentum = 0\nstate k per tensor = 0\n\nmomentum += g\nk += 1\np -= momentum*k\n";
    let builder = || rule(text).optimizer();
    let error = builder().store("momentun", Store::Bf16).unwrap_err();
    assert!(matches!(&error, Error::UnknownState { similar: Some(name), .. } if name == "momentum"), "{error}");
    let error = builder().store("k", Store::Bf16).unwrap_err();
    assert!(matches!(&error, Error::StoreScalar { state, .. } if state == "k"), "{error}");
    for store in [Store::F64, Store::Bf16, Store::F16] {
        let error = builder().store("p", store).unwrap_err();
        assert!(matches!(error, Error::StoreParam { .. }), "{error}");
    }
    for (what, store) in [("momentum", Store::Bf16Kahan), ("momentum", Store::Bf16Stochastic), ("p", Store::F32)] {
        let mut opt = builder().store(what, store).unwrap().build().unwrap();
        let mut w = [1.0f64; 2];
        let error = opt.step(&mut [Tensor::new("w", &mut w, &[1.0; 2])]).unwrap_err();
        assert!(matches!(&error, Error::StoreDtype { tensor, param: Storage::F64, .. } if tensor == "w"), "{error}");
        assert_eq!((w, opt.steps("w")), ([1.0; 2], 0));
        assert!(opt.register("w", &[2], Storage::F64).is_err());
    }
    let mut opt = builder().store("p", Store::Bf16Kahan).unwrap().build().unwrap();
    let error = opt.step(&mut [Tensor::new("w", &mut [1.0f32], &[1.0])]).unwrap_err();
    assert!(error.to_string().contains("`p` is kept as bf16-kahan"), "{error}");
    let error = opt.step(&mut [Tensor::mixed("w", &mut [1.0f64], &[bf16::ONE])]).unwrap_err();
    assert!(matches!(error, Error::StoreDtype { .. }), "{error}");
    let error = builder().build().unwrap().step(&mut [Tensor::mixed("w", &mut [1.0f64], &[bf16::ONE])]).unwrap_err();
    assert!(matches!(error, Error::GradDtype { grad: Storage::Bf16, .. }), "{error}");
}
