//! Bounds, joins, and steps in any order.

use crate::{file, schedule};
use proptest::prelude::*;
use updraft::{SHIPPED_SCHEDULES, Schedule};

/// Every shipped schedule without state or input, short enough for its whole course to be seen, and some joined.
fn stateless() -> Vec<Schedule> {
    let mut all = Vec::new();
    for (name, text) in SHIPPED_SCHEDULES {
        let mut shipped = Schedule::shipped(name).unwrap();
        let long = ["total", "total_steps", "t_max", "step_size_up", "step_size", "transition_steps"];
        for (hyper, length) in long.iter().map(|hyper| (*hyper, 40)).chain([("warmup", 7), ("decay", 11)]) {
            if text.contains(&format!("\nhyper {hyper} = ")) {
                shipped = shipped.set(hyper, length).unwrap();
            }
        }
        if shipped.is_stateless() {
            all.push(shipped);
        }
    }
    assert!(all.len() >= 29, "{} only", all.len());
    let joined = [
        "linear(total_iters=10) for 10 then cosine(t_max=20) for 20 then 0.001",
        "linear() * step(step_size=3) + 0.25",
        "min(exponential(gamma=0.7), max(cosine(t_max=9), 0.03))",
        "(cosine(t_max=4) for 5 then linear()) * (rex() for 3 then 2)",
    ];
    all.extend(joined.iter().map(|text| schedule(text)));
    all
}

proptest! {
    #[test]
    fn a_cosine_stays_between_floor_and_base(
        t_max in 1..1000u32, floor in 0.0..1.0f64, share in 0.0..1.0f64, s in 0..5000u64,
    ) {
        let base = floor + share;
        let cosine = Schedule::shipped("cosine").unwrap().set("t_max", f64::from(t_max)).unwrap();
        let cosine = cosine.set("eta_min", floor).unwrap();
        let value = cosine.value(s, base).unwrap();
        prop_assert!(value >= floor - 1e-12 && value <= base + 1e-12, "{value} is not in [{floor}, {base}]");
        prop_assert!((cosine.value(0, base).unwrap() - base).abs() <= 1e-12);
        prop_assert!((cosine.value(t_max.into(), base).unwrap() - floor).abs() <= 1e-12);
    }

    #[test]
    fn each_part_counts_from_its_own_start(n in 0..60u64, m in 0..60u64, s in 0..200u64, base in -3.0..3.0f64) {
        let parts = [schedule("linear(total_iters=17)"), schedule("step(step_size=5)"), schedule("cosine(t_max=31)")];
        let [a, b, c] = parts.clone();
        let from_right = a.clone().then(n, b.clone().then(m, c.clone()));
        let from_left = a.then(n, b).then(n + m, c);
        let want = if s < n {
            parts[0].value(s, base)
        } else if s < n + m {
            parts[1].value(s - n, base)
        } else {
            parts[2].value(s - n - m, base)
        };
        let want = want.unwrap().to_bits();
        prop_assert_eq!(from_right.value(s, base).unwrap().to_bits(), want);
        prop_assert_eq!(from_left.value(s, base).unwrap().to_bits(), want);
    }

    #[test]
    fn joined_values_are_those_of_the_parts(s in 0..100u64, base in 0.01..3.0f64) {
        let (a, b) = (schedule("cosine(t_max=13)"), schedule("exponential(gamma=0.97)"));
        let (x, y) = (a.value(s, base).unwrap(), b.value(s, base).unwrap());
        let value = |joined: Schedule| joined.value(s, base).unwrap();
        // Both are factors of one base.
        prop_assert_eq!(value(a.clone().times(b.clone())), x / base * y);
        prop_assert_eq!(value(a.clone().plus(b.clone())), x + y);
        prop_assert_eq!(value(a.clone().min(b.clone())), if x < y { x } else { y });
        prop_assert_eq!(value(a.clone().max(b.clone())), if x > y { x } else { y });
        let half = Schedule::constant(0.5);
        prop_assert_eq!(value(a.clone().times(half.clone()).plus(b.min(half))), x * 0.5 + if y < 0.5 { y } else { 0.5 });
    }
}

#[test]
fn any_step_can_be_asked_for_in_any_order() {
    for schedule in stateless() {
        let mut run = schedule.run().unwrap();
        let in_order: Vec<u64> = (0..150).map(|_| run.next(0.3, &[]).unwrap().to_bits()).collect();
        assert_eq!(run.s(), 150);
        for k in 0..150u64 {
            let s = k * 67 % 150;
            assert_eq!(schedule.value(s, 0.3).unwrap().to_bits(), in_order[s as usize], "{schedule}, step {s}");
        }
    }
}

#[test]
fn a_warmup_meets_what_follows_it() {
    let joined = schedule("linear(start_factor=0.1, total_iters=100) for 100 then cosine(t_max=900)");
    assert_eq!(joined.value(100, 0.5).unwrap(), 0.5);
    let step = joined.value(100, 0.5).unwrap() - joined.value(99, 0.5).unwrap();
    assert!((step - 0.5 * 0.9 / 100.0).abs() < 1e-12, "{step}");
    for name in ["warmup_cosine", "warmup_linear", "warmup_constant", "warmup_polynomial", "wsd", "log_warmup"] {
        let shipped = Schedule::shipped(name).unwrap().set("warmup", 10).unwrap();
        assert!((shipped.value(10, 0.5).unwrap() - 0.5).abs() <= 1e-15, "{name}: the peak is the driven hyper's value");
        assert!(shipped.value(9, 0.5).unwrap() < 0.5, "{name}");
    }
}

#[test]
fn a_schedule_with_state_or_inputs_has_no_value_out_of_order() {
    for text in ["plateau()", "linear() * loss_scaled()", "1 for 3 then grad_norm_scaled()"] {
        let schedule = schedule(text);
        assert!(!schedule.is_stateless());
        let error = schedule.value(0, 1.0).unwrap_err().to_string();
        assert!(error.contains("in order"), "{error}");
    }
    assert!(!file("state n = 0\nn += 1\nvalue = base * n\n").is_stateless());
    assert!(schedule("linear() + 1").is_stateless());
}

#[test]
fn a_part_that_is_used_twice_keeps_its_states_apart() {
    let counter = file("state n = 0\nn += 1\nvalue = n\n");
    let mut run = counter.clone().then(3, counter.clone()).run().unwrap();
    let values: Vec<f64> = (0..6).map(|_| run.next(1.0, &[]).unwrap()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    let mut run = counter.clone().times(Schedule::constant(10.0)).plus(counter).run().unwrap();
    assert_eq!([run.next(1.0, &[]).unwrap(), run.next(1.0, &[]).unwrap()], [11.0, 22.0]);
}

/// `min` and `max` keep a value that is no number, as they do everywhere else, so that it is refused.
#[test]
fn a_value_that_is_no_number_is_not_hidden_by_a_minimum() {
    let huge = Schedule::constant(1e300);
    let nan = huge.clone().times(huge.clone()).times(Schedule::constant(0.0));
    for joined in [nan.clone().min(huge.clone()), huge.clone().max(nan)] {
        let error = joined.value(7, 1.0).unwrap_err().to_string();
        assert!(error.contains("step 7") && error.contains("NaN"), "{error}");
    }
}

#[test]
fn a_run_that_is_refused_a_step_stays_where_it_was() {
    let mut run = schedule("grad_norm_scaled(b=0.5) + plateau(patience=0)").run().unwrap();
    let mut other = run.clone();
    let observed = |k: f64| [("metric", 2.0), ("grad_norm_squared", k)];
    for k in 0..5 {
        if k > 0 {
            run.next(1.0, &[("metric", 9.0)]).unwrap_err();
            assert_eq!(run.s(), k);
        }
        let k = k as f64;
        assert_eq!(run.next(1.0, &observed(k)).unwrap(), other.next(1.0, &observed(k)).unwrap());
    }
}
