//! The shipped schedules once more, by hand: closed forms, loops and state machines, each written
//! after its source (torch, optax, keras, transformers, timm, DeepSpeed, burn or a paper).
//!
//! Nothing here knows of the compiler or of the text of a `.sched` file. A schedule may round
//! differently, so it is held to its reference within 1e-12, relative.

pub mod cases;
mod cosine;
mod decay;
mod observed;
mod warmup;

/// The value of a hyper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Flag(bool),
    Mode(&'static str),
    List(&'static [f64]),
}

/// Values of hypers by name.
pub type Hypers = &'static [(&'static str, Value)];

/// A schedule of one hyper, from step 0 on.
pub trait Schedule {
    /// The value for the next step, `s`, which is 0, 1, 2 and so on. `base` is the driven hyper's
    /// own value, the same at every step; `input` is what was observed in the step before, if
    /// anything was.
    fn value(&mut self, s: u64, base: f64, input: Option<f64>) -> f64;
}

/// A schedule without state or input is a function of `s` and `base`.
impl<F: Fn(f64, f64) -> f64> Schedule for F {
    fn value(&mut self, s: u64, base: f64, _: Option<f64>) -> f64 {
        self(s as f64, base)
    }
}

/// Tells a closure that it is one.
fn closed(f: impl Fn(f64, f64) -> f64) -> impl Schedule {
    f
}

/// The hypers of a schedule: what was set, else the defaults.
#[derive(Clone, Copy)]
pub struct Settings {
    defaults: Hypers,
    set: Hypers,
}

impl Settings {
    /// What was set.
    fn set(&self, name: &str) -> Option<Value> {
        self.set.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    fn get(&self, name: &str) -> Value {
        let default = || self.defaults.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        self.set(name).or_else(default).unwrap_or_else(|| panic!("no hyper {name}"))
    }

    fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Number(x) => x,
            other => panic!("{name} is {other:?}, not a number"),
        }
    }

    /// A number that was set, else another one.
    fn number_or(&self, name: &str, other: f64) -> f64 {
        if self.set(name).is_some() { self.number(name) } else { other }
    }

    /// A number, or the driven hyper's own value where it is infinite.
    fn number_or_base(&self, name: &str, base: f64) -> f64 {
        let x = self.number(name);
        if x.is_finite() { x } else { base }
    }

    fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Flag(x) => x,
            other => panic!("{name} is {other:?}, not a flag"),
        }
    }

    fn mode(&self, name: &str) -> &'static str {
        match self.get(name) {
            Value::Mode(x) => x,
            other => panic!("{name} is {other:?}, not a mode"),
        }
    }

    fn list(&self, name: &str) -> &'static [f64] {
        match self.get(name) {
            Value::List(x) => x,
            other => panic!("{name} is {other:?}, not a list"),
        }
    }
}

/// The value of a hyper as it is written in the tables.
macro_rules! value {
    (true) => {
        $crate::reference::Value::Flag(true)
    };
    (false) => {
        $crate::reference::Value::Flag(false)
    };
    ([$($x:expr),*]) => {
        $crate::reference::Value::List(&[$($x),*])
    };
    ($mode:ident) => {
        $crate::reference::Value::Mode(stringify!($mode))
    };
    ($x:expr) => {
        $crate::reference::Value::Number($x)
    };
}
use value;

/// Declares the schedules: name, input, constructor, hypers with their defaults. A mode is its
/// first value.
macro_rules! schedules {
    ($($name:ident $(<- $input:ident)? : $new:path { $($hyper:ident = $default:tt),* })*) => {
        /// The name of every schedule.
        pub const SCHEDULES: &[&str] = &[$(stringify!($name)),*];

        /// The hypers of a schedule with their defaults. A default that depends on other hypers is
        /// what it is at their defaults.
        pub fn hypers(schedule: &str) -> Hypers {
            match schedule {
                $(stringify!($name) => const { &[$((stringify!($hyper), value!($default))),*] },)*
                _ => panic!("no reference for the schedule {schedule}"),
            }
        }

        /// The input of a schedule.
        pub fn input(schedule: &str) -> Option<&'static str> {
            match schedule {
                $($(stringify!($name) => Some(stringify!($input)),)?)*
                _ => None,
            }
        }

        /// A schedule by name, with hypers off their defaults, before step 0.
        pub fn reference(schedule: &str, set: Hypers) -> Box<dyn Schedule> {
            let settings = Settings { defaults: hypers(schedule), set };
            for (name, _) in set {
                assert!(settings.defaults.iter().any(|(known, _)| known == name), "{schedule} has no hyper {name}");
            }
            match schedule {
                $(stringify!($name) => Box::new($new(settings)),)*
                _ => panic!("no reference for the schedule {schedule}"),
            }
        }
    };
}

const INF: f64 = f64::INFINITY;
const THIRD: f64 = 1.0 / 3.0;

schedules! {
    constant: decay::constant {}
    constant_factor: decay::constant_factor { factor = (THIRD), total_iters = 5.0 }
    cosine: cosine::cosine { t_max = 100.0, eta_min = 0.0 }
    cosine_hard_restarts: cosine::cosine_hard_restarts {
        init = 0.0, peak = (INF), warmup = 100.0, total = 1000.0, end = 0.0, cycles = 1.0
    }
    cosine_restarts: cosine::cosine_restarts { t_0 = 10.0, t_mult = 1.0, eta_min = 0.0 }
    cosine_restarts_decay: cosine::cosine_restarts_decay { t_0 = 10.0, t_mult = 2.0, m_mult = 1.0, alpha = 0.0 }
    cyclic: cosine::cyclic {
        base_lr = 0.0, max_lr = (INF), step_size_up = 2000.0, step_size_down = 2000.0, mode = triangular, gamma = 1.0
    }
    decayed_inverse_sqrt: decay::decayed_inverse_sqrt { b1 = 0.1, b2 = 1e-3 }
    exponential: decay::exponential { gamma = 0.95 }
    exponential_rate: decay::exponential_rate { rate = 0.01 }
    grad_norm_scaled <- grad_norm_squared: observed::GradNormScaled::new { b = 1.0 }
    greedy <- metric: observed::Greedy::new {
        mode = min, factor = 0.95, patience = 10.0, threshold = 1e-6, threshold_mode = abs, cooldown = 0.0,
        warmup = 0.0, min_lr = 1e-3, max_lr = 1.0, eps = 1e-8, reset_start = 500.0
    }
    inverse_sqrt: decay::inverse_sqrt { warmup = 0.0, timescale = 10000.0 }
    inverse_time: decay::inverse_time { decay_rate = 0.01, transition_steps = 1.0, staircase = false }
    linear: decay::linear { start_factor = (THIRD), end_factor = 1.0, total_iters = 5.0 }
    linear_decay: decay::linear_decay { a = 1e-3 }
    log_warmup: warmup::log_warmup { init = 0.0, peak = (INF), warmup = 1000.0 }
    loss_scaled <- loss: observed::LossScaled::new { b = 1.0 }
    multistep: decay::multistep { milestones = [30.0, 60.0], gamma = 0.1 }
    noam: decay::noam { model_size = 512.0, warmup = 4000.0 }
    one_cycle: cosine::one_cycle {
        max_lr = (INF), total_steps = 100.0, pct_start = 0.3, anneal_strategy = cos, div_factor = 25.0,
        final_div_factor = 1e4, three_phase = false
    }
    piecewise: decay::piecewise { boundaries = [30.0, 60.0], factors = [0.1, 0.1] }
    plateau <- metric: observed::plateau {
        mode = min, factor = 0.1, patience = 10.0, threshold = 1e-4, threshold_mode = rel, cooldown = 0.0,
        min_lr = 0.0, eps = 1e-8, keras = false
    }
    polynomial: decay::polynomial { total_iters = 5.0, power = 1.0, end = 0.0, cycle = false }
    range_test: decay::range_test { step_size = 2000.0, step_rate = 1.0, staircase = false }
    rex: decay::rex { total_steps = 100.0, max_lr = (INF), min_lr = 0.0 }
    step: decay::step { step_size = 30.0, gamma = 0.1 }
    tanh_decay: decay::tanh_decay { total_steps = 100.0, lower = (-7.0), upper = 3.0, min_lr = 0.0 }
    warmup_constant: warmup::warmup_constant { init = 0.0, peak = (INF), warmup = 100.0 }
    warmup_cosine: warmup::warmup_cosine {
        init = 0.0, peak = (INF), warmup = 100.0, total = 1000.0, end = 0.0, exponent = 1.0
    }
    warmup_exponential: warmup::warmup_exponential {
        init = 0.0, peak = (INF), warmup = 100.0, transition_begin = 0.0, transition_steps = 100.0, decay_rate = 0.9,
        staircase = false, end = 0.0
    }
    warmup_linear: warmup::warmup_linear { init = 0.0, peak = (INF), warmup = 100.0, total = 1000.0, end = 0.0 }
    warmup_polynomial: warmup::warmup_polynomial {
        init = 0.0, peak = (INF), warmup = 100.0, total = 1000.0, end = 1e-7, power = 1.0
    }
    wsd: warmup::wsd {
        init = 0.0, peak = (INF), warmup = 100.0, total = 1000.0, decay = 100.0, end = 0.0, warmup_shape = linear,
        shape = cosine
    }
}
