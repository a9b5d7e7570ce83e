//! Threads: any number of them gives the bits of one.

use crate::{bytes, rule, values, values_f32};
use updraft::{OptimizerBuilder, Rule, SHIPPED, Tensor};

/// Tensors that are cut, tensors that are not, and odd lengths.
const SHAPES: [&[usize]; 9] =
    [&[257, 331], &[70_001], &[5, 129, 160], &[40, 1_100], &[2, 3, 5, 7], &[17, 1], &[1, 40_000], &[0, 4], &[12]];

/// Parameters and states after some steps, as bytes.
fn run(build: &dyn Fn() -> OptimizerBuilder, threads: usize, rank: usize) -> Vec<Vec<u8>> {
    let mut opt = build().threads(threads).build().unwrap();
    let shapes = || SHAPES.iter().enumerate().filter(|(_, shape)| shape.len() >= rank);
    let numel = |shape: &[usize]| shape.iter().product::<usize>();
    let view = |shape: &[usize]| ndarray::IxDyn(shape);
    let mut params: Vec<_> = shapes()
        .map(|(i, shape)| ndarray::ArrayD::from_shape_vec(view(shape), values_f32(i as u64 + 1, numel(shape))).unwrap())
        .collect();
    let mut wide: Vec<_> = shapes()
        .map(|(i, shape)| ndarray::ArrayD::from_shape_vec(view(shape), values(i as u64 + 50, numel(shape))).unwrap())
        .collect();
    let names: Vec<String> = (0..SHAPES.len()).map(|i| format!("t{i}")).collect();
    let wide_names: Vec<String> = (0..SHAPES.len()).map(|i| format!("w{i}")).collect();
    for step in 0..3 {
        let grads: Vec<_> = params.iter().map(|p| p.mapv(|x| (x * 1.7 + step as f32).sin())).collect();
        let wide_grads: Vec<_> = wide.iter().map(|p| p.mapv(|x| (x * 1.7 + f64::from(step)).sin())).collect();
        let mut tensors = Vec::new();
        for ((name, p), g) in names.iter().zip(&mut params).zip(&grads) {
            tensors.push(Tensor::new(name, p, g));
        }
        for ((name, p), g) in wide_names.iter().zip(&mut wide).zip(&wide_grads) {
            tensors.push(Tensor::new(name, p, g));
        }
        opt.step(&mut tensors).unwrap();
    }
    let mut all: Vec<Vec<u8>> =
        params.iter().map(|p| p.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).collect();
    all.extend(wide.iter().map(|p| p.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()));
    all.push(bytes(&opt));
    all
}

fn same(what: &str, build: &dyn Fn() -> OptimizerBuilder, rank: usize) {
    same_by(&[2, 3, 7, 16], what, build, rank);
}

fn same_by(numbers: &[usize], what: &str, build: &dyn Fn() -> OptimizerBuilder, rank: usize) {
    let one = run(build, 1, rank);
    for &threads in numbers {
        let many = run(build, threads, rank);
        let differing = one.iter().zip(&many).position(|(one, many)| one != many);
        assert_eq!(differing, None, "{what}, {threads} threads");
    }
}

#[test]
fn reductions_to_every_extent() {
    let text = "hyper lr = 0.01\nstate r per row = 0\nstate c per col = 1\nstate u per unit = 0\nstate m per matrix = 0\n\
                state k per tensor = 0\nstate n per model = 0\n\n\
                r = 0.5*r + mean(g^2 per row)\nc = 0.5*c + mean(g^2 per col)\nu = max(abs(g) per unit)\n\
                m = m + dot(g, p per matrix)\nk = k + norm(g)\nn = n + sum(p per model) + min(g per model)\n\
                p -= lr * g / (sqrt(r*c) + u + abs(m) + 1) * (1 + norm(g per group)/k)\n";
    same("every extent", &|| rule(text).optimizer(), 2);
}

/// Sweeps that fold to columns or to matrices alone, of tensors with several of them.
#[test]
fn columns_and_matrices() {
    let columns = "state c per col = 1\n\nc = 0.5*c + mean(g^2 per col)\np -= 0.01 * g / (sqrt(c) + 1)\n";
    let matrices = "state m per matrix = 0\n\nm = m + dot(g, p per matrix)\np -= 0.01 * g / (abs(m) + 1)\n";
    for text in [columns, matrices] {
        same(text, &|| rule(text).optimizer(), 2);
    }
}

#[test]
fn elementwise_rules_and_hosts() {
    let build = || {
        let builder = Rule::shipped("adamw").unwrap().optimizer().skip_nonfinite(true).average(0.9).unwrap();
        builder.group("odd", "*1", |g| g.set("lr", 0.1)).unwrap()
    };
    same("adamw", &build, 0);
}

#[test]
fn random_draws() {
    same("draws", &|| rule("hyper lr = 0.01\n\np -= lr * (g + normal())\n").optimizer().seed(3), 0);
}

#[test]
fn every_shipped_rule_that_needs_no_input() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        if rule.program().inputs.iter().any(|input| input.default.is_none()) {
            continue;
        }
        same_by(&[3], name, &|| rule.optimizer(), 2);
    }
}

#[test]
fn zero_asks_for_all_cores() {
    let mut opt = Rule::shipped("sgd").unwrap().optimizer().threads(0).build().unwrap();
    let (mut w, g) = (vec![1.0f32; 100_000], vec![1.0f32; 100_000]);
    opt.set("lr", 1.0).unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
    assert!(w.iter().all(|x| *x == 0.0));
}

/// A pool has as many threads as were asked for, and ends with its optimizer.
#[test]
#[cfg(target_os = "linux")]
fn threads_are_started() {
    // More threads than any other test starts, so that the last one is this test's.
    let (threads, last) = (301, "updraft-300");
    let runs = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.trim_end() == last).count()
    };
    let within_seconds = |count: usize| {
        let since = std::time::Instant::now();
        while runs() != count && since.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        runs()
    };
    assert_eq!(runs(), 0);
    let opt = Rule::shipped("sgd").unwrap().optimizer().threads(threads).build().unwrap();
    assert_eq!(within_seconds(1), 1);
    drop(opt);
    assert_eq!(within_seconds(0), 0);
}
