//! Plans: compiled when first needed, 64 kept, the last used longest.

use crate::optimizer;
use std::fmt::Write as _;
use updraft::Tensor;

/// A rule with seven conditions on hypers, so that 128 plans can be reached.
fn many_plans() -> updraft::Optimizer {
    let mut text = String::new();
    for i in 0..7 {
        let _ = writeln!(text, "hyper h{i} = 0");
    }
    for i in 0..7 {
        let _ = writeln!(text, "if h{i} != 0 {{ g += {} }}", 1 << i);
    }
    optimizer(&(text + "p = g\n"))
}

fn step(opt: &mut updraft::Optimizer, plan: u32) {
    let values: Vec<(String, f64)> = (0..7).map(|i| (format!("h{i}"), f64::from(plan >> i & 1))).collect();
    let values: Vec<_> = values.iter().map(|(name, x)| (name.as_str(), (*x).into())).collect();
    opt.set_many(&values).unwrap();
    let mut p = [0.0f32; 5];
    opt.step(&mut [Tensor::new("w", &mut p, &[0.0; 5])]).unwrap();
    assert_eq!(p, [plan as f32; 5]);
}

#[test]
fn sixty_four_plans_are_kept_and_the_one_used_longest_ago_goes() {
    let mut opt = many_plans();
    (0..64).for_each(|plan| step(&mut opt, plan));
    assert_eq!(opt.compiled_plans(), 64);
    (0..64).for_each(|plan| step(&mut opt, plan));
    assert_eq!(opt.compiled_plans(), 64);
    // Plan 0 is used again, so plan 1 makes room for plan 64.
    step(&mut opt, 0);
    step(&mut opt, 64);
    assert_eq!(opt.compiled_plans(), 65);
    step(&mut opt, 0);
    step(&mut opt, 2);
    assert_eq!(opt.compiled_plans(), 65);
    step(&mut opt, 1);
    assert_eq!(opt.compiled_plans(), 66);
    (0..128).chain(0..128).for_each(|plan| step(&mut opt, plan));
}

/// More plans in one step than are kept.
#[test]
fn one_step_may_take_more_plans_than_are_kept() {
    let mut text = String::from("input choice per tensor\n");
    for i in 0..100 {
        let _ = writeln!(text, "if choice == {i} {{ p = g + {i} }}");
    }
    let mut opt = optimizer(&text);
    let names: Vec<String> = (0..100).map(|i| format!("w{i}")).collect();
    for _ in 0..2 {
        let mut params = vec![[0.0f64; 3]; 100];
        let tensors = names.iter().zip(&mut params).enumerate();
        let mut tensors: Vec<Tensor> =
            tensors.map(|(i, (name, p))| Tensor::new(name, p, &[1.0; 3]).input("choice", i as f64)).collect();
        opt.step(&mut tensors).unwrap();
        drop(tensors);
        for (i, p) in params.iter().enumerate() {
            assert_eq!(*p, [1.0 + i as f64; 3]);
        }
    }
}

#[test]
fn a_condition_on_t_compiles_when_it_is_first_reached() {
    let mut opt = optimizer("if t > 2 { p -= g } else { p += g }\n");
    let mut w = [0.0f32];
    let mut counts = Vec::new();
    for _ in 0..5 {
        opt.step(&mut [Tensor::new("w", &mut w, &[1.0])]).unwrap();
        counts.push((w[0], opt.compiled_plans()));
    }
    assert_eq!(counts, [(1.0, 1), (2.0, 1), (1.0, 2), (0.0, 2), (-1.0, 2)]);
    // Tensors of different t in one step each have their own plan.
    let (mut w, mut new) = ([0.0f32], [0.0f32]);
    opt.step(&mut [Tensor::new("w", &mut w, &[1.0]), Tensor::new("new", &mut new, &[1.0])]).unwrap();
    assert_eq!((w, new, opt.compiled_plans()), ([-1.0], [1.0], 2));
}

/// A plan without scalar code after one with it, in the same place of the call.
#[test]
fn a_plan_leaves_nothing_to_the_next() {
    let mut opt = optimizer("hyper lr = 0.5\nhyper on = 1\n\nif on != 0 { g *= lr }\np -= g\n");
    let mut w = [8.0f32; 3];
    for (on, expected) in [(1.0, 7.5), (0.0, 6.5), (1.0, 6.0), (0.0, 5.0)] {
        opt.set("on", on).unwrap();
        opt.step(&mut [Tensor::new("w", &mut w, &[1.0; 3])]).unwrap();
        assert_eq!(w, [expected; 3]);
    }
}

/// What an optimizer's facts are does not depend on the steps that it has taken: they are those of the first values.
#[test]
fn facts_are_those_of_the_first_values() {
    for extent in ["model", "group", "tensor"] {
        let text = format!("state k per {extent} = 0\n\nif k > 2 {{ p -= g }} else {{ p += g }}\nk += 1\n");
        let mut opt = optimizer(&text);
        let at_first = opt.facts(updraft::Storage::F32, 1);
        let mut w = [0.0f32];
        for _ in 0..5 {
            opt.step(&mut [Tensor::new("w", &mut w, &[1.0])]).unwrap();
        }
        assert_eq!((w, opt.compiled_plans()), ([1.0], 2), "{extent}");
        assert_eq!(opt.facts(updraft::Storage::F32, 1), at_first, "{extent}");
    }
}
