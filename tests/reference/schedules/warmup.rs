//! Schedules that begin with a warm-up.

use super::{Schedule, Settings, closed};
use std::f64::consts::PI;

/// optax `linear_schedule`, which starts at `warmup` if there is no step to take.
fn rise(s: f64, init: f64, peak: f64, steps: f64) -> f64 {
    if steps <= 0.0 {
        return peak;
    }
    (init - peak) * (1.0 - s.min(steps) / steps) + peak
}

/// A schedule of two parts joined at the end of the warm-up, as optax `join_schedules`. The second
/// part counts from there; it has the peak.
fn joined(h: Settings, after: impl Fn(f64, f64) -> f64) -> impl Schedule {
    closed(move |s, base| {
        let (warmup, peak) = (h.number("warmup"), h.number_or_base("peak", base));
        if s < warmup { rise(s, h.number("init"), peak, warmup) } else { after(s - warmup, peak) }
    })
}

/// optax `warmup_constant_schedule`.
pub fn warmup_constant(h: Settings) -> impl Schedule {
    joined(h, |_, peak| peak)
}

/// transformers `get_linear_schedule_with_warmup`, between any values.
pub fn warmup_linear(h: Settings) -> impl Schedule {
    joined(h, move |s, peak| {
        let (steps, end) = (h.number("total") - h.number("warmup"), h.number("end"));
        let left = ((steps - s) / steps).max(0.0);
        end + (peak - end) * left
    })
}

/// optax `warmup_cosine_decay_schedule`.
pub fn warmup_cosine(h: Settings) -> impl Schedule {
    joined(h, move |s, peak| {
        let decay_steps = h.number("total") - h.number("warmup");
        let alpha = if peak == 0.0 { 0.0 } else { h.number("end") / peak };
        let count = s.min(decay_steps);
        let cosine = 0.5 * (1.0 + libm::cos(PI * count / decay_steps));
        peak * ((1.0 - alpha) * libm::pow(cosine, h.number("exponent")) + alpha)
    })
}

/// optax `warmup_exponential_decay_schedule`.
pub fn warmup_exponential(h: Settings) -> impl Schedule {
    joined(h, move |s, peak| {
        let rate = h.number("decay_rate");
        let count = s - h.number("transition_begin");
        let mut p = count / h.number("transition_steps");
        if h.flag("staircase") {
            p = libm::floor(p);
        }
        let decayed = if count <= 0.0 { peak } else { peak * libm::pow(rate, p) };
        if h.set("end").is_none() {
            decayed
        } else if rate < 1.0 {
            decayed.max(h.number("end"))
        } else {
            decayed.min(h.number("end"))
        }
    })
}

/// transformers `get_polynomial_decay_schedule_with_warmup`.
pub fn warmup_polynomial(h: Settings) -> impl Schedule {
    joined(h, move |s, peak| {
        let (steps, end) = (h.number("total") - h.number("warmup"), h.number("end"));
        if s > steps {
            return end;
        }
        let remaining = 1.0 - s / steps;
        (peak - end) * libm::pow(remaining, h.number("power")) + end
    })
}

/// transformers `get_wsd_schedule`, between any values.
pub fn wsd(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let peak = h.number_or_base("peak", base);
        let (warmup, decay) = (h.number("warmup"), h.number("decay"));
        let stable = h.number("total") - warmup - decay;
        if s < warmup {
            let progress = s / warmup;
            let factor = match h.mode("warmup_shape") {
                "linear" => progress,
                "cosine" => 0.5 * (1.0 - libm::cos(PI * progress)),
                "sqrt" => 1.0 - (1.0 - progress).sqrt(),
                shape => panic!("no shape {shape}"),
            };
            return factor * (peak - h.number("init")) + h.number("init");
        }
        if s < warmup + stable {
            return peak;
        }
        if s < warmup + stable + decay {
            let progress = (s - warmup - stable) / decay;
            let factor = match h.mode("shape") {
                "linear" => 1.0 - progress,
                "cosine" => 0.5 * (1.0 + libm::cos(PI * progress)),
                "sqrt" => 1.0 - progress.sqrt(),
                shape => panic!("no shape {shape}"),
            };
            return factor * (peak - h.number("end")) + h.number("end");
        }
        h.number("end")
    })
}

/// DeepSpeed `WarmupLR.get_lr`, whose last iteration is -1 before the first step.
pub fn log_warmup(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (min, steps) = (h.number("init"), h.number("warmup"));
        let last_batch_iteration = s - 1.0;
        if last_batch_iteration < 0.0 {
            return min;
        }
        let gamma = if last_batch_iteration < steps {
            1.0 / libm::log(steps) * libm::log(last_batch_iteration + 1.0)
        } else {
            1.0
        };
        min + (h.number_or_base("peak", base) - min) * gamma
    })
}
