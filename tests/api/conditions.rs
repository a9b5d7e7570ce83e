//! Conditions, and values where scalars and elements meet.

use crate::optimizer;
use updraft::{Engine, Math, Tensor};

/// One step of one element under both modes and engines, which must agree.
fn step(text: &str, p: f64, g: f64) -> f64 {
    let mut results = Vec::new();
    for math in [Math::Strict, Math::Fast] {
        for engine in [Engine::default(), Engine::Eval] {
            let mut opt = crate::rule(text).optimizer().math(math).engine(engine).build().unwrap();
            let mut w = [p];
            opt.step(&mut [Tensor::new("w", &mut w, &[g])]).unwrap();
            results.push(w[0]);
        }
    }
    assert!(results.iter().all(|x| x.to_bits() == results[0].to_bits()), "{results:?}");
    results[0]
}

#[test]
fn a_scalar_condition_may_be_an_arm_of_a_condition_of_elements() {
    for (flag, expected) in [("true", [1.0, 3.0]), ("false", [2.0, 3.0])] {
        let text =
            format!("hyper f = {flag}\n\np = if (if g > 0 then f else p > 5) then 1 else (if g > 0 then 2 else 3)\n");
        assert_eq!([step(&text, 0.0, 1.0), step(&text, 0.0, -1.0)], expected, "{flag}");
        assert_eq!(step(&text, 6.0, -1.0), 1.0);
    }
    let text = "hyper a = 1\n\nlet c = g > 0\nif p > 0 { c = a > 2 }\np = if c then 1 else 2\n";
    assert_eq!([step(text, 1.0, 1.0), step(text, -1.0, 1.0), step(text, -1.0, -1.0)], [2.0, 1.0, 2.0]);
    let text =
        "hyper a = 1\n\nlet c per element = a > 0\nif g > 0 { c = p > 0 }\np = if c and not (g == 2) then 1 else 2\n";
    assert_eq!([step(text, 1.0, 1.0), step(text, -1.0, 1.0), step(text, -1.0, -1.0)], [1.0, 2.0, 1.0]);
    let text = "hyper a = 1\n\nlet s = a > 0\ns = a > 5\np = if s or g > 0 then 1 else 2\n";
    assert_eq!([step(text, 1.0, 1.0), step(text, 1.0, -1.0)], [1.0, 2.0]);
    let text = "hyper a = 1\n\nlet s = a > 0\np = if (if g > 0 then not s else s) then 1 else 2\n";
    assert_eq!([step(text, 1.0, 1.0), step(text, 1.0, -1.0)], [2.0, 1.0]);
}

#[test]
fn a_condition_is_decided_with_the_scalars_of_its_own_place() {
    let text = "state k per tensor = 0\n\nif k > 0 { p += 1 }\nk += 1\nif k > 0 { p += 10 }\nlet x = k\nx -= 1\n\
                if x > 0 { p += 100 }\nif old(k) > 0 { p += 1000 }\n";
    let mut opt = optimizer(text);
    let mut w = [0.0f64];
    opt.step(&mut [Tensor::new("w", &mut w, &[0.0])]).unwrap();
    assert_eq!(w, [10.0]);
    opt.step(&mut [Tensor::new("w", &mut w, &[0.0])]).unwrap();
    assert_eq!(w, [10.0 + 1111.0]);
}

#[test]
fn a_scalar_changed_in_a_block_decides_a_later_condition() {
    let text = "hyper a = 1\nstate k per group = 0\n\nif a > 0 {\n    k = 5\n    p += 1\n} else {\n    k = -5\n    p += 2\n}\n\
                if k > 0 { p += 10 } else { p += 20 }\n";
    assert_eq!(step(text, 0.0, 0.0), 11.0);
    assert_eq!(step(&text.replace("a = 1", "a = -1"), 0.0, 0.0), 22.0);
}

#[test]
fn nested_conditions_that_are_not_reached_have_no_effect() {
    let text = "hyper a = 1\n\nif a > 0 {\n    if t > 1 { p += 1 } else { p += 2 }\n} else {\n    if t > 1 { p += 3 } else { p += 4 }\n}\n";
    let mut opt = optimizer(text);
    let mut w = [0.0f64];
    let mut seen = Vec::new();
    for a in [1.0, 1.0, -1.0, 1.0] {
        opt.set("a", a).unwrap();
        w = [0.0];
        opt.step(&mut [Tensor::new("w", &mut w, &[0.0])]).unwrap();
        seen.push(w[0]);
    }
    assert_eq!((seen, opt.compiled_plans()), (vec![2.0, 1.0, 3.0, 1.0], 3));
    let _ = w;
}

#[test]
fn reads_see_what_was_assigned_and_old_sees_what_was_there() {
    let text =
        "state m = 1\n\ng = 2*g\nm = m + g\np = p + m + g\nm = old(m)*10 + m\np += old(p)*100 + m + old(g)*1000\n";
    // g = 6; m = 7; p = 2 + 7 + 6 = 15; m = 10 + 7 = 17; p = 15 + 200 + 17 + 3000.
    assert_eq!(step(text, 2.0, 3.0), 3232.0);
}

#[test]
fn the_gradient_is_never_written() {
    let mut opt = optimizer("g = 2*g\np -= g\n");
    let (mut w, g) = ([1.0f32; 9], [0.5f32; 9]);
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
    assert_eq!((w, g), ([0.0; 9], [0.5; 9]));
}

/// A tensor whose plan has no use for a reduction over the model gives its part of it to the others.
#[test]
fn what_is_reduced_is_of_all_tensors_whatever_their_plans() {
    let mut opt = optimizer("let n = sum(g per model)\nif t > 1 { p -= g / n }\n");
    let (mut a, mut b) = ([1.0f64], [1.0f64]);
    opt.step(&mut [Tensor::new("a", &mut a, &[3.0])]).unwrap();
    opt.step(&mut [Tensor::new("a", &mut a, &[3.0]), Tensor::new("b", &mut b, &[1.0])]).unwrap();
    assert_eq!((a, b), ([0.25], [1.0]));
}
