//! What denormal numbers cost: a step whose state, gradient and parameter are all denormal, beside one of normal numbers.
//!
//! Run it with `cargo bench --bench denormals`. With `Denormals::Flush` the denormal step costs what the normal one does.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use updraft::{Denormals, Rule, Tensor};

const ELEMENTS: usize = 1 << 16;

fn steps(criterion: &mut Criterion) {
    for (rule, set) in [("sgd", Some(("momentum", 0.9))), ("adam", None), ("adagrad", None)] {
        let mut group = criterion.benchmark_group(rule);
        group.throughput(Throughput::Elements(ELEMENTS as u64));
        let cases = [
            ("normal numbers, kept", 1e-3, Denormals::Keep),
            ("normal numbers, flushed", 1e-3, Denormals::Flush),
            ("denormal numbers, kept", 1e-40, Denormals::Keep),
            ("denormal numbers, flushed", 1e-40, Denormals::Flush),
        ];
        for (name, size, denormals) in cases {
            let builder = Rule::shipped(rule).expect("it is shipped").optimizer().denormals(denormals);
            let builder = match set {
                Some((hyper, value)) => builder.set(hyper, value).expect("it has it"),
                None => builder,
            };
            let mut opt = builder.build().expect("defaults are in range");
            let (mut w, g) = (vec![2.0 * size as f32; ELEMENTS], vec![size as f32; ELEMENTS]);
            let mut tensors = [Tensor::new("w", &mut w, &g)];
            group.bench_function(name, |bencher| bencher.iter(|| opt.step(&mut tensors)));
        }
        group.finish();
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
