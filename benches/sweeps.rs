//! What a step costs against the bytes that its plan moves: rules with reductions beside Adam, one thread, f32.
//!
//! Medians of steps taken in turn in one process. The last column is the rule's time over the time that its bytes would
//! take at the bandwidth that Adam reaches at that size in the same run. Run it with `cargo bench --bench sweeps`; the
//! first argument is a size in Mi elements, of a square matrix (16 unless said).

use std::time::Instant;
use updraft::ir::lower;
use updraft::{Optimizer, Rule, Storage, Tensor, plan};

const RULES: [&str; 7] = ["adam", "sgd", "clip_adamw", "lamb", "lars", "adafactor", "stable_adamw"];

struct Contender {
    name: &'static str,
    bytes: usize,
    sweeps: usize,
    opt: Optimizer,
    times: Vec<f64>,
}

fn main() -> Result<(), updraft::Error> {
    let mi = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(16);
    let side = ((mi << 20) as f64).sqrt() as usize;
    let n = side * side;
    let mut contenders = Vec::new();
    for name in RULES {
        let opt = Rule::shipped(name)?.optimizer().build()?;
        let facts = opt.facts_of(&[side, side], Storage::F32, 2);
        let plan = plan::plan(&lower(opt.rule().program(), &facts));
        let (bytes, sweeps) = (plan.bytes_per_element(), plan.sweeps().count());
        contenders.push(Contender { name, bytes, sweeps, opt, times: Vec::new() });
    }
    let g: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1000) as f32 * 1e-3 - 0.5).collect();
    let g = ndarray::ArrayView2::from_shape((side, side), &g).expect("a square");
    let mut w = ndarray::Array2::from_elem((side, side), 0.5f32);
    // The first step of each makes its state and is not counted.
    for round in 0..8 {
        for contender in &mut contenders {
            let start = Instant::now();
            contender.opt.step(&mut [Tensor::new("w", w.view_mut(), g)])?;
            if round > 0 {
                contender.times.push(start.elapsed().as_secs_f64() * 1e9 / n as f64);
            }
        }
    }
    println!("{side} x {side} elements, f32, one thread");
    println!("{:<14} {:>6} {:>10} {:>12} {:>8} {:>10}", "rule", "sweeps", "bytes/el", "ns/el", "GB/s", "to Adam");
    let mut per_byte = None;
    for contender in &mut contenders {
        contender.times.sort_by(f64::total_cmp);
        let ns = contender.times[contender.times.len() / 2];
        let of_adam = *per_byte.get_or_insert(ns / contender.bytes as f64);
        println!(
            "{:<14} {:>6} {:>10} {:>12.3} {:>8.1} {:>10.2}",
            contender.name,
            contender.sweeps,
            contender.bytes,
            ns,
            contender.bytes as f64 / ns,
            ns / (of_adam * contender.bytes as f64)
        );
    }
    Ok(())
}
