//! Whole models against `eval_steps`, which does one instruction after the other on whole arrays: reductions to every
//! extent, phases, skips, draws and what hosts join, with tensors of both types, in groups.

use crate::{rule, values};
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;
use updraft::check::program::{Extent, HyperDefault, HyperId, Program, StateId};
use updraft::ir::eval_step::{TensorStep, eval_steps};
use updraft::ir::narrow::Narrow;
use updraft::ir::random::Key;
use updraft::ir::step::Array;
use updraft::ir::{Alone, Arrays, Column, Facts, Scalar, Scalars, Step, eval_step, lower, lower_init};
use updraft::{HyperValue, Math, Optimizer, StateValues, Storage, Tensor};

const SHAPES: [&[usize]; 6] = [&[40, 70], &[3, 129, 7], &[2, 2, 70, 5], &[1, 1], &[1100, 2], &[0, 4]];
const SEED: u64 = 11;

/// One tensor as the oracle has it.
struct Known {
    name: String,
    shape: Vec<usize>,
    storage: Storage,
    group: usize,
    t: u64,
    arrays: Arrays,
    scalars: Scalars,
}

fn column(storage: Storage, values: &[f64]) -> Column {
    match storage {
        Storage::F32 => Column::F32(values.iter().map(|x| *x as f32).collect()),
        Storage::F64 => Column::F64(values.to_vec()),
        half => Column::F32(values.iter().map(|x| (*x as f32).narrow(half)).collect()),
    }
}

fn bits(column: &Column) -> Vec<u64> {
    let bits = |x: f64| if x.is_nan() { u64::MAX } else { x.to_bits() };
    match column {
        Column::F32(x) => x.iter().map(|x| bits(f64::from(*x))).collect(),
        Column::F64(x) => x.iter().map(|x| bits(*x)).collect(),
        other => panic!("{other:?}"),
    }
}

fn of_state(state: StateValues<'_>) -> Column {
    match state {
        StateValues::F32(x) => Column::F32(x.to_vec()),
        StateValues::F64(x) => Column::F64(x.to_vec()),
        StateValues::Bf16(x) => Column::F32(x.iter().map(|x| x.to_f32()).collect()),
        StateValues::F16(x) => Column::F32(x.iter().map(|x| x.to_f32()).collect()),
        StateValues::Scalar(x) => Column::F64(vec![x]),
    }
}

/// A scalar state is found under the group of its tensor, or under none.
type Shared = BTreeMap<(StateId, Option<usize>), f64>;

fn scope(program: &Program, id: StateId, group: usize) -> Option<Option<usize>> {
    match program.states[id.index()].extent {
        Extent::Model => Some(None),
        Extent::Group => Some(Some(group)),
        _ => None,
    }
}

fn run_all(steps: &[Step], model: &mut [Known]) {
    let tensors = steps.iter().zip(model.iter_mut()).map(|(step, known)| TensorStep {
        step,
        group: known.group,
        arrays: &mut known.arrays,
        scalars: &mut known.scalars,
    });
    eval_steps(&mut tensors.collect::<Vec<_>>(), &Alone);
}

/// One step of the oracle; whether each tensor took it.
fn step_oracle(opt: &Optimizer, model: &mut [Known], shared: &mut Shared) {
    let program = opt.rule().program().clone();
    let facts: Vec<_> = model.iter().map(|known| opt.facts_of(&known.shape, known.storage, known.t + 1)).collect();
    let states: Vec<StateId> = (0..program.states.len() as u32).map(StateId).collect();
    for known in model.iter_mut() {
        known.scalars.t = known.t + 1;
        for id in &states {
            let value = scope(&program, *id, known.group).and_then(|scope| shared.get(&(*id, scope)));
            known.scalars.states.extend(value.map(|x| (*id, *x)));
        }
        let param = known.arrays.0[&Array::Param].clone();
        known.arrays.0.entry(Array::Average).or_insert(param);
    }
    for id in &states {
        let is_new = model
            .iter()
            .all(|known| !known.scalars.states.contains_key(id) && !known.arrays.0.contains_key(&Array::State(*id)));
        if is_new {
            let inits: Vec<Step> = facts.iter().map(|facts| lower_init(&program, *id, facts)).collect();
            run_all(&inits, model);
        }
    }
    let steps: Vec<Step> = facts.iter().map(|facts| lower(&program, facts)).collect();
    run_all(&steps, model);
    for known in model.iter_mut().filter(|known| !known.scalars.skipped) {
        known.t += 1;
        for id in &states {
            if let (Some(scope), Some(x)) = (scope(&program, *id, known.group), known.scalars.states.get(id)) {
                shared.insert((*id, scope), *x);
            }
        }
    }
}

fn compare(text: &str, build: impl Fn(updraft::OptimizerBuilder) -> updraft::OptimizerBuilder) {
    for (math, threads) in [(Math::Strict, 1), (Math::Fast, 1), (Math::Fast, 3)] {
        let builder = rule(text).optimizer().group("a", "a*", |g| g.set("lr", 0.25)).unwrap();
        let builder = builder.group("b", "b*", |g| g.set("lr", 0.125)).unwrap().math(math).seed(SEED);
        let mut opt = build(builder).threads(threads).copy_as(Storage::F32).average(0.75).unwrap().build().unwrap();
        opt.set_loss_scale(8.0).unwrap();
        let program = opt.rule().program().clone();
        let mut model = Vec::new();
        for i in 0..2 * SHAPES.len() {
            let (shape, storage) = (SHAPES[i / 2].to_vec(), [Storage::F32, Storage::F64][i % 2]);
            let name = format!("{}{i}", ["a", "b", "c"][i % 3]);
            let group = [1, 2, 0][i % 3];
            let mut scalars = Scalars { shape: Some(shape.clone()), key: Key::new(SEED, &name), ..Scalars::default() };
            (scalars.loss_scale, scalars.average_decay) = (8.0, 0.75);
            for index in 0..program.hypers.len() {
                let hyper = &program.hypers[index];
                let value = opt.group(["default", "a", "b"][group]).unwrap().hyper(&hyper.name).unwrap();
                if let (HyperValue::Mode(mode), HyperDefault::Mode(modes)) = (&value, &hyper.default) {
                    let mode = modes.iter().position(|name| **name == **mode).unwrap();
                    scalars.modes.insert(HyperId(index as u32), mode as u32);
                }
                scalars.hypers.push(match value {
                    HyperValue::Number(x) => Some(Scalar::F64(x)),
                    HyperValue::Flag(flag) => Some(Scalar::Bool(flag)),
                    _ => None,
                });
            }
            let numel = shape.iter().product();
            let arrays = Arrays([(Array::Param, column(storage, &values(i as u64 + 1, numel)))].into());
            model.push(Known { name, shape, storage, group, t: 0, arrays, scalars });
        }
        let mut shared = Shared::new();
        for k in 0..5 {
            let mut grads: Vec<Vec<f64>> =
                (0..model.len()).map(|i| values(100 * (k + 1) + i as u64, model[i].shape.iter().product())).collect();
            if k == 2 {
                grads[3][17] = f64::INFINITY;
            }
            step_model(&mut opt, &mut model, &mut shared, &grads, &format!("{math:?}, {threads} threads, step {k}"));
        }
    }
}

/// A step of both; then everything is the same.
fn step_model(opt: &mut Optimizer, model: &mut [Known], shared: &mut Shared, grads: &[Vec<f64>], what: &str) {
    let program = opt.rule().program().clone();
    let array = |known: &Known, column: &Column| -> (Option<ArrayD<f32>>, Option<ArrayD<f64>>) {
        match column {
            Column::F32(x) => (ArrayD::from_shape_vec(IxDyn(&known.shape), x.clone()).ok(), None),
            Column::F64(x) => (None, ArrayD::from_shape_vec(IxDyn(&known.shape), x.clone()).ok()),
            other => panic!("{other:?}"),
        }
    };
    let mut params: Vec<_> = model.iter().map(|known| array(known, &known.arrays.0[&Array::Param])).collect();
    let grads: Vec<Column> = model.iter().zip(grads).map(|(known, g)| column(known.storage, g)).collect();
    let grad_arrays: Vec<_> = model.iter().zip(&grads).map(|(known, g)| array(known, g)).collect();
    let mut copies: Vec<ArrayD<f32>> = model.iter().map(|known| ArrayD::zeros(IxDyn(&known.shape))).collect();
    for (known, grad) in model.iter_mut().zip(grads) {
        known.arrays.0.insert(Array::Grad, grad);
        known.scalars.skipped = false;
    }
    step_oracle(opt, model, shared);
    let mut tensors = Vec::new();
    for (((known, p), g), copy) in model.iter().zip(&mut params).zip(&grad_arrays).zip(&mut copies) {
        tensors.push(match (p, g) {
            ((Some(p), _), (Some(g), _)) => Tensor::new(&known.name, p, g).copy_to(copy),
            ((_, Some(p)), (_, Some(g))) => Tensor::new(&known.name, p, g).copy_to(copy),
            _ => unreachable!(),
        });
    }
    opt.step(&mut tensors).unwrap();
    drop(tensors);
    assert_eq!(opt.last_skipped(), model.iter().all(|known| known.scalars.skipped), "{what}");
    for ((known, p), copy) in model.iter().zip(&params).zip(&copies) {
        let what = format!("{what}, {} of shape {:?}", known.name, known.shape);
        let p = match p {
            (Some(p), _) => Column::F32(p.iter().copied().collect()),
            (_, Some(p)) => Column::F64(p.iter().copied().collect()),
            _ => unreachable!(),
        };
        assert!(bits(&p) == bits(&known.arrays.0[&Array::Param]), "{what}: the parameter");
        assert_eq!(opt.steps(&known.name), known.t, "{what}");
        if known.t == 0 {
            continue;
        }
        let average = opt.average(&known.name).map(of_state).unwrap();
        assert!(bits(&average) == bits(&known.arrays.0[&Array::Average]), "{what}: the average");
        if !known.scalars.skipped {
            let rounded: Vec<f32> = match &p {
                Column::F32(x) => x.clone(),
                Column::F64(x) => x.iter().map(|x| *x as f32).collect(),
                _ => unreachable!(),
            };
            assert!(copy.iter().zip(&rounded).all(|(copy, p)| copy.to_bits() == p.to_bits()), "{what}: the copy");
        }
        for (index, state) in program.states.iter().enumerate() {
            let id = StateId(index as u32);
            let expected = match scope(&program, id, known.group) {
                Some(scope) => Some(Column::F64(vec![shared[&(id, scope)]])),
                None if state.extent == Extent::Tensor => Some(Column::F64(vec![known.scalars.states[&id]])),
                None => known.arrays.0.get(&Array::State(id)).cloned(),
            };
            let found = opt.state(&known.name, &state.name).map(of_state);
            assert!(found.as_ref().map(bits) == expected.as_ref().map(bits), "{what}: {}", state.name);
        }
        for (index, report) in program.reports.iter().enumerate() {
            let expected = known.scalars.reports.get(&updraft::check::program::ReportId(index as u32));
            let expected = expected.filter(|_| !known.scalars.skipped).copied();
            let found = opt.report_of(&report.name, &known.name);
            assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{what}: report {}", report.name);
        }
    }
}

#[test]
fn reductions_to_every_extent() {
    let text = "hyper lr = 0.01\nstate r per row = 0\nstate c per col = 1\nstate u per unit = 0\nstate m per matrix = 0\n\
                state k per tensor = norm(p)\nstate q per group = 0\nstate n per model = max(abs(p) per model)\n\
                state start = p / (1 + norm(p per row))\n\n\
                r = 0.5*r + mean(g^2 per row)\nc = 0.5*c + mean(g^2 per col)\nu = max(abs(g) per unit)\n\
                m = m + dot(g, p per matrix) / (1 + norm(g per model))\nk = k + rms(g)\nq += min(g per group)\n\
                n = n + sum(p per model) + max(sqrt(k) per model)\n\
                report size = n\nreport own = sum(r*g)\nreport of_group = q\n\
                p -= lr * (g + 0.125*start) / (sqrt(r*c) + u + abs(m) + 1) * (1 + norm(g per group)/k)\n";
    compare(text, |builder| {
        let builder = builder.report("own").unwrap().report("size").unwrap();
        builder.report("of_group").unwrap().unscale(true).skip_nonfinite(true)
    });
}

#[test]
fn columns_and_rows_of_what_was_just_reduced() {
    let text = "hyper lr = 0.01\nstate v = 0\n\n\
                let top = max(abs(g) per row)\nlet n = sum(top per matrix) + min(g per col)\n\
                v = 0.5*v + g*top/(1 + n^2)\nlet w = mean(v per col)\n\
                p -= lr * (v - w) * (1 + sum(w*w per matrix)) + 0.001*normal() + 0.001*uniform()\n";
    compare(text, |builder| builder.skip_nonfinite(true));
}

#[test]
fn counts_and_conditions() {
    let text = "hyper lr = 0.01\nstate n per tensor = 0\n\n\
                let hit = g > 1\nlet share = mean(hit per row)\nn += count(hit)\nlet many = any(g > 1.99 per unit)\n\
                let few = all(abs(g) < 10 per col)\n\
                p -= lr * g * (if many then share else 2) * (if few then 1 else 0.5) * mean(g > 0 per model)\n";
    compare(text, |builder| builder.skip_nonfinite(true));
}

#[test]
fn modes_in_scalar_code() {
    let text = "hyper lr = 0.01\nhyper kind = one of whole | half | none\n\n\
                let share = if kind == half then 0.5 else if kind == none then 0 else 1\n\
                p -= lr * share * g / (1 + norm(g))\n";
    for kind in ["whole", "half", "none"] {
        compare(text, |builder| builder.set("kind", kind).unwrap());
    }
}

/// A `skip` that only some tensors reach is theirs alone: the others take the whole step, though they stored something
/// before it was known.
#[test]
fn a_skip_in_a_block_is_of_the_tensors_that_reach_it() {
    for extent in ["model", "group"] {
        let text = format!(
            "hyper lr = 0.01\nstate m = 0\n\nlet size = norm(g per {extent})\nif rows > 2 {{ skip if size > 1e9 }}\n\
             m = 0.5*m + g\np -= lr * m / (1 + norm(m per group))\n"
        );
        compare(&text, |builder| builder);
    }
}

/// The oracle of a shard, here two of three matrices, sums what is there, into the columns that it belongs to.
#[test]
fn a_shard_is_summed_as_if_the_rest_were_zero() {
    let rule = rule("state c per col = 0\n\nc = sum(g per col)\np -= 0.5 * g / (1 + abs(c))\n");
    let step = lower(rule.program(), &Facts::new(Storage::F64, Math::Strict, vec![]));
    let run = |first: usize, g: Vec<f64>| {
        let p = Column::F64(vec![1.0; g.len()]);
        let c = (Array::State(StateId(0)), Column::F64(vec![0.0; 15]));
        let mut arrays = Arrays([(Array::Param, p), (Array::Grad, Column::F64(g)), c].into());
        let mut scalars = Scalars { shape: Some(vec![3, 4, 5]), first, t: 1, ..Scalars::default() };
        eval_step(&step, &mut arrays, &mut scalars);
        (bits(&arrays.0[&Array::Param]), bits(&arrays.0[&Array::State(StateId(0))]))
    };
    let part = values(3, 40);
    let (whole, shard) = (run(0, [vec![0.0; 20], part.clone()].concat()), run(20, part));
    assert_eq!((&whole.0[20..], whole.1), (&shard.0[..], shard.1));
}
