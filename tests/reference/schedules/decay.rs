//! Schedules that are one formula of the step.

use super::{Schedule, Settings, closed};

pub fn constant(_: Settings) -> impl Schedule {
    closed(|_, base| base)
}

/// torch `ConstantLR._get_closed_form_lr`.
pub fn constant_factor(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let factor = h.number("factor");
        let over = if s >= h.number("total_iters") { 1.0 } else { 0.0 };
        base * (factor + over * (1.0 - factor))
    })
}

/// torch `LinearLR._get_closed_form_lr`.
pub fn linear(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (start, end, total) = (h.number("start_factor"), h.number("end_factor"), h.number("total_iters"));
        base * (start + (end - start) * s.min(total) / total)
    })
}

/// torch `StepLR`: one multiplication at each multiple of the size.
pub fn step(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let drops = s as u64 / h.number("step_size") as u64;
        (0..drops).fold(base, |value, _| value * h.number("gamma"))
    })
}

/// torch `MultiStepLR`: one multiplication at each milestone.
pub fn multistep(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let mut value = base;
        for milestone in h.list("milestones") {
            if s >= *milestone {
                value *= h.number("gamma");
            }
        }
        value
    })
}

/// torch `ExponentialLR`.
pub fn exponential(h: Settings) -> impl Schedule {
    closed(move |s, base| (0..s as u64).fold(base, |value, _| value * h.number("gamma")))
}

/// The limit of many small decays: the factor of one step is `e^-rate`.
pub fn exponential_rate(h: Settings) -> impl Schedule {
    closed(move |s, base| base / libm::exp(s * h.number("rate")))
}

/// keras `PolynomialDecay.__call__`.
pub fn polynomial(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (power, end) = (h.number("power"), h.number("end"));
        let mut steps = h.number("total_iters");
        let mut step = s;
        if h.flag("cycle") {
            steps *= if s == 0.0 { 1.0 } else { libm::ceil(s / steps) };
        } else {
            step = step.min(steps);
        }
        (base - end) * libm::pow(1.0 - step / steps, power) + end
    })
}

/// keras `InverseTimeDecay.__call__`.
pub fn inverse_time(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let mut p = s / h.number("transition_steps");
        if h.flag("staircase") {
            p = libm::floor(p);
        }
        base / (1.0 + h.number("decay_rate") * p)
    })
}

/// transformers `get_inverse_sqrt_schedule`.
pub fn inverse_sqrt(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let warmup = h.number("warmup");
        let timescale = h.number_or("timescale", if warmup == 0.0 { 10_000.0 } else { warmup });
        if s < warmup {
            return base * (s / warmup.max(1.0));
        }
        let shift = timescale - warmup;
        base * (1.0 / ((s + shift) / timescale).sqrt())
    })
}

/// burn `NoamLrScheduler::step`, which counts from 1.
pub fn noam(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let step = s + 1.0;
        let falling = libm::pow(step, -0.5);
        let rising = step * libm::pow(h.number("warmup"), -1.5);
        base * libm::pow(h.number("model_size"), -0.5) * falling.min(rising)
    })
}

/// optax `piecewise_constant_schedule`.
pub fn piecewise(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let changes = h.list("boundaries").iter().zip(h.list("factors"));
        changes.filter(|(boundary, _)| **boundary - s <= 0.0).fold(base, |value, (_, factor)| value * factor)
    })
}

/// pytorch_optimizer `REXScheduler.get_linear_lr`.
pub fn rex(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (max, min, total) = (h.number_or_base("max_lr", base), h.number("min_lr"), h.number("total_steps"));
        if s >= total {
            return min;
        }
        let progress = s / total;
        min + (max - min) * ((1.0 - progress) / (1.0 - progress / 2.0))
    })
}

/// timm `TanhLRScheduler._get_lr` with one cycle.
pub fn tanh_decay(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (min, total) = (h.number("min_lr"), h.number("total_steps"));
        if s >= total {
            return min;
        }
        let tr = s / total;
        min + 0.5 * (base - min) * (1.0 - libm::tanh(h.number("lower") * (1.0 - tr) + h.number("upper") * tr))
    })
}

/// DeepSpeed `LRRangeTest.get_lr`, whose last iteration is -1 before the first step.
pub fn range_test(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let last_batch_iteration = s - 1.0;
        let mut interval = (last_batch_iteration + 1.0) / h.number("step_size");
        if h.flag("staircase") {
            interval = libm::floor(interval);
        }
        base * (1.0 + h.number("step_rate") * interval)
    })
}

/// `base*(1 - a*s)` while that is positive.
pub fn linear_decay(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let left = 1.0 - h.number("a") * s;
        if left > 0.0 { base * left } else { 0.0 }
    })
}

/// `base/sqrt(1 + b1*s)*exp(-b2*s)`.
pub fn decayed_inverse_sqrt(h: Settings) -> impl Schedule {
    closed(move |s, base| base * libm::exp(-h.number("b2") * s) / (1.0 + h.number("b1") * s).sqrt())
}
