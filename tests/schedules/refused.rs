//! What is refused changes nothing: neither parameters nor states, nor where the schedules are.

use crate::resume::bytes;
use crate::{driven, file, number, rule, schedule};
use updraft::{Advance, Error, Optimizer, Rule, Schedule, Tensor};

const RULE: &str = "hyper x = 1 in [0, 2]\nhyper y = 2*x in [0, 10)\nhyper z = 0\nstate m = 0\ninput loss = 0\n\n\
                    m = 0.5*m + x*g + z\np -= m + y + loss\n";

/// An optimizer whose step `k` is refused unless it is given what is right, with other schedules beside.
fn build(schedule: Schedule, advance: Advance) -> Optimizer {
    let counter = file("state n = 0\nn += 1\nvalue = n\n");
    let builder = rule(RULE).optimizer().schedule("z", counter.clone()).unwrap();
    let builder = builder.schedule_every("x", schedule, advance).unwrap();
    builder.group("other", "v", |g| g.schedule("z", counter, Advance::Epoch)).unwrap().build().unwrap()
}

fn step(opt: &mut Optimizer, w: &mut [f64; 2]) -> Result<(), Error> {
    let mut v = [w[1]];
    let mut first = [w[0]];
    let result = opt.step(&mut [Tensor::new("w", &mut first, &[0.5]), Tensor::new("v", &mut v, &[0.25])]);
    *w = [first[0], v[0]];
    result
}

/// A run in which each step that `wrong` prepares is refused first, beside one without the wrong calls. `right` gives
/// what the step needs.
fn refused(
    schedule: Schedule,
    advance: Advance,
    wrong: impl Fn(&mut Optimizer, u64) -> Option<&'static [&'static str]>,
    right: impl Fn(&mut Optimizer, u64),
) {
    let (mut opt, mut other) = (build(schedule.clone(), advance), build(schedule, advance));
    let (mut w, mut v) = ([1.0, 2.0], [1.0, 2.0]);
    let mut errors = 0;
    for k in 0..6 {
        if let Some(words) = wrong(&mut opt, k) {
            let (x, y) = (opt.hyper("x").unwrap(), opt.hyper("y").unwrap());
            for _ in 0..2 {
                let error = step(&mut opt, &mut w).unwrap_err().to_string();
                words.iter().for_each(|word| assert!(error.contains(word), "no `{word}` in: {error}"));
            }
            assert_eq!(w.map(f64::to_bits), v.map(f64::to_bits), "step {k}: parameters");
            assert_eq!((opt.hyper("x").unwrap(), opt.hyper("y").unwrap()), (x, y), "step {k}: hypers");
            assert_eq!(opt.steps("w"), k);
            errors += 1;
        }
        right(&mut opt, k);
        right(&mut other, k);
        step(&mut opt, &mut w).unwrap();
        step(&mut other, &mut v).unwrap();
        assert_eq!(w.map(f64::to_bits), v.map(f64::to_bits), "step {k}");
        assert_eq!(bytes(&opt), bytes(&other), "step {k}: states and schedules");
        if k % 2 == 1 {
            opt.end_epoch();
            other.end_epoch();
        }
    }
    assert!(errors >= 2, "{errors} only");
}

fn metric(opt: &mut Optimizer, x: f64) {
    opt.input("metric", x).unwrap();
}

#[test]
fn a_missing_metric_is_named_with_its_schedule_and_step() {
    let text = "input metric\nstate best = inf\nvalue = base\n\
                if s > 0 {\n    best = min(best, metric)\n    value = base / (1 + best)\n}\n";
    let wrong = |_: &mut Optimizer, k: u64| match k {
        2 => Some(&["`own`", "step 2", "`metric`"][..]),
        3 => Some(&["`own`", "step 3", "`metric`"][..]),
        _ => None,
    };
    refused(file(text), Advance::Step, wrong, |opt, k| metric(opt, 1.0 / (1.0 + k as f64)));
    // By epochs: the step after an epoch needs it, those between do not.
    let wrong = |_: &mut Optimizer, k: u64| match k {
        2 => Some(&["`own`", "step 1", "`metric`"][..]),
        4 => Some(&["`own`", "step 2", "`metric`"][..]),
        _ => None,
    };
    refused(file(text), Advance::Epoch, wrong, |opt, k| {
        if k % 2 == 0 {
            metric(opt, 1.0 / (1.0 + k as f64));
        }
    });
}

#[test]
fn a_shipped_schedule_names_the_input_that_it_misses() {
    for (name, input) in [("loss_scaled", "loss"), ("grad_norm_scaled", "grad_norm_squared")] {
        let mut opt = driven(schedule(name));
        crate::step(&mut opt);
        let error = opt.step(&mut [Tensor::new("w", &mut [0.0f64], &[0.0])]).unwrap_err();
        assert!(matches!(&error, Error::ScheduleValue { schedule, step: 1, .. } if schedule == name), "{error}");
        assert!(error.to_string().contains(&format!("`{input}`")), "{error}");
        opt.input(input, 1.0).unwrap();
        crate::step(&mut opt);
    }
}

#[test]
fn a_value_that_is_not_finite_is_refused() {
    let seen = || file("input metric = 0\nstate n = 1\nn *= 1.5\nvalue = min(base, n/10) + 0*metric\n");
    for bad in [f64::INFINITY, f64::NAN] {
        for advance in [Advance::Step, Advance::Epoch] {
            let wrong = move |opt: &mut Optimizer, k: u64| {
                metric(opt, bad);
                (k == 2 || k == 4).then_some(&["`own`", "step", "NaN"][..])
            };
            refused(seen(), advance, wrong, |opt, _| metric(opt, 0.25));
        }
    }
    let error = schedule("exponential(gamma=10)").value(800, 1.0).unwrap_err();
    assert!(matches!(error, Error::ScheduleValue { step: 800, .. }), "{error}");
    let error = Schedule::constant(f64::INFINITY).value(3, 1.0).unwrap_err().to_string();
    assert!(error.contains("inf") && error.contains("step 3"), "{error}");
}

#[test]
fn a_value_outside_the_interval_of_its_hyper_is_refused() {
    let seen = || file("input metric = 0\nstate n = 1\nn *= 1.5\nvalue = min(base, n/10) + metric\n");
    let wrong = |opt: &mut Optimizer, k: u64| {
        metric(opt, if k.is_multiple_of(2) { 5.0 } else { -5.0 });
        (k > 0).then_some(&["`own`", "step", "`x`", "[0, 2]"][..])
    };
    refused(seen(), Advance::Step, wrong, |opt, _| metric(opt, 0.25));
}

/// A driver before the one that is refused must not advance, and what was observed is kept for the right step.
#[test]
fn a_refused_tensor_leaves_the_schedules_and_what_was_observed() {
    let text = "plateau(patience=0, factor=0.5)";
    for advance in [Advance::Step, Advance::Epoch] {
        let (mut opt, mut other) = (build(schedule(text), advance), build(schedule(text), advance));
        let (mut w, mut v) = ([1.0, 2.0], [1.0, 2.0]);
        for k in 0..6 {
            metric(&mut opt, 3.0);
            metric(&mut other, 3.0);
            opt.input("loss", 0.5).unwrap();
            other.input("loss", 0.5).unwrap();
            let before = bytes(&opt);
            let error = opt.step(&mut [Tensor::new("w", &mut [0.0f64], &[0.0f64; 2])]).unwrap_err();
            assert!(matches!(error, Error::GradShape { .. }), "{error}");
            assert_eq!(bytes(&opt), before, "step {k}");
            step(&mut opt, &mut w).unwrap();
            step(&mut other, &mut v).unwrap();
            assert_eq!((w, bytes(&opt)), (v, bytes(&other)), "step {k}");
            opt.end_epoch();
            other.end_epoch();
        }
        assert!(number(opt.hyper("x").unwrap()) < 0.5, "the metric has counted");
    }
}

#[test]
fn a_follower_outside_its_interval_or_a_require_is_refused() {
    let rule = rule(
        "hyper x = 1\nhyper y = 2*x in [0, 5)\nrequire x != 2, \"x is odd\"\nstate m = 0\n\nm += g\np -= x*m + y\n",
    );
    let mut opt = rule.optimizer().schedule("x", file("input metric = 1\nvalue = metric\n")).unwrap().build().unwrap();
    let mut w = [1.0f64];
    opt.step(&mut [Tensor::new("w", &mut w, &[0.5])]).unwrap();
    let (before, after) = (bytes(&opt), w);
    for (x, word) in [(3.0, "`y` = 6"), (2.0, "x is odd")] {
        metric(&mut opt, x);
        let error = opt.step(&mut [Tensor::new("w", &mut w, &[0.5])]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert_eq!((w, number(opt.hyper("y").unwrap())), (after, 2.0));
    }
    metric(&mut opt, 1.0);
    opt.step(&mut [Tensor::new("w", &mut w, &[0.5])]).unwrap();
    assert_eq!(w, [-4.5]);
    assert_ne!(bytes(&opt), before);
}

#[test]
fn hypers_that_no_schedule_can_drive_are_refused() {
    let text = "hyper a = 1\nhyper b = true\nhyper c = one of up | down\nhyper d = [1, 2]\nhyper e = 2 fixed\n\n\
                if b and c == up { p -= a*g*d[0]*e }\n";
    let build = |name: &str| rule(text).optimizer().schedule(name, schedule("linear")).map(|_| ()).unwrap_err();
    let group = |name: &str| {
        let builder = rule(text).optimizer();
        builder.group("v", "v", |g| g.schedule(name, schedule("linear"), Advance::Epoch)).map(|_| ()).unwrap_err()
    };
    for name in ["b", "c", "d"] {
        for error in [build(name), group(name)] {
            assert!(matches!(&error, Error::HyperKind { hyper, .. } if hyper == name), "{error}");
            assert!(error.to_string().contains("no schedule can drive it"), "{error}");
        }
    }
    assert!(matches!(build("e"), Error::HyperFixed { .. }));
    assert!(matches!(group("e"), Error::HyperFixed { .. }));
    assert!(matches!(build("aa"), Error::UnknownHyper { similar: Some(similar), .. } if similar == "a"));
    assert!(matches!(group("f"), Error::UnknownHyper { .. }));
}

#[test]
fn schedules_that_contradict_themselves_are_refused_where_they_are_attached() {
    for (text, message) in [
        ("multistep(milestones=[30, 30])", "greater than the one before"),
        ("multistep(milestones=[60, 30])", "greater than the one before"),
        ("piecewise(boundaries=[1, 2], factors=[1])", "piecewise"),
        ("linear for 3 then multistep(milestones=[2, 1])", "multistep"),
        ("1 + min(2, multistep(milestones=[2, 1]))", "multistep"),
    ] {
        let schedule = schedule(text);
        for error in [
            schedule.value(0, 1.0).unwrap_err(),
            schedule.run().map(|_| ()).unwrap_err(),
            Rule::shipped("sgd").unwrap().optimizer().schedule("lr", schedule.clone()).map(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Require { .. }) && error.to_string().contains(message), "{text}: {error}");
        }
    }
}

#[test]
fn unknown_names_are_refused() {
    let error = Schedule::shipped("cosin").unwrap_err();
    assert!(matches!(&error, Error::UnknownSchedule { similar: Some(similar), .. } if similar == "cosine"), "{error}");
    assert!(matches!(Schedule::shipped("").unwrap_err(), Error::UnknownSchedule { similar: None, .. }));
    assert!(matches!(Schedule::load("no/such.sched").unwrap_err(), Error::Io { .. }));
    let shipped = |name: &str| Schedule::shipped(name).unwrap();
    assert!(matches!(shipped("step").set("gama", 0.5).unwrap_err(), Error::UnknownHyper { .. }));
    assert!(matches!(shipped("plateau").set("mode", "least").unwrap_err(), Error::HyperKind { .. }));
    assert!(matches!(
        shipped("multistep").set("milestones", [1.0, f64::NAN]).unwrap_err(),
        Error::HyperOutOfRange { .. }
    ));
    assert!(matches!(Schedule::parse("x", "optimizer x\np -= g\n").unwrap_err(), Error::Compile(_)));
    assert!(matches!(Schedule::parse("x", "schedule x\nlet a = base\n").unwrap_err(), Error::Compile(_)));
}
