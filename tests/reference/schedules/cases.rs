//! Settings under which every schedule is held to its reference.

use super::{Hypers, value};

/// What was observed in the step before step `s`, for `s` from 1.
pub type Inputs = fn(u64) -> Option<f64>;

/// One run of a schedule.
pub struct Case {
    pub schedule: &'static str,
    /// The hypers off their defaults.
    pub hypers: Hypers,
    /// The driven hyper's own value.
    pub base: f64,
    /// How many values are compared, from step 0 on.
    pub steps: u64,
    pub inputs: Inputs,
}

/// Declares the cases: hypers off their defaults, base, steps, inputs.
macro_rules! cases {
    ($($schedule:ident($($hyper:ident = $value:tt),*), $base:expr, $steps:expr $(, $inputs:ident)?;)*) => {
        /// The cases. Together those of a schedule move every hyper and take every mode, flag and branch.
        pub const CASES: &[Case] = &[$(Case {
            schedule: stringify!($schedule),
            hypers: &[$((stringify!($hyper), value!($value))),*],
            base: $base,
            steps: $steps,
            inputs: cases!(@inputs $($inputs)?),
        }),*];
    };
    (@inputs) => { none };
    (@inputs $inputs:ident) => { $inputs };
}

/// Nothing is observed.
fn none(_: u64) -> Option<f64> {
    None
}

/// A number in [0, 1) for each step.
fn noise(s: u64) -> f64 {
    (s.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64
}

/// A loss that falls for 80 steps, with noise, and then stays.
fn falling(s: u64) -> Option<f64> {
    Some(3.0 / (1.0 + 0.1 * s.min(80) as f64) + 0.05 * noise(s))
}

/// An accuracy that rises as the loss falls.
fn rising(s: u64) -> Option<f64> {
    falling(s).map(|x| 2.0 - x / 2.0)
}

/// The loss, unknown in one step of three.
fn falling_at_times(s: u64) -> Option<f64> {
    if s.is_multiple_of(3) { None } else { falling(s) }
}

/// A loss that falls for 40 steps, stays for 40, and so on.
fn in_stairs(s: u64) -> Option<f64> {
    let moves = s / 80 * 40 + (s % 80).min(40);
    Some(10.0 - 0.01 * moves as f64)
}

/// A loss that stays.
fn stuck(_: u64) -> Option<f64> {
    Some(1.0)
}

/// Below 0 all the time, and falling.
fn below_zero(s: u64) -> Option<f64> {
    falling(s).map(|x| x - 4.0)
}

/// No number in one step of five.
fn with_nan(s: u64) -> Option<f64> {
    if s.is_multiple_of(5) { Some(f64::NAN) } else { falling(s) }
}

cases! {
    constant(), 0.1, 20;
    constant(), -0.3, 20;
    constant_factor(), 0.1, 20;
    constant_factor(factor = 0.7, total_iters = 9.0), 0.1, 20;
    constant_factor(factor = 0.0, total_iters = 0.0), 0.1, 5;
    cosine(), 0.1, 450;
    cosine(t_max = 7.0, eta_min = 0.02), 0.1, 100;
    cosine(t_max = 1.0, eta_min = 0.5), 0.1, 10;
    cosine_hard_restarts(), 0.1, 1050;
    cosine_hard_restarts(
        init = 0.01, peak = 0.4, warmup = 7.0, total = 50.0, end = 0.02, cycles = 5.0
    ), 0.1, 60;
    cosine_hard_restarts(warmup = 0.0, total = 12.0, cycles = 4.0), 0.1, 20;
    cosine_restarts(), 0.1, 105;
    cosine_restarts(t_0 = 3.0, t_mult = 2.0), 0.1, 2000;
    cosine_restarts(t_0 = 1.0, t_mult = 3.0, eta_min = 0.03), 0.1, 2000;
    cosine_restarts(t_0 = 7.0, t_mult = 10.0), 0.1, 2000;
    cosine_restarts_decay(), 0.1, 2000;
    cosine_restarts_decay(t_0 = 8.0, t_mult = 1.5, m_mult = 0.8, alpha = 0.1), 0.1, 300;
    cosine_restarts_decay(t_0 = 6.0, t_mult = 1.0, m_mult = 0.5), 0.1, 40;
    cyclic(), 0.1, 4100;
    cyclic(base_lr = 0.01, max_lr = 0.5, step_size_up = 8.0), 0.1, 100;
    cyclic(base_lr = 0.9, max_lr = 0.8, step_size_down = 50.0), 0.1, 2100;
    cyclic(step_size_up = 5.0, step_size_down = 9.0, mode = triangular2), 0.1, 100;
    cyclic(base_lr = 0.02, step_size_up = 6.0, mode = exp_range, gamma = 0.99), 0.1, 100;
    decayed_inverse_sqrt(), 0.1, 200;
    decayed_inverse_sqrt(b1 = 2.0, b2 = 0.05), 0.1, 100;
    exponential(), 0.1, 200;
    exponential(gamma = 0.5), 0.1, 60;
    exponential(gamma = 0.0), 0.1, 5;
    exponential(gamma = 1.01), 0.1, 100;
    exponential_rate(), 0.1, 200;
    exponential_rate(rate = 0.7), 0.1, 50;
    grad_norm_scaled(), 0.1, 100, falling;
    grad_norm_scaled(b = 0.01), 0.1, 100, falling;
    greedy(), 0.1, 400, falling;
    greedy(patience = 0.0, max_lr = 0.15), 0.1, 300, in_stairs;
    greedy(
        factor = 0.8, patience = 2.0, cooldown = 3.0, warmup = 2.0, min_lr = 0.02, reset_start = 4.0
    ), 0.1, 400, in_stairs;
    greedy(
        mode = max, patience = 1.0, threshold = 0.01, threshold_mode = rel, reset_start = 1.0, min_lr = 0.09
    ), 0.1, 200, rising;
    greedy(factor = 0.5, patience = 1.0, cooldown = 2.0, min_lr = 0.02, reset_start = 3.0), 0.1, 100, stuck;
    greedy(mode = max, threshold = 0.0, patience = 3.0), 0.1, 200, rising;
    greedy(threshold_mode = rel, patience = 1.0, eps = 0.004), 0.1, 300, in_stairs;
    greedy(patience = 1.0, factor = 0.5), 5e-4, 100, falling_at_times;
    greedy(patience = 1.0, factor = 0.9), 2.0, 100, falling_at_times;
    inverse_sqrt(), 0.1, 100;
    inverse_sqrt(warmup = 20.0), 0.1, 100;
    inverse_sqrt(warmup = 5.0, timescale = 30.0), 0.1, 100;
    inverse_time(), 0.1, 100;
    inverse_time(decay_rate = 0.5, transition_steps = 7.0), 0.1, 100;
    inverse_time(decay_rate = 0.5, transition_steps = 7.0, staircase = true), 0.1, 100;
    linear(), 0.1, 20;
    linear(start_factor = 1.0, end_factor = 0.0, total_iters = 17.0), 0.1, 20;
    linear_decay(), 0.1, 1100;
    linear_decay(a = 0.03), 0.1, 50;
    log_warmup(), 0.1, 1010;
    log_warmup(init = 0.01, peak = 0.4, warmup = 12.0), 0.1, 20;
    log_warmup(warmup = 2.0), 0.1, 5;
    loss_scaled(), 0.1, 100, falling;
    loss_scaled(b = 0.2), 0.1, 100, falling;
    multistep(), 0.1, 70;
    multistep(milestones = [0.0, 1.0, 5.0, 20.0], gamma = 0.3), 0.1, 30;
    multistep(milestones = []), 0.1, 5;
    noam(), 1.0, 5000;
    noam(model_size = 64.0, warmup = 10.0), 2.0, 50;
    one_cycle(), 0.1, 110;
    one_cycle(
        max_lr = 0.5, total_steps = 37.0, pct_start = 0.25, anneal_strategy = linear, div_factor = 10.0,
        final_div_factor = 100.0
    ), 0.1, 40;
    one_cycle(three_phase = true), 0.1, 110;
    one_cycle(total_steps = 41.0, pct_start = 0.45, anneal_strategy = linear, three_phase = true), 0.1, 45;
    one_cycle(pct_start = 0.0), 0.1, 100;
    one_cycle(pct_start = 0.0, three_phase = true), 0.1, 100;
    one_cycle(pct_start = 1.0, total_steps = 20.0), 0.1, 25;
    one_cycle(pct_start = 0.5, total_steps = 20.0, three_phase = true), 0.1, 25;
    one_cycle(pct_start = 0.01, total_steps = 30.0), 0.1, 35;
    piecewise(), 0.1, 70;
    piecewise(boundaries = [0.0, 3.0, 10.0], factors = [2.0, 0.3, 0.0]), 0.1, 20;
    piecewise(boundaries = [], factors = []), 0.1, 5;
    plateau(), 0.1, 400, falling;
    plateau(mode = max), 0.1, 400, rising;
    plateau(
        factor = 0.5, patience = 2.0, threshold = 0.02, threshold_mode = abs, cooldown = 3.0, min_lr = 0.004
    ), 0.1, 200, falling;
    plateau(mode = max, threshold_mode = abs, patience = 0.0), 0.1, 200, rising;
    plateau(patience = 3.0, threshold = 0.1, factor = 0.3), 0.1, 200, below_zero;
    plateau(patience = 3.0, factor = 0.9, eps = 0.005), 0.1, 300, falling_at_times;
    plateau(patience = 1.0, cooldown = 2.0, factor = 0.9), 0.1, 200, with_nan;
    plateau(min_lr = 0.5, patience = 1.0), 0.1, 200, falling;
    plateau(factor = 0.0, patience = 1.0, min_lr = 0.01), 0.1, 200, in_stairs;
    plateau(
        keras = true, threshold_mode = abs, eps = 0.0, patience = 3.0, factor = 0.8, min_lr = 0.003
    ), 0.1, 300, falling;
    plateau(
        keras = true, mode = max, threshold_mode = abs, eps = 0.0, patience = 0.0, cooldown = 2.0,
        factor = 0.9
    ), 0.1, 300, rising;
    plateau(keras = true, patience = 2.0, cooldown = 1.0, factor = 0.7), 0.1, 300, falling_at_times;
    polynomial(), 0.1, 10;
    polynomial(total_iters = 30.0, power = 2.5, end = 0.01), 0.1, 40;
    polynomial(total_iters = 9.0, power = 0.5, cycle = true), 0.1, 60;
    polynomial(total_iters = 4.0, power = 0.0, end = 0.05), 0.1, 10;
    range_test(), 1e-3, 2500;
    range_test(step_size = 7.0, step_rate = 0.3), 1e-3, 50;
    range_test(step_size = 7.0, step_rate = 0.3, staircase = true), 1e-3, 50;
    rex(), 0.1, 110;
    rex(total_steps = 13.0, max_lr = 0.7, min_lr = 0.05), 0.1, 20;
    step(), 0.1, 100;
    step(step_size = 7.0, gamma = 0.6), 0.1, 100;
    tanh_decay(), 0.1, 110;
    tanh_decay(total_steps = 23.0, lower = (-4.0), upper = 2.0, min_lr = 0.01), 0.1, 30;
    warmup_constant(), 0.1, 110;
    warmup_constant(init = 0.02, peak = 0.5, warmup = 7.0), 0.1, 10;
    warmup_constant(warmup = 0.0), 0.1, 5;
    warmup_cosine(), 0.1, 1010;
    warmup_cosine(init = 0.02, peak = 0.5, warmup = 7.0, total = 31.0, end = 0.01, exponent = 1.7), 0.1, 40;
    warmup_cosine(warmup = 0.0, total = 10.0), 0.1, 20;
    warmup_exponential(), 0.1, 400;
    warmup_exponential(
        init = 0.02, peak = 0.5, warmup = 7.0, transition_begin = 5.0, transition_steps = 4.0,
        decay_rate = 0.7, staircase = true, end = 0.01
    ), 0.1, 100;
    warmup_exponential(warmup = 3.0, transition_steps = 3.0, decay_rate = 1.2, end = 0.4), 0.1, 50;
    warmup_exponential(warmup = 0.0, decay_rate = 1.1), 0.1, 50;
    warmup_linear(), 0.1, 1010;
    warmup_linear(init = 0.02, peak = 0.5, warmup = 7.0, total = 31.0, end = 0.01), 0.1, 40;
    warmup_linear(warmup = 0.0, total = 10.0), 0.1, 20;
    warmup_polynomial(), 0.1, 1010;
    warmup_polynomial(init = 0.02, peak = 0.5, warmup = 7.0, total = 31.0, end = 0.01, power = 2.0), 0.1, 40;
    warmup_polynomial(warmup = 0.0, total = 10.0, power = 0.5), 0.1, 20;
    wsd(), 0.1, 1010;
    wsd(
        init = 0.02, peak = 0.5, warmup = 9.0, total = 40.0, decay = 13.0, end = 0.01, warmup_shape = cosine,
        shape = linear
    ), 0.1, 50;
    wsd(warmup = 6.0, total = 20.0, decay = 14.0, warmup_shape = sqrt, shape = sqrt), 0.1, 25;
    wsd(warmup = 0.0, total = 10.0, decay = 0.0), 0.1, 15;
}
