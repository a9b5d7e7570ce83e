//! Schedules: the shipped ones against references by hand and golden vectors, what joining them promises, hypers driven
//! by them step by step, resuming, and what is refused.

#[path = "../reference/schedules/mod.rs"]
mod reference;

mod driving;
mod properties;
mod refused;
mod resume;
mod scalars;
mod shipped;
mod text;

use updraft::{HyperValue, Optimizer, OptimizerBuilder, Rule, Schedule, Tensor};

/// A schedule from its expression.
fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A schedule file.
fn file(text: &str) -> Schedule {
    Schedule::parse("own", &format!("schedule own\n{text}")).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn rule(text: &str) -> Rule {
    Rule::parse("r", &format!("optimizer r\n{text}")).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// `p` becomes the hyper `x`, which is 1 unless it is set.
fn driven(schedule: Schedule) -> Optimizer {
    probe().schedule("x", schedule).unwrap().build().unwrap()
}

fn probe() -> OptimizerBuilder {
    rule("hyper x = 1\n\np = x + 0*g\n").optimizer()
}

/// One step of the tensor `name`, of which the rule makes a number to look at.
fn step_of(opt: &mut Optimizer, name: &str) -> f64 {
    let mut w = [0.0f64];
    opt.step(&mut [Tensor::new(name, &mut w, &[0.0])]).unwrap();
    w[0]
}

fn step(opt: &mut Optimizer) -> f64 {
    step_of(opt, "w")
}

fn number(value: HyperValue) -> f64 {
    value.as_f64().unwrap()
}
