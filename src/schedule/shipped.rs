//! The schedules that are part of the crate.

macro_rules! shipped {
    ($($name:literal)*) => {
        /// The shipped schedules: name and text, sorted by name.
        pub const SHIPPED_SCHEDULES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../optimizers/schedules/", $name, ".sched"))),)*
        ];
    };
}

shipped! {
    "constant"
    "constant_factor"
    "cosine"
    "cosine_hard_restarts"
    "cosine_restarts"
    "cosine_restarts_decay"
    "cyclic"
    "decayed_inverse_sqrt"
    "exponential"
    "exponential_rate"
    "grad_norm_scaled"
    "greedy"
    "inverse_sqrt"
    "inverse_time"
    "linear"
    "linear_decay"
    "log_warmup"
    "loss_scaled"
    "multistep"
    "noam"
    "one_cycle"
    "piecewise"
    "plateau"
    "polynomial"
    "range_test"
    "rex"
    "step"
    "tanh_decay"
    "warmup_constant"
    "warmup_cosine"
    "warmup_exponential"
    "warmup_linear"
    "warmup_polynomial"
    "wsd"
}
