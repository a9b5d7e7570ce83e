//! Going on from a checkpoint gives the bits of never having stopped, schedules included.

use crate::{driven, file, number, probe, rule, schedule};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use updraft::{Advance, Checkpoint, CheckpointError, Error, Optimizer, Schedule, Tensor};

/// A path that no other test uses; the file is removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("updraft-schedules-{}-{number}.safetensors", std::process::id());
        Scratch(std::env::temp_dir().join(file))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn bytes(opt: &Optimizer) -> Vec<u8> {
    opt.to_bytes().unwrap()
}

fn load(opt: &mut Optimizer, bytes: &[u8]) -> Result<(), Error> {
    let file = Scratch::new();
    std::fs::write(&file.0, bytes).unwrap();
    opt.load(&file.0)
}

/// Step `k` of a run: what was observed after the last, an epoch that ends every three steps, and the value used.
fn train(opt: &mut Optimizer, k: u64) -> (u64, u64) {
    step_only(opt, k);
    let value = number(opt.hyper("x").unwrap()).to_bits();
    let w = bits(opt, k);
    observe(opt, k);
    (value, w)
}

fn trained(opt: &mut Optimizer, steps: std::ops::Range<u64>) {
    for k in steps {
        train(opt, k);
    }
}

fn step_only(opt: &mut Optimizer, k: u64) {
    let grad = [0.1 * k as f64, -1.0 / (1.0 + k as f64)];
    opt.step(&mut [Tensor::new("w", &mut [1.0f64, 2.0], &grad)]).unwrap();
}

/// The state of the rule, which has met every value so far.
fn bits(opt: &Optimizer, k: u64) -> u64 {
    match opt.state("w", "m") {
        Some(updraft::StateValues::Scalar(x)) => x.to_bits(),
        _ => panic!("step {k}: no state"),
    }
}

fn observe(opt: &mut Optimizer, k: u64) {
    let metric = 2.0 / (1.0 + k.min(4) as f64);
    // Of these a schedule may have any.
    for (name, x) in [("metric", metric), ("grad_norm_squared", 0.3 + 0.1 * k as f64), ("loss", metric)] {
        let _ = opt.input(name, x);
    }
    if k % 3 == 2 {
        opt.end_epoch();
    }
}

/// Stops after every step of a run in turn.
fn resumes(name: &str, build: &dyn Fn() -> Optimizer) {
    const STEPS: u64 = 16;
    let mut straight = build();
    let mut files = Vec::new();
    let mut values = Vec::new();
    for k in 0..STEPS {
        values.push(train(&mut straight, k));
        files.push((bytes(&straight), number(straight.hyper("x").unwrap())));
    }
    let moves = values.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(moves >= 3, "{name}: the schedule hardly moves");
    for stop in 0..STEPS {
        let (file, in_force) = &files[stop as usize];
        let mut used = build();
        trained(&mut used, 30..35);
        for (mut opt, way) in [(build(), "new"), (used, "used")] {
            let place = format!("{name}, {way}, stopped after step {stop}");
            load(&mut opt, file).unwrap();
            assert_eq!(bytes(&opt), *file, "{place}: the file again");
            assert_eq!(number(opt.hyper("x").unwrap()), *in_force, "{place}: the value in force");
            for k in stop + 1..STEPS {
                assert_eq!(train(&mut opt, k), values[k as usize], "{place}: step {k}");
            }
            assert_eq!(bytes(&opt), files[STEPS as usize - 1].0, "{place}: the end");
        }
    }
}

const RULE: &str = "hyper x = 1\nstate m per tensor = x\n\nm = 0.7*m + x\np -= m*g\n";

fn scheduled(schedule: Schedule, advance: Advance) -> impl Fn() -> Optimizer {
    let rule = rule(RULE);
    move || {
        rule.optimizer().set("x", 0.3).unwrap().schedule_every("x", schedule.clone(), advance).unwrap().build().unwrap()
    }
}

#[test]
fn stateful_schedules_resume_to_the_bit() {
    for text in
        ["plateau(patience=0, factor=0.5, cooldown=1)", "grad_norm_scaled(b=2)", "greedy(patience=1)", "loss_scaled()"]
    {
        resumes(text, &scheduled(schedule(text), Advance::Step));
    }
}

#[test]
fn composed_schedules_resume_to_the_bit() {
    for text in [
        "linear(total_iters=4) for 5 then cosine(t_max=9)",
        "linear(total_iters=4) for 5 then plateau(patience=0, factor=0.7) for 6 then grad_norm_scaled()",
        "plateau(patience=0, factor=0.9) * grad_norm_scaled() + min(loss_scaled(), plateau(patience=1))",
    ] {
        resumes(text, &scheduled(schedule(text), Advance::Step));
    }
}

#[test]
fn schedules_by_epochs_resume_to_the_bit() {
    for text in ["exponential(gamma=0.5)", "plateau(patience=0, factor=0.5)", "loss_scaled() for 2 then linear()"] {
        resumes(text, &scheduled(schedule(text), Advance::Epoch));
    }
}

#[test]
fn schedules_of_groups_and_of_hypers_that_follow_resume_to_the_bit() {
    let rule = rule("hyper y = 1\nhyper x = 2*y\nstate m per tensor = x\n\nm = 0.7*m + x\np -= m*g\n");
    let build = || {
        let builder = rule.optimizer().schedule("y", schedule("exponential(gamma=0.9)")).unwrap();
        let builder = builder.schedule("x", schedule("grad_norm_scaled()")).unwrap();
        builder
            .group("other", "v", |g| g.schedule("x", schedule("plateau()"), Advance::Epoch))
            .unwrap()
            .build()
            .unwrap()
    };
    resumes("groups", &build);
}

#[test]
fn a_changed_schedule_is_refused() {
    let mut opt = scheduled(schedule("plateau(patience=3)"), Advance::Step)();
    trained(&mut opt, 0..3);
    let saved = bytes(&opt);
    let refused = |mut other: Optimizer| {
        train(&mut other, 0);
        let before = bytes(&other);
        let error = load(&mut other, &saved).unwrap_err().to_string();
        assert!(error.contains("the schedule of `x`"), "{error}");
        assert_eq!(bytes(&other), before);
        error
    };
    let error = refused(scheduled(schedule("plateau(patience=4)"), Advance::Step)());
    assert!(error.contains("patience=3") && error.contains("patience=4"), "{error}");
    refused(scheduled(schedule("plateau(patience=3) * 1"), Advance::Step)());
    let error = refused(scheduled(schedule("plateau(patience=3)"), Advance::Epoch)());
    assert!(error.contains("epoch"), "{error}");
}

/// A default may rest on what a schedule has in force, and goes on to.
#[test]
fn a_default_that_follows_a_schedule_follows_it_after_a_resume() {
    let rule = rule("hyper x = 1\nhyper y = 0.1*x\nstate m per tensor = x\n\nm = 0.7*m + y\np -= m*g\n");
    let build = || {
        let builder = rule.optimizer().schedule("x", schedule("exponential(gamma=0.5)")).unwrap();
        builder.build().unwrap()
    };
    let mut straight = build();
    trained(&mut straight, 0..4);
    let mut resumed = build();
    resumed.load_bytes(&bytes(&straight)).unwrap();
    for opt in [&mut straight, &mut resumed] {
        trained(opt, 4..6);
        assert_eq!(number(opt.hyper("y").unwrap()), 0.1 * 0.5f64.powi(5));
    }
    assert_eq!(bytes(&resumed), bytes(&straight));
}

/// Two files of one name are not one schedule.
#[test]
fn a_schedule_file_that_has_changed_is_refused() {
    let build = |text: &str| scheduled(file(text), Advance::Step)();
    let mut opt = build("state n = 0\nn += 1\nvalue = n\n");
    train(&mut opt, 0);
    let saved = bytes(&opt);
    let error = load(&mut build("state n = 0\nn += 2\nvalue = n\n"), &saved).unwrap_err().to_string();
    assert!(error.contains("the schedule of `x`"), "{error}");
    // What it says about itself may change.
    load(&mut build("# Counts.\nstate n = 0  # so far\nn += 1\nvalue = n\n"), &saved).unwrap();
}

#[test]
fn a_schedule_that_the_file_does_not_have_begins_anew() {
    let mut plain = rule(RULE).optimizer().build().unwrap();
    trained(&mut plain, 0..3);
    let mut opt = scheduled(schedule("exponential(gamma=0.5)"), Advance::Step)();
    trained(&mut opt, 0..4);
    load(&mut opt, &bytes(&plain)).unwrap();
    train(&mut opt, 3);
    // From where the hyper was when the file was written, not from 0.3.
    assert_eq!(number(opt.hyper("x").unwrap()), 1.0);
}

/// The file with the checksum of what it holds.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    if let Err(Error::Checkpoint { reason: CheckpointError::Damaged { written, found }, .. }) =
        Checkpoint::from_bytes(&file)
    {
        let at = file.windows(written.len()).position(|window| window == written.as_bytes()).unwrap();
        file[at..at + found.len()].copy_from_slice(found.as_bytes());
    }
    file
}

/// What stands in the metadata is held to the schedule before anything changes.
#[test]
fn damaged_schedules_are_refused() {
    let build = scheduled(schedule("plateau(patience=0) + grad_norm_scaled()"), Advance::Step);
    let mut opt = build();
    trained(&mut opt, 0..3);
    let good = bytes(&opt);
    let len = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&good[8..8 + len]).unwrap();
    let text = header["__metadata__"]["schedules"].as_str().unwrap();
    let schedules: serde_json::Value = serde_json::from_str(text).unwrap();
    let with = |schedules: String| {
        let mut header = header.clone();
        header["__metadata__"]["schedules"] = schedules.into();
        let mut text = serde_json::to_vec(&header).unwrap();
        text.resize(text.len().next_multiple_of(8), b' ');
        sealed([(text.len() as u64).to_le_bytes().to_vec(), text, good[8 + len..].to_vec()].concat())
    };
    let entry = "/default/x";
    let damage = |path: &str, value: serde_json::Value| {
        let mut schedules = schedules.clone();
        *schedules.pointer_mut(&format!("{entry}{path}")).unwrap_or_else(|| panic!("no {path}")) = value;
        with(schedules.to_string())
    };
    let states = |lens: &[usize]| -> serde_json::Value {
        lens.iter().map(|len| vec!["0000000000000000"; *len]).collect::<Vec<_>>().into()
    };
    load(&mut build(), &damage("/states", states(&[4, 1]))).unwrap();
    let bad = [
        with("nonsense".to_string()),
        damage("/s", "3".into()),
        damage("/s", (-1).into()),
        damage("/s", u64::MAX.into()),
        damage("/schedule", 3.into()),
        damage("/states", states(&[4])),
        damage("/states", states(&[4, 1, 1])),
        damage("/states", states(&[3, 1])),
        damage("/states", states(&[5, 1])),
        damage("/states", states(&[4, 2])),
        damage("/states/0", "x".into()),
        damage("/states/0/1", "x".into()),
        damage("/states/0/1", 1.into()),
        damage("/value", "x".into()),
    ];
    let mut other = build();
    trained(&mut other, 0..2);
    let before = bytes(&other);
    for (k, bad) in bad.iter().enumerate() {
        let error = load(&mut other, bad).expect_err(&format!("damage {k}")).to_string();
        assert!(error.contains("schedule"), "{error}");
        assert_eq!(bytes(&other), before, "damage {k}");
    }
    load(&mut other, &good).unwrap();
    assert_eq!(train(&mut other, 3), train(&mut opt, 3));
}

#[test]
fn what_was_observed_is_kept_in_the_file() {
    let mut opt = driven(file("input seen\nvalue = 0\nif given(seen) { value = seen }\n"));
    crate::step(&mut opt);
    opt.input("seen", 5.0).unwrap();
    let mut resumed = probe();
    resumed = resumed.schedule("x", file("input seen\nvalue = 0\nif given(seen) { value = seen }\n")).unwrap();
    let mut resumed = resumed.build().unwrap();
    load(&mut resumed, &bytes(&opt)).unwrap();
    assert_eq!((crate::step(&mut resumed), crate::step(&mut resumed)), (5.0, 0.0));
}
