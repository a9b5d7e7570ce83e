//! The kernels that are run between guard pages: every one of the shipped rules, and loads right before each operation that
//! could take its operand from memory.

use crate::shipped::all_facts;
use std::collections::HashSet;
use updraft::check::program::{ReportId, StateId, ViewId};
use updraft::ir::step::Host;
use updraft::ir::{Kernel, Step, lower, lower_init, lower_view, parse_kernel, verify_kernel};
use updraft::plan::plan;
use updraft::{Facts, Math, Rule, SHIPPED, Storage, Store, Stores};

/// A kernel, and what it is.
pub struct Named {
    pub name: String,
    pub kernel: Kernel,
}

/// One way to keep things: the parameter's and the gradient's type, how the parameter and all states are kept, whether the
/// host joins all that it can, and the math.
struct Variant {
    name: &'static str,
    storage: Storage,
    grad: Storage,
    param: Option<Store>,
    states: Option<Store>,
    host: bool,
    math: Math,
}

const VARIANTS: [Variant; 15] = {
    const PLAIN: Variant = Variant {
        name: "f32",
        storage: Storage::F32,
        grad: Storage::F32,
        param: None,
        states: None,
        host: false,
        math: Math::Fast,
    };
    const BF16: Variant = Variant { name: "bf16", storage: Storage::Bf16, grad: Storage::Bf16, ..PLAIN };
    const F16: Variant = Variant { name: "f16", storage: Storage::F16, grad: Storage::F16, ..PLAIN };
    const F64: Variant = Variant { name: "f64", storage: Storage::F64, grad: Storage::F64, ..PLAIN };
    const KAHAN: Option<Store> = Some(Store::Bf16Kahan);
    const STOCHASTIC: Option<Store> = Some(Store::Bf16Stochastic);
    [
        PLAIN,
        F64,
        BF16,
        F16,
        Variant { name: "bf16, all in f32", param: Some(Store::F32), states: Some(Store::F32), ..BF16 },
        Variant { name: "bf16, states in f32, gradient in f32", grad: Storage::F32, states: Some(Store::F32), ..BF16 },
        Variant { name: "bf16, all with Kahan's compensation", param: KAHAN, states: KAHAN, ..BF16 },
        Variant { name: "bf16, all rounded at random", param: STOCHASTIC, states: STOCHASTIC, ..BF16 },
        Variant { name: "f16, all in f32", param: Some(Store::F32), states: Some(Store::F32), ..F16 },
        Variant { name: "f32, states in bf16", states: Some(Store::Bf16), ..PLAIN },
        Variant {
            name: "f32, states in f16, gradient in bf16",
            grad: Storage::Bf16,
            states: Some(Store::F16),
            ..PLAIN
        },
        Variant { name: "f64, states in f32", states: Some(Store::F32), ..F64 },
        Variant { name: "f32, with all of the host", host: true, ..PLAIN },
        Variant { name: "bf16, with all of the host", host: true, ..BF16 },
        Variant { name: "f32, as written", math: Math::Strict, ..PLAIN },
    ]
};

/// Every kernel of every shipped rule, each once: of the default plan and of the other outcome of each condition, of first
/// values and of views, in every variant.
pub fn shipped_kernels() -> Vec<Named> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (rule_name, _) in SHIPPED {
        let rule = Rule::shipped(rule_name).unwrap();
        let program = rule.program();
        let plans = all_facts(&rule);
        for variant in &VARIANTS {
            for (number, facts) in plans.iter().enumerate() {
                let state =
                    |state: &updraft::check::program::State| variant.states.filter(|_| !state.extent.is_scalar());
                let states = program.states.iter().map(state).collect();
                let stores = Stores { param: variant.param, states };
                let host = match variant.host {
                    false => Host::default(),
                    true => Host {
                        unscale: true,
                        skip_nonfinite: true,
                        average: true,
                        copy: Some(Storage::Bf16),
                        zero_grad: true,
                    },
                };
                let facts = Facts {
                    storage: variant.storage,
                    grad: variant.grad,
                    stores,
                    math: variant.math,
                    host,
                    reports: (0..program.reports.len()).map(|id| ReportId(id as u32)).collect(),
                    ..facts.clone()
                };
                let mut add = |what: String, step: &Step| {
                    for (sweep, planned) in plan(step).sweeps().enumerate() {
                        // Their names do not make kernels differ.
                        let unnamed = Kernel {
                            name: String::new(),
                            uniforms: planned.kernel.uniforms.clone(),
                            ..planned.kernel.clone()
                        };
                        if seen.insert(unnamed) {
                            let name = format!("{rule_name}, {}, {what}, sweep {sweep}", variant.name);
                            all.push(Named { name, kernel: planned.kernel.clone() });
                        }
                    }
                };
                add(format!("plan {number}"), &lower(program, &facts));
                let arrays = program.states.iter().enumerate().filter(|(_, state)| !state.extent.is_scalar());
                for (id, state) in arrays {
                    add(format!("first {}", state.name), &lower_init(program, StateId(id as u32), &facts));
                }
                for id in 0..program.views.len() {
                    add(format!("view {id}"), &lower_view(program, ViewId(id as u32), &facts));
                }
            }
        }
    }
    all
}

/// Bodies that do something to what has just been loaded, of `a`, `b` and the uniform `u`; `F` is the compute type, `I` the
/// integer of its width. Instructions that take an operand from memory must not take more of it than there is.
const SHAPES: [(&str, &str); 12] = [
    ("splat", "%0 = uniform u\n%1 = load a\n%2 = add %1, %0\nstore p, %2"),
    ("splat alone", "%0 = uniform u\nstore p, %0"),
    (
        "copysign",
        "%0 = load a\n%1 = load b\n%2: I = bitcast %0\n%3: I = bitcast %1\n%4: I = const MAX\n%5: I = const MIN\n\
         %6: I = and %2, %4\n%7: I = and %3, %5\n%8: I = or %6, %7\n%9 = bitcast %8\nstore p, %9",
    ),
    ("abs", "%0 = load a\n%1 = abs %0\nstore p, %1"),
    (
        "abs, neg, sqrt",
        "%0 = load a\n%1 = abs %0\n%2 = neg %1\n%3 = sqrt %2\n%4 = load b\n%5 = sqrt %4\n%6 = neg %5\n%7 = add %3, %6\nstore p, %7",
    ),
    ("min and max", "%0 = load a\n%1 = load b\n%2 = min %0, %1\n%3 = max %1, %0\n%4 = div %2, %3\nstore p, %4"),
    ("compare and select", "%0 = load a\n%1 = load b\n%2: bool = lt %0, %1\n%3 = select %2, %1, %0\nstore p, %3"),
    (
        "and of comparisons",
        "%0 = load a\n%1 = load b\n%2 = uniform u\n%3: bool = lt %0, %2\n%4: bool = ge %1, %2\n%5: bool = and %3, %4\n%6: bool = not %5\n%7 = select %6, %1, %0\nstore p, %7",
    ),
    ("fma", "%0 = load a\n%1 = load b\n%2 = uniform u\n%3 = fma %0, %2, %1\nstore p, %3"),
    (
        "round",
        "%0 = load a\n%1 = round %0\n%2 = load b\n%3 = floor %2\n%4 = ceil %2\n%5 = mul %1, %3\n%6 = sub %5, %4\nstore p, %6",
    ),
    (
        "integers",
        "%0 = load a\n%1: I = to_int %0\n%2 = load b\n%3: I = bitcast %2\n%4: I = iadd %1, %3\n%5: I = shr %4, %1\n%6 = to_float %5\nstore p, %6",
    ),
    ("a load alone", "%0 = load a\n%1 = load b\nstore p, %0"),
];

/// The shapes in both compute types, with every type in memory: promotions and demotions are among them.
pub fn shapes() -> Vec<Named> {
    let mut all = Vec::new();
    for (compute, int, max, min) in
        [("f32", "i32", i64::from(i32::MAX), i64::from(i32::MIN)), ("f64", "i64", i64::MAX, i64::MIN)]
    {
        for storage in Storage::ALL.map(Storage::name) {
            for (shape, body) in SHAPES {
                let body = body.replace(": I", &format!(": {int}"));
                let body = body.replace("MAX", &max.to_string()).replace("MIN", &min.to_string());
                let text = format!(
                    "kernel shape {compute} {{\nuniform u\nstream a {storage} r\nstream b {storage} r\nstream p {storage} w\n\n{body}\n}}"
                );
                let kernel = parse_kernel(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                verify_kernel(&kernel).unwrap_or_else(|error| panic!("{error}\n{text}"));
                all.push(Named { name: format!("{shape}, {storage} in {compute}"), kernel });
            }
        }
    }
    all
}
