//! Hypers: changed at run time, re-evaluated, atomic, held to the rule.

use crate::{optimizer, rule};
use updraft::{Error, Rule, Tensor};

const SGD: &str = "hyper lr = 0.5\n\np -= lr*g\n";

fn step(opt: &mut updraft::Optimizer, w: &mut f64) {
    let mut p = [*w];
    opt.step(&mut [Tensor::new("w", &mut p, &[1.0])]).unwrap();
    *w = p[0];
}

#[test]
fn a_hyper_that_is_set_counts_from_the_next_step_without_recompiling() {
    let mut opt = optimizer(SGD);
    let mut w = 8.0;
    step(&mut opt, &mut w);
    assert_eq!((w, opt.compiled_plans()), (7.5, 1));
    for lr in [0.25, 2.0, 0.0, -1.0] {
        opt.set("lr", lr).unwrap();
        let before = w;
        step(&mut opt, &mut w);
        assert_eq!(w, before - lr);
        assert_eq!(opt.hyper("lr").unwrap().as_f64(), Some(lr));
    }
    assert_eq!(opt.compiled_plans(), 1);
}

#[test]
fn a_condition_that_changes_compiles_once_per_outcome() {
    let mut opt = optimizer("hyper lr = 0.5\nhyper wd = 0\n\nif wd != 0 { g += wd*p }\np -= lr*g\n");
    let mut w = 8.0;
    for wd in [0.0, 0.1, 0.0, 0.2, 0.0] {
        opt.set("wd", wd).unwrap();
        let before = w;
        step(&mut opt, &mut w);
        assert_eq!(w, f64::mul_add(f64::mul_add(before, wd, 1.0), -0.5, before));
    }
    assert_eq!(opt.compiled_plans(), 2);
}

#[test]
fn a_default_follows_other_hypers_until_it_is_set() {
    let mut opt =
        optimizer("hyper lr = 0.5\nhyper twice = 2*lr\nhyper more = twice + 1\n\np -= (lr + twice + more)*g\n");
    let get = |opt: &updraft::Optimizer, name: &str| opt.hyper(name).unwrap().as_f64().unwrap();
    assert_eq!((get(&opt, "twice"), get(&opt, "more")), (1.0, 2.0));
    opt.set("lr", 3.0).unwrap();
    assert_eq!((get(&opt, "twice"), get(&opt, "more")), (6.0, 7.0));
    opt.set("twice", 1.0).unwrap();
    opt.set("lr", 4.0).unwrap();
    assert_eq!((get(&opt, "twice"), get(&opt, "more")), (1.0, 2.0));
    let mut w = 10.0;
    step(&mut opt, &mut w);
    assert_eq!(w, 10.0 - (4.0 + 1.0 + 2.0));
}

#[test]
fn defaults_follow_what_is_set_while_building_and_in_each_group() {
    let rule = rule("hyper lr = 0.5\nhyper twice = 2*lr\n\np -= twice*g\n");
    let builder = rule.optimizer().set("lr", 3.0).unwrap();
    let mut opt = builder.group("slow", "s*", |g| g.set("lr", 0.25)).unwrap().build().unwrap();
    assert_eq!(opt.hyper("twice").unwrap().as_f64(), Some(6.0));
    assert_eq!(opt.group("slow").unwrap().hyper("twice").unwrap().as_f64(), Some(0.5));
}

#[test]
fn a_default_that_leaves_its_interval_is_refused_and_nothing_changes() {
    let mut opt = optimizer("hyper lr = 0.5\nhyper half = lr/2 in [0, 1)\n\np -= half*g\n");
    let error = opt.set("lr", 4.0).unwrap_err();
    assert!(matches!(error, Error::HyperOutOfRange { ref hyper, value: 2.0, .. } if hyper == "half"), "{error}");
    assert_eq!(opt.hyper("lr").unwrap().as_f64(), Some(0.5));
    assert_eq!(opt.hyper("half").unwrap().as_f64(), Some(0.25));
    // Set together with the other, it passes.
    opt.set_many(&[("lr", 4.0.into()), ("half", 0.5.into())]).unwrap();
}

#[test]
fn set_many_is_atomic_and_requires_are_held_after_the_last() {
    let text = "hyper low = 1\nhyper high = 2\nrequire low < high, \"low must be below high\"\n\np -= (high - low)*g\n";
    let mut opt = optimizer(text);
    // Neither could be set first by itself.
    assert!(matches!(opt.set("low", 5.0), Err(Error::Require { .. })));
    opt.set_many(&[("low", 5.0.into()), ("high", 9.0.into())]).unwrap();
    opt.set_many(&[("high", 3.0.into()), ("low", 2.0.into())]).unwrap();
    let error = opt.set_many(&[("low", 0.0.into()), ("high", (-1.0).into())]).unwrap_err();
    assert!(error.to_string().contains("low must be below high"), "{error}");
    assert!(error.to_string().contains("low < high"), "{error}");
    let error = opt.set_many(&[("low", 1.0.into()), ("hihg", 4.0.into())]).unwrap_err();
    assert!(error.to_string().contains("did you mean `high`?"), "{error}");
    assert_eq!(opt.hyper("low").unwrap().as_f64(), Some(2.0));
    assert_eq!(opt.hyper("high").unwrap().as_f64(), Some(3.0));
    // The last value of a name is the one that counts.
    opt.set_many(&[("low", 0.0.into()), ("low", 1.0.into())]).unwrap();
    assert_eq!(opt.hyper("low").unwrap().as_f64(), Some(1.0));
}

#[test]
fn requires_do_not_depend_on_the_order_of_settings_while_building() {
    let rule =
        rule("hyper low = 1\nhyper high = 2\nrequire low < high, \"low must be below high\"\n\np -= (high - low)*g\n");
    assert!(rule.optimizer().set("low", 5.0).unwrap().set("high", 9.0).unwrap().build().is_ok());
    let error = rule.optimizer().set("low", 5.0).unwrap().build().unwrap_err();
    assert!(matches!(error, Error::Require { ref group, .. } if group == "default"), "{error}");
    let builder = rule.optimizer().group("bad", "b*", |g| g.set("high", 0.0)).unwrap();
    assert!(matches!(builder.build(), Err(Error::Require { group, .. }) if group == "bad"));
}

#[test]
fn one_group_that_refuses_a_value_keeps_all_groups_as_they_were() {
    let rule =
        rule("hyper low = 1\nhyper high = 2\nrequire low < high, \"low must be below high\"\n\np -= (high - low)*g\n");
    let builder = rule.optimizer().group("wide", "w*", |g| g.set("high", 100.0)).unwrap();
    let mut opt = builder.build().unwrap();
    // `wide` would accept it, `default` does not.
    assert!(matches!(opt.set("low", 50.0), Err(Error::Require { group, .. }) if group == "default"));
    assert_eq!(opt.group("wide").unwrap().hyper("low").unwrap().as_f64(), Some(1.0));
    opt.group("wide").unwrap().set("low", 50.0).unwrap();
    assert_eq!(opt.hyper("low").unwrap().as_f64(), Some(1.0));
}

#[test]
fn an_unknown_hyper_lists_those_that_exist() {
    let error = Rule::shipped("adam").unwrap().optimizer().set("beta_1", 0.5).unwrap_err();
    let message = error.to_string();
    for part in ["adam has no hyper `beta_1`", "did you mean `beta1`?", "lr, beta1, beta2, eps, weight_decay, maximize"]
    {
        assert!(message.contains(part), "{message}");
    }
    let mut opt = optimizer(SGD);
    assert!(opt.hyper("rl").unwrap_err().to_string().contains("did you mean `lr`?"));
    assert!(opt.set("something_else", 1.0).unwrap_err().to_string().ends_with("it has lr"));
}

#[test]
fn values_are_held_to_kind_and_interval() {
    let rule =
        rule("hyper lr = 1 in (0, 10]\nhyper n = 3 in 1..\nhyper flag = false\n\nif flag { g *= n }\np -= lr*g\n");
    let refuse = |name: &str, value: updraft::runtime::HyperValue| rule.optimizer().set(name, value).unwrap_err();
    for value in [0.0, -1.0, 10.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = refuse("lr", value.into());
        assert!(matches!(error, Error::HyperOutOfRange { .. }), "{value}: {error}");
        assert!(error.to_string().contains("(0, 10]"), "{error}");
    }
    for value in [0.0, 2.5, -1.0, f64::NAN] {
        assert!(matches!(refuse("n", value.into()), Error::HyperOutOfRange { .. }), "{value}");
    }
    assert!(matches!(refuse("lr", true.into()), Error::HyperKind { expected, .. } if expected == "a number"));
    assert!(matches!(refuse("flag", 1.into()), Error::HyperKind { .. }));
    let accepted: [(&str, updraft::runtime::HyperValue); 3] =
        [("lr", 10.into()), ("n", 1.into()), ("flag", true.into())];
    for (name, value) in accepted {
        assert!(rule.optimizer().set(name, value).is_ok(), "{name}");
    }
}

#[test]
fn nan_is_refused_where_there_is_no_interval_too() {
    let mut opt = optimizer(SGD);
    assert!(opt.set("lr", f64::NAN).unwrap_err().to_string().contains("not a number"));
    opt.set("lr", f64::INFINITY).unwrap();
}

#[test]
fn hypers_per_model_have_one_value() {
    let rule = rule("hyper scale per model = 2\nhyper lr = scale/4\n\np -= lr*g\n");
    let error = rule.optimizer().group("a", "a*", |g| g.set("scale", 1.0)).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::HyperPerModel { ref hyper, ref group } if hyper == "scale" && group == "a"),
        "{error}"
    );
    let mut opt = rule.optimizer().group("a", "a*", |g| g.set("lr", 1.0)).unwrap().build().unwrap();
    opt.set("scale", 8.0).unwrap();
    assert_eq!(opt.group("a").unwrap().hyper("scale").unwrap().as_f64(), Some(8.0));
    assert_eq!(opt.hyper("lr").unwrap().as_f64(), Some(2.0));
    assert!(matches!(opt.group("a").unwrap().set("scale", 1.0), Err(Error::HyperPerModel { .. })));
}

#[test]
fn rules_and_compile_errors_are_typed() {
    assert!(matches!(Rule::load("no/such/file.opt"), Err(Error::Io { .. })));
    let error = Rule::shipped("adan_w").unwrap_err();
    assert!(
        matches!(&error, Error::UnknownRule { similar: Some(similar), .. } if similar == "adan" || similar == "adamw")
    );
    let error = Rule::parse("r", "optimizer r\n\np -= lr*g\nm = 0\n").unwrap_err();
    assert!(matches!(error, Error::Compile(_)));
    // Every error of the file.
    assert!(error.to_string().contains("`lr`") && error.to_string().contains("`m`"), "{error}");
}
