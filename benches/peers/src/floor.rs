//! The floor: the arrays of a rule, read and written with additions only, by plain loops that the compiler vectorises.

use crate::rule::Rule;
use rayon::prelude::*;

/// The floor of a rule.
pub struct Floor {
    states: Vec<Vec<f32>>,
    threads: Option<rayon::ThreadPool>,
}

impl Floor {
    pub fn new(rule: Rule, n: usize, threads: usize) -> Floor {
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        Floor { states: (0..rule.states()).map(|_| vec![1.0; n]).collect(), threads: (threads > 1).then(pool) }
    }

    /// Goes through the arrays once.
    pub fn step(&mut self, p: &mut [f32], g: &[f32]) {
        let mut states: Vec<&mut [f32]> = self.states.iter_mut().map(Vec::as_mut_slice).collect();
        let Some(pool) = &self.threads else { return run(p, g, &mut states) };
        let chunk = p.len().div_ceil(pool.current_num_threads()).next_multiple_of(1024);
        let mut chunks: Vec<(&mut [f32], &[f32], Vec<&mut [f32]>)> =
            p.chunks_mut(chunk).zip(g.chunks(chunk)).map(|(p, g)| (p, g, Vec::new())).collect();
        for state in states {
            chunks.iter_mut().zip(state.chunks_mut(chunk)).for_each(|((.., states), state)| states.push(state));
        }
        pool.install(|| chunks.par_iter_mut().for_each(|(p, g, states)| run(p, g, states)));
    }
}

fn run(p: &mut [f32], g: &[f32], states: &mut [&mut [f32]]) {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 is there.
        return unsafe { additions_avx2(p, g, states) };
    }
    additions(p, g, states);
}

#[target_feature(enable = "avx2")]
fn additions_avx2(p: &mut [f32], g: &[f32], states: &mut [&mut [f32]]) {
    additions(p, g, states);
}

#[inline(always)]
fn additions(p: &mut [f32], g: &[f32], states: &mut [&mut [f32]]) {
    match states {
        [] => p.iter_mut().zip(g).for_each(|(p, g)| *p += g),
        [m] => {
            for ((p, g), m) in p.iter_mut().zip(g).zip(m.iter_mut()) {
                let sum = *p + g + *m;
                (*p, *m) = (sum, sum);
            }
        }
        [m, v] => {
            for (((p, g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
                let sum = *p + g + *m + *v;
                (*p, *m, *v) = (sum, sum, sum);
            }
        }
        [m, v, w] => {
            for ((((p, g), m), v), w) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()).zip(w.iter_mut()) {
                let sum = *p + g + *m + *v + *w;
                (*p, *m, *v, *w) = (sum, sum, sum, sum);
            }
        }
        _ => unreachable!("no rule here has more states"),
    }
}
