//! From the text of a rule to code that runs: every shipped rule, and what the number of tensors does to it.
//!
//! Run it with `cargo bench --bench compile`. The first lines are the distribution over all shipped rules, each the median
//! of repeated compilations; then come Criterion's own figures.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Instant;
use updraft::codegen::{Target, backend};
use updraft::ir::lower;
use updraft::plan::plan;
use updraft::{Error, Rule, SHIPPED, Schedule, Storage, Tensor};

/// Milliseconds of each stage.
#[derive(Clone, Copy, Default)]
struct Stages {
    check: f64,
    plan: f64,
    code: f64,
}

impl Stages {
    fn total(self) -> f64 {
        self.check + self.plan + self.code
    }
}

/// Parses, checks, lowers, plans and compiles what a rule runs on a matrix with its defaults.
fn compile(name: &str, text: &str) -> Result<Stages, Error> {
    let start = Instant::now();
    let rule = Rule::parse(name, text)?;
    let opt = rule.optimizer().build()?;
    let check = start.elapsed();
    let facts = opt.facts_of(&[64, 64], Storage::F32, 1000);
    let plan = plan(&lower(rule.program(), &facts));
    let planned = start.elapsed();
    if let Some(target) = Target::host() {
        for sweep in plan.sweeps() {
            black_box(backend(target.isa).compile(&sweep.kernel, target).expect("shipped rules compile"));
        }
    }
    let coded = start.elapsed();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    Ok(Stages { check: ms(check), plan: ms(planned - check), code: ms(coded - planned) })
}

fn every_rule() -> Result<(), Error> {
    let mut all: Vec<(&str, Stages)> = Vec::new();
    for (name, text) in SHIPPED {
        let mut runs = (0..31).map(|_| compile(name, text)).collect::<Result<Vec<Stages>, Error>>()?;
        runs.sort_by(|a, b| a.total().total_cmp(&b.total()));
        all.push((name, runs[runs.len() / 2]));
    }
    all.sort_by(|a, b| a.1.total().total_cmp(&b.1.total()));
    println!("{} shipped rules, parsed, checked, planned and compiled: ms", all.len());
    println!("{:>6}  {:>8}  {:>8}  {:>8}  {:>8}", "", "in all", "check", "plan", "code");
    for (what, share) in [("p50", 0.5), ("p95", 0.95), ("max", 1.0)] {
        let index = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len()) - 1;
        let (name, stages) = all[index];
        let Stages { check, plan, code } = stages;
        println!("{what:>6}  {:>8.3}  {check:>8.3}  {plan:>8.3}  {code:>8.3}  {name}", stages.total());
    }
    Ok(())
}

fn stages(criterion: &mut Criterion) {
    if let Err(error) = every_rule() {
        panic!("{error}");
    }
    let mut group = criterion.benchmark_group("text to code");
    for name in ["sgd", "adam", "clip_adamw", "prodigy"] {
        let text = SHIPPED.iter().find(|(shipped, _)| *shipped == name).expect("it is shipped").1;
        group.bench_function(name, |bencher| bencher.iter(|| compile(name, text)));
    }
    group.finish();
    let schedule: Schedule = "linear(total_iters=100) for 100 then cosine(t_max=900)".parse().expect("it is one");
    let mut run = schedule.run().expect("it has all that it needs");
    criterion.bench_function("one value of a schedule", |bencher| bencher.iter(|| run.next(1e-3, &[])));
}

/// The time of the step that compiles, over that of the next: with 10,000 tensors it compiles no more than with one.
fn tensors(criterion: &mut Criterion) {
    let rule = Rule::shipped("adam").expect("it is shipped");
    let mut group = criterion.benchmark_group("compiling in the first step");
    group.sample_size(20);
    for n in [1usize, 10_000] {
        let names: Vec<String> = (0..n).map(|index| format!("w{index}")).collect();
        // What compiling adds is the difference to a step of an optimizer that has the plan, but no tensor.
        group.bench_function(format!("{n} tensors"), |bencher| {
            bencher.iter_batched(
                || (vec![0.5f32; n], vec![0.1f32; n]),
                |(mut w, g)| {
                    let mut opt = rule.optimizer().build().expect("defaults are in range");
                    let mut tensors: Vec<Tensor<'_>> = names
                        .iter()
                        .zip(w.chunks_exact_mut(1).zip(g.chunks_exact(1)))
                        .map(|(name, (w, g))| Tensor::new(name, w, g))
                        .collect();
                    opt.step(&mut tensors).expect("a step");
                    assert_eq!(opt.compiled_plans(), 1);
                },
                BatchSize::LargeInput,
            )
        });
        group.bench_function(format!("{n} tensors, with the plan at hand"), |bencher| {
            let mut opt = rule.optimizer().build().expect("defaults are in range");
            opt.step(&mut [Tensor::new("other", &mut [0.5f32], &[0.1])]).expect("a step");
            let (mut w, g) = (vec![0.5f32; n], vec![0.1f32; n]);
            bencher.iter(|| {
                opt.reset();
                let mut tensors: Vec<Tensor<'_>> = names
                    .iter()
                    .zip(w.chunks_exact_mut(1).zip(g.chunks_exact(1)))
                    .map(|(name, (w, g))| Tensor::new(name, w, g))
                    .collect();
                opt.step(&mut tensors).expect("a step");
                assert_eq!(opt.compiled_plans(), 1);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stages, tensors);
criterion_main!(benches);
