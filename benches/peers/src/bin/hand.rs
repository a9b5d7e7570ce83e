//! Updraft, loops written by hand for AVX2, and the floor, in turn in one process: medians in ns per element.
//!
//! `cargo run --release --bin hand [-- RULE...]`

use std::error::Error;
use std::time::Instant;
use updraft::Tensor;
use updraft_peers::floor::Floor;
use updraft_peers::hand::Hand;
use updraft_peers::rule::Rule;
use updraft_peers::{median, values};

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let rules: Vec<Rule> = match names.as_slice() {
        [] => Rule::ALL.to_vec(),
        names => names
            .iter()
            .map(|name| Rule::from_name(name).ok_or_else(|| format!("no rule here is called `{name}`")))
            .collect::<Result<_, _>>()?,
    };
    println!(
        "{:<8} {:>9} {:>7}  {:>8} {:>8} {:>8}  {:>9} {:>9}",
        "rule", "elements", "threads", "updraft", "hand", "floor", "to hand", "to floor"
    );
    for (n, threads) in [(1 << 14, 1), (1 << 18, 1), (1 << 20, 1), (1 << 26, 2)] {
        for rule in &rules {
            let [updraft, hand, floor] = measure(*rule, n, threads)?;
            let name = rule.name();
            println!(
                "{name:<8} {n:>9} {threads:>7}  {updraft:>8.3} {hand:>8.3} {floor:>8.3}  {:>9.2} {:>9.2}",
                updraft / hand,
                updraft / floor
            );
        }
    }
    Ok(())
}

fn measure(rule: Rule, n: usize, threads: usize) -> Result<[f64; 3], Box<dyn Error>> {
    let mut builder = updraft::Rule::shipped(rule.name())?.optimizer().threads(threads);
    for (name, value) in rule.set() {
        builder = builder.set(name, *value)?;
    }
    let mut opt = builder.build()?;
    let mut hand = Hand::new(rule, n, threads).ok_or("this CPU has no AVX2")?;
    let mut floor = Floor::new(rule, n, threads);
    let g = values(n, 1, 0.01);
    let p = values(n, 2, 0.05);
    let (mut by_updraft, mut by_hand, mut by_floor) = (p.clone(), p.clone(), p);
    // The first steps make states; both have to agree on what they come to.
    for _ in 0..3 {
        opt.step(&mut [Tensor::new("w", &mut by_updraft, &g)])?;
        hand.step(&mut by_hand, &g);
        floor.step(&mut by_floor, &g);
    }
    let off = by_updraft.iter().zip(&by_hand).position(|(a, b)| (a - b).abs() > 1e-6);
    if let Some(i) = off {
        let (name, a, b) = (rule.name(), by_updraft[i], by_hand[i]);
        return Err(format!("{name}: Updraft and the loop written by hand disagree at {i}: {a} and {b}").into());
    }
    let per_turn = ((1 << 21) / n).max(1);
    let turns = if n > 1 << 24 { 7 } else { 40 };
    let mut times = [const { Vec::new() }; 3];
    let mut tensors = [Tensor::new("w", &mut by_updraft, &g)];
    for _ in 0..turns {
        let turn = |times: &mut Vec<f64>, step: &mut dyn FnMut()| {
            // The first brings the arrays into the cache.
            step();
            for _ in 0..per_turn {
                let start = Instant::now();
                step();
                times.push(start.elapsed().as_secs_f64() * 1e9 / n as f64);
            }
        };
        turn(&mut times[0], &mut || opt.step(&mut tensors).expect("a step like those before"));
        turn(&mut times[1], &mut || hand.step(&mut by_hand, &g));
        turn(&mut times[2], &mut || floor.step(&mut by_floor, &g));
    }
    Ok(times.map(|mut times| median(&mut times)))
}
