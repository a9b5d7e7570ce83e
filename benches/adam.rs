//! Three figures: from the text of `adam.opt` to its first step, what a step costs per element on one thread, and what one
//! value of a schedule costs.
//!
//! Medians of runs in one process, Adam beside a plain addition over as many streams (the floor). Run it with
//! `cargo bench`; ratios count, absolute times depend on the machine.

use std::time::Instant;
use updraft::{Rule, SHIPPED, Schedule, Tensor};

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<(), updraft::Error> {
    let (name, text) = SHIPPED.iter().find(|(name, _)| *name == "adam").copied().unwrap_or(("adam", ""));
    let (mut checks, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let start = Instant::now();
        let rule = Rule::parse(name, text)?;
        checks.push(start.elapsed().as_secs_f64() * 1e3);
        let mut opt = rule.optimizer().build()?;
        let mut w = [0.5f32; 4];
        opt.step(&mut [Tensor::new("w", &mut w, &[0.1; 4])])?;
        steps.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "parse and check adam.opt: {:.3} ms; with compiling and the first step: {:.3} ms",
        median(checks),
        median(steps)
    );
    for n in [16 * 1024, 1 << 20] {
        let mut opt = Rule::shipped("adam")?.optimizer().build()?;
        let (mut w, g) = (vec![0.5f32; n], vec![0.1f32; n]);
        let (mut m, mut v) = (vec![0.5f32; n], vec![0.5f32; n]);
        let (mut adam, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..(1 << 26) / n {
            let start = Instant::now();
            opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
            adam.push(start.elapsed().as_secs_f64() * 1e9 / n as f64);
            let start = Instant::now();
            for (((w, g), m), v) in w.iter_mut().zip(&g).zip(&mut m).zip(&mut v) {
                *m += g;
                *v += g;
                *w += g;
            }
            floor.push(start.elapsed().as_secs_f64() * 1e9 / n as f64);
        }
        let (adam, floor) = (median(adam), median(floor));
        println!(
            "{n} elements: Adam {adam:.3} ns, the same streams with additions only {floor:.3} ns: {:.2}",
            adam / floor
        );
    }
    let schedule: Schedule = "linear(total_iters=100) for 100 then cosine(t_max=900)".parse()?;
    let mut run = schedule.run()?;
    let mut values = Vec::new();
    for _ in 0..1000 {
        let start = Instant::now();
        for _ in 0..100 {
            run.next(1e-3, &[])?;
        }
        values.push(start.elapsed().as_secs_f64() * 1e9 / 100.0);
    }
    println!("one value of `{schedule}`: {:.0} ns", median(values));
    Ok(())
}
