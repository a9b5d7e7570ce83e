//! `updraft emit`: the text of a stage of a rule. It is made by [`crate::emit`]; here are its arguments.

use super::{Failure, load_any, parse_set, parse_store, print};
use crate::codegen::{Isa, Lanes};
use crate::{EmitOptions, HyperValue, Math, Stage, Storage, Store};
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use std::path::PathBuf;

/// Print what a rule becomes: one stage of the compiler
#[derive(clap::Args)]
pub(super) struct Args {
    /// A path, or the name of a shipped rule, fragment or schedule; those that do not run have the stages ast and program
    rule: PathBuf,
    /// What to print: the file laid out, the checked program, the step in SSA, the sweeps, the loop body, or its code
    #[arg(long, value_parser = stages())]
    stage: Stage,
    /// The instruction set of clif and asm [default: that of this machine]
    #[arg(long, value_name = "NAME", value_parser = isas())]
    isa: Option<Isa>,
    /// Compute what is written (strict), or regroup scalar factors and contract to fma (fast)
    #[arg(long, default_value = "fast", value_parser = maths())]
    math: Math,
    /// The type of parameters and gradients
    #[arg(long, default_value = "f32", value_parser = dtypes())]
    dtype: Storage,
    /// Set a hyper; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// How a state is kept, for instance m=bf16, or the parameter, as p; may be repeated
    #[arg(long, value_name = "NAME=DTYPE", value_parser = parse_store)]
    store: Vec<(String, Store)>,
    /// The step that conditions are decided for, from 1
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    t: u64,
    /// The shape of the tensor that conditions are decided for, for instance 10 or 64,3,3,3; '' has no axes
    #[arg(long, value_name = "N,N,..", default_value = "64,64", value_parser = parse_shape)]
    shape: Shape,
    /// Elements at a time in clif and asm: 1 leaves the SIMD body out [default: as many as a vector holds]
    #[arg(long, value_name = "N", value_parser = PossibleValuesParser::new(["1", "2", "4", "8"]))]
    lanes: Option<String>,
    /// Print every plan that a change of t alone can reach
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let rule = load_any(&args.rule)?;
    let defaults = EmitOptions::default();
    let isa = args.isa.unwrap_or(defaults.isa);
    let simd = isa.vector_lanes(args.dtype.of_results().bytes());
    let lanes = match args.lanes.as_deref() {
        None => Lanes::Simd,
        Some("1") => Lanes::One,
        Some(lanes) if lanes == simd.to_string() => Lanes::Simd,
        Some(lanes) => {
            let dtype = args.dtype.name();
            return Err(Failure::Usage(format!(
                "--lanes {lanes} does not fit {dtype}: a vector of {isa} holds {simd} of them, so --lanes takes 1 or {simd}",
                isa = isa.name()
            )));
        }
    };
    let options = EmitOptions {
        storage: args.dtype,
        math: args.math,
        set: args.set.clone(),
        store: args.store.clone(),
        t: args.t,
        shape: args.shape.0.clone(),
        all: args.all,
        isa,
        lanes,
    };
    print(&crate::emit(&rule, args.stage, &options)?)
}

/// A shape as an argument. (A bare vector would be an argument that may be repeated.)
#[derive(Clone, Debug, PartialEq)]
struct Shape(Vec<usize>);

/// Reads `64,64`; nothing is the shape of a single number.
fn parse_shape(text: &str) -> Result<Shape, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Shape(Vec::new()));
    }
    let axes = text.split(',').map(|axis| axis.trim().parse::<usize>());
    let axes = axes.collect::<Result<Vec<usize>, _>>();
    let axes = axes.map_err(|_| "write the length of each axis, for instance 64,64; '' has no axes".to_string())?;
    match axes.iter().try_fold(1_usize, |numel, axis| numel.checked_mul((*axis).max(1))) {
        Some(_) => Ok(Shape(axes)),
        None => Err("a tensor of this shape has more elements than this machine can address".to_string()),
    }
}

/// A parser of the names of a few values.
pub(super) fn named<T: Copy + Send + Sync + 'static>(
    values: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names: Vec<&'static str> = values.iter().map(|value| name(*value)).collect();
    PossibleValuesParser::new(names)
        .try_map(move |given| values.iter().copied().find(|value| name(*value) == given).ok_or("not one of the names"))
}

fn stages() -> impl TypedValueParser<Value = Stage> {
    named(Stage::ALL, Stage::name)
}

fn isas() -> impl TypedValueParser<Value = Isa> {
    named(&Isa::ALL, Isa::name)
}

pub(super) fn maths() -> impl TypedValueParser<Value = Math> {
    named(&[Math::Fast, Math::Strict], Math::name)
}

pub(super) fn dtypes() -> impl TypedValueParser<Value = Storage> {
    named(&Storage::ALL, Storage::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_lengths_of_axes() {
        assert_eq!(parse_shape("64, 3"), Ok(Shape(vec![64, 3])));
        assert_eq!((parse_shape(""), parse_shape("0")), (Ok(Shape(vec![])), Ok(Shape(vec![0]))));
        let vast = format!("{},{}", usize::MAX, 2);
        assert!(["x", "3,", "-1", "3x3", &vast].iter().all(|text| parse_shape(text).is_err()));
    }
}
