//! Settings under which every rule is held to its reference.

/// A rule and its hypers off their defaults; a flag is 0 or 1. Together the cases of a rule move
/// every hyper and take every branch within 50 steps.
pub const CASES: &[(&str, &[(&str, f64)])] = &[
    ("adabelief", &[]),
    (
        "adabelief",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-6)],
    ),
    ("adabelief", &[("weight_decay", 0.1)]),
    ("adabound", &[]),
    (
        "adabound",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    (
        "adabound",
        &[("final_lr", 0.01), ("gamma", 0.2), ("weight_decay", 0.1)],
    ),
    ("adabound", &[("gamma", 0.0)]),
    ("adadelta", &[]),
    ("adadelta", &[("lr", 0.5), ("rho", 0.8), ("eps", 1e-3)]),
    ("adadelta", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("adagrad", &[]),
    ("adagrad", &[("lr", 0.1), ("lr_decay", 0.05), ("eps", 1e-3)]),
    (
        "adagrad",
        &[
            ("weight_decay", 0.1),
            ("initial_accumulator_value", 0.1),
            ("maximize", 1.0),
        ],
    ),
    ("adam", &[]),
    (
        "adam",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    ("adam", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("adam", &[("beta1", 0.0), ("beta2", 0.0)]),
    ("adamax", &[]),
    (
        "adamax",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    ("adamax", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("adamw", &[]),
    (
        "adamw",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    ("adamw", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("adamw", &[("weight_decay", 0.0)]),
    ("adan", &[]),
    (
        "adan",
        &[
            ("lr", 0.02),
            ("beta1", 0.9),
            ("beta2", 0.8),
            ("beta3", 0.95),
            ("eps", 1e-3),
        ],
    ),
    ("adan", &[("weight_decay", 0.1)]),
    ("ademamix", &[]),
    (
        "ademamix",
        &[
            ("lr", 0.02),
            ("beta1", 0.8),
            ("beta2", 0.95),
            ("beta3", 0.99),
            ("eps", 1e-3),
        ],
    ),
    (
        "ademamix",
        &[
            ("alpha", 2.0),
            ("t_alpha", 20.0),
            ("t_beta3", 30.0),
            ("weight_decay", 0.1),
        ],
    ),
    ("ademamix", &[("beta1", 0.0), ("t_beta3", 40.0)]),
    ("adopt", &[]),
    (
        "adopt",
        &[
            ("lr", 0.02),
            ("beta1", 0.8),
            ("beta2", 0.95),
            ("eps", 0.05),
            ("maximize", 1.0),
        ],
    ),
    ("adopt", &[("weight_decay", 0.1)]),
    (
        "adopt",
        &[("weight_decay", 0.1), ("decoupled_weight_decay", 1.0)],
    ),
    ("amsgrad", &[]),
    (
        "amsgrad",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.5), ("eps", 1e-3)],
    ),
    ("amsgrad", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("asgd", &[]),
    (
        "asgd",
        &[("lr", 0.1), ("lambd", 0.01), ("alpha", 0.5), ("t0", 5.0)],
    ),
    ("asgd", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    ("ftrl", &[]),
    (
        "ftrl",
        &[("lr", 0.1), ("beta", 1.0), ("l1", 0.5), ("l2", 0.1)],
    ),
    ("ftrl", &[("initial_accumulator_value", 1.0), ("l1", 2.0)]),
    ("ftrl", &[("initial_accumulator_value", 0.0)]),
    ("laprop", &[]),
    (
        "laprop",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    ("laprop", &[("weight_decay", 0.1)]),
    ("lion", &[]),
    (
        "lion",
        &[
            ("lr", 0.02),
            ("beta1", 0.8),
            ("beta2", 0.95),
            ("weight_decay", 0.1),
        ],
    ),
    ("nadam", &[]),
    (
        "nadam",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    (
        "nadam",
        &[
            ("weight_decay", 0.1),
            ("momentum_decay", 0.5),
            ("maximize", 1.0),
        ],
    ),
    (
        "nadam",
        &[("weight_decay", 0.1), ("decoupled_weight_decay", 1.0)],
    ),
    ("qhadam", &[]),
    (
        "qhadam",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    (
        "qhadam",
        &[("nu1", 1.0), ("nu2", 0.5), ("weight_decay", 0.1)],
    ),
    (
        "qhadam",
        &[
            ("nu1", 0.4),
            ("weight_decay", 0.1),
            ("decoupled_weight_decay", 1.0),
        ],
    ),
    ("radam", &[]),
    (
        "radam",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 1e-3)],
    ),
    ("radam", &[("weight_decay", 0.1), ("maximize", 1.0)]),
    (
        "radam",
        &[
            ("weight_decay", 0.1),
            ("decoupled_weight_decay", 1.0),
            ("beta2", 0.6),
        ],
    ),
    ("rmsprop", &[]),
    (
        "rmsprop",
        &[
            ("lr", 0.02),
            ("alpha", 0.9),
            ("eps", 1e-3),
            ("momentum", 0.8),
        ],
    ),
    (
        "rmsprop",
        &[("weight_decay", 0.1), ("centered", 1.0), ("maximize", 1.0)],
    ),
    ("rmsprop", &[("centered", 1.0), ("momentum", 0.9)]),
    ("rprop", &[]),
    (
        "rprop",
        &[
            ("lr", 0.1),
            ("etaminus", 0.3),
            ("etaplus", 1.5),
            ("maximize", 1.0),
        ],
    ),
    ("rprop", &[("step_min", 0.005), ("step_max", 0.03)]),
    ("sgd", &[]),
    (
        "sgd",
        &[("lr", 0.1), ("momentum", 0.9), ("weight_decay", 0.1)],
    ),
    (
        "sgd",
        &[("momentum", 0.9), ("dampening", 0.3), ("maximize", 1.0)],
    ),
    ("sgd", &[("lr", 0.1), ("momentum", 0.8), ("nesterov", 1.0)]),
    ("signum", &[]),
    (
        "signum",
        &[("lr", 0.02), ("momentum", 0.8), ("weight_decay", 0.1)],
    ),
    ("signum", &[("momentum", 0.0)]),
    ("yogi", &[]),
    (
        "yogi",
        &[("lr", 0.02), ("beta1", 0.8), ("beta2", 0.95), ("eps", 0.1)],
    ),
    (
        "yogi",
        &[("weight_decay", 0.1), ("initial_accumulator_value", 0.5)],
    ),
];

/// The hypers that are flags.
pub const FLAGS: &[&str] = &["centered", "decoupled_weight_decay", "maximize", "nesterov"];
