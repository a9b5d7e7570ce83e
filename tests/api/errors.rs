//! What a host can get wrong in a step, and while setting: a typed error, and the optimizer has not noticed.

use crate::{bytes, rule, values, values_f32};
use updraft::{Error, Optimizer, Storage, Tensor, TensorId};

const TEXT: &str = "hyper lr = 0.1 in [0, inf)\nhyper beta = 0.5 in [0, 1)\nhyper scale per model = 2 in (0, inf)\n\
    hyper twice = 2*lr\nhyper rounds = 3 in 1.. fixed\nhyper nesterov = false\n\
    input loss\ninput noise per group\ninput extra per tensor\n\
    state m = 0\nstate k per tensor = lr\nstate c per group = 1\nstate total per model = 0\n\
    require lr <= scale, \"lr must not exceed scale\"\n\n\
    total += loss\nc = c*2 + noise\nk += extra\nm = lerp(m, g, 1 - beta)\nif nesterov { m += g }\nif t > rounds { m *= 2 }\n\
    p -= lr*m*(k + c + total)*twice/scale\n";

/// An optimizer at work on two tensors. Inputs per model and group are given for the next step.
struct World {
    opt: Optimizer,
    id: TensorId,
    a: Vec<f32>,
    b: ndarray::Array2<f64>,
}

impl World {
    fn new() -> World {
        let mut opt = rule(TEXT).optimizer().group("b", "b*", |g| g.set("lr", 0.2)).unwrap().build().unwrap();
        let id = opt.register("a", &[5], Storage::F32).unwrap();
        let b = ndarray::Array2::from_shape_vec((2, 3), values(2, 6)).unwrap();
        let mut world = World { opt, id, a: values_f32(1, 5), b };
        world.give();
        world.step(3).unwrap();
        world.give();
        world
    }

    fn give(&mut self) {
        self.opt.input("loss", 0.25).unwrap();
        self.opt.group("b").unwrap().input("noise", 0.5).unwrap();
        self.opt.group("default").unwrap().input("noise", 0.75).unwrap();
    }

    fn step(&mut self, seed: u64) -> Result<(), Error> {
        let (ga, gb) = (values_f32(seed, 5), ndarray::Array2::from_shape_vec((2, 3), values(seed + 1, 6)).unwrap());
        self.opt.step(&mut [
            Tensor::new("a", &mut self.a, &ga).input("extra", 1.0),
            Tensor::new("b", &mut self.b, &gb).input("extra", 2.0),
        ])
    }

    /// Everything that can be asked for.
    fn all(&mut self) -> String {
        let hypers: Vec<String> = self.opt.rule().hypers().map(|hyper| hyper.name.to_string()).collect();
        let mut text = format!("{:?} {:?} {}\n", self.a, self.b, self.opt.state_bytes());
        for group in ["b", "default"] {
            for hyper in &hypers {
                text += &format!("{group}.{hyper} = {:?}\n", self.opt.group(group).unwrap().hyper(hyper).unwrap());
            }
        }
        for tensor in ["a", "b", "new"] {
            text += &format!("{tensor}: {} steps\n", self.opt.steps(tensor));
        }
        text + &String::from_utf8_lossy(&bytes(&self.opt))
    }
}

/// Does something wrong, which must leave everything as it is: what can be asked for, the inputs that were given, the set
/// of known tensors, and the bits of the steps that follow.
#[track_caller]
fn wrong(call: impl FnOnce(&mut World) -> Result<(), Error>, is: impl FnOnce(&Error) -> bool) {
    let (mut tried, mut untouched) = (World::new(), World::new());
    let before = tried.all();
    let error = call(&mut tried).expect_err("this is wrong");
    assert!(is(&error), "another error: {error:?}");
    assert!(!error.to_string().is_empty());
    assert_eq!(tried.all(), before, "something has changed by {error}");
    // The inputs are still there: neither gives them again.
    for seed in [50, 60] {
        tried.step(seed).unwrap();
        untouched.step(seed).unwrap();
        assert_eq!(tried.all(), untouched.all(), "the steps after {error}");
        tried.give();
        untouched.give();
    }
    // A tensor that the wrong call brought is not known.
    for world in [&mut tried, &mut untouched] {
        let (mut p, g) = ([1.0f64; 9], [1.0f64; 9]);
        world.opt.step(&mut [Tensor::new("new", &mut p, &g).input("extra", 1.0)]).unwrap();
    }
    assert_eq!(tried.all(), untouched.all(), "a new tensor after {error}");
}

#[test]
fn hypers() {
    wrong(|w| w.opt.set("lrr", 0.1), |e| matches!(e, Error::UnknownHyper { similar: Some(s), .. } if s == "lr"));
    wrong(|w| w.opt.set("lr", -0.1), |e| matches!(e, Error::HyperOutOfRange { .. }));
    wrong(|w| w.opt.set("lr", f64::NAN), |e| matches!(e, Error::HyperOutOfRange { value, .. } if value.is_nan()));
    wrong(|w| w.opt.set("twice", f64::NAN), |e| matches!(e, Error::HyperOutOfRange { interval: None, .. }));
    wrong(|w| w.opt.set("lr", true), |e| matches!(e, Error::HyperKind { .. }));
    wrong(|w| w.opt.set("nesterov", 1.0), |e| matches!(e, Error::HyperKind { .. }));
    wrong(|w| w.opt.set("nesterov", true), |e| matches!(e, Error::HyperFixed { .. }));
    wrong(|w| w.opt.set("rounds", 4.0), |e| matches!(e, Error::HyperFixed { .. }));
    wrong(|w| w.opt.set("lr", 3.0), |e| matches!(e, Error::Require { .. }));
    wrong(|w| w.opt.set("scale", 0.15), |e| matches!(e, Error::Require { group, .. } if group == "b"));
    wrong(
        |w| w.opt.set_many(&[("lr", 0.3.into()), ("beta", 1.0.into())]),
        |e| matches!(e, Error::HyperOutOfRange { hyper, .. } if hyper == "beta"),
    );
    wrong(|w| w.opt.group("b")?.set("scale", 3.0), |e| matches!(e, Error::HyperPerModel { .. }));
    wrong(|w| w.opt.group("b")?.set("lr", 2.5), |e| matches!(e, Error::Require { .. }));
    wrong(|w| w.opt.group("b")?.set("bta", 0.5), |e| matches!(e, Error::UnknownHyper { .. }));
    wrong(
        |w| w.opt.group("b")?.set_many(&[("beta", 0.1.into()), ("rounds", 4.0.into())]),
        |e| matches!(e, Error::HyperFixed { .. }),
    );
    wrong(|w| w.opt.group("c").map(|_| ()), |e| matches!(e, Error::UnknownGroup { .. }));
    wrong(|w| w.opt.hyper("x").map(|_| ()), |e| matches!(e, Error::UnknownHyper { .. }));
}

#[test]
fn inputs() {
    wrong(|w| w.opt.input("x", 1.0), |e| matches!(e, Error::UnknownInput { .. }));
    wrong(|w| w.opt.input("noise", 1.0), |e| matches!(e, Error::InputExtent { extent: "group", .. }));
    wrong(|w| w.opt.group("b")?.input("loss", 1.0), |e| matches!(e, Error::InputExtent { extent: "model", .. }));
    // The second tensor misses its own.
    wrong(
        |w| {
            let (ga, gb) = ([1.0f32; 5], ndarray::Array2::<f64>::ones((2, 3)));
            let a = Tensor::new("a", &mut w.a, &ga).input("extra", 1.0);
            w.opt.step(&mut [a, Tensor::new("b", &mut w.b, &gb)])
        },
        |e| matches!(e, Error::MissingInput { input, tensor, .. } if input == "extra" && tensor == "b"),
    );
    wrong(
        |w| w.opt.step(&mut [Tensor::new("a", &mut w.a, &[1.0; 5]).input("loss", 1.0)]),
        |e| matches!(e, Error::InputExtent { .. }),
    );
    wrong(
        |w| w.opt.step(&mut [Tensor::new("a", &mut w.a, &[1.0; 5]).input("extar", 1.0)]),
        |e| matches!(e, Error::UnknownInput { .. }),
    );
}

/// A step of `a`, of a new tensor, and then of one that is wrong.
macro_rules! with_good_ones {
    ($w:expr, $last:expr) => {{
        let (mut new, g) = ([1.0f32; 4], [1.0f32; 4]);
        let result = $w.opt.step(&mut [
            Tensor::new("a", &mut $w.a, &[1.0; 5]).input("extra", 1.0),
            Tensor::new("new", &mut new, &g).input("extra", 1.0),
            $last.input("extra", 1.0),
        ]);
        assert_eq!(new, [1.0; 4]);
        result
    }};
}

#[test]
fn gradients_and_shapes() {
    let mut p = [1.0f64; 6];
    wrong(
        |w| with_good_ones!(w, Tensor::new("fresh", &mut p, &[1.0; 5])),
        |e| matches!(e, Error::GradShape { tensor, param, grad } if tensor == "fresh" && *param == [6] && *grad == [5]),
    );
    // As many elements, but of another shape.
    let (mut p, g) = (ndarray::Array2::<f64>::ones((2, 3)), ndarray::Array2::<f64>::ones((3, 2)));
    wrong(|w| with_good_ones!(w, Tensor::new("b", &mut p, &g)), |e| matches!(e, Error::GradShape { .. }));
    wrong(
        |w| with_good_ones!(w, Tensor::new("b", p.view_mut().into_shape_with_order(6).unwrap(), &[1.0; 6])),
        |e| matches!(e, Error::ShapeChanged { tensor, was, now } if tensor == "b" && *was == [2, 3] && *now == [6]),
    );
    let (mut p, g) = (ndarray::Array2::<f32>::ones((2, 3)), ndarray::Array2::<f32>::ones((2, 3)));
    wrong(
        |w| with_good_ones!(w, Tensor::new("b", &mut p, &g)),
        |e| matches!(e, Error::DtypeChanged { was: Storage::F64, now: Storage::F32, .. }),
    );
    wrong(|w| w.opt.register("b", &[3, 2], Storage::F64).map(|_| ()), |e| matches!(e, Error::ShapeChanged { .. }));
    wrong(|w| w.opt.register("b", &[2, 3], Storage::F32).map(|_| ()), |e| matches!(e, Error::DtypeChanged { .. }));
    let mut p = [1.0f32; 4];
    wrong(
        |w| {
            let id = w.id;
            with_good_ones!(w, Tensor::with_id(id, &mut p, &[1.0; 4]))
        },
        |e| matches!(e, Error::ShapeChanged { tensor, .. } if tensor == "a"),
    );
}

#[test]
fn names_and_ids() {
    let mut p = [1.0f32; 5];
    let duplicate = |e: &Error| matches!(e, Error::DuplicateTensor { tensor } if tensor == "a");
    wrong(|w| with_good_ones!(w, Tensor::new("a", &mut p, &[1.0; 5])), duplicate);
    wrong(
        |w| {
            let id = w.id;
            with_good_ones!(w, Tensor::with_id(id, &mut p, &[1.0; 5]))
        },
        duplicate,
    );
    let mut p = [1.0f32; 4];
    wrong(
        |w| with_good_ones!(w, Tensor::new("new", &mut p, &[1.0; 4])),
        |e| matches!(e, Error::DuplicateTensor { tensor } if tensor == "new"),
    );
    let mut other = rule(TEXT).optimizer().build().unwrap();
    let ids: Vec<TensorId> = (0..9).map(|i| other.register(&format!("{i}"), &[4], Storage::F32).unwrap()).collect();
    wrong(|w| with_good_ones!(w, Tensor::with_id(ids[8], &mut p, &[1.0; 4])), |e| matches!(e, Error::UnknownTensorId));
}

#[test]
#[allow(unsafe_code)]
fn overlap() {
    let mut memory = [1.0f32; 16];
    let start = memory.as_mut_ptr();
    wrong(
        |w| {
            // SAFETY: both ranges lie in `memory`, which nothing uses until the step has refused them.
            let raw = unsafe { Tensor::raw_f32("fresh", start, start.wrapping_add(3), &[4]) };
            with_good_ones!(w, raw)
        },
        |e| matches!(e, Error::Overlap { first, second } if first.contains("fresh") && second.contains("fresh")),
    );
    assert_eq!(memory, [1.0; 16]);
}
