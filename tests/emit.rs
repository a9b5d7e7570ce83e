//! The texts of every stage of every shipped rule, frozen: the default, and one per other outcome of each condition.
//!
//! They are equal on every host, and `updraft emit` prints exactly them. A changed snapshot is read before it is accepted.

mod shipped;

use shipped::{T, all_facts};
use std::fmt::Write as _;
use updraft::ir::{lower, parse_kernel, print_kernel};
use updraft::plan::plan;
use updraft::{EmitOptions, Rule, SHIPPED, Stage, Storage, emit};

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/emit");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn programs_are_frozen() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        snapshot(&format!("{name}.program"), &emit(&rule, Stage::Program, &EmitOptions::default()).unwrap());
    }
}

#[test]
fn steps_are_frozen() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        let mut text = String::new();
        for facts in all_facts(&rule) {
            let _ = writeln!(text, "{}", lower(rule.program(), &facts));
        }
        snapshot(&format!("{name}.step"), &text);
    }
}

#[test]
fn plans_are_frozen() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        let mut text = String::new();
        for facts in all_facts(&rule) {
            let _ = writeln!(text, "{}", plan(&lower(rule.program(), &facts)));
        }
        snapshot(&format!("{name}.plan"), &text);
    }
}

/// `emit` prints what is frozen.
#[test]
fn emit_prints_the_frozen_text() {
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name).unwrap();
        let facts = rule.optimizer().build().unwrap().facts(Storage::F32, T);
        let step = lower(rule.program(), &facts);
        assert_eq!(emit(&rule, Stage::Step, &EmitOptions::default()).unwrap(), step.to_string());
        assert_eq!(emit(&rule, Stage::Plan, &EmitOptions::default()).unwrap(), plan(&step).to_string());
    }
}

/// The bytes that the best hand-written kernel would move, in f32 at the defaults.
#[test]
fn plans_move_the_fewest_bytes() {
    for (name, set, bytes) in [
        ("sgd", vec![], 12),
        ("sgd", vec![("momentum", 0.9)], 20),
        ("adagrad", vec![], 20),
        ("adadelta", vec![], 28),
        ("rmsprop", vec![], 20),
        ("rmsprop", vec![("momentum", 0.9)], 28),
        ("adam", vec![], 28),
        ("adam", vec![("weight_decay", 0.1)], 28),
        ("amsgrad", vec![], 36),
        ("adamw", vec![], 28),
        ("lion", vec![], 20),
        ("rprop", vec![], 28),
        ("signum", vec![], 20),
        ("ftrl", vec![], 28),
        ("adan", vec![], 44),
        ("ademamix", vec![], 36),
        // Two sweeps: what is reduced over is read once more.
        ("clip_adamw", vec![], 32),
        ("adagrad_norm", vec![], 16),
        ("adagrad_rowwise", vec![], 16),
        ("adam_mini", vec![], 24),
        ("novograd", vec![], 24),
        ("lars", vec![], 28),
        // The direction is kept, or computed again from both moments: as many bytes either way.
        ("lamb", vec![], 40),
        ("momo", vec![], 28),
        // Rows and columns cost nothing per element.
        ("sm3", vec![], 20),
        ("adafactor", vec![], 24),
    ] {
        let rule = Rule::shipped(name).unwrap();
        let set = set.into_iter().map(|(hyper, x): (&str, f64)| (hyper.to_string(), x.into())).collect();
        let text = emit(&rule, Stage::Plan, &EmitOptions { set, ..EmitOptions::default() }).unwrap();
        assert!(text.ends_with(&format!("\n{bytes} bytes per element in all\n")), "{name} {text}");
    }
}

/// A blank line stands between the declarations of a kernel and its instructions, and nowhere else.
#[test]
fn texts_of_small_kernels() {
    let (stream, uniform, inst) = ("  stream p f32 rw\n", "  uniform u\n", "  %0 = const 1.0\n");
    for (parts, bytes) in [
        (vec![], 0),
        (vec![stream], 8),
        (vec![uniform], 0),
        (vec![inst], 0),
        (vec![uniform, stream], 8),
        (vec![stream, "\n", inst], 8),
        (vec![uniform, "\n", inst], 0),
    ] {
        let text = format!("kernel k f32 {{\n{}}} # {bytes} bytes per element\n", parts.concat());
        assert_eq!(print_kernel(&parse_kernel(&text).unwrap()), text);
    }
}
