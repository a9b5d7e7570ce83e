//! Rules and schedules that are compiled and run.

use super::{Files, hash, header, text};
use half::{bf16, f16};
use ndarray::{ArrayViewD, ArrayViewMutD};
use updraft::check::program::Extent;
use updraft::codegen::Lanes;
use updraft::runtime::Element;
use updraft::syntax::ast::FileKind;
use updraft::{
    Codegen, Engine, HyperValue, Math, Optimizer, OptimizerBuilder, Rule, Schedule, Selector, SourceFile, StateValues,
    Store, Tensor,
};

/// A rule that is accepted is compiled by both code generators, and gives the bits of the evaluator. A fragment is used by a
/// rule, a schedule is asked for values.
pub fn compile(data: &[u8]) {
    let text = text(data);
    let mut files = Files::new(&text);
    let main = text.split("\n====\n").next().unwrap_or_default();
    match header(main) {
        Some((FileKind::Schedule, stem)) => {
            if let Ok(schedule) = Schedule::parse(stem, main) {
                values(&schedule);
            }
            return;
        }
        Some((FileKind::Fragment, stem)) => {
            let user = format!("optimizer user_\nuse {stem}\np -= g\n");
            files.others.push((FileKind::Fragment, stem, main));
            files.main = SourceFile::new("user_.opt", user);
        }
        _ => {}
    }
    if let Ok(rule) = Rule::compile_with(files.main.clone(), &files) {
        let variant = hash(data);
        match variant >> 8 & 3 {
            0 => agree::<f64>(&rule, variant),
            1 => agree::<bf16>(&rule, variant),
            2 => agree::<f16>(&rule, variant),
            _ => agree::<f32>(&rule, variant),
        }
    }
}

/// A text that joins schedules is one, or refused with a reason; as one it is written as a text that means the same. The
/// same text as a value of a hyper and as the pattern of a group comes to an end.
pub fn schedule(data: &[u8]) {
    let text = text(data);
    if let Ok(schedule) = text.parse::<Schedule>() {
        let written = schedule.to_string();
        let again: Schedule = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(again.to_string(), written);
        assert_eq!(values(&again), values(&schedule), "{written}");
    }
    let Ok(value) = text.parse::<HyperValue>();
    if let HyperValue::Number(_) | HyperValue::List(_) = value {
        let Ok(again) = value.to_string().parse::<HyperValue>();
        assert_eq!(format!("{again:?}"), format!("{value:?}"));
    }
    let rule = Rule::shipped("sgd").expect("it is shipped");
    let _ = rule.optimizer().group("some", Selector::from(&*text), |group| group.set("lr", value)).map(|builder| {
        let (mut w, g) = ([1.0f32; 2], [1.0f32; 2]);
        let mut opt = builder.build().expect("what is set is in range");
        opt.step(&mut [Tensor::new("a.b/c-1", &mut w, &g)]).expect("a step");
    });
}

/// Some values, as bits or as what is wrong; a schedule without state gives them in any order.
fn values(schedule: &Schedule) -> Vec<Result<u64, String>> {
    let shown = |value: Result<f64, updraft::Error>| value.map(f64::to_bits).map_err(|error| error.to_string());
    let mut run = match schedule.run() {
        Ok(run) => run,
        Err(error) => return vec![Err(error.to_string())],
    };
    let observed = [&[("metric", 1.0), ("loss", 0.5), ("grad_norm", 2.0)][..], &[("metric", f64::NAN)], &[]];
    let mut found = Vec::new();
    for s in 0..6u64 {
        let value = shown(run.next(0.1, observed[s as usize % 3]));
        if schedule.is_stateless() && value.is_ok() {
            assert_eq!(value, shown(schedule.value(s, 0.1)), "at {s}");
        }
        found.push(value);
    }
    found
}

/// A type of elements, made of and compared as what every type has.
trait Number: Element {
    fn of(x: f64) -> Self;
    /// All NaNs are one.
    fn bits(self) -> u64;
}

macro_rules! number {
    ($($ty:ident, $of:expr;)*) => {
        $(impl Number for $ty {
            fn of(x: f64) -> $ty {
                $of(x)
            }

            fn bits(self) -> u64 {
                if self.is_nan() { u64::MAX } else { u64::from(self.to_bits()) }
            }
        })*
    };
}

number! {
    f32, |x| x as f32;
    f64, |x| x;
    bf16, bf16::from_f64;
    f16, f16::from_f64;
}

/// The shapes of the tensors. The lengths are more than a vector and no multiple of one.
const SHAPES: [&[usize]; 3] = [&[3, 7], &[11], &[2, 1, 3]];
const NAMES: [&str; 3] = ["a", "b.weight", "c"];
/// How many steps are taken.
const STEPS: u64 = 3;

/// Every engine does the same.
fn agree<T: Number>(rule: &Rule, variant: u64) {
    let math = if variant & 1 == 0 { Math::Fast } else { Math::Strict };
    let builder = || options(rule.optimizer().math(math), rule, variant);
    let expected = run::<T>(builder().engine(Engine::Eval), variant);
    for (name, builder) in [
        ("one lane", (variant & 6 == 6).then(|| builder().lanes(Lanes::One))),
        ("Cranelift", (variant & 6 == 2).then(|| builder().codegen(Codegen::Cranelift))),
        ("wide", Some(builder().codegen(Codegen::Wide))),
    ] {
        let Some(builder) = builder else { continue };
        assert_eq!(run::<T>(builder, variant), expected, "{name}, {}, {}", math.name(), std::any::type_name::<T>());
    }
}

/// Host options, each in a share of the inputs.
fn options(mut builder: OptimizerBuilder, rule: &Rule, variant: u64) -> OptimizerBuilder {
    let chosen = |bit: u32| variant >> bit & 7 == 0;
    if chosen(12) {
        builder = builder.skip_nonfinite(true);
    }
    if chosen(15) {
        builder = builder.average(0.9).expect("it is in range");
    }
    if chosen(18) {
        builder = builder.unscale(true);
    }
    if chosen(21) {
        builder = builder.threads(2);
    }
    for report in &rule.program().reports {
        builder = builder.report(&report.name).expect("the rule has it");
    }
    let stores = [Store::Bf16Stochastic, Store::Bf16Kahan];
    if let (true, Some(state)) = (chosen(24), rule.program().states.first())
        && let Ok(stored) = rule.optimizer().store(&state.name, stores[variant as usize >> 27 & 1])
    {
        drop(stored);
        builder = builder.store(&state.name, stores[variant as usize >> 27 & 1]).expect("it was accepted before");
    }
    builder
}

/// Everything that some steps give, as bits and as what is wrong.
fn run<T: Number>(builder: OptimizerBuilder, variant: u64) -> Vec<Result<u64, String>> {
    let mut opt = match builder.build() {
        Ok(opt) => opt,
        Err(error) => return vec![Err(error.to_string())],
    };
    let mut random = variant;
    let mut values = |len: usize| (0..len).map(|_| T::of(value(&mut random))).collect::<Vec<T>>();
    let mut params = SHAPES.map(|shape| values(shape.iter().product()));
    let program = opt.rule().program().clone();
    let mut found = Vec::new();
    for step in 0..STEPS {
        let grads = SHAPES.map(|shape| values(shape.iter().product()));
        for input in &program.inputs {
            let given = match input.extent {
                Extent::Model => opt.input(&input.name, 0.75),
                Extent::Group => opt.group("default").and_then(|mut group| group.input(&input.name, 0.25)),
                _ => Ok(()),
            };
            given.unwrap_or_else(|error| panic!("{error}"));
        }
        let mut tensors = Vec::new();
        for (index, (param, grad)) in params.iter_mut().zip(&grads).enumerate() {
            // Not every tensor takes part in every step, so that they have not taken the same number of steps.
            if (step + index as u64) % 3 == 2 {
                continue;
            }
            let param = ArrayViewMutD::from_shape(SHAPES[index], param).expect("as many elements");
            let grad = ArrayViewD::from_shape(SHAPES[index], grad).expect("as many elements");
            let mut tensor = Tensor::new(NAMES[index], param, grad.clone());
            for input in &program.inputs {
                tensor = match input.extent {
                    Extent::Tensor => tensor.input(&input.name, -1.5),
                    Extent::Model | Extent::Group => tensor,
                    _ => tensor.input_array(&input.name, grad.clone()),
                };
            }
            tensors.push(tensor);
        }
        let result = opt.step(&mut tensors);
        drop(tensors);
        found.push(result.map(|()| opt.skipped()).map_err(|error| error.to_string()));
        assert_eq!(opt.warning(), None, "an accepted rule is compiled");
        found.extend(params.iter().flatten().map(|x| Ok(x.bits())));
        states(&opt, &mut found);
    }
    found
}

/// States and reports.
fn states(opt: &Optimizer, found: &mut Vec<Result<u64, String>>) {
    let program = opt.rule().program();
    for tensor in NAMES {
        found.push(Ok(opt.steps(tensor)));
        let states = program.states.iter().map(|state| opt.state(tensor, &state.name));
        for values in states.chain([opt.average(tensor)]).flatten() {
            match values {
                StateValues::F32(values) => found.extend(values.iter().map(|x| Ok(x.bits()))),
                StateValues::F64(values) => found.extend(values.iter().map(|x| Ok(x.bits()))),
                StateValues::Bf16(values) => found.extend(values.iter().map(|x| Ok(x.bits()))),
                StateValues::F16(values) => found.extend(values.iter().map(|x| Ok(x.bits()))),
                StateValues::Scalar(x) => found.push(Ok(x.bits())),
            }
        }
        let reports = program.reports.iter().filter_map(|report| opt.report_of(&report.name, tensor));
        found.extend(reports.map(|x| Ok(x.bits())));
    }
    found.extend(program.reports.iter().filter_map(|report| opt.report(&report.name)).map(|x| Ok(x.bits())));
}

/// A number (splitmix64): mostly of the size that gradients have, now and then an extreme.
fn value(random: &mut u64) -> f64 {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut x = *random;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    let unit = (x >> 11) as f64 / (1u64 << 53) as f64;
    match x & 63 {
        0 => 0.0,
        1 => -0.0,
        2 => f64::INFINITY,
        3 => f64::NAN,
        4 => 1e-40,
        5 => -3e38,
        _ => unit * 4.0 - 2.0,
    }
}
