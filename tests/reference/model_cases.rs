//! Settings under which every rule of `models.rs` is held to its reference.

use super::cases::Hypers;

/// A rule and its hypers off their defaults. Together the cases of a rule move every hyper and take every branch within 50
/// steps.
pub const MODEL_CASES: &[(&str, Hypers)] = &[
    ("clip_norm_sgd", &[]),
    ("clip_norm_sgd", &[("lr", 0.1), ("max_norm", 4.0)]),
    ("adafactor", &[]),
    ("adafactor", &[("lr", 0.2), ("beta2_decay", -0.5), ("eps1", 0.5), ("eps2", 2.0), ("d", 1.5)]),
    ("adafactor", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("adam_mini", &[]),
    ("adam_mini", &[("lr", 0.05), ("beta1", 0.8), ("beta2", 0.9), ("eps", 1e-3), ("weight_decay", 0.1)]),
    ("came", &[]),
    ("came", &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.9), ("beta3", 0.95), ("eps1", 1e-3), ("eps2", 1e-2)]),
    ("came", &[("d", 0.5), ("weight_decay", 0.1)]),
    ("dadapt_adam", &[]),
    ("dadapt_adam", &[("growth_rate", 1.05)]),
    ("dadapt_adam", &[("lr", 0.0), ("weight_decay", 0.1)]),
    ("dadapt_adam", &[("lr", 0.5), ("beta1", 0.8), ("beta2", 0.9), ("eps", 1e-3), ("weight_decay", 0.1), ("d0", 1e-7)]),
    ("dadapt_adam", &[("bias_correction", 1.0), ("weight_decay", 0.1), ("decoupled_weight_decay", 1.0), ("d0", 1e-5)]),
    ("dog", &[]),
    ("dog", &[("lr", 0.5), ("reps_rel", 0.01), ("eps", 0.5), ("weight_decay", 0.1)]),
    ("dowg", &[]),
    ("dowg", &[("lr", 0.5), ("eps", 0.1)]),
    ("momo", &[]),
    ("momo", &[("lr", 0.001), ("beta", 0.5), ("lb", -1.0), ("weight_decay", 0.1)]),
    ("momo", &[("bias_correction", 1.0), ("use_fstar", 1.0)]),
    ("momo", &[("use_fstar", 1.0), ("lb", 1.0), ("weight_decay", 0.1), ("beta", 0.5)]),
    ("polyak_sps", &[]),
    ("polyak_sps", &[("lr", 0.002), ("c", 1.0), ("fstar", -1.0), ("eps", 0.5)]),
    ("prodigy", &[]),
    ("prodigy", &[("growth_rate", 1.05)]),
    ("prodigy", &[("lr", 0.0), ("weight_decay", 0.1)]),
    ("prodigy", &[("lr", 0.5), ("beta1", 0.8), ("beta2", 0.9), ("eps", 1e-3), ("weight_decay", 0.1), ("d0", 1e-7)]),
    (
        "prodigy",
        &[
            ("beta3", 0.9),
            ("d_coef", 2.0),
            ("bias_correction", 1.0),
            ("weight_decay", 0.1),
            ("decoupled_weight_decay", 0.0),
            ("safeguard_warmup", 1.0),
            ("d0", 1e-5),
        ],
    ),
    ("sm3", &[]),
    ("sm3", &[("lr", 0.5), ("momentum", 0.5), ("eps", 1e-3)]),
    ("sm3", &[("momentum", 0.0)]),
];
