//! Schedules at work: any hyper of any group, by steps and by epochs.

use crate::{driven, file, number, probe, rule, schedule, step, step_of};
use updraft::{Advance, Rule, Schedule, Tensor};

/// 1, 1/2, 1/4, ... of the hyper's own value.
fn halving() -> Schedule {
    schedule("exponential(gamma=0.5)")
}

fn steps<const N: usize>(opt: &mut updraft::Optimizer) -> [f64; N] {
    std::array::from_fn(|_| step(opt))
}

#[test]
fn a_schedule_advances_with_each_step() {
    let mut opt = driven(halving());
    assert_eq!(number(opt.hyper("x").unwrap()), 1.0);
    for s in 0..6 {
        let want = 0.5f64.powi(s);
        assert_eq!(step(&mut opt), want);
        assert_eq!(number(opt.hyper("x").unwrap()), want, "the value that the step used is shown");
    }
    // Epochs are none of its affair.
    opt.end_epoch();
    assert_eq!(step(&mut opt), 1.0 / 64.0);
}

#[test]
fn a_schedule_advances_with_each_epoch() {
    let mut opt = probe().schedule_every("x", halving(), Advance::Epoch).unwrap().build().unwrap();
    assert_eq!(steps(&mut opt), [1.0; 3]);
    opt.end_epoch();
    assert_eq!(number(opt.hyper("x").unwrap()), 1.0, "no step has used the new value yet");
    assert_eq!(steps(&mut opt), [0.5; 2]);
    opt.end_epoch();
    opt.end_epoch();
    assert_eq!(steps(&mut opt), [0.125; 2]);
}

#[test]
fn every_kind_of_number_is_driven() {
    let text = "hyper a = 1\nhyper b per model = 2\nhyper c = 3 in 1..\nhyper d = 4 in [0, 5)\n\n\
                p = a + 10*b + 100*c + 1000*d + 0*g\n";
    let names = ["a", "b", "c", "d"];
    for (k, name) in names.iter().enumerate() {
        let own = [1.0, 2.0, 3.0, 4.0];
        let mut opt =
            rule(text).optimizer().schedule(name, schedule("constant() for 1 then 1")).unwrap().build().unwrap();
        let want = |own: [f64; 4]| own[0] + 10.0 * own[1] + 100.0 * own[2] + 1000.0 * own[3];
        let mut second = own;
        second[k] = 1.0;
        assert_eq!(steps(&mut opt), [want(own), want(second)], "{name}");
    }
    // All at once, in a shipped rule, next to hypers set by hand at each step.
    let mut scheduled = Rule::shipped("adam").unwrap().optimizer();
    let mut by_hand = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    for (name, _) in BY_HAND {
        scheduled = scheduled.schedule(name, schedule("linear(start_factor=0.5, total_iters=4)")).unwrap();
    }
    let mut scheduled = scheduled.build().unwrap();
    let (mut w, mut v) = ([1.0f32, -2.0, 3.0], [1.0f32, -2.0, 3.0]);
    for s in 0..6u64 {
        for (name, own) in BY_HAND {
            let value = schedule("linear(start_factor=0.5, total_iters=4)").value(s, own).unwrap();
            by_hand.set(name, value).unwrap();
        }
        scheduled.step(&mut [Tensor::new("w", &mut w, &[0.5, 0.25, s as f32])]).unwrap();
        by_hand.step(&mut [Tensor::new("w", &mut v, &[0.5, 0.25, s as f32])]).unwrap();
        assert_eq!(w.map(f32::to_bits), v.map(f32::to_bits), "step {s}");
    }
}

/// Hypers of adam with their defaults.
const BY_HAND: [(&str, f64); 4] = [("lr", 1e-3), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8)];

#[test]
fn no_plan_is_compiled_because_a_schedule_moves_a_hyper() {
    let mut opt = driven(halving());
    steps::<5>(&mut opt);
    assert_eq!(opt.compiled_plans(), 1);
}

#[test]
fn a_group_has_its_own_base_and_its_own_schedule() {
    let mut opt = probe()
        .set("x", 8.0)
        .unwrap()
        .schedule("x", halving())
        .unwrap()
        .group("base", "b", |g| g.set("x", 80.0))
        .unwrap()
        .group("own", "o", |g| g.set("x", 3.0)?.schedule("x", schedule("constant() for 1 then 7"), Advance::Step))
        .unwrap()
        .group("epochs", "e", |g| g.schedule("x", halving(), Advance::Epoch))
        .unwrap()
        .build()
        .unwrap();
    let all = |opt: &mut updraft::Optimizer| {
        let (mut w, mut b, mut o, mut e) = ([0.0f64], [0.0f64], [0.0f64], [0.0f64]);
        opt.step(&mut [
            Tensor::new("w", &mut w, &[0.0]),
            Tensor::new("b", &mut b, &[0.0]),
            Tensor::new("o", &mut o, &[0.0]),
            Tensor::new("e", &mut e, &[0.0]),
        ])
        .unwrap();
        [w[0], b[0], o[0], e[0]]
    };
    assert_eq!(all(&mut opt), [8.0, 80.0, 3.0, 8.0]);
    assert_eq!(all(&mut opt), [4.0, 40.0, 7.0, 8.0]);
    opt.end_epoch();
    assert_eq!(all(&mut opt), [2.0, 20.0, 7.0, 4.0]);
    for (group, want) in [("base", 20.0), ("own", 7.0), ("epochs", 4.0), ("default", 2.0)] {
        assert_eq!(number(opt.group(group).unwrap().hyper("x").unwrap()), want, "{group}");
    }
    // Another base for one group; the others go on.
    opt.group("base").unwrap().set("x", 800.0).unwrap();
    assert_eq!(all(&mut opt), [1.0, 100.0, 7.0, 4.0]);
}

#[test]
fn the_last_schedule_for_a_hyper_counts() {
    let mut opt = probe().schedule("x", halving()).unwrap().schedule("x", Schedule::constant(5.0)).unwrap();
    opt = opt
        .group("g", "v", |g| {
            g.schedule("x", Schedule::constant(6.0), Advance::Step)?.schedule(
                "x",
                Schedule::constant(7.0),
                Advance::Step,
            )
        })
        .unwrap();
    let mut opt = opt.build().unwrap();
    assert_eq!((step(&mut opt), step_of(&mut opt, "v")), (5.0, 7.0));
}

#[test]
fn a_hyper_of_all_groups_is_driven_for_all() {
    let rule = rule("hyper x per model = 1\nhyper y = 1\n\np = x + 100*y + 0*g\n");
    let build = rule.optimizer().group("second", "v", |g| g.set("y", 2.0)).unwrap();
    let mut opt = build.schedule("x", halving()).unwrap().build().unwrap();
    assert_eq!((step(&mut opt), step_of(&mut opt, "v")), (101.0, 200.5));
    let alone = rule.optimizer().group("second", "v", |g| g.schedule("x", halving(), Advance::Step)).unwrap_err();
    assert!(alone.to_string().contains("per model"), "{alone}");
}

#[test]
fn a_default_follows_the_driven_hyper_that_it_uses() {
    let rule = rule("hyper x = 1\nhyper twice = 2*x\nhyper more = twice + 1\n\np = twice + 100*more + 0*g\n");
    let mut opt = rule.optimizer().schedule("x", halving()).unwrap().build().unwrap();
    assert_eq!(steps(&mut opt), [302.0, 201.0, 150.5]);
    assert_eq!(number(opt.hyper("more").unwrap()), 1.5);
    // Until it is set.
    opt.set("twice", 10.0).unwrap();
    assert_eq!(step(&mut opt), 1110.0);
}

/// The base of a driven hyper is its own value in the same step: that of its default, which another schedule moves.
#[test]
fn a_base_follows_the_driven_hyper_that_it_uses() {
    let rule = rule("hyper x = 1\nhyper twice = 2*x\n\np = twice + 0*g\n");
    let twice = || schedule("constant() * 10");
    let either_order = [
        rule.optimizer().schedule("x", halving()).unwrap().schedule("twice", twice()).unwrap(),
        rule.optimizer().schedule("twice", twice()).unwrap().schedule("x", halving()).unwrap(),
    ];
    for builder in either_order {
        assert_eq!(steps(&mut builder.build().unwrap()), [20.0, 10.0, 5.0]);
    }
}

#[test]
fn setting_a_driven_hyper_changes_its_base() {
    let mut opt = driven(halving());
    assert_eq!(steps(&mut opt), [1.0, 0.5]);
    opt.set("x", 100.0).unwrap();
    assert_eq!(number(opt.hyper("x").unwrap()), 0.5, "in force until the next step");
    assert_eq!(steps(&mut opt), [25.0, 12.5]);
    opt.set_many(&[("x", 16.0.into())]).unwrap();
    assert_eq!(step(&mut opt), 1.0);
}

#[test]
fn reset_begins_the_schedule_anew() {
    let mut opt = probe()
        .schedule("x", file("state n = 0\nn += 1\nvalue = base * n\n"))
        .unwrap()
        .group("epochs", "e", |g| g.schedule("x", halving(), Advance::Epoch))
        .unwrap()
        .build()
        .unwrap();
    opt.set("x", 3.0).unwrap();
    for _ in 0..2 {
        assert_eq!(steps(&mut opt), [3.0, 6.0, 9.0]);
        opt.end_epoch();
        assert_eq!(step_of(&mut opt, "e"), 1.5);
        opt.reset();
        assert_eq!(number(opt.hyper("x").unwrap()), 3.0, "what was set stays");
        assert_eq!(number(opt.group("epochs").unwrap().hyper("x").unwrap()), 3.0);
    }
}

#[test]
fn reset_forgets_what_was_observed() {
    let mut opt = driven(schedule("plateau(patience=0, factor=0.5)"));
    opt.input("metric", 1.0).unwrap();
    opt.reset();
    step(&mut opt);
    // The first metric that counts: nothing to be worse than.
    opt.input("metric", 2.0).unwrap();
    assert_eq!(step(&mut opt), 1.0);
    opt.input("metric", 2.0).unwrap();
    assert_eq!(step(&mut opt), 0.5);
}

#[test]
fn what_was_observed_is_for_the_next_step_alone() {
    let text = "input seen\nvalue = 0\nif given(seen) { value = seen }\n";
    let mut opt = driven(file(text));
    opt.input("seen", 9.0).unwrap();
    assert_eq!(step(&mut opt), 0.0, "nothing is given at step 0");
    assert_eq!(step(&mut opt), 0.0);
    opt.input("seen", 5.0).unwrap();
    opt.input("seen", 6.0).unwrap();
    assert_eq!(steps(&mut opt), [6.0, 0.0]);
    let error = opt.input("unseen", 1.0).unwrap_err();
    assert!(error.to_string().contains("unseen"), "{error}");
}

#[test]
fn what_is_observed_in_an_epoch_is_for_the_next() {
    let text = "input seen\nvalue = 0\nif given(seen) { value = seen }\n";
    let mut opt = probe().schedule_every("x", file(text), Advance::Epoch).unwrap().build().unwrap();
    step(&mut opt);
    opt.input("seen", 5.0).unwrap();
    assert_eq!(steps(&mut opt), [0.0; 2], "the epoch goes on");
    opt.end_epoch();
    assert_eq!(steps(&mut opt), [5.0; 3]);
    opt.end_epoch();
    assert_eq!(step(&mut opt), 0.0);
}

/// A second part is not told of the last step of the first.
#[test]
fn a_part_begins_with_nothing_observed() {
    let seen = file("input seen\nvalue = 0\nif given(seen) { value = seen }\n");
    let mut opt = driven(Schedule::constant(1.0).then(2, seen));
    let mut next = |x: f64| {
        opt.input("seen", x).unwrap();
        step(&mut opt)
    };
    assert_eq!([next(5.0), next(6.0), next(7.0), next(8.0)], [1.0, 1.0, 0.0, 8.0]);
}

#[test]
fn one_input_goes_to_the_rule_and_to_every_schedule() {
    let rule = rule("hyper x = 1\nhyper y = 1\ninput loss\n\np = x + 10*y + 100*loss + 0*g\n");
    let seen = || file("input loss = 0\nvalue = loss\n");
    let mut opt = rule.optimizer().schedule("x", seen()).unwrap().schedule("y", seen()).unwrap().build().unwrap();
    let mut next = |loss: f64| {
        opt.input("loss", loss).unwrap();
        step(&mut opt)
    };
    assert_eq!([next(1.0), next(2.0)], [100.0, 222.0]);
}

#[test]
fn a_schedule_moves_conditions_on_its_hyper() {
    let rule = rule("hyper x = 1\n\nif x > 0.3 { p = x + 0*g } else { p = -1 + 0*g }\n");
    let mut opt = rule.optimizer().schedule("x", halving()).unwrap().build().unwrap();
    assert_eq!(steps(&mut opt), [1.0, 0.5, -1.0, -1.0]);
}
