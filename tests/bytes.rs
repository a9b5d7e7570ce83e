//! The bytes per element that shipped rules move, as an expert's hand-written sweeps would.

use std::collections::BTreeMap;
use updraft::check::program::Extent;
use updraft::ir::region::{Level, outcomes};
use updraft::ir::step::Source;
use updraft::ir::{Scalar, lower, lower_conditions};
use updraft::plan::{Plan, plan};
use updraft::{Facts, HyperValue, Math, Outcome, Rule, Storage, Store, Stores};

/// The plan of a shipped rule for a tensor of this shape, in its thousandth step, with states that are 0.
fn plan_of(name: &str, set: &[(&str, HyperValue)], shape: &[usize]) -> Plan {
    let rule = Rule::shipped(name).unwrap();
    let program = rule.program();
    let set: BTreeMap<&str, &HyperValue> = set.iter().map(|(name, value)| (*name, value)).collect();
    let hypers: Vec<HyperValue> = rule
        .hypers()
        .map(|hyper| set.get(hyper.name).map_or_else(|| hyper.default.clone(), |x| (*x).clone()))
        .collect();
    let source = |source: Source| match source {
        Source::Hyper(id) => Scalar::F64(hypers[id.index()].as_f64().unwrap()),
        Source::Flag(id) => Scalar::Bool(hypers[id.index()].as_bool().unwrap()),
        Source::Mode(_, mode) => Scalar::Bool(mode == 0),
        Source::Shape(of) => Scalar::F64(of.of(shape)),
        Source::T => Scalar::F64(1000.0),
        Source::Given(_) => Scalar::Bool(true),
        _ => Scalar::F64(0.0),
    };
    let conditions = lower_conditions(program, Storage::F32);
    let (mut registers, mut found): (Vec<Scalar>, Vec<Outcome>) = (Vec::new(), Vec::new());
    conditions.run((Level::Model, Level::Tensor), &mut registers, source, |_, _| ());
    outcomes(program, &conditions, &registers, &mut found);
    plan(&lower(program, &Facts::new(Storage::F32, Math::Fast, found)))
}

/// The bytes with parameters and gradients of these types, and states kept like this.
fn bytes_of((param, grad): (Storage, Storage), p: Option<Store>, states: &[Option<Store>]) -> usize {
    let facts = plan_of("adam", &[], &[64, 64]).facts;
    let stores = Stores { param: p, states: states.into() };
    let facts = Facts { storage: param, grad, stores, ..facts };
    plan(&lower(Rule::shipped("adam").unwrap().program(), &facts)).bytes_per_element()
}

#[test]
fn narrower_types_move_fewer_bytes() {
    let (f32, bf16) = (Storage::F32, Storage::Bf16);
    assert_eq!(bytes_of((bf16, bf16), None, &[]), 14);
    assert_eq!(bytes_of((f32, f32), None, &[Some(Store::Bf16); 2]), 20);
    assert_eq!(bytes_of((f32, bf16), None, &[Some(Store::Bf16); 2]), 18);
    assert_eq!(bytes_of((bf16, f32), None, &[]), 16);
    assert_eq!(bytes_of((bf16, bf16), None, &[Some(Store::F32); 2]), 22);
    // The parameter is only written: 2; the master copy is read and written: 8; the gradient 2; two states of f32: 16.
    assert_eq!(bytes_of((bf16, bf16), Some(Store::F32), &[]), 28);
    assert_eq!(bytes_of((bf16, bf16), Some(Store::F32), &[Some(Store::Bf16); 2]), 20);
    assert_eq!(bytes_of((bf16, bf16), Some(Store::Bf16Stochastic), &[Some(Store::Bf16Stochastic); 2]), 14);
    // A compensation is read and written as what it belongs to.
    assert_eq!(bytes_of((bf16, bf16), Some(Store::Bf16Kahan), &[]), 18);
    assert_eq!(bytes_of((f32, f32), None, &[None, Some(Store::Bf16Kahan)]), 28);
}

fn bytes(name: &str, set: &[(&str, HyperValue)]) -> usize {
    plan_of(name, set, &[64, 64]).bytes_per_element()
}

#[test]
fn rules_of_one_sweep_touch_each_array_once() {
    assert_eq!(bytes("sgd", &[]), 12);
    assert_eq!(bytes("sgd", &[("momentum", 0.9.into())]), 20);
    assert_eq!(bytes("adam", &[]), 28);
    assert_eq!(bytes("adamw", &[]), 28);
    assert_eq!(bytes("amsgrad", &[]), 36);
}

#[test]
fn lamb_reads_what_it_needs_twice_and_no_more() {
    let plan = plan_of("lamb", &[], &[64, 64]);
    assert!(plan.bytes_per_element() <= 40, "{plan}");
    // The trust ratio belongs to the tensor: nothing waits for other tensors.
    assert_eq!(plan.sweeps().count(), 2, "{plan}");
}

/// The norm of the gradients, 4, and then AdamW.
#[test]
fn clipping_by_the_norm_of_all_gradients_reads_them_once_more() {
    assert_eq!(bytes("clip_adamw", &[]), 32);
}

/// The gradient three times (its squares, the size of the update, the update) and the parameter; beside elements there are
/// vectors only.
#[test]
fn adafactor_moves_no_second_moment() {
    let plan = plan_of("adafactor", &[], &[64, 64]);
    assert_eq!(plan.bytes_per_element(), 24, "{plan}");
    let mut small = plan.sweeps().filter(|sweep| sweep.over != Extent::Element);
    assert!(small.all(|sweep| matches!(sweep.over, Extent::Row | Extent::Col | Extent::Matrix)), "{plan}");
}

/// The one plan of a rule without conditions.
fn plan_of_text(storage: Storage, body: &str) -> Plan {
    let rule = Rule::parse("r", &format!("optimizer r\n{body}")).unwrap();
    plan(&lower(rule.program(), &Facts::new(storage, Math::Fast, vec![])))
}

/// The numbers of a rule are in its code, whatever the type: they are no arguments of it.
#[test]
fn numbers_are_in_the_code() {
    for storage in [Storage::F32, Storage::F64, Storage::Bf16] {
        let plan = plan_of_text(storage, "p -= 0.5*g + 2\n");
        assert!(plan.sweeps().all(|sweep| sweep.kernel.uniforms.is_empty()), "{plan}");
        let plan = plan_of_text(storage, "hyper lr = 0.5\np -= lr*g + 2\n");
        assert!(plan.sweeps().all(|sweep| sweep.kernel.uniforms.len() == 1), "{plan}");
    }
}

/// To keep what was computed may cost as many bytes as to compute it again. It is kept from sweep to sweep of one tensor, but
/// not from phase to phase, where it would be memory for every tensor of the model.
#[test]
fn nothing_is_kept_for_all_tensors_that_can_be_computed_again() {
    let plan_of = |norm: &str| {
        let states = "state a = 0\nstate b = 0\n\na = 0.9*a + g\nb = 0.9*b + abs(g)\n";
        let body = format!("{states}let x = exp(a) * tanh(b)\np -= x / {norm}\n");
        plan_of_text(Storage::F32, &body)
    };
    let (tensor, model) = (plan_of("norm(x)"), plan_of("norm(x per model)"));
    assert_eq!((tensor.bytes_per_element(), tensor.temps.len()), (36, 1), "{tensor}");
    assert_eq!((model.bytes_per_element(), model.temps.len()), (36, 0), "{model}");
}

/// What is summed for the end of the step alone is summed where the array is read anyway: p for its norm; p and g, and p again.
#[test]
fn a_sum_that_is_needed_last_is_folded_where_it_costs_nothing() {
    let body = "state s per tensor = 0\n\ns = 2 * sum(g) + 1\np -= 0.5 * g / norm(p)\n";
    let plan = plan_of_text(Storage::F32, body);
    assert_eq!(plan.bytes_per_element(), 16, "{plan}");
}
