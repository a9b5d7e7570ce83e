//! Every shipped schedule against its reference by hand, and some against what torch, optax and keras give.

use crate::reference::cases::{CASES, Case};
use crate::reference::{SCHEDULES, Value, hypers, input, reference};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use updraft::{HyperValue, SHIPPED_SCHEDULES, Schedule};

fn hyper_value(value: Value) -> HyperValue {
    match value {
        Value::Number(x) => x.into(),
        Value::Flag(flag) => flag.into(),
        Value::Mode(mode) => mode.into(),
        Value::List(elements) => elements.into(),
    }
}

fn with_hypers(case: &Case) -> Schedule {
    let schedule = Schedule::shipped(case.schedule).unwrap();
    case.hypers.iter().fold(schedule, |schedule, (name, value)| {
        schedule.set(name, hyper_value(*value)).unwrap_or_else(|error| panic!("{}: {error}", case.schedule))
    })
}

fn is_near(got: f64, want: f64, relative: f64, absolute: f64) -> bool {
    (got - want).abs() <= relative * want.abs() + absolute
}

#[test]
fn every_schedule_follows_its_reference() {
    let mut compared = 0;
    for case in CASES {
        let shipped = with_hypers(case);
        let mut reference = reference(case.schedule, case.hypers);
        let mut run = shipped.run().unwrap();
        for s in 0..case.steps {
            let observed = if s == 0 { None } else { (case.inputs)(s) };
            let want = reference.value(s, case.base, observed);
            let observed: Vec<_> = input(case.schedule).zip(observed).into_iter().collect();
            let got = run.next(case.base, &observed).unwrap_or_else(|error| panic!("{shipped}: {error}"));
            assert!(is_near(got, want, 1e-12, 1e-15), "{shipped}, base {}, step {s}: {got}, not {want}", case.base);
            compared += 1;
        }
    }
    assert!(compared > 20_000, "{compared} values only");
}

/// The values that the cases of a schedule give a hyper, its default among them.
fn taken() -> BTreeMap<(&'static str, &'static str), Vec<Value>> {
    let mut taken: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for case in CASES {
        for (name, default) in hypers(case.schedule) {
            let set = case.hypers.iter().find(|(set, _)| set == name).map(|(_, value)| *value);
            taken.entry((case.schedule, *name)).or_default().push(set.unwrap_or(*default));
        }
    }
    taken
}

#[test]
fn the_references_cover_every_schedule_and_hyper() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("optimizers/schedules");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sched").map(str::to_string))
        .collect();
    let shipped: BTreeSet<String> = SHIPPED_SCHEDULES.iter().map(|(name, _)| name.to_string()).collect();
    let referenced: BTreeSet<String> = SCHEDULES.iter().map(|name| name.to_string()).collect();
    let with_cases: BTreeSet<String> = CASES.iter().map(|case| case.schedule.to_string()).collect();
    assert_eq!(files, shipped);
    assert_eq!(files, referenced);
    assert_eq!(files, with_cases);
    assert_eq!(SHIPPED_SCHEDULES.len(), shipped.len(), "a name twice");

    let taken = taken();
    for (name, text) in SHIPPED_SCHEDULES {
        // The header of the file says which hypers there are: the reference has to know them all.
        let declared: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("hyper ")?.split([' ', '=']).next()).collect();
        let known: BTreeSet<&str> = hypers(name).iter().map(|(hyper, _)| *hyper).collect();
        assert_eq!(declared, known, "{name}");
        let inputs: Vec<&str> = input(name).into_iter().collect();
        assert_eq!(Schedule::shipped(name).unwrap().inputs(), inputs, "{name}");
        for (hyper, default) in hypers(name) {
            let values = &taken[&(*name, *hyper)];
            assert!(values.iter().any(|value| value != default), "{name}: `{hyper}` is at its default in every case");
            assert!(values.contains(default), "{name}: `{hyper}` is at its default in no case");
        }
    }
}

/// `one of a | b` in a file: each is taken by some case.
#[test]
fn the_cases_take_every_mode() {
    let taken = taken();
    let mut modes = 0;
    for (name, text) in SHIPPED_SCHEDULES {
        for line in text.lines() {
            let Some((head, rest)) = line.split_once(" = one of ") else { continue };
            let hyper = head.strip_prefix("hyper ").unwrap();
            let (_, values) = taken.iter().find(|((n, h), _)| n == name && *h == hyper).unwrap();
            for mode in rest.split('#').next().unwrap().split('|').map(str::trim) {
                let has = values.iter().any(|value| matches!(value, Value::Mode(taken) if *taken == mode));
                assert!(has, "{name}: no case has `{hyper}` = {mode}");
                modes += 1;
            }
        }
    }
    assert!(modes >= 10, "{modes} modes only");
}

#[test]
fn golden_vectors_are_met() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/schedules");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = json["schedule"].as_str().unwrap();
        let mut schedule = Schedule::shipped(name).unwrap();
        for (hyper, value) in json["hyper"].as_object().unwrap() {
            let value: HyperValue = match value {
                serde_json::Value::Array(elements) => {
                    let elements: Vec<f64> = elements.iter().map(|x| x.as_f64().unwrap()).collect();
                    elements.as_slice().into()
                }
                serde_json::Value::Bool(flag) => (*flag).into(),
                serde_json::Value::String(mode) => mode.as_str().into(),
                number => number.as_f64().unwrap().into(),
            };
            schedule = schedule.set(hyper, value).unwrap();
        }
        let base = json["base"].as_f64().unwrap();
        let values = json["values"].as_array().unwrap();
        assert!(values.len() > 20, "{path:?}");
        let mut run = schedule.run().unwrap();
        for (s, want) in values.iter().enumerate() {
            let metric = json["metric"].as_array().filter(|_| s > 0).map(|metric| metric[s - 1].as_f64().unwrap());
            let observed: Vec<_> = metric.map(|x| ("metric", x)).into_iter().collect();
            let (got, want) = (run.next(base, &observed).unwrap(), want.as_f64().unwrap());
            assert!(is_near(got, want, 1e-10, 1e-13), "{path:?}, step {s}: {got}, not {want}");
        }
        names.insert(name.to_string());
    }
    assert_eq!(names.len(), 11);
}
