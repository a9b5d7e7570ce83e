//! What a step costs beside its arithmetic: many small tensors, on one thread.
//!
//! Run it with `cargo bench --bench overhead`. Criterion's throughput counts tensors: 10 Melem/s is 100 ns a tensor.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use updraft::{Optimizer, Rule, Tensor};

const RULES: [&str; 3] = ["sgd", "adam", "clip_adamw"];

fn many(criterion: &mut Criterion) {
    for (tensors, elements) in [(10_000, 1), (1_000, 1_000)] {
        let mut group = criterion.benchmark_group(format!("a step over {tensors} tensors of {elements}"));
        group.throughput(Throughput::Elements(tensors as u64));
        for name in RULES {
            let mut opt: Optimizer =
                Rule::shipped(name).and_then(|rule| rule.optimizer().build()).expect("it is shipped");
            let names: Vec<String> = (0..tensors).map(|index| format!("layers.{index}.weight")).collect();
            let (mut w, g) = (vec![0.5f32; tensors * elements], vec![0.1f32; tensors * elements]);
            let mut all: Vec<Tensor<'_>> = names
                .iter()
                .zip(w.chunks_exact_mut(elements).zip(g.chunks_exact(elements)))
                .map(|(name, (w, g))| Tensor::new(name, w, g))
                .collect();
            opt.step(&mut all).expect("a step");
            group.bench_function(name, |bencher| bencher.iter(|| opt.step(&mut all)));
        }
        group.finish();
    }
}

criterion_group!(benches, many);
criterion_main!(benches);
