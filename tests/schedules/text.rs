//! Schedules as text: what is written reads back, and what cannot be read is refused.

use crate::{file, schedule};
use proptest::prelude::*;
use updraft::{Error, SHIPPED_SCHEDULES, Schedule};

fn values(schedule: &Schedule) -> Vec<u64> {
    let mut run = schedule.run().unwrap();
    let observed = |k: u32| {
        let x = 1.0 / f64::from(k);
        [("metric", x), ("loss", x), ("grad_norm_squared", x)]
    };
    (0..40).map(|k| run.next(0.3, &observed(k.max(1))).unwrap().to_bits()).collect()
}

/// The same text and the same values come back.
fn reads_back(written: &Schedule) {
    let text = written.to_string();
    let read = schedule(&text);
    assert_eq!(read.to_string(), text);
    assert_eq!(values(&read), values(written), "{text}");
}

#[test]
fn a_written_schedule_reads_back() {
    for (name, _) in SHIPPED_SCHEDULES {
        let shipped = Schedule::shipped(name).unwrap();
        assert_eq!(shipped.to_string(), *name);
        reads_back(&shipped);
    }
    for text in [
        "multistep(milestones=[3, 5, 1e300], gamma=0.1)",
        "cyclic(mode=exp_range, gamma=0.99)",
        "one_cycle(max_lr=inf, three_phase=true)",
        "cosine(eta_min=1e-7) for 3 then 1e-300 for 4 then -0.5",
        "(linear for 3 then step) for 9 then rex",
        "(linear + rex) * (0.5 + cosine)",
        "linear + (rex + cosine)",
        "linear * (rex * 3)",
        "min(linear for 3 then 1, max(rex + 1, 2)) * 3",
        "(linear for 0 then rex) + 1 for 18446744073709551615 then 4",
    ] {
        assert_eq!(schedule(text).to_string(), text);
        reads_back(&schedule(text));
    }
}

#[test]
fn spaces_and_empty_parentheses_do_not_matter() {
    let want = "linear(total_iters=3, end_factor=0.5) for 10 then cosine * 2";
    let want = schedule(want);
    for text in [
        " linear ( total_iters = 3 , end_factor = 0.5 , ) for 10 then cosine() * 2 ",
        "linear(total_iters=3,end_factor=.5)for 10 then cosine*2",
        "linear(total_iters=3,end_factor=5e-1)\n  for 10\n  then (cosine ( ) *2e+0)",
    ] {
        assert_eq!(values(&schedule(text)), values(&want), "{text}");
        reads_back(&schedule(text));
    }
}

#[test]
fn the_loosest_is_then_and_the_tightest_is_a_product() {
    let value = |text: &str, s| schedule(text).value(s, 1.0).unwrap();
    assert_eq!(value("1 + 2 * 3", 0), 7.0);
    assert_eq!(value("2 * 3 + 1", 0), 7.0);
    assert_eq!(value("(1 + 2) * 3", 0), 9.0);
    assert_eq!([0, 1].map(|s| value("1 + 2 for 1 then 3 * 4", s)), [3.0, 12.0]);
    assert_eq!([0, 1, 2].map(|s| value("1 for 1 then 2 for 1 then 3", s)), [1.0, 2.0, 3.0]);
    assert_eq!([0, 1, 2].map(|s| value("(1 for 1 then 2) for 1 then 3", s)), [1.0, 3.0, 3.0]);
    assert_eq!([0, 1].map(|s| value("min(5 for 1 then 2, 4)", s)), [4.0, 2.0]);
}

/// A schedule file is named by its path, which reads back.
#[test]
fn a_file_is_named_by_its_path() {
    let folder = std::env::temp_dir().join(format!("updraft-schedule-text-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("third.sched");
    std::fs::write(&path, "schedule third\nhyper k = 3\nvalue = base / k\n").unwrap();
    let loaded = Schedule::load(&path).unwrap();
    assert_eq!(loaded.to_string(), path.to_str().unwrap());
    reads_back(&loaded);
    reads_back(&loaded.clone().set("k", 4).unwrap().then(3, loaded));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(path.to_str().unwrap().parse::<Schedule>(), Err(Error::Io { .. })));
}

/// Expressions of all kinds, without regard to how they are written.
fn expressions() -> impl Strategy<Value = Schedule> {
    let names = SHIPPED_SCHEDULES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let leaf = prop_oneof![
        proptest::sample::select(names).prop_map(|name| Schedule::shipped(name).unwrap()),
        (-1e3..1e3f64).prop_map(Schedule::constant),
        (1..50i32, 0.0..1.0f64).prop_map(|(n, x)| {
            Schedule::shipped("cosine").unwrap().set("t_max", n).unwrap().set("eta_min", x).unwrap()
        }),
    ];
    leaf.prop_recursive(5, 20, 2, |inner| {
        (inner.clone(), inner, 0..5, 0..20u64).prop_map(|(a, b, join, steps)| match join {
            0 => a.then(steps, b),
            1 => a.times(b),
            2 => a.plus(b),
            3 => a.min(b),
            _ => a.max(b),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_joined_schedule_reads_back(written in expressions()) {
        reads_back(&written);
    }

    #[test]
    fn no_text_panics(text in "[a-z()*+,=\\[\\]0-9. e-]{0,40}|(min|max|for|then|linear|[(),*+=]|[0-9]{1,3}| ){0,20}") {
        let _ = text.parse::<Schedule>();
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (text, reason) in [
        ("", "name"),
        ("   ", "name"),
        ("()", "name"),
        ("(", "name"),
        (")", "name"),
        ("(linear", "close"),
        ("((linear)", "close"),
        ("linear)", "left over"),
        ("linear(", "expected"),
        ("linear(total_iters", "expected"),
        ("linear(total_iters)", "expected"),
        ("linear(total_iters=", "no end"),
        ("linear(total_iters=3", "no end"),
        ("linear(total_iters=)", "no value"),
        ("linear(=3)", "expected"),
        ("linear(total_iters=3 end_factor=1)", "total_iters"),
        ("multistep(milestones=[1, 2)", "no end"),
        ("multistep(milestones=[1, x])", "list"),
        ("linear rex", "left over"),
        ("linear for", "number of steps"),
        ("linear for then rex", "number of steps"),
        ("linear for x then rex", "number of steps"),
        ("linear for -3 then rex", "number of steps"),
        ("linear for 99999999999999999999 then rex", "number of steps"),
        ("linear for 3", "then"),
        ("linear for 3.5 then rex", "then"),
        ("linear for 3 rex", "then"),
        ("linear for 3 then", "name"),
        ("then linear", "then"),
        ("linear +", "name"),
        ("+ linear", "name"),
        ("linear * * rex", "name"),
        ("linear - rex", "left over"),
        ("min(linear)", "min(A, B)"),
        ("min(linear, rex", "close"),
        ("min(linear, rex, step)", "close"),
        ("max", "after `max`"),
        ("nan", "finite"),
        ("inf * linear", "finite"),
        ("1e999", "finite"),
        ("3(x=1)", "left over"),
        ("liner", "linear"),
        ("größe(λ=✓)", "größe"),
        ("linear(λ=1)", "λ"),
        ("linear\0", "linear"),
    ] {
        let error = text.parse::<Schedule>().map(|schedule| schedule.to_string());
        let error = error.expect_err(&format!("{text:?} was read")).to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

#[test]
fn very_long_and_deep_texts_are_refused() {
    let many = |text: &str, n: usize| text.repeat(n);
    for n in [1_000, 5_000, 1_000_000] {
        for text in [
            many("(", n),
            many("min(", n),
            many("linear for 1 then ", n) + "1",
            many("linear + ", n) + "1",
            many("linear * ", n) + "1",
            many("x", n),
            many("9", n),
            many("é", n),
            many("1e+", n),
            many(" ", n),
            "linear(".to_string() + &many("total_iters=3, ", n),
            "linear(total_iters=".to_string() + &many("9", n) + ")",
            "multistep(milestones=[".to_string() + &many("1,", n),
        ] {
            let start: String = text.chars().take(20).collect();
            let error = text.parse::<Schedule>().map(|_| ()).expect_err(&start).to_string();
            // A name may be shown whole; a text of a million characters may not.
            assert!(error.len() < 11_000, "a message of {} bytes for {start}...", error.len());
        }
    }
    // What is deep or long within reason is read.
    schedule(&(many("(", 60) + "linear" + &many(")", 60)));
    schedule(&(many("linear + ", 200) + "linear"));
}

#[test]
fn a_value_that_a_text_sets_is_held_to_the_schedule() {
    for (text, reason) in [
        ("linear(total_itres=3)", "did you mean `total_iters`"),
        ("linear(total_iters=0.5)", "not in 1.."),
        ("linear(total_iters=true)", "a number"),
        ("cyclic(mode=round)", "one of triangular, triangular2, exp_range"),
        ("one_cycle(three_phase=1)", "a flag"),
        ("multistep(milestones=3)", "a list"),
        ("multistep(gamma=[3])", "a number"),
        ("multistep(gamma=nan)", "not in"),
    ] {
        let error = text.parse::<Schedule>().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let error = schedule("linear + rex").set("total_iters", 3).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("before joining"), "{error}");
    assert!(file("hyper k = 2\nvalue = base*k\n").set("k", f64::NAN).is_err());
}
