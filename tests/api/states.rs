//! States: made when a plan first touches them, per model, group, tensor and element; `steps`, `state`, `reset`.

use crate::{optimizer, rule};
use updraft::{Rule, StateValues, Storage, Tensor};

#[test]
fn a_state_exists_once_a_plan_touches_it() {
    let mut opt = Rule::shipped("sgd").unwrap().optimizer().build().unwrap();
    let mut w = [1.0f32; 6];
    opt.step(&mut [Tensor::new("w", &mut w, &[1.0; 6])]).unwrap();
    assert_eq!((opt.state_bytes(), opt.steps("w")), (0, 1));
    let names: Vec<String> = opt.rule().program().states.iter().map(|state| state.name.to_string()).collect();
    assert!(names.iter().all(|name| opt.state("w", name).is_none()));
    opt.set("momentum", 0.5).unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &[1.0; 6])]).unwrap();
    assert_eq!((opt.state_bytes(), opt.steps("w")), (24, 2));
    assert!(names.iter().any(|name| matches!(opt.state("w", name), Some(StateValues::F32(x)) if x.len() == 6)));
    assert_eq!(opt.state("w", "no such state"), None);
    assert_eq!(opt.state("no such tensor", &names[0]), None);
    assert_eq!(opt.steps("no such tensor"), 0);
}

#[test]
fn first_values_are_taken_when_a_state_is_first_touched() {
    let text = "hyper on = 0\nhyper lr = 1\nstate start = p + lr\nstate k per tensor = 10*lr\nstate c per group = 100*lr\n\n\
                p += g\nif on != 0 {\n    k += 1\n    start = start\n    p += start + k + c\n}\n";
    let mut opt = optimizer(text);
    let mut w = [1.0f64, 2.0];
    let mut step = |opt: &mut updraft::Optimizer| {
        opt.step(&mut [Tensor::new("w", &mut w, &[0.5, 0.5])]).unwrap();
        w
    };
    assert_eq!(step(&mut opt), [1.5, 2.5]);
    assert_eq!(opt.state_bytes(), 0);
    opt.set_many(&[("on", 1.into()), ("lr", 3.into())]).unwrap();
    // start = p before this step + 3; k = 30 + 1; c = 300.
    assert_eq!(step(&mut opt), [2.0 + 4.5 + 331.0, 3.0 + 5.5 + 331.0]);
    assert_eq!(opt.state("w", "k"), Some(StateValues::Scalar(31.0)));
    // Kept, though the hyper changes: `start` and `c` were never assigned anew.
    opt.set("lr", 7.0).unwrap();
    let before = [337.5, 339.5];
    assert_eq!(step(&mut opt), [before[0] + 0.5 + 4.5 + 332.0, before[1] + 0.5 + 5.5 + 332.0]);
    assert_eq!(opt.state("w", "c"), Some(StateValues::Scalar(300.0)));
    assert_eq!(opt.state_bytes(), 2 * 8 + 8 + 8);
}

#[test]
fn the_machine_epsilon_in_a_first_value_is_that_of_the_tensor() {
    let mut opt = optimizer("state k per tensor = epsilon\n\nk = k\np = g + k\n");
    let (mut x, mut y) = ([0.0f64], [0.0f32]);
    opt.step(&mut [Tensor::new("x", &mut x, &[0.0]), Tensor::new("y", &mut y, &[0.0])]).unwrap();
    assert_eq!((x, y), ([f64::EPSILON], [f32::EPSILON]));
}

/// A block that is not taken touches nothing, conditions in it included.
#[test]
fn a_state_that_only_an_unreached_condition_reads_does_not_exist() {
    let mut opt = optimizer(
        "hyper on = 0\nstate k per tensor = 3\nstate c = 0\n\nif on != 0 {\n    if k > 2 { p += 1 }\n    k += 1\n    c += g\n}\np += g\n",
    );
    let mut w = [0.0f64];
    opt.step(&mut [Tensor::new("w", &mut w, &[1.0])]).unwrap();
    assert_eq!((opt.state_bytes(), opt.state("w", "k")), (0, None));
    opt.set("on", 1.0).unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &[1.0])]).unwrap();
    assert_eq!((w, opt.state("w", "k")), ([3.0], Some(StateValues::Scalar(4.0))));
}

#[test]
fn statements_per_model_run_once_a_step_and_per_group_once_a_group() {
    let text = "hyper lr = 1\nstate total per model = 0\nstate steps per group = 0\nstate mine per tensor = 0\n\n\
                total += 1\nsteps += lr\nmine += 1\np = total + 100*steps + 10000*mine\n";
    let mut opt = rule(text).optimizer().group("b", "b*", |g| g.set("lr", 2.0)).unwrap().build().unwrap();
    let names = ["a0", "b0", "a1", "b1", "a2"];
    for k in 1..=3 {
        let mut params = vec![[0.0f64; 2]; names.len()];
        // `a2` misses the second step: its own state stays behind, and its t differs from then on.
        let taking_part = names.iter().zip(&mut params).filter(|(name, _)| k != 2 || **name != "a2");
        let mut tensors: Vec<Tensor> = taking_part.map(|(name, p)| Tensor::new(name, p, &[0.0; 2])).collect();
        opt.step(&mut tensors).unwrap();
        drop(tensors);
        for (name, p) in names.iter().zip(&params) {
            let (lr, mine) =
                (if name.starts_with('b') { 2 } else { 1 }, if *name == "a2" && k > 1 { k - 1 } else { k });
            if k != 2 || *name != "a2" {
                assert_eq!(*p, [f64::from(k + 100 * k * lr + 10000 * mine); 2], "{name} in step {k}");
            }
        }
    }
    assert_eq!(opt.state("a0", "total"), Some(StateValues::Scalar(3.0)));
    assert_eq!(opt.state("b1", "steps"), Some(StateValues::Scalar(6.0)));
    assert_eq!(opt.state("a1", "steps"), Some(StateValues::Scalar(3.0)));
    assert_eq!((opt.state("a2", "mine"), opt.steps("a2")), (Some(StateValues::Scalar(2.0)), 2));
    // total, two counts, five of `mine`.
    assert_eq!(opt.state_bytes(), 8 * 8);
}

/// Tensors of either type, and of different t, see one value computed from the old one.
#[test]
fn all_tensors_of_a_step_see_the_same_scalars() {
    let mut opt = optimizer("input x\nstate best per model = 100\n\nbest = min(best, x)\np = best\n");
    let (mut a, mut b, mut c) = ([0.0f32; 2], [0.0f64; 3], [0.0f32; 1]);
    for (x, best) in [(7.0, 7.0), (9.0, 7.0), (3.0, 3.0)] {
        opt.input("x", x).unwrap();
        let mut tensors = vec![Tensor::new("a", &mut a, &[0.0; 2]), Tensor::new("b", &mut b, &[0.0; 3])];
        if best == 3.0 {
            tensors.push(Tensor::new("c", &mut c, &[0.0]));
        }
        opt.step(&mut tensors).unwrap();
        drop(tensors);
        assert_eq!((a, b), ([best as f32; 2], [best; 3]));
    }
    assert_eq!(c, [3.0]);
}

#[test]
fn reset_forgets_tensors_and_states_but_not_hypers() {
    let text = "hyper lr = 1\ninput x per model = 0\nstate m = 0\nstate k per tensor = 0\nstate c per group = 0\nstate n per model = 0\n\n\
                m += g\nk += 1\nc += 1\nn += 1\np -= lr*m + (k + c + n + x)\n";
    let fresh = |opt: &mut updraft::Optimizer, len: usize| {
        let mut w = vec![1.0f64; len];
        opt.step(&mut [Tensor::new("w", &mut w, &vec![0.5; len])]).unwrap();
        w[0]
    };
    let mut opt = optimizer(text);
    opt.set("lr", 2.0).unwrap();
    let first = fresh(&mut opt, 3);
    assert_ne!(fresh(&mut opt, 3), first);
    let id = opt.register("w", &[3], Storage::F64).unwrap();
    opt.input("x", 5.0).unwrap();
    opt.reset();
    assert_eq!((opt.steps("w"), opt.state("w", "m"), opt.state_bytes()), (0, None, 0));
    // Another shape is fine now, and the input is forgotten too.
    assert_eq!(fresh(&mut opt, 4), first);
    let mut w = [0.0f64; 4];
    let stale = opt.step(&mut [Tensor::with_id(id, &mut w, &[0.0; 4])]);
    assert!(matches!(stale, Err(updraft::Error::UnknownTensorId)));
    assert_eq!(opt.steps("w"), 1);
}

#[test]
fn registered_tensors_are_found_by_id_and_by_name() {
    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    let mut named = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    let a = opt.register("a", &[2], Storage::F32).unwrap();
    let b = opt.register("b", &[1, 3], Storage::F64).unwrap();
    assert_eq!(opt.register("a", &[2], Storage::F32).unwrap(), a);
    assert_ne!(a, b);
    assert_eq!(opt.steps("a"), 0);
    let (mut pa, mut pb) = ([1.0f32, 2.0], ndarray::arr2(&[[1.0f64, 2.0, 3.0]]));
    let (mut qa, mut qb) = (pa, pb.clone());
    for k in 0..4 {
        let (ga, gb) = ([0.5f32, -0.5], ndarray::arr2(&[[0.1f64, 0.0, -0.1]]));
        let mut tensors = [Tensor::with_id(b, &mut pb, &gb), Tensor::with_id(a, &mut pa, &ga)];
        if k % 2 == 0 {
            tensors.reverse();
        }
        opt.step(&mut tensors).unwrap();
        drop(tensors);
        named.step(&mut [Tensor::new("a", &mut qa, &ga), Tensor::new("b", &mut qb, &gb)]).unwrap();
        assert_eq!((pa, &pb), (qa, &qb));
    }
    assert_eq!((opt.steps("a"), opt.steps("b")), (4, 4));
}

#[test]
fn t_is_counted_per_tensor_to_the_last_bit() {
    let mut opt = optimizer("p = t\n");
    let (mut a, mut b) = ([0.0f64], [0.0f64]);
    for _ in 0..1000 {
        opt.step(&mut [Tensor::new("a", &mut a, &[0.0])]).unwrap();
    }
    opt.step(&mut [Tensor::new("b", &mut b, &[0.0]), Tensor::new("a", &mut a, &[0.0])]).unwrap();
    assert_eq!((a, b, opt.steps("a"), opt.steps("b")), ([1001.0], [1.0], 1001, 1));
}
