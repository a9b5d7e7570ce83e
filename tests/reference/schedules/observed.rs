//! Schedules that follow what was observed.

use super::{Schedule, Settings};

/// When a metric is better than the best one so far, as in torch `ReduceLROnPlateau._is_better`.
struct Better {
    max: bool,
    relative: bool,
    threshold: f64,
}

impl Better {
    fn new(h: Settings) -> Self {
        let max = h.mode("mode") == "max";
        Better { max, relative: h.mode("threshold_mode") == "rel", threshold: h.number("threshold") }
    }

    fn worst(&self) -> f64 {
        if self.max { f64::NEG_INFINITY } else { f64::INFINITY }
    }

    fn than(&self, current: f64, best: f64) -> bool {
        match (self.max, self.relative) {
            (false, true) => current < best * (1.0 - self.threshold),
            (false, false) => current < best - self.threshold,
            (true, true) => current > best * (1.0 + self.threshold),
            (true, false) => current > best + self.threshold,
        }
    }
}

/// torch or keras.
pub fn plateau(h: Settings) -> Plateau {
    let better = Better::new(h);
    let best = better.worst();
    let machine = if h.flag("keras") { Plateau::keras } else { Plateau::torch };
    Plateau { h, better, best, bad: 0.0, cooldown: 0.0, value: None, machine }
}

pub struct Plateau {
    h: Settings,
    better: Better,
    best: f64,
    bad: f64,
    cooldown: f64,
    value: Option<f64>,
    machine: fn(&mut Plateau, f64, f64) -> f64,
}

impl Plateau {
    /// `ReduceLROnPlateau.step` of `torch.optim.lr_scheduler`.
    fn torch(&mut self, value: f64, metric: f64) -> f64 {
        let mut value = value;
        if self.better.than(metric, self.best) {
            self.best = metric;
            self.bad = 0.0;
        } else {
            self.bad += 1.0;
        }
        if self.cooldown > 0.0 {
            self.cooldown -= 1.0;
            self.bad = 0.0;
        }
        if self.bad > self.h.number("patience") {
            let reduced = (value * self.h.number("factor")).max(self.h.number("min_lr"));
            if value - reduced > self.h.number("eps") {
                value = reduced;
            }
            self.cooldown = self.h.number("cooldown");
            self.bad = 0.0;
        }
        value
    }

    /// `ReduceLROnPlateau.on_epoch_end` of keras, with torch's least reduction.
    fn keras(&mut self, value: f64, metric: f64) -> f64 {
        if self.cooldown > 0.0 {
            self.cooldown -= 1.0;
            self.bad = 0.0;
        }
        if self.better.than(metric, self.best) {
            self.best = metric;
            self.bad = 0.0;
        } else if self.cooldown <= 0.0 {
            self.bad += 1.0;
            let floor = self.h.number("min_lr");
            if self.bad >= self.h.number("patience") && value > floor {
                self.cooldown = self.h.number("cooldown");
                self.bad = 0.0;
                let reduced = (value * self.h.number("factor")).max(floor);
                return if value - reduced > self.h.number("eps") { reduced } else { value };
            }
        }
        value
    }
}

impl Schedule for Plateau {
    fn value(&mut self, _: u64, base: f64, input: Option<f64>) -> f64 {
        let value = *self.value.get_or_insert(base);
        if let Some(metric) = input {
            self.value = Some((self.machine)(self, value, metric));
        }
        self.value.unwrap_or(base)
    }
}

/// transformers `GreedyLR.step`, without smoothing.
pub struct Greedy {
    h: Settings,
    better: Better,
    best: f64,
    bad: f64,
    good: f64,
    cooldown: f64,
    warmup: f64,
    reset_start: f64,
    value: Option<f64>,
}

impl Greedy {
    pub fn new(h: Settings) -> Self {
        let better = Better::new(h);
        let best = better.worst();
        let reset_start = h.number("reset_start");
        Greedy { h, better, best, bad: 0.0, good: 0.0, cooldown: 0.0, warmup: 0.0, reset_start, value: None }
    }

    fn observe(&mut self, base: f64, value: f64, metric: f64) -> f64 {
        if self.cooldown > 0.0 {
            self.cooldown -= 1.0;
            (self.bad, self.good) = (0.0, 0.0);
            return value;
        }
        if self.warmup > 0.0 {
            self.warmup -= 1.0;
            (self.bad, self.good) = (0.0, 0.0);
            return value;
        }
        if self.better.than(metric, self.best) {
            self.best = metric;
            self.bad = 0.0;
            self.good += 1.0;
        } else {
            self.bad += 1.0;
            self.good = 0.0;
        }
        if self.good > self.h.number("patience") {
            self.warmup = self.h.number("warmup");
            self.good = 0.0;
            self.increase(value)
        } else if self.bad > self.h.number("patience") {
            let value = self.reduce(base, value);
            self.cooldown = self.h.number("cooldown");
            self.bad = 0.0;
            value
        } else {
            value
        }
    }

    fn increase(&mut self, value: f64) -> f64 {
        self.reset_start = self.h.number("reset_start");
        let increased = (value / self.h.number("factor")).min(self.h.number("max_lr"));
        if increased - value > self.h.number("eps") { increased } else { value }
    }

    fn reduce(&mut self, base: f64, value: f64) -> f64 {
        let floor = self.h.number("min_lr");
        let reduced = (value * self.h.number("factor")).max(floor);
        let value = if value - reduced > self.h.number("eps") { reduced } else { value };
        if value <= floor {
            self.reset_start -= 1.0;
            if self.reset_start <= 0.0 {
                self.best = self.better.worst();
                self.good = 0.0;
                self.warmup = 0.0;
                self.reset_start = self.h.number("reset_start");
                return base;
            }
        }
        value
    }
}

impl Schedule for Greedy {
    fn value(&mut self, _: u64, base: f64, input: Option<f64>) -> f64 {
        let value = *self.value.get_or_insert(base);
        if let Some(metric) = input {
            self.value = Some(self.observe(base, value, metric));
        }
        self.value.unwrap_or(base)
    }
}

/// `base/(1 + b*loss)`, with the loss of the step before; `base` at step 0.
pub struct LossScaled(Settings);

impl LossScaled {
    pub fn new(h: Settings) -> Self {
        LossScaled(h)
    }
}

impl Schedule for LossScaled {
    fn value(&mut self, _: u64, base: f64, input: Option<f64>) -> f64 {
        match input {
            Some(loss) => base / (1.0 + self.0.number("b") * loss),
            None => base,
        }
    }
}

/// `base/sqrt(1 + b*sum)`, with the sum of the squared gradient norms until the step before.
pub struct GradNormScaled {
    h: Settings,
    norms: Vec<f64>,
}

impl GradNormScaled {
    pub fn new(h: Settings) -> Self {
        GradNormScaled { h, norms: Vec::new() }
    }
}

impl Schedule for GradNormScaled {
    fn value(&mut self, _: u64, base: f64, input: Option<f64>) -> f64 {
        self.norms.extend(input);
        base / (1.0 + self.h.number("b") * self.norms.iter().sum::<f64>()).sqrt()
    }
}
