//! `train --checkpoint --resume` and `inspect`, as they are typed.
#![cfg(feature = "cli")]

use crate::{Folder, names};
use std::path::Path;
use std::process::Command;
use updraft::{Checkpoint, Rule, Tensor};

/// Runs a command in a folder: whether it succeeded, stdout, stderr.
fn run(folder: &Path, line: &str) -> (bool, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_updraft")).current_dir(folder).args(line.split(' ')).output();
    let output = command.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// What a checkpoint says but for the clock.
fn contents(path: &Path) -> Vec<String> {
    let checkpoint = Checkpoint::read(path).unwrap();
    let entries: Vec<String> = checkpoint.entries().map(|entry| entry.name.to_string()).collect();
    let arrays = ["w1", "b1", "w2", "b2", "w3", "b3"].map(|name| format!("{:?}", checkpoint.param(name)));
    let losses = format!("{:?}", checkpoint.array("train.losses"));
    let values = format!("{:?}", checkpoint.array("train.values of lr"));
    let metadata = ["hypers", "set", "groups", "schedules", "seed"].map(|key| checkpoint.metadata(key).to_string());
    entries.into_iter().chain(arrays).chain(metadata).chain([losses, values]).collect()
}

const RUN: &str = "train adamw --batch 1000 --set lr=0.003 --schedule lr=cosine(t_max=24) --checkpoint run.safetensors";

#[test]
fn a_run_that_was_stopped_goes_on_to_the_bit() {
    let (straight, stopped) = (Folder::new("straight"), Folder::new("stopped"));
    let (ok, told, notes) = run(&straight.0, &format!("{RUN} --epochs 3"));
    assert!(ok && notes.is_empty(), "{notes}");
    let (ok, _, notes) = run(&stopped.0, &format!("{RUN} --epochs 1 --resume"));
    assert!(ok && notes.contains("there is no `run.safetensors` yet"), "{notes}");
    // Without --resume nothing is overwritten.
    let (ok, out, error) = run(&stopped.0, &format!("{RUN} --epochs 3"));
    assert!(!ok && out.is_empty() && error.contains("`run.safetensors` is there already: pass --resume"), "{error}");
    let (ok, resumed, notes) = run(&stopped.0, &format!("{RUN} --epochs 3 --resume --keep 1"));
    assert!(ok && notes.contains("going on from `run.safetensors` after 1 epoch"), "{notes}");
    assert_eq!(names(&stopped.0), ["run.safetensors", "run.safetensors.1"]);
    let [a, b] = [&straight, &stopped].map(|folder| contents(&folder.0.join("run.safetensors")));
    assert!(a == b, "the checkpoints differ");
    // The losses and accuracies that are told are the same, in the lines of the epochs that were left.
    let lines = |text: &str| -> Vec<String> {
        let epochs = text.lines().filter(|line| line.trim_start().starts_with(['2', '3']) && line.contains("/3"));
        epochs.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!((lines(&resumed), lines(&resumed).len()), (lines(&told), 2));
    let reached = |text: &str| text.lines().find(|line| line.contains("test accuracy after")).map(str::to_string);
    assert_eq!(reached(&resumed), reached(&told));
    // There is nothing left to do, and nothing is done.
    let before = std::fs::read(stopped.0.join("run.safetensors")).unwrap();
    let (ok, again, _) = run(&stopped.0, &format!("{RUN} --epochs 3 --resume"));
    assert!(ok && reached(&again) == reached(&told), "{again}");
    assert!(std::fs::read(stopped.0.join("run.safetensors")).unwrap() == before);
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let folder = Folder::new("mistakes");
    let refused = |line: &str, expected: &str| {
        let (ok, out, error) = run(&folder.0, line);
        assert!(!ok && out.is_empty() && error.contains(expected), "{line}: {out}{error}");
    };
    refused("train adam sgd --checkpoint x.safetensors", "a checkpoint is of one run");
    refused("train adam --resume", "--checkpoint");
    refused("train adam --checkpoint x.safetensors --migrate", "--resume");
    refused("train adam --checkpoint no/x.safetensors", "there is no such folder");
    refused("train adam --checkpoint x.html --report x.html", "--checkpoint");
    assert!(run(&folder.0, "train adam --batch 2000 --epochs 1 --checkpoint x.safetensors").0);
    let resume = "--epochs 2 --checkpoint x.safetensors --resume";
    refused(&format!("train adam --batch 1000 {resume}"), "pass --batch 2000");
    refused(&format!("train adam --batch 2000 --seed 1 {resume}"), "pass --seed 0");
    refused(&format!("train sgd --batch 2000 {resume}"), "another rule: `adam`, and this is `sgd`");
    refused(&format!("train adam --batch 2000 --set maximize=true {resume}"), "set them as they were");
    refused(&format!("train adam --batch 2000 --store m=bf16 {resume}"), "`m` was left as it is by default");
    refused(&format!("train adam --batch 2000 --schedule lr=cosine(t_max=9) {resume}"), "no schedule drove `lr`");
    // What is set is set from here on, and said.
    let (ok, out, notes) = run(&folder.0, &format!("train adam --batch 2000 --set lr=0.01 {resume}"));
    assert!(ok && out.contains("lr=0.01") && notes.contains("`lr` was 0.001 and is 0.01 from here"), "{out}{notes}");
    let (ok, out, _) = run(&folder.0, "train adam --batch 2000 --epochs 3 --checkpoint x.safetensors --resume");
    assert!(ok && out.contains("lr=0.01"), "{out}");
    std::fs::write(folder.0.join("bad.safetensors"), b"\x08\0\0\0\0\0\0\0{\"a\":\x1b[2J").unwrap();
    refused("train adam --checkpoint bad.safetensors --resume", "not a safetensors file");
    refused("inspect bad.safetensors", "not a safetensors file");
    refused("inspect missing.safetensors", "missing.safetensors");
}

#[test]
fn inspect_shows_what_there_is() {
    let folder = Folder::new("inspect");
    let line = "train adamw --batch 4000 --epochs 1 --set lr=0.003 --schedule lr=cosine(t_max=24) --store m=bf16";
    assert!(run(&folder.0, &format!("{line} --checkpoint run.safetensors")).0);
    let (ok, out, error) = run(&folder.0, "inspect run.safetensors");
    assert!(ok && error.is_empty(), "{error}");
    insta::assert_snapshot!("inspect", out);
    let (_, program, _) = run(&folder.0, "inspect run.safetensors --program");
    assert!(program.starts_with("program adamw\nhyper lr") && program.contains("state m per element"), "{program}");
    let (_, json, _) = run(&folder.0, "inspect run.safetensors --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["rule"], &json["steps"]["w1"], &json["hypers"]["default"]["lr"]),
        (&"adamw".into(), &2.into(), &"0.003".into())
    );
    let arrays = json["arrays"].as_array().unwrap();
    let m = arrays.iter().find(|array| array["name"] == "w1/m").unwrap();
    assert_eq!((&m["dtype"], &m["bytes"]), (&"bf16".into(), &(784 * 512 * 2).into()));
    // Damage is found before anything is shown.
    let path = folder.0.join("run.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (ok, out, error) = run(&folder.0, "inspect run.safetensors");
    assert!(!ok && out.is_empty() && error.contains("it is damaged"), "{out}{error}");
}

/// Names come from files, and a terminal does what it is told.
#[test]
fn nothing_that_a_checkpoint_says_moves_the_terminal() {
    let folder = Folder::new("escapes");
    let name = "w\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\nrule forged\t";
    let mut opt = Rule::shipped("sgd").unwrap().optimizer().group(name, "*", |g| Ok(g)).unwrap().build().unwrap();
    opt.step(&mut [Tensor::new(name, &mut [1.0f32], &[0.5])]).unwrap();
    opt.save(folder.0.join("x.safetensors")).unwrap();
    for line in ["inspect x.safetensors", "inspect x.safetensors --program", "inspect x.safetensors --json"] {
        let (ok, out, error) = run(&folder.0, line);
        assert!(ok && error.is_empty(), "{line}: {error}");
        let harmful = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!out.contains(harmful), "{line}: {out:?}");
        assert!(!out.lines().any(|line| line.starts_with("rule forged")), "{line}: {out}");
    }
    // As data the name is what it is.
    let (_, json, _) = run(&folder.0, "inspect x.safetensors --json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["steps"][name], 1);
}
