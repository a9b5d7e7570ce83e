//! Shards: however tensors are cut between processes, every element and every state has the bits of the whole.

use crate::{rule, values, values_f32};
use std::sync::{Arc, Barrier, Mutex};
use updraft::ir::Exchange;
use updraft::{Error, Optimizer, Rule, SHIPPED, StateValues, Tensor};

/// Threads that meet, instead of processes.
struct Meeting {
    barrier: Barrier,
    sum: Mutex<Vec<i64>>,
    max: Mutex<Vec<f64>>,
}

impl Meeting {
    fn new(ranks: usize) -> Arc<Meeting> {
        Arc::new(Meeting { barrier: Barrier::new(ranks), sum: Mutex::default(), max: Mutex::default() })
    }

    fn meet<T: Copy>(&self, all: &Mutex<Vec<T>>, mine: &mut [T], join: impl Fn(T, T) -> T) {
        {
            let mut all = all.lock().unwrap();
            if all.is_empty() {
                all.extend_from_slice(mine);
            } else {
                assert_eq!(all.len(), mine.len(), "each process exchanges as much");
                all.iter_mut().zip(&*mine).for_each(|(all, mine)| *all = join(*all, *mine));
            }
        }
        self.barrier.wait();
        mine.copy_from_slice(&all.lock().unwrap());
        self.barrier.wait();
        all.lock().unwrap().clear();
        self.barrier.wait();
    }
}

impl Exchange for Meeting {
    fn sum(&self, partials: &mut [i64]) {
        self.meet(&self.sum, partials, i64::wrapping_add);
    }

    fn max(&self, values: &mut [f64]) {
        let max = |a: f64, b: f64| {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else if a.total_cmp(&b).is_gt() {
                a
            } else {
                b
            }
        };
        self.meet(&self.max, values, max);
    }
}

/// Cut at multiples of 3072, these suit folds to every extent: what may not be cut divides it.
const SHAPES: [&[usize]; 4] = [&[6, 32, 32], &[640, 16], &[1000, 8], &[2048, 3]];
const FLAT: [&[usize]; 2] = [&[5000], &[7]];

/// Everything that a run leaves: parameters, then the states of each tensor.
#[derive(PartialEq, Debug)]
struct Left {
    params: Vec<Vec<u32>>,
    elements: Vec<Vec<u32>>,
    others: Vec<Vec<u32>>,
}

fn bits(values: StateValues<'_>) -> Vec<u32> {
    match values {
        StateValues::F32(x) => x.iter().map(|x| x.to_bits()).collect(),
        StateValues::F64(x) => x.iter().flat_map(|x| [x.to_bits() as u32, (x.to_bits() >> 32) as u32]).collect(),
        StateValues::Bf16(x) => x.iter().map(|x| u32::from(x.to_bits())).collect(),
        StateValues::F16(x) => x.iter().map(|x| u32::from(x.to_bits())).collect(),
        StateValues::Scalar(x) => vec![x.to_bits() as u32, (x.to_bits() >> 32) as u32],
    }
}

/// Some steps of the part from `cuts[i][rank]` to `cuts[i][rank + 1]` of each tensor.
fn run(mut opt: Optimizer, shapes: &[&[usize]], cuts: Option<(&[Vec<usize>], usize)>) -> Left {
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("t{i}")).collect();
    let numel = |i: usize| shapes[i].iter().product::<usize>();
    let part = |i: usize| match cuts {
        None => 0..numel(i),
        Some((cuts, rank)) => cuts[i][rank]..cuts[i][rank + 1],
    };
    let mut params: Vec<Vec<f32>> =
        (0..shapes.len()).map(|i| values_f32(i as u64 + 1, numel(i))[part(i)].to_vec()).collect();
    for step in 0..3 {
        let grads: Vec<Vec<f32>> =
            params.iter().map(|p| p.iter().map(|x| (x * 1.7 + step as f32).sin()).collect()).collect();
        let mut tensors = Vec::new();
        for (i, p) in params.iter_mut().enumerate() {
            let (shape, g) = (ndarray::IxDyn(shapes[i]), &grads[i]);
            tensors.push(match cuts {
                None => Tensor::new(
                    &names[i],
                    ndarray::ArrayViewMut::from_shape(shape.clone(), p.as_mut_slice()).unwrap(),
                    ndarray::ArrayView::from_shape(shape, g).unwrap(),
                ),
                Some(_) => Tensor::new(&names[i], p.as_mut_slice(), g).shard(shapes[i], part(i).start),
            });
        }
        opt.step(&mut tensors).unwrap();
    }
    let mut left = Left { params: Vec::new(), elements: Vec::new(), others: Vec::new() };
    let program = opt.rule().program().clone();
    for (name, p) in names.iter().zip(&params) {
        left.params.push(p.iter().map(|x| x.to_bits()).collect());
        for state in &program.states {
            let found = opt.state(name, &state.name).map(bits).unwrap_or_default();
            if state.extent.name() == "element" { left.elements.push(found) } else { left.others.push(found) }
        }
    }
    left
}

/// Cuts at random multiples, so that some ranks have nothing of a tensor.
fn random_cuts(seed: u64, shapes: &[&[usize]], ranks: usize, multiple: usize) -> Vec<Vec<usize>> {
    let cut = |(i, shape): (usize, &&[usize])| {
        let numel: usize = shape.iter().product();
        let random = values(seed * 31 + i as u64 + 1, ranks - 1);
        let at = |x: f64| (((x + 2.0) / 4.0 * (numel / multiple + 2) as f64) as usize * multiple).min(numel);
        let mut cuts: Vec<usize> = random.into_iter().map(at).chain([0, numel]).collect();
        cuts.sort_unstable();
        cuts
    };
    shapes.iter().enumerate().map(cut).collect()
}

fn same(what: &str, rule: &Rule, shapes: &[&[usize]], multiple: usize) {
    let whole = run(rule.optimizer().build().unwrap(), shapes, None);
    for seed in 0..4 {
        let ranks = 2 + seed as usize % 3;
        let cuts = random_cuts(seed, shapes, ranks, multiple);
        let meeting = Meeting::new(ranks);
        let parts: Vec<Left> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..ranks)
                .map(|rank| {
                    let threads = 1 + rank % 2;
                    let opt = rule.optimizer().exchange(meeting.clone()).threads(threads).build().unwrap();
                    let cuts = &cuts;
                    scope.spawn(move || run(opt, shapes, Some((cuts, rank))))
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        let joined = |of: fn(&Left) -> &Vec<Vec<u32>>| -> Vec<Vec<u32>> {
            (0..of(&whole).len()).map(|i| parts.iter().flat_map(|part| of(part)[i].clone()).collect()).collect()
        };
        assert!(joined(|left| &left.params) == whole.params, "{what}: parameters, cut at {cuts:?}");
        assert!(joined(|left| &left.elements) == whole.elements, "{what}: states, cut at {cuts:?}");
        for part in &parts {
            assert!(part.others == whole.others, "{what}: small states, cut at {cuts:?}");
        }
    }
}

#[test]
fn reductions_to_every_extent() {
    let text = "hyper lr = 0.01\nstate r per row = 0\nstate c per col = 1\nstate u per unit = 0\nstate m per matrix = 0\n\
                state k per tensor = 0\nstate n per model = 0\n\n\
                r = 0.5*r + mean(g^2 per row)\nc = 0.5*c + mean(g^2 per col)\nu = max(abs(g) per unit)\n\
                m = m + dot(g, p per matrix)\nk = k + norm(g)\nn = n + sum(p per model) + min(g per model)\n\
                p -= lr * g / (sqrt(r*c) + u + abs(m) + 1) * (1 + norm(g per group)/k) * (1 + max(r per model))\n";
    same("every extent", &rule(text), &SHAPES, 3072);
}

#[test]
fn what_is_not_reduced_may_be_cut_anywhere() {
    let shapes: Vec<&[usize]> = SHAPES.iter().chain(&FLAT).copied().collect();
    same("adam", &Rule::shipped("adam").unwrap(), &shapes, 1);
    same("draws", &rule("hyper lr = 0.01\n\np -= lr * (g + normal())\n"), &shapes, 1);
}

#[test]
fn scalars_of_tensors_flat_ones_too() {
    let text = "hyper lr = 0.01\nstate d per model = norm(p per model)\nstate e per tensor = max(abs(p))\n\n\
                let n = norm(g per model)\nlet s = sum(norm(g) per model)\n\
                p -= lr * g / (n + s + d + e)\n";
    let shapes: Vec<&[usize]> = SHAPES.iter().chain(&FLAT).copied().collect();
    same("norms", &rule(text), &shapes, 1024);
}

#[test]
fn every_shipped_rule_that_needs_no_input() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        if rule.program().inputs.iter().all(|input| input.default.is_some()) {
            same(name, &rule, &SHAPES, 3072);
        }
    }
}

/// A tensor that is no shard is whole everywhere, and counted once.
#[test]
fn a_tensor_that_is_no_shard_is_the_same_everywhere() {
    let meeting = Meeting::new(2);
    let results = std::thread::scope(|scope| {
        let ranks = [0, 1024].map(|first| {
            let builder = rule("hyper lr = 1\n\np -= lr * g / sum(g per model)\n").optimizer();
            let mut opt = builder.exchange(meeting.clone()).build().unwrap();
            scope.spawn(move || {
                let (mut w, mut b) = ([0.0f64; 1024], [0.0f64; 1]);
                let part = Tensor::new("w", &mut w, &[2.0; 1024]).shard(&[2, 1024], first);
                opt.step(&mut [part, Tensor::new("b", &mut b, &[4096.0])]).unwrap();
                b
            })
        });
        ranks.map(|rank| rank.join().unwrap())
    });
    assert_eq!(results, [[-0.5], [-0.5]]);
}

#[test]
fn a_shard_that_cannot_be_is_refused() {
    let text = "hyper lr = 1\n\np -= lr * g / norm(g)\n";
    let g = [1.0f32; 100];
    let mut p = [1.0f32; 100];
    let mut opt = rule(text).optimizer().exchange(Meeting::new(1)).build().unwrap();
    let error = opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[300], 100)]).unwrap_err();
    assert!(matches!(error, Error::BadShard { first: 100, multiple: 1024, .. }), "{error}");
    let error = opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[300], 250)]).unwrap_err();
    assert!(matches!(error, Error::ShardOutside { .. }), "{error}");
    let mut opt = rule(text).optimizer().build().unwrap();
    let error = opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[300], 0)]).unwrap_err();
    assert!(matches!(error, Error::NeedsExchange { .. }), "{error}");
    assert_eq!((p, opt.steps("w")), ([1.0; 100], 0));

    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[300], 100)]).unwrap();
    let error = opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[300], 200)]).unwrap_err();
    assert!(matches!(error, Error::ShardChanged { was: (100, 100), now: (200, 100), .. }), "{error}");
}

/// What a process keeps of its shards goes into its own file.
#[test]
fn shards_are_saved_and_loaded() {
    let file = crate::Scratch::new("shard");
    let g = values_f32(3, 70);
    let run = |saves: bool| {
        let mut p = values_f32(4, 70);
        let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
        for step in 0..6 {
            opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[10, 20], 30)]).unwrap();
            if saves && step == 2 {
                opt.save(&file.0).unwrap();
                opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
                opt.load(&file.0).unwrap();
            }
        }
        (p, crate::bytes(&opt))
    };
    assert!(run(true) == run(false));
    // An optimizer that knows the tensor takes the file of the same part, and of no other.
    for (first, is_same) in [(30, true), (40, false)] {
        let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
        opt.step(&mut [Tensor::new("w", &mut values_f32(4, 70), &g).shard(&[10, 20], first)]).unwrap();
        assert_eq!(opt.load(&file.0).is_ok(), is_same, "{first}");
        assert_eq!(opt.steps("w"), if is_same { 3 } else { 1 });
    }
    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    opt.load(&file.0).unwrap();
    let mut p = values_f32(4, 70);
    let error = opt.step(&mut [Tensor::new("w", &mut p, &g).shard(&[10, 20], 40)]).unwrap_err();
    assert!(matches!(error, Error::ShardChanged { .. }), "{error}");
}
