//! Inputs: per model, group and tensor, with and without defaults; for one step.

use crate::{optimizer, rule};
use updraft::{Error, Tensor};

const EACH: &str = "input a\ninput b per group\ninput c per tensor\n\np = g + a + 10*b + 100*c\n";

fn message<T>(result: Result<T, Error>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn each_extent_is_given_in_its_own_place() {
    let mut opt = rule(EACH).optimizer().group("second", "y", |g| Ok(g)).unwrap().build().unwrap();
    let (mut x, mut y, mut z) = ([0.0f64], [0.0f64; 2], [0.0f64]);
    opt.input("a", 1.0).unwrap();
    opt.group("default").unwrap().input("b", 2.0).unwrap();
    opt.group("second").unwrap().input("b", 3.0).unwrap();
    opt.step(&mut [
        Tensor::new("x", &mut x, &[0.0]).input("c", 4.0),
        Tensor::new("y", &mut y, &[0.0; 2]).input("c", 5.0),
        Tensor::new("z", &mut z, &[0.5]).input("c", 6.0),
    ])
    .unwrap();
    assert_eq!((x, y, z), ([421.0], [531.0; 2], [621.5]));
}

#[test]
fn an_input_is_for_one_successful_step() {
    let mut opt = optimizer(EACH);
    let mut x = [0.0f64];
    opt.input("a", 1.0).unwrap();
    opt.group("default").unwrap().input("b", 2.0).unwrap();
    // The step fails: what was given is kept.
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[0.0])])).contains("`c`"));
    opt.step(&mut [Tensor::new("x", &mut x, &[0.0]).input("c", 4.0)]).unwrap();
    assert_eq!(x, [421.0]);
    // It has succeeded: all have to be given again.
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[0.0]).input("c", 4.0)])).contains("`a`"));
    opt.input("a", 1.0).unwrap();
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[0.0]).input("c", 4.0)])).contains("`b`"));
    assert_eq!(x, [421.0]);
}

#[test]
fn the_last_value_given_counts() {
    let mut opt = optimizer("input a\ninput c per tensor\n\np = g + a + 100*c\n");
    let mut x = [0.0f64];
    opt.input("a", 1.0).unwrap();
    opt.input("a", 2.0).unwrap();
    opt.step(&mut [Tensor::new("x", &mut x, &[0.0]).input("c", 3.0).input("c", 4.0)]).unwrap();
    assert_eq!(x, [402.0]);
}

#[test]
fn a_default_stands_in_and_follows_hypers() {
    let text = "hyper lr = 2\ninput a per group = lr + 1\ninput c per tensor = 10*lr\n\np = g + a + 100*c\n";
    let mut opt = rule(text).optimizer().group("y", "y", |g| g.set("lr", 3.0)).unwrap().build().unwrap();
    let step = |opt: &mut updraft::Optimizer| {
        let (mut x, mut y) = ([0.0f64], [0.0f64]);
        opt.step(&mut [Tensor::new("x", &mut x, &[0.0]), Tensor::new("y", &mut y, &[0.0])]).unwrap();
        (x[0], y[0])
    };
    assert_eq!(step(&mut opt), (2003.0, 3004.0));
    opt.set("lr", 1.0).unwrap();
    assert_eq!(step(&mut opt), (1002.0, 1002.0));
    opt.group("y").unwrap().input("a", 7.0).unwrap();
    assert_eq!(step(&mut opt), (1002.0, 1007.0));
    assert_eq!(step(&mut opt), (1002.0, 1002.0));
}

#[test]
fn an_input_is_needed_only_by_plans_that_read_it() {
    let text = "hyper use_loss = 0\ninput loss\n\nif use_loss != 0 {\n    if loss > 1 { g *= 2 }\n}\np -= g\n";
    let mut opt = optimizer(text);
    let mut x = [0.0f64];
    opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]).unwrap();
    opt.set("use_loss", 1.0).unwrap();
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[1.0])])).contains("`loss`"));
    opt.input("loss", 5.0).unwrap();
    opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]).unwrap();
    assert_eq!(x, [-3.0]);

    let text = "input early\n\nif t > 2 { p -= g } else { p -= early*g }\n";
    let mut opt = optimizer(text);
    let mut x = [0.0f64];
    for _ in 0..2 {
        assert!(matches!(opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]), Err(Error::MissingInput { .. })));
        opt.input("early", 2.0).unwrap();
        opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]).unwrap();
    }
    opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]).unwrap();
    assert_eq!(x, [-5.0]);
}

#[test]
fn inputs_in_conditions_are_needed_where_the_condition_is_reached() {
    let text = "input a\ninput c per tensor\n\nif a > 0 {\n    if c > 0 { p -= g } else { p += g }\n}\n";
    let mut opt = optimizer(text);
    let mut x = [0.0f64];
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[1.0])])).contains("`a`"));
    opt.input("a", 0.0).unwrap();
    opt.step(&mut [Tensor::new("x", &mut x, &[1.0])]).unwrap();
    opt.input("a", 1.0).unwrap();
    assert!(message(opt.step(&mut [Tensor::new("x", &mut x, &[1.0])])).contains("`c`"));
    opt.step(&mut [Tensor::new("x", &mut x, &[1.0]).input("c", -1.0)]).unwrap();
    assert_eq!(x, [1.0]);
}

#[test]
fn messages_say_how_to_give_an_input() {
    let mut opt = optimizer(EACH);
    assert!(message(opt.input("loss", 1.0)).contains("it has a, b, c"));
    assert!(message(opt.input("b", 1.0)).contains("optimizer.group(...)?.input(\"b\""));
    assert!(message(opt.group("default").unwrap().input("a", 1.0)).contains("optimizer.input(\"a\""));
    assert!(message(opt.group("default").unwrap().input("c", 1.0)).contains("Tensor::new(...).input(\"c\""));
    let mut x = [0.0f64];
    let tensor = Tensor::new("x", &mut x, &[0.0]).input("a", 1.0);
    assert!(matches!(opt.step(&mut [tensor]), Err(Error::InputExtent { .. })));
    let tensor = Tensor::new("x", &mut x, &[0.0]).input("d", 1.0);
    assert!(matches!(opt.step(&mut [tensor]), Err(Error::UnknownInput { .. })));
}
