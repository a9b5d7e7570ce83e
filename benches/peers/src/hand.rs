//! Optimizers as an expert writes them by hand for AVX2: one pass, eight elements at a time, factors that are the same for
//! all elements computed before the loop, multiplications and additions fused. The arithmetic is that of Updraft's
//! `Math::Fast`, so that both do the same work.

use crate::rule::Rule;
use std::arch::x86_64::*;

/// A rule at work on one array.
pub struct Hand {
    rule: Rule,
    t: i32,
    states: Vec<Vec<f32>>,
    threads: Option<rayon::ThreadPool>,
}

/// Factors of one step.
#[derive(Clone, Copy)]
struct Factors {
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    /// 1/(1 - beta2^t).
    unbias2: f32,
    eps: f32,
    /// The learning rate, over 1 - beta1^t where there is a first moment.
    lr: f32,
    /// 1 - lr*weight_decay.
    shrink: f32,
}

impl Hand {
    /// `None` if this CPU has no AVX2.
    pub fn new(rule: Rule, n: usize, threads: usize) -> Option<Hand> {
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            return None;
        }
        let states = (0..rule.states()).map(|_| vec![0.0; n]).collect();
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        Some(Hand { rule, t: 0, states, threads: (threads > 1).then(pool) })
    }

    /// One step.
    pub fn step(&mut self, p: &mut [f32], g: &[f32]) {
        self.t += 1;
        let (rule, factors) = (self.rule, self.factors());
        let mut states: Vec<&mut [f32]> = self.states.iter_mut().map(Vec::as_mut_slice).collect();
        match &self.threads {
            None => run(rule, factors, p, g, &mut states),
            Some(pool) => {
                let chunk = p.len().div_ceil(pool.current_num_threads()).next_multiple_of(1024);
                let mut chunks: Vec<(&mut [f32], &[f32], Vec<&mut [f32]>)> =
                    p.chunks_mut(chunk).zip(g.chunks(chunk)).map(|(p, g)| (p, g, Vec::new())).collect();
                for state in states {
                    chunks.iter_mut().zip(state.chunks_mut(chunk)).for_each(|((.., states), state)| states.push(state));
                }
                use rayon::prelude::*;
                pool.install(|| chunks.par_iter_mut().for_each(|(p, g, states)| run(rule, factors, p, g, states)));
            }
        }
    }

    fn factors(&self) -> Factors {
        let (beta1, beta2): (f64, f64) = match self.rule {
            Rule::Lion => (0.9, 0.99),
            Rule::RmsProp => (0.0, 0.99),
            _ => (0.9, 0.999),
        };
        let (lr, weight_decay) = match self.rule {
            Rule::AdaGrad | Rule::RmsProp => (0.01, 0.0),
            Rule::Lion => (1e-4, 0.0),
            Rule::AdamW => (1e-3, 0.01),
            _ => (1e-3, 0.0),
        };
        let unbias1 = match self.rule {
            Rule::Adam | Rule::AdamW | Rule::AmsGrad => 1.0 / (1.0 - beta1.powi(self.t)),
            _ => 1.0,
        };
        Factors {
            beta1: beta1 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            unbias2: (1.0 / (1.0 - beta2.powi(self.t))) as f32,
            eps: if self.rule == Rule::AdaGrad { 1e-10 } else { 1e-8 },
            lr: (lr * unbias1) as f32,
            shrink: (1.0 - lr * weight_decay) as f32,
        }
    }
}

fn run(rule: Rule, f: Factors, p: &mut [f32], g: &[f32], states: &mut [&mut [f32]]) {
    // SAFETY: `Hand::new` has found AVX2 and FMA.
    unsafe {
        match (rule, states) {
            (Rule::Adam, [m, v]) => adam::<false>(f, p, g, m, v),
            (Rule::AdamW, [m, v]) => adam::<true>(f, p, g, m, v),
            (Rule::AmsGrad, [m, v, v_max]) => amsgrad(f, p, g, m, v, v_max),
            (Rule::AdaGrad, [s]) => adagrad(f, p, g, s),
            (Rule::RmsProp, [v]) => rmsprop(f, p, g, v),
            (Rule::Lion, [m]) => lion(f, p, g, m),
            (Rule::Sgd, [m]) => sgd(f, p, g, m),
            _ => unreachable!("as many states as the rule has"),
        }
    }
}

/// Eight elements from `i`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(x: &[f32], i: usize) -> __m256 {
    debug_assert!(i + 8 <= x.len());
    // SAFETY: the loops below go to the last multiple of eight, and all slices have the length of `p`.
    unsafe { _mm256_loadu_ps(x.as_ptr().add(i)) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(x: &mut [f32], i: usize, y: __m256) {
    debug_assert!(i + 8 <= x.len());
    // SAFETY: as above.
    unsafe { _mm256_storeu_ps(x.as_mut_ptr().add(i), y) }
}

#[target_feature(enable = "avx2,fma")]
fn adam<const DECAY: bool>(f: Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n && v.len() == n);
    let (b1, c1) = (_mm256_set1_ps(f.beta1), _mm256_set1_ps(f.one_minus_beta1));
    let (b2, c2) = (_mm256_set1_ps(f.beta2), _mm256_set1_ps(f.one_minus_beta2));
    let (unbias2, eps, lr) = (_mm256_set1_ps(f.unbias2), _mm256_set1_ps(f.eps), _mm256_set1_ps(-f.lr));
    let shrink = _mm256_set1_ps(f.shrink);
    let mut i = 0;
    while i + 8 <= n {
        let gi = load(g, i);
        let mi = _mm256_fmadd_ps(c1, gi, _mm256_mul_ps(b1, load(m, i)));
        let vi = _mm256_fmadd_ps(_mm256_mul_ps(gi, gi), c2, _mm256_mul_ps(b2, load(v, i)));
        store(m, i, mi);
        store(v, i, vi);
        let root = _mm256_add_ps(_mm256_sqrt_ps(_mm256_mul_ps(vi, unbias2)), eps);
        let pi = load(p, i);
        let pi = if DECAY { _mm256_mul_ps(pi, shrink) } else { pi };
        store(p, i, _mm256_fmadd_ps(_mm256_div_ps(mi, root), lr, pi));
        i += 8;
    }
    while i < n {
        m[i] = f.one_minus_beta1.mul_add(g[i], f.beta1 * m[i]);
        v[i] = (g[i] * g[i]).mul_add(f.one_minus_beta2, f.beta2 * v[i]);
        let shrunk = if DECAY { p[i] * f.shrink } else { p[i] };
        p[i] = (m[i] / ((v[i] * f.unbias2).sqrt() + f.eps)).mul_add(-f.lr, shrunk);
        i += 1;
    }
}

#[target_feature(enable = "avx2,fma")]
fn amsgrad(f: Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], v_max: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n && v.len() == n && v_max.len() == n);
    let (b1, c1) = (_mm256_set1_ps(f.beta1), _mm256_set1_ps(f.one_minus_beta1));
    let (b2, c2) = (_mm256_set1_ps(f.beta2), _mm256_set1_ps(f.one_minus_beta2));
    let (unbias2, eps, lr) = (_mm256_set1_ps(f.unbias2), _mm256_set1_ps(f.eps), _mm256_set1_ps(-f.lr));
    let mut i = 0;
    while i + 8 <= n {
        let gi = load(g, i);
        let mi = _mm256_fmadd_ps(c1, gi, _mm256_mul_ps(b1, load(m, i)));
        let vi = _mm256_fmadd_ps(_mm256_mul_ps(gi, gi), c2, _mm256_mul_ps(b2, load(v, i)));
        let most = _mm256_max_ps(load(v_max, i), vi);
        store(m, i, mi);
        store(v, i, vi);
        store(v_max, i, most);
        let root = _mm256_add_ps(_mm256_sqrt_ps(_mm256_mul_ps(most, unbias2)), eps);
        store(p, i, _mm256_fmadd_ps(_mm256_div_ps(mi, root), lr, load(p, i)));
        i += 8;
    }
    while i < n {
        m[i] = f.one_minus_beta1.mul_add(g[i], f.beta1 * m[i]);
        v[i] = (g[i] * g[i]).mul_add(f.one_minus_beta2, f.beta2 * v[i]);
        v_max[i] = v_max[i].max(v[i]);
        p[i] = (m[i] / ((v_max[i] * f.unbias2).sqrt() + f.eps)).mul_add(-f.lr, p[i]);
        i += 1;
    }
}

#[target_feature(enable = "avx2,fma")]
fn adagrad(f: Factors, p: &mut [f32], g: &[f32], s: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && s.len() == n);
    let (eps, lr) = (_mm256_set1_ps(f.eps), _mm256_set1_ps(-f.lr));
    let mut i = 0;
    while i + 8 <= n {
        let gi = load(g, i);
        let si = _mm256_fmadd_ps(gi, gi, load(s, i));
        store(s, i, si);
        let root = _mm256_add_ps(_mm256_sqrt_ps(si), eps);
        store(p, i, _mm256_fmadd_ps(_mm256_div_ps(gi, root), lr, load(p, i)));
        i += 8;
    }
    while i < n {
        s[i] = g[i].mul_add(g[i], s[i]);
        p[i] = (g[i] / (s[i].sqrt() + f.eps)).mul_add(-f.lr, p[i]);
        i += 1;
    }
}

#[target_feature(enable = "avx2,fma")]
fn rmsprop(f: Factors, p: &mut [f32], g: &[f32], v: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && v.len() == n);
    let (b2, c2) = (_mm256_set1_ps(f.beta2), _mm256_set1_ps(f.one_minus_beta2));
    let (eps, lr) = (_mm256_set1_ps(f.eps), _mm256_set1_ps(-f.lr));
    let mut i = 0;
    while i + 8 <= n {
        let gi = load(g, i);
        let vi = _mm256_fmadd_ps(_mm256_mul_ps(gi, gi), c2, _mm256_mul_ps(b2, load(v, i)));
        store(v, i, vi);
        let root = _mm256_add_ps(_mm256_sqrt_ps(vi), eps);
        store(p, i, _mm256_fmadd_ps(_mm256_div_ps(gi, root), lr, load(p, i)));
        i += 8;
    }
    while i < n {
        v[i] = (g[i] * g[i]).mul_add(f.one_minus_beta2, f.beta2 * v[i]);
        p[i] = (g[i] / (v[i].sqrt() + f.eps)).mul_add(-f.lr, p[i]);
        i += 1;
    }
}

#[target_feature(enable = "avx2,fma")]
fn lion(f: Factors, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n);
    let (b1, c1) = (_mm256_set1_ps(f.beta1), _mm256_set1_ps(f.one_minus_beta1));
    let (b2, c2) = (_mm256_set1_ps(f.beta2), _mm256_set1_ps(f.one_minus_beta2));
    let (lr, sign, zero) = (_mm256_set1_ps(f.lr), _mm256_set1_ps(-0.0), _mm256_setzero_ps());
    let mut i = 0;
    while i + 8 <= n {
        let (gi, mi) = (load(g, i), load(m, i));
        let u = _mm256_fmadd_ps(c1, gi, _mm256_mul_ps(b1, mi));
        store(m, i, _mm256_fmadd_ps(c2, gi, _mm256_mul_ps(b2, mi)));
        // lr with the sign of u, or 0 where u is.
        let step = _mm256_or_ps(lr, _mm256_and_ps(u, sign));
        let step = _mm256_and_ps(step, _mm256_cmp_ps::<_CMP_NEQ_UQ>(u, zero));
        store(p, i, _mm256_sub_ps(load(p, i), step));
        i += 8;
    }
    while i < n {
        let u = f.one_minus_beta1.mul_add(g[i], f.beta1 * m[i]);
        m[i] = f.one_minus_beta2.mul_add(g[i], f.beta2 * m[i]);
        p[i] -= if u == 0.0 { 0.0 } else { f.lr.copysign(u) };
        i += 1;
    }
}

#[target_feature(enable = "avx2,fma")]
fn sgd(f: Factors, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    let n = p.len();
    assert!(g.len() == n && m.len() == n);
    let (b1, lr) = (_mm256_set1_ps(f.beta1), _mm256_set1_ps(-f.lr));
    let mut i = 0;
    while i + 8 <= n {
        let mi = _mm256_fmadd_ps(b1, load(m, i), load(g, i));
        store(m, i, mi);
        store(p, i, _mm256_fmadd_ps(mi, lr, load(p, i)));
        i += 8;
    }
    while i < n {
        m[i] = f.beta1.mul_add(m[i], g[i]);
        p[i] = m[i].mul_add(-f.lr, p[i]);
        i += 1;
    }
}
