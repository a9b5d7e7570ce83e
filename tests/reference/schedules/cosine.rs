//! Schedules with cosines or cycles.

use super::{Schedule, Settings, closed};
use std::f64::consts::PI;

/// The cosine of `pi*n/d`: `n` is brought below `2*d`, where all is exact, before it is rounded.
fn cos_pi(n: f64, d: f64) -> f64 {
    libm::cos(PI * libm::fmod(n, 2.0 * d) / d)
}

/// torch `CosineAnnealingLR._get_closed_form_lr`.
pub fn cosine(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let min = h.number("eta_min");
        min + (base - min) * (1.0 + cos_pi(s, h.number("t_max"))) / 2.0
    })
}

/// torch `CosineAnnealingWarmRestarts.step`: one cycle after the other.
pub fn cosine_restarts(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let min = h.number("eta_min");
        let (mut cur, mut length) = (s, h.number("t_0"));
        if h.number("t_mult") == 1.0 {
            cur = libm::fmod(s, length);
        }
        while cur >= length {
            cur -= length;
            length *= h.number("t_mult");
        }
        min + (base - min) * (1.0 + cos_pi(cur, length)) / 2.0
    })
}

/// keras `CosineDecayRestarts.__call__`: one cycle after the other.
pub fn cosine_restarts_decay(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let alpha = h.number("alpha");
        let (mut cur, mut length, mut peak) = (s, h.number("t_0"), 1.0);
        while cur >= length {
            cur -= length;
            length *= h.number("t_mult");
            peak *= h.number("m_mult");
        }
        let cosine = 0.5 * peak * (1.0 + cos_pi(cur, length));
        base * ((1.0 - alpha) * cosine + alpha)
    })
}

/// transformers `get_cosine_with_hard_restarts_schedule_with_warmup`, with values at both ends.
pub fn cosine_hard_restarts(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (init, peak, end) = (h.number("init"), h.number_or_base("peak", base), h.number("end"));
        let (warmup, total) = (h.number("warmup"), h.number("total"));
        if s < warmup {
            return init + (peak - init) * s / warmup.max(1.0);
        }
        let (done, of) = (s - warmup, total - warmup);
        if done >= of {
            return end;
        }
        // The remainder of cycles*done/of by 1.
        let part = libm::fmod(h.number("cycles") * done, of);
        end + (peak - end) * (0.5 * (1.0 + cos_pi(part, of)))
    })
}

/// torch `CyclicLR.get_lr`.
pub fn cyclic(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let (low, high) = (h.number("base_lr"), h.number_or_base("max_lr", base));
        let up = h.number("step_size_up");
        let down = h.number_or("step_size_down", up);
        let total = up + down;
        let cycle = libm::floor(1.0 + s / total);
        let inside = s - (cycle - 1.0) * total;
        let scale = if inside <= up { inside / up } else { 1.0 - (inside - up) / down };
        let height = (high - low) * scale;
        low + match h.mode("mode") {
            "triangular" => height,
            "triangular2" => height / libm::pow(2.0, cycle - 1.0),
            "exp_range" => height * libm::pow(h.number("gamma"), s),
            mode => panic!("no mode {mode}"),
        }
    })
}

/// torch `OneCycleLR.get_lr`: the first phase that is not over, or the last.
pub fn one_cycle(h: Settings) -> impl Schedule {
    closed(move |s, base| {
        let max = h.number_or_base("max_lr", base);
        let initial = max / h.number("div_factor");
        let min = initial / h.number("final_div_factor");
        let total = h.number("total_steps");
        let peak = h.number("pct_start") * total;
        let phases: &[(f64, f64, f64)] = if h.flag("three_phase") {
            &[(peak - 1.0, initial, max), (2.0 * peak - 2.0, max, initial), (total - 1.0, initial, min)]
        } else {
            &[(peak - 1.0, initial, max), (total - 1.0, max, min)]
        };
        let s = s.min(total - 1.0);
        let mut start_step = 0.0;
        for (i, &(end_step, start, end)) in phases.iter().enumerate() {
            if s <= end_step || i == phases.len() - 1 {
                let pct = (s - start_step) / (end_step - start_step);
                return match h.mode("anneal_strategy") {
                    "cos" => end + (start - end) / 2.0 * (libm::cos(PI * pct) + 1.0),
                    "linear" => (end - start) * pct + start,
                    mode => panic!("no strategy {mode}"),
                };
            }
            start_step = end_step;
        }
        unreachable!("the last phase never ends")
    })
}
