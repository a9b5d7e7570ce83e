//! The program `updraft` as its users run it: arguments in, text, files and an exit code out.
//!
//! Every test runs the binary in a folder of its own, so that messages name files the same way everywhere.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use updraft::Codegen;

/// A folder for one test, empty when the test begins.
struct Folder(PathBuf);

/// What a run gave.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new(test: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
        // It is there if the test has run before.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Every file with its bytes.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_updraft"));
        command.args(args).current_dir(&self.0).stdin(Stdio::null()).env_remove("NO_COLOR").env("TERM", "xterm");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    fn run_with_stdin(&self, args: &[&str], stdin: &str) -> Ran {
        let mut command = self.command(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        ran(child.wait_with_output().unwrap())
    }

    /// Runs what must succeed and say nothing on stderr, and returns its stdout.
    fn ok(&self, args: &[&str]) -> String {
        let Ran { code, stdout, stderr } = self.run(args);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
        stdout
    }

    /// Runs what must fail with `code` and change no file, and returns its stderr.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let before = self.files();
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(self.files() == before, "{args:?} changed files");
        ran.stderr
    }
}

fn ran(output: std::process::Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Commands with what they answer on stderr, one after the other.
fn transcript(folder: &Folder, code: i32, commands: &[&[&str]]) -> String {
    let answer = |args: &&[&str]| format!("$ updraft {}\n{}\n", args.join(" "), folder.fails(code, args));
    commands.iter().map(answer).collect()
}

const BROKEN: &str = "optimizer broken
hyper lr = 1e-3 in [0, inf)
hyper unused = 1
state m = 0

m = lerp(m, g, 0.1
p -= rl * m
";

const UNTIDY: &str = "optimizer untidy
hyper lr=0.1 in [0,inf) # rate


p-=lr*g
";

const TIDY: &str = "optimizer untidy
hyper lr = 0.1 in [0, inf)  # rate

p -= lr * g
";

// Help and usage.

#[test]
fn help() {
    let folder = Folder::new("help");
    let mut all = folder.ok(&["--help"]);
    for command in
        ["check", "fmt", "explain", "list", "doc", "emit", "apply", "schedule", "train", "bench", "completions"]
    {
        all += &format!("\n$ updraft {command} --help\n{}", folder.ok(&[command, "--help"]));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_does_not_exist_is_a_usage_error() {
    let folder = Folder::new("usage");
    let apply = ["apply", "sgd", "--params", "p", "--grads", "g", "--out", "o"];
    for flag in [
        "--threads=-1",
        "--seed=-1",
        "--store=m",
        "--store=m=bf17",
        "--schedule=lr",
        "--schedule=lr=",
        "--view=x",
        "--view=x=",
    ] {
        folder.fails(2, &[&apply[..], &[flag]].concat());
    }
    for flag in ["--keep=2", "--resume", "--schedule=lr", "--advance=batch", "--ema=x", "--threads=-1"] {
        folder.fails(2, &["train", "sgd", flag]);
    }
    for args in [
        &[][..],
        &["bench"],
        &["inspect"],
        &["schedule"],
        &["help"],
        &["check"],
        &["fmt"],
        &["explain"],
        &["doc"],
        &["emit", "sgd"],
    ] {
        folder.fails(2, args);
    }
    for flag in [
        "--t=0",
        "--lanes=3",
        "--math=exact",
        "--dtype=bf17",
        "--store=m=",
        "--set=lr",
        "--set=lr=",
        "--isa=x86_64+avx512",
        "--shape=3x3",
    ] {
        folder.fails(2, &["emit", "sgd", "--stage", "kernel", flag]);
    }
    for flag in ["--epochs=0", "--batch=0", "--seed=-1"] {
        folder.fails(2, &["train", "sgd", flag]);
    }
    for flag in [
        "--elements=0",
        "--elements=1k",
        "--elements=4Gi",
        "--tensors=0",
        "--threads=-1",
        "--dtype=f31",
        "--codegen=llvm",
        "--math=exact",
        "--denormals=zero",
        "--seconds=0",
        "--set=lr",
    ] {
        folder.fails(2, &["bench", "sgd", flag]);
    }
    insta::assert_snapshot!(transcript(
        &folder,
        2,
        &[
            &["emit", "sgd", "--stage", "kernel", "--isa", "sparc"],
            &["emit", "sgd", "--stage", "kernel", "--dtype", "f64", "--lanes", "8", "--isa", "x86_64+fma"],
            &["emit", "sgd", "--stage", "mlir"],
            &["completions", "tcsh"],
            &["bench", "sgd", "--elements", "2Gi", "--tensors", "2"],
            &["bench", "sgd", "--elements", "1k"],
            &["bench", "sgd", "--codegen", "llvm"],
        ]
    ));
}

// check, fmt, explain.

#[test]
fn check_shows_every_finding_of_every_file() {
    let folder = Folder::new("check");
    folder.write("broken.opt", BROKEN);
    folder.write("untidy.opt", UNTIDY);
    let ran = folder.run(&["check", "missing.opt", "broken.opt", "untidy.opt"]);
    assert_eq!(ran.code, Some(1));
    insta::assert_snapshot!(format!("{}----- stderr\n{}", ran.stdout, ran.stderr));
    assert_eq!(folder.ok(&["check", "untidy.opt"]), "Checked 1 file: no errors, no warnings\n");
}

#[test]
fn lints_are_no_errors() {
    let folder = Folder::new("lints");
    folder.write("careless.opt", "optimizer careless\nhyper lr = 1\nhyper unused = 1\n\np -= lr * g\n");
    let text = folder.ok(&["check", "careless.opt"]);
    assert!(text.starts_with("warning[unused-hyper]"), "{text}");
    assert!(text.ends_with("\nChecked 1 file: no errors, 1 warning\n"), "{text}");
}

#[test]
fn check_gives_json() {
    let folder = Folder::new("json");
    folder.write("broken.opt", BROKEN);
    let ran = folder.run(&["check", "--json", "broken.opt", "broken.opt"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let found: Vec<serde_json::Value> = serde_json::from_str(&ran.stdout).unwrap();
    let codes: Vec<&str> = found.iter().map(|it| it["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["unclosed-bracket", "unknown-name", "unclosed-bracket", "unknown-name"]);
    assert_eq!((&found[0]["file"], &found[0]["line"]), (&"broken.opt".into(), &6.into()));
    folder.write("fine.opt", "optimizer fine\nhyper lr = 1\n\np -= lr * g\n");
    assert_eq!(folder.ok(&["check", "--json", "fine.opt"]), "[]\n");
    // A file that cannot be read is in the array too: a tool must not take it for a clean one.
    let ran = folder.run(&["check", "--json", "missing.opt"]);
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &found[0]["code"]), (Some(1), &"unreadable-file".into()));
    assert_eq!(found[0]["file"], "missing.opt");
}

#[test]
fn files_that_are_no_text_are_named() {
    let folder = Folder::new("unreadable");
    folder.write("latin.opt", b"# caf\xe9\noptimizer latin\n");
    folder.write("long.opt", vec![b'#'; 3 << 20]);
    fs::create_dir(folder.path("dir.opt")).unwrap();
    let ran = folder.run(&["check", "latin.opt", "dir.opt", "long.opt", "esc\u{1b}[31m.opt"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("source-too-long"), "{}", ran.stdout);
    insta::assert_snapshot!(ran.stderr);
}

#[test]
fn stdin_is_a_file() {
    let folder = Folder::new("stdin");
    let ran = folder.run_with_stdin(&["check", "-"], TIDY);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "Checked 1 file: no errors, no warnings\n"));
    let ran = folder.run_with_stdin(&["check", "-"], BROKEN);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains(" --> (stdin)/broken.opt:6:9"), "{}", ran.stdout);
    let ran = folder.run_with_stdin(&["fmt", "-"], UNTIDY);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), TIDY, ""));
    let ran = folder.run_with_stdin(&["fmt", "--check", "-"], UNTIDY);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "-\n"));
    let ran = folder.run_with_stdin(&["doc", "-"], TIDY);
    assert!(ran.stdout.starts_with("# untidy\n"), "{}", ran.stderr);
}

#[test]
fn fmt_rewrites_in_place() {
    let folder = Folder::new("fmt");
    folder.write("untidy.opt", UNTIDY);
    folder.write("broken.opt", BROKEN);
    let ran = folder.run(&["fmt", "--check", "untidy.opt"]);
    assert_eq!((ran.code, ran.stdout.as_str(), folder.text("untidy.opt").as_str()), (Some(1), "untidy.opt\n", UNTIDY));
    let ran = folder.run(&["fmt", "missing.opt", "broken.opt", "untidy.opt"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert_eq!((folder.text("untidy.opt").as_str(), folder.text("broken.opt").as_str()), (TIDY, BROKEN));
    insta::assert_snapshot!(ran.stderr);
    assert_eq!(folder.ok(&["fmt", "untidy.opt"]), "");
    assert_eq!(folder.ok(&["fmt", "--check", "untidy.opt"]), "");
    assert_eq!(folder.files().len(), 2, "a temporary file is left");
}

#[test]
fn explain() {
    let folder = Folder::new("explain");
    insta::assert_snapshot!("explain_extent_grows", folder.ok(&["explain", "extent-grows"]));
    let list = folder.ok(&["explain", "--list"]);
    let slugs: Vec<&str> = list.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(slugs, updraft::Code::ALL.iter().map(|code| code.slug()).collect::<Vec<_>>());
    for slug in slugs {
        // What the checker says of the bad example must be about this code.
        let text = folder.ok(&["explain", slug]);
        assert!(!text.contains("is answered with") || text.matches(&format!("[{slug}]")).count() > 1, "{text}");
    }
    insta::assert_snapshot!(transcript(&folder, 1, &[&["explain", "unknwon-name"], &["explain", "x"]]));
}

// list, doc, emit.

#[test]
fn list() {
    insta::assert_snapshot!(Folder::new("list").ok(&["list"]));
}

#[test]
fn doc() {
    let folder = Folder::new("doc");
    insta::assert_snapshot!("doc_adam", folder.ok(&["doc", "adam"]));
    folder.write(
        "all.opt",
        "# All: every kind of declaration.\noptimizer all\nhyper lr = 1e-2 in (0, 1]  # rate | step\nhyper every = 2*3 in 1.. \
         fixed\nhyper free = lr\nstate n per tensor = every\nstate m = 2*p\ninput loss = 1  # of the batch\ninput scale per \
         tensor\ndef half(x) = x/2\nrequire lr < free + 1, \"lr is too large\"\n\n# Above the first statement.\nn += 1\nif n > 3 \
         { m = half(g) * loss }\n\n# In the middle.\np -= lr * m * scale\n",
    );
    insta::assert_snapshot!("doc_all", folder.ok(&["doc", "all.opt"]));
    // Reductions, what is used, and what a host can ask for.
    folder.write(
        "asked.opt",
        "# Asked: what a host gives and gets.\noptimizer asked\nhyper lr = 0.1 in [0, inf)  # rate\nstate average = p  # of p\n\
         state r per row = 0  # largest of each row\ninput mask per element  # 0 or 1\ninput scale per tensor = 1\n\n\
         use clip_global_norm(max_norm = 2)\nif rank >= 2 { r = max(max(abs(g) per row), r) }\n\
         p -= lr * scale * mask * g\naverage = lerp(average, p, 0.1)\nreport length = norm(p)  # of p\n\
         report total = norm(g per model)\nview averaged = average  # to be evaluated\n",
    );
    insta::assert_snapshot!("doc_asked", folder.ok(&["doc", "asked.opt"]));
    insta::assert_snapshot!("doc_clip_global_norm", folder.ok(&["doc", "clip_global_norm"]));
}

#[test]
fn rules_are_shipped_or_files() {
    let folder = Folder::new("rules");
    folder.write("adam.opt", TIDY.replace("untidy", "adam"));
    fs::create_dir(folder.path("sub")).unwrap();
    folder.write("sub/lion", TIDY.replace("untidy", "lion"));
    assert!(folder.ok(&["doc", "adam"]).contains("beta2"));
    assert!(!folder.ok(&["doc", "adam.opt"]).contains("beta2"));
    assert!(!folder.ok(&["doc", "./adam.opt"]).contains("beta2"));
    assert!(!folder.ok(&["doc", "sub/lion"]).contains("beta1"));
    folder.write("broken.opt", BROKEN);
    let commands: [&[&str]; 4] = [&["doc", "adma"], &["doc", "adma.opt"], &["doc", "broken.opt"], &["doc", "sub/adam"]];
    insta::assert_snapshot!(transcript(&folder, 1, &commands));
}

/// `emit` prints the text of the library, which its own tests and the snapshots hold.
#[test]
fn emit_prints_what_the_library_gives() {
    use updraft::codegen::{Isa, Lanes};
    use updraft::{EmitOptions, Math, Rule, Stage, Storage};
    let folder = Folder::new("emit");
    let rule = Rule::shipped("radam").unwrap();
    for &stage in Stage::ALL {
        let options = EmitOptions { isa: Isa::Aarch64, ..EmitOptions::default() };
        let args = ["emit", "radam", "--stage", stage.name(), "--isa", "aarch64"];
        assert_eq!(folder.ok(&args), updraft::emit(&rule, stage, &options).unwrap());
        let options = EmitOptions {
            isa: Isa::X86_64Fma,
            storage: Storage::F64,
            math: Math::Strict,
            set: vec![("maximize".into(), true.into()), ("lr".into(), 0.5.into())],
            store: vec![],
            t: 3,
            shape: vec![],
            lanes: Lanes::One,
            all: false,
        };
        let args =
            ["emit", "radam", "--stage", stage.name(), "--isa", "x86_64+fma", "--dtype", "f64", "--math", "strict"];
        let more = ["--set", "maximize=true", "--set", "lr=0.5", "--t", "3", "--shape", "", "--lanes", "1"];
        assert_eq!(folder.ok(&[&args[..], &more].concat()), updraft::emit(&rule, stage, &options).unwrap());
    }
    let plans = folder.ok(&["emit", "radam", "--stage", "plan", "--all"]);
    let firsts: Vec<&str> = plans.lines().filter(|line| line.starts_with("# first")).collect();
    assert_eq!(firsts, ["# first at t = 1", "# first at t = 6"]);
    let kernel = folder.ok(&["emit", "radam", "--stage", "kernel", "--lanes", "4", "--isa", "x86_64+fma"]);
    assert_eq!(updraft::ir::parse_kernel(&kernel).unwrap().name, "radam");
    insta::assert_snapshot!(transcript(
        &folder,
        1,
        &[
            &["emit", "radam", "--stage", "ast", "--set", "weightdecay=1"],
            &["emit", "radam", "--stage", "plan", "--set", "beta1=1"],
            &["emit", "radam", "--stage", "plan", "--set", "lr=nan"],
            &["emit", "radam", "--stage", "plan", "--set", "maximize=1"],
            &["emit", "sgd", "--stage", "plan", "--set", "nesterov=true"],
        ]
    ));
}

/// What a rule does for rows and columns is seen unless another shape is asked for.
#[test]
fn emit_is_for_a_matrix_unless_told() {
    let folder = Folder::new("emit-shape");
    let plan = |more: &[&str]| folder.ok(&[&["emit", "adagrad_rowwise", "--stage", "plan"], more].concat());
    assert!(plan(&[]).contains("\n# rank >= 2: true\n"));
    assert_eq!(plan(&["--shape", "64,64"]), plan(&[]));
    assert_eq!(plan(&["--shape", "2,3,3,3"]), plan(&[]));
    assert!(plan(&["--shape", "5"]).contains("\n# rank >= 2: false\n"));
    assert_eq!(plan(&["--shape", ""]), plan(&["--shape=5"]));
    insta::assert_snapshot!("emit_plan_of_clip_adamw", folder.ok(&["emit", "clip_adamw", "--stage", "plan"]));
    insta::assert_snapshot!("emit_plan_of_adagrad_rowwise", plan(&[]));
}

// apply.

/// A tensor of a safetensors file.
type Entry = (Dtype, Vec<usize>, Vec<u8>);

fn f32s(shape: &[usize], values: &[f32]) -> Entry {
    (Dtype::F32, shape.to_vec(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn f64s(shape: &[usize], values: &[f64]) -> Entry {
    (Dtype::F64, shape.to_vec(), values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn safetensors(entries: &[(&str, Entry)], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = entries.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata)).unwrap()
}

fn tensors(bytes: &[u8]) -> BTreeMap<String, Entry> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let entry = |view: &TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    file.tensors().iter().map(|(name, view)| (name.clone(), entry(view))).collect()
}

fn values((dtype, _, bytes): &Entry) -> Vec<f64> {
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap()).into()).collect(),
        Dtype::F64 => bytes.chunks_exact(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect(),
        other => panic!("{other:?}"),
    }
}

const FILES: [&str; 6] = ["--params", "p", "--grads", "g", "--out", "o"];

/// `apply RULE --params p --grads g --out o`, with more.
fn apply<'a>(rule: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["apply", rule], &FILES[..], more].concat()
}

/// Some of the steps of a file of gradients.
fn steps(grads: &BTreeMap<String, Entry>, range: std::ops::Range<usize>) -> Vec<u8> {
    let cut = |(dtype, shape, bytes): &Entry| {
        let size = bytes.len() / shape[0];
        let shape = [&[range.len()], &shape[1..]].concat();
        (*dtype, shape, bytes[range.start * size..range.end * size].to_vec())
    };
    let entries: Vec<(&str, Entry)> = grads.iter().map(|(name, entry)| (name.as_str(), cut(entry))).collect();
    safetensors(&entries, &[])
}

#[test]
fn apply_follows_the_golden_trajectories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/optimizers");
    let mut cases = 0;
    for case in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let name = case.file_name().unwrap().to_str().unwrap();
        let folder = Folder::new(&format!("golden-{name}"));
        let file = |name: &str| fs::read(case.join(name)).unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&file("case.json")).unwrap();
        let hypers = meta["hyper"].as_object().unwrap();
        let sets: Vec<String> = hypers.iter().map(|(key, value)| format!("--set={key}={value}")).collect();
        let (relative, absolute) = if name.ends_with("f32") { (4e-6, 2e-6) } else { (1e-11, 1e-12) };
        let run = |more: &[&str]| {
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            folder.ok(&apply(meta["rule"].as_str().unwrap(), &[more, &sets].concat()))
        };
        folder.write("p", file("params.safetensors"));
        folder.write("g", file("grads.safetensors"));
        run(&["--trace", "t", "--state-out", "s"]);
        let whole = folder.files();
        let (trace, out) = (tensors(&whole["t"]), tensors(&whole["o"]));
        for (tensor, expected) in tensors(&file("expect.safetensors")) {
            assert_eq!((trace[&tensor].0, &trace[&tensor].1), (expected.0, &expected.1), "{name} {tensor}");
            for (got, want) in values(&trace[&tensor]).iter().zip(values(&expected)) {
                assert!((got - want).abs() <= relative * want.abs() + absolute, "{name} {tensor}: {got} for {want}");
            }
            assert!(trace[&tensor].2.ends_with(&out[&tensor].2), "the trace ends with what is put out");
        }
        run(&["--trace", "t", "--state-out", "s", "--engine", "eval"]);
        assert!(folder.files() == whole, "{name}: engines differ");

        // 20 steps are 12 and 8, with the state in between.
        let grads = tensors(&whole["g"]);
        folder.write("g", steps(&grads, 0..12));
        run(&["--state-out", "s"]);
        folder.write("p", folder.read("o"));
        folder.write("g", steps(&grads, 12..20));
        run(&["--state", "s", "--state-out", "s"]);
        assert_eq!(tensors(&folder.read("o")), out, "{name}: resumed parameters differ");
        assert!(folder.read("s") == whole["s"], "{name}: resumed state differs");
        cases += 1;
    }
    assert_eq!(cases, 32);
}

#[test]
fn apply_steps_halves_and_keeps_states_as_it_is_told() {
    use half::{bf16, f16};
    use updraft::{Rule, Store, Tensor};
    let folder = Folder::new("apply-store");
    let bf16s = |x: &[bf16]| (Dtype::BF16, vec![x.len()], x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let f16s = |x: &[f16]| (Dtype::F16, vec![x.len()], x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let mut a: Vec<bf16> = [1.0, -2.0, 0.1].map(bf16::from_f32).into();
    let mut b: Vec<f16> = [0.3, 4.0].map(f16::from_f32).into();
    let (ga, gb) = ([0.5f32, 0.25, -1e-3], [0.5, -0.5].map(f16::from_f32));
    folder.write("p", safetensors(&[("a", bf16s(&a)), ("b", f16s(&b))], &[]));
    folder.write("g", safetensors(&[("a", f32s(&[3], &ga)), ("b", f16s(&gb))], &[]));
    let stores = [("p", Store::F32), ("m", Store::Bf16Stochastic), ("v", Store::F16)];
    let builder = Rule::shipped("adamw").unwrap().optimizer().seed(5);
    let builder = stores.iter().fold(builder, |builder, (name, store)| builder.store(name, *store).unwrap());
    let mut opt = builder.build().unwrap();
    let flags = ["--store", "p=f32", "--store", "m=bf16-stochastic", "--store=v=f16", "--seed=5", "--state-out", "s"];
    let mut more = flags.to_vec();
    for _ in 0..2 {
        folder.ok(&apply("adamw", &more));
        opt.step(&mut [Tensor::mixed("a", &mut a, &ga), Tensor::new("b", &mut b, &gb)]).unwrap();
        let out = tensors(&folder.read("o"));
        assert_eq!((&out["a"], &out["b"]), (&bf16s(&a), &f16s(&b)));
        folder.write("p", folder.read("o"));
        more = [&flags[..], &["--state", "s"]].concat();
    }
    let state = tensors(&folder.read("s"));
    let dtypes = ["a/@master", "a/m", "a/v", "b/@master"].map(|name| state[name].0);
    assert_eq!(dtypes, [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F32]);
    // With other settings the state is not gone on from; parameters may not be kept as anything.
    let failures = [
        folder.fails(1, &apply("adamw", &["--state", "s", "--seed=5", "--store=m=bf16"])),
        folder.fails(1, &apply("adamw", &["--store=w=bf16"])),
        folder.fails(1, &apply("adamw", &["--store=p=f16"])),
        folder.fails(1, &apply("adamw", &["--store=p=bf16-kahan"])),
        folder.fails(2, &apply("adamw", &["--store=m=bf16-kahn"])),
    ];
    insta::assert_snapshot!("apply_with_stores_fails", failures.join("\n"));
    folder.write("g", safetensors(&[("a", f64s(&[3], &[0.0; 3]))], &[]));
    assert!(folder.fails(1, &apply("adamw", &[])).contains("F64"));
}

#[test]
fn emit_shows_what_is_stored_and_how_many_bytes_it_takes() {
    let folder = Folder::new("emit-store");
    let plan = |more: &[&str]| folder.ok(&[&["emit", "adam", "--stage", "plan"], more].concat());
    assert!(plan(&["--dtype", "bf16"]).ends_with("\n14 bytes per element in all\n"));
    let shown = [
        plan(&["--store", "m=bf16", "--store", "v=bf16"]),
        plan(&["--dtype", "bf16", "--store", "p=f32"]),
        plan(&["--dtype", "bf16", "--store", "p=bf16-kahan", "--store", "m=bf16-stochastic"]),
    ];
    insta::assert_snapshot!("emit_plans_with_stores", shown.join("\n"));
    let kernel = folder.ok(&["emit", "sgd", "--stage", "kernel", "--dtype", "bf16", "--store", "p=bf16-kahan"]);
    insta::assert_snapshot!("emit_kernel_with_compensation", kernel);
    let step = folder.ok(&["emit", "sgd", "--stage", "step", "--dtype", "bf16", "--store", "p=bf16-stochastic"]);
    insta::assert_snapshot!("emit_step_with_stochastic_rounding", step);
    assert!(folder.fails(1, &["emit", "sgd", "--stage", "plan", "--store", "p=bf16-kahan"]).contains("f32"));
}

#[test]
fn apply_steps_what_has_a_gradient_and_copies_the_rest() {
    let folder = Folder::new("apply-mixed");
    let half = (Dtype::BF16, vec![2], vec![1, 2, 3, 4]);
    let index = (Dtype::I64, vec![1], vec![7; 8]);
    folder.write(
        "p",
        safetensors(
            &[
                ("frozen", f32s(&[2], &[1.0, f32::NAN])),
                ("half", half.clone()),
                ("index", index.clone()),
                ("single", f64s(&[3], &[1.0, 2.0, 3.0])),
                ("stacked", f32s(&[2, 1], &[1.0, 2.0])),
                ("scalar", f32s(&[], &[5.0])),
                ("empty", f32s(&[0, 3], &[])),
            ],
            &[("format", "pt"), ("a", "1"), ("z", "2")],
        ),
    );
    let grads = [
        ("single", f64s(&[3], &[1.0, 0.0, -1.0])),
        ("stacked", f32s(&[1, 2, 1], &[1.0, -1.0])),
        ("scalar", f32s(&[1], &[2.0])),
        ("empty", f32s(&[1, 0, 3], &[])),
    ];
    folder.write("g", safetensors(&grads, &[]));
    assert_eq!(folder.ok(&apply("sgd", &["--set", "lr=0.5", "--trace", "t", "--state-out", "s"])), "");
    let out = tensors(&folder.read("o"));
    let expected: BTreeMap<String, Entry> = [
        ("frozen", f32s(&[2], &[1.0, f32::NAN])),
        ("half", half.clone()),
        ("index", index),
        ("single", f64s(&[3], &[0.5, 2.0, 3.5])),
        ("stacked", f32s(&[2, 1], &[0.5, 2.5])),
        ("scalar", f32s(&[], &[4.0])),
        ("empty", f32s(&[0, 3], &[])),
    ]
    .map(|(name, entry)| (name.to_string(), entry))
    .into();
    assert_eq!(out, expected);
    let (_, header) = SafeTensors::read_metadata(&folder.read("o")).unwrap();
    let metadata: BTreeMap<String, String> = header.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(metadata, [("a", "1"), ("format", "pt"), ("z", "2")].map(|(k, v)| (k.into(), v.into())).into());
    let trace = tensors(&folder.read("t"));
    assert_eq!(trace["half"], (Dtype::BF16, vec![1, 2], half.2));
    assert_eq!(trace["scalar"], f32s(&[1], &[4.0]));
    // Only what took a step has a state.
    let state = tensors(&folder.read("s"));
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    assert_eq!(names, ["empty/t", "scalar/t", "single/t", "stacked/t"]);
    let first = folder.files();
    for _ in 0..3 {
        // Maps are in another order in every process.
        folder.ok(&apply("sgd", &["--set", "lr=0.5", "--trace", "t", "--state-out", "s"]));
        assert!(folder.files() == first, "equal inputs give equal bytes");
    }
}

#[test]
fn apply_with_no_steps_copies() {
    let folder = Folder::new("apply-none");
    let w = f32s(&[2], &[1.0, 2.0]);
    folder.write("p", safetensors(&[("w", w.clone())], &[]));
    for grads in [vec![("w", f32s(&[0, 2], &[]))], vec![]] {
        folder.write("g", safetensors(&grads, &[]));
        folder.ok(&apply("adam", &["--trace", "t", "--state-out", "s"]));
        assert_eq!(tensors(&folder.read("o"))["w"], w);
        assert_eq!(tensors(&folder.read("t"))["w"], f32s(&[0, 2], &[]));
        assert!(tensors(&folder.read("s")).is_empty());
    }
}

#[test]
fn apply_replaces_its_own_input() {
    let folder = Folder::new("apply-in-place");
    folder.write("w", safetensors(&[("w", f32s(&[2], &[1.0, 2.0]))], &[]));
    folder.write("g", safetensors(&[("w", f32s(&[2], &[1.0, 1.0]))], &[]));
    let args = ["apply", "adagrad", "--params", "w", "--grads", "g", "--out", "w", "--state-out", "s", "--set", "lr=1"];
    folder.ok(&args);
    let once = values(&tensors(&folder.read("w"))["w"]);
    assert!((once[0] - 0.0).abs() < 1e-6 && (once[1] - 1.0).abs() < 1e-6, "{once:?}");
    folder.ok(&[&args[..], &["--state", "s"]].concat());
    let twice = values(&tensors(&folder.read("w"))["w"]);
    assert!((once[0] - twice[0] - 0.5_f64.sqrt()).abs() < 1e-6, "{twice:?}");
    assert_eq!(folder.files().len(), 3, "a temporary file is left");
}

const INPUTS: &str = "optimizer inputs
hyper lr = 1 in [0, inf)
input loss
input scale per tensor = 1
input late = 0

p -= lr * loss * scale * g
if t == 3 { p += late }
";

#[test]
fn apply_gives_inputs() {
    let folder = Folder::new("apply-inputs");
    folder.write("inputs.opt", INPUTS);
    folder.write("p", safetensors(&[("a", f64s(&[1], &[0.0])), ("b", f64s(&[1], &[0.0]))], &[]));
    let ones = f64s(&[3, 1], &[1.0; 3]);
    folder.write("g", safetensors(&[("a", ones.clone()), ("b", ones)], &[]));
    folder.write("losses", "1\n 2.5 \n-4e0\n7\n\n");
    let trace = |more: &[&str]| {
        folder.ok(&apply("inputs.opt", &[&["--trace", "t"], more].concat()));
        let trace = tensors(&folder.read("t"));
        assert_eq!(trace["a"], trace["b"]);
        values(&trace["a"])
    };
    assert_eq!(trace(&["--input", "loss=0.5"]), [-0.5, -1.0, -1.5]);
    assert_eq!(trace(&["--input", "loss=@losses"]), [-1.0, -3.5, 0.5]);
    assert_eq!(trace(&["--input", "loss=@losses", "--input", "scale=2"]), [-2.0, -7.0, 1.0]);
    assert_eq!(trace(&["--input", "loss=9", "--input", "late=3", "--input", "loss=1"]), [-1.0, -2.0, 0.0]);
    folder.write("short", "1\n2\n");
    folder.write("words", "1\ntwo\n3\n");
    let commands = [
        apply("inputs.opt", &[]),
        apply("inputs.opt", &["--input", "los=1"]),
        apply("inputs.opt", &["--input", "loss=@short"]),
        apply("inputs.opt", &["--input", "loss=@words"]),
        apply("inputs.opt", &["--input", "loss=@missing"]),
        apply("sgd", &["--input", "loss=1"]),
    ];
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
    folder.fails(2, &apply("inputs.opt", &["--input", "loss"]));
    folder.fails(2, &apply("inputs.opt", &["--input", "loss=x"]));
}

const MASKED: &str = "optimizer masked
input mask per element
input scale per tensor = 1

p -= scale * mask * g
";

#[test]
fn apply_gives_inputs_per_element_and_per_tensor() {
    let folder = Folder::new("apply-arrays");
    folder.write("masked.opt", MASKED);
    let zeros = || f64s(&[2], &[0.0; 2]);
    folder.write("p", safetensors(&[("a", zeros()), ("b", f32s(&[], &[0.0])), ("still", zeros())], &[]));
    folder.write("g", safetensors(&[("a", f64s(&[2, 2], &[1.0; 4])), ("b", f32s(&[2], &[1.0; 2]))], &[]));
    let file = |name: &str, entries: &[(&str, Entry)]| folder.write(name, safetensors(entries, &[]));
    let (each, always) = (f64s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), f32s(&[], &[0.5]));
    file("mask", &[("a", each.clone()), ("b", always.clone()), ("still", zeros())]);
    file("scale", &[("a", f64s(&[2], &[1.0, 10.0])), ("b", f32s(&[], &[4.0]))]);
    let trace = |more: &[&str]| {
        folder.ok(&apply("masked.opt", &[&["--trace", "t"], more].concat()));
        let trace = tensors(&folder.read("t"));
        assert_eq!(values(&trace["still"]), [0.0; 4]);
        (values(&trace["a"]), values(&trace["b"]))
    };
    assert_eq!(trace(&["--input", "mask=@mask"]), (vec![-1.0, -2.0, -4.0, -6.0], vec![-0.5, -1.0]));
    assert_eq!(trace(&["--input", "mask=2"]), (vec![-2.0, -2.0, -4.0, -4.0], vec![-2.0, -4.0]));
    let scaled = (vec![-1.0, -2.0, -31.0, -42.0], vec![-2.0, -4.0]);
    assert_eq!(trace(&["--input", "mask=@mask", "--input", "scale=@scale"]), scaled);
    folder.write("lines", "3\n1\n");
    assert_eq!(
        trace(&["--input", "mask=1", "--input", "scale=@lines"]),
        (vec![-3.0, -3.0, -4.0, -4.0], vec![-3.0, -4.0])
    );
    file("some", &[("a", each.clone())]);
    file("other", &[("a", each.clone()), ("B", always.clone())]);
    file("wide", &[("a", each.clone()), ("b", f64s(&[], &[0.5]))]);
    file("shape", &[("a", f64s(&[2, 1], &[0.5; 2])), ("b", always.clone())]);
    file("three", &[("a", f64s(&[3, 2], &[0.5; 6])), ("b", always.clone())]);
    file("scales", &[("a", f64s(&[2, 1], &[0.5; 2]))]);
    folder.write("needy.opt", MASKED.replace("masked", "needy").replace(" = 1", ""));
    let of = |name| apply("masked.opt", &["--input", name]);
    let commands = [
        apply("masked.opt", &[]),
        of("mask=@some"),
        of("mask=@other"),
        of("mask=@wide"),
        of("mask=@shape"),
        of("mask=@three"),
        of("mask=@lines"),
        of("scale=@scales"),
        apply("needy.opt", &["--input", "mask=1"]),
        apply("needy.opt", &["--input", "mask=1", "--input", "scale=@some-scales"]),
    ];
    file("some-scales", &[("a", f64s(&[], &[0.5]))]);
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
}

/// A rule that skips what is too long, and shows what it does.
const SHOWN: &str = "optimizer shown
hyper lr = 1 in [0, inf)
state n per model = 0
state z = p

skip if norm(g per model) > 2
n += 1
z = lerp(z, p, 0.5)
p -= lr * g
report length = norm(g per model)
report \u{3b4} = sum(p)
report count = n
view halfway = (p + z) / 2
view twice = 2*p
";

#[test]
fn apply_writes_views_and_reports() {
    let folder = Folder::new("apply-shown");
    folder.write("shown.opt", SHOWN);
    folder.write(
        "p",
        safetensors(&[("a,b", f32s(&[2], &[1.0, 2.0])), ("c", f64s(&[1], &[3.0])), ("d", f64s(&[0], &[]))], &[]),
    );
    let grads = |a: [f32; 4], c: [f64; 2]| safetensors(&[("a,b", f32s(&[2, 2], &a)), ("c", f64s(&[2, 1], &c))], &[]);
    folder.write("g", grads([1.0, 0.0, 0.0, -1.0], [0.0, 0.0]));
    let more = ["--view", "halfway=h", "--view", "twice=w", "--report-out", "r.csv", "--state-out", "s"];
    folder.ok(&apply("shown.opt", &more));
    let expected = "step,report,tensor,value\n1,length,,1\n1,\u{3b4},\"a,b\",2\n1,\u{3b4},c,3\n1,count,,1\n\
                    2,length,,1\n2,\u{3b4},\"a,b\",3\n2,\u{3b4},c,3\n2,count,,2\n";
    assert_eq!(folder.text("r.csv"), expected);
    let (halfway, twice) = (tensors(&folder.read("h")), tensors(&folder.read("w")));
    assert_eq!(halfway.keys().collect::<Vec<_>>(), ["a,b", "c"]);
    // z is (1, 2) after the first step and (1/2, 2) after the second; p is (0, 2) and then (0, 3).
    assert_eq!((values(&halfway["a,b"]), halfway["a,b"].0), (vec![0.25, 2.5], Dtype::F32));
    assert_eq!((values(&halfway["c"]), halfway["c"].0), (vec![3.0], Dtype::F64));
    assert_eq!(values(&twice["a,b"]), [0.0, 6.0]);
    // What is shown does not change what is done, and threads do not either.
    let out = folder.read("o");
    folder.ok(&apply("shown.opt", &[]));
    assert!(folder.read("o") == out);
    folder.ok(&apply("shown.opt", &[&more[..], &["--threads", "3"]].concat()));
    assert!(folder.read("o") == out && folder.text("r.csv") == expected);

    // A step that is skipped has no line, and is told.
    folder.write("g", grads([1.0, 0.0, 9.0, 0.0], [0.0, 0.0]));
    let ran = folder.run(&apply("shown.opt", &more));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "note: 1 of 2 steps was skipped\n"));
    assert!(!folder.text("r.csv").contains("\n2,"));
    assert_eq!(values(&tensors(&folder.read("s"))["/n"]), [1.0]);
    folder.write("g", grads([9.0, 0.0, 9.0, 0.0], [0.0, 0.0]));
    let ran = folder.run(&apply("shown.opt", &["--report-out", "r.csv"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "note: 2 of 2 steps were skipped\n"));
    assert_eq!(
        (folder.text("r.csv").as_str(), tensors(&folder.read("o")) == tensors(&folder.read("p"))),
        ("step,report,tensor,value\n", true)
    );
    folder.write("g", safetensors(&[("c", f64s(&[0, 1], &[]))], &[]));
    let commands = [
        apply("shown.opt", &["--view", "halfwy=h"]),
        apply("shown.opt", &["--view", "halfway=h"]),
        apply("sgd", &["--view", "averaged=h"]),
        apply("sgd", &["--report-out", "r"]),
    ];
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
    folder.fails(2, &apply("shown.opt", &["--view", "halfway=x", "--view", "twice=./x"]));
    folder.fails(2, &apply("shown.opt", &["--report-out", "o"]));
}

#[test]
fn apply_tells_which_tensors_skip() {
    let folder = Folder::new("apply-skips");
    folder.write("own.opt", "optimizer own\n\nskip if sum(g) > 2\np -= g\n");
    let names: Vec<String> = (0..7).map(|k| format!("w{k}")).collect();
    let all = |entry: &dyn Fn(usize) -> Entry| {
        let entries: Vec<(&str, Entry)> = names.iter().enumerate().map(|(k, name)| (name.as_str(), entry(k))).collect();
        safetensors(&entries, &[])
    };
    folder.write("p", all(&|_| f64s(&[1], &[0.0])));
    folder.write("g", all(&|k| f64s(&[3, 1], &[1.0, if k < 1 { 1.0 } else { 3.0 }, 3.0])));
    let ran = folder.run(&apply("own.opt", &["--trace", "t"]));
    assert_eq!(ran.code, Some(0));
    insta::assert_snapshot!(ran.stderr);
    let trace = tensors(&folder.read("t"));
    assert_eq!((values(&trace["w0"]), values(&trace["w1"])), (vec![-1.0, -2.0, -2.0], vec![-1.0; 3]));
}

/// Every state of a rule with rows and columns is in the checkpoint, and steps go on from it.
#[test]
fn apply_keeps_rows_and_columns() {
    let folder = Folder::new("apply-rows");
    let grad: Vec<f32> = (0..18).map(|k| k as f32 - 7.5).collect();
    folder.write("p", safetensors(&[("w", f32s(&[2, 3], &[1.0; 6])), ("b", f32s(&[3], &[1.0; 3]))], &[]));
    let grads = safetensors(&[("w", f32s(&[3, 2, 3], &grad)), ("b", f32s(&[3, 3], &grad[..9]))], &[]);
    folder.write("g", &grads);
    folder.ok(&apply("adafactor", &["--state-out", "s"]));
    let (out, state) = (folder.read("o"), folder.read("s"));
    let shapes: BTreeMap<String, Vec<usize>> = tensors(&state).into_iter().map(|(name, it)| (name, it.1)).collect();
    assert_eq!((&shapes["w/r"], &shapes["w/c"], &shapes["b/v"]), (&vec![2], &vec![3], &vec![3]));
    let grads = tensors(&grads);
    folder.write("g", steps(&grads, 0..2));
    folder.ok(&apply("adafactor", &["--state-out", "s"]));
    folder.write("g", steps(&grads, 2..3));
    folder.ok(&[
        "apply",
        "adafactor",
        "--params",
        "o",
        "--grads",
        "g",
        "--out",
        "o",
        "--state",
        "s",
        "--state-out",
        "s",
    ]);
    assert!(folder.read("o") == out && folder.read("s") == state);
    // Of a tensor of one axis nothing is per row.
    folder.write("rows.opt", "optimizer rows\n\np -= g / (1 + max(abs(g) per row))\n");
    insta::assert_snapshot!(transcript(&folder, 1, &[&apply("rows.opt", &[])]));
}

#[test]
fn apply_draws_from_a_seed() {
    let folder = Folder::new("apply-seed");
    folder.write("p", safetensors(&[("w", f32s(&[4], &[0.0; 4]))], &[]));
    let grads = safetensors(&[("w", f32s(&[4, 4], &[0.0; 16]))], &[]);
    folder.write("g", &grads);
    let run = |more: &[&str]| {
        folder.ok(&apply("sgld", more));
        folder.read("o")
    };
    let first = run(&["--seed", "7", "--state-out", "all"]);
    assert!(first == run(&["--seed", "7", "--engine", "eval"]) && first != run(&["--seed", "8"]));
    assert!(run(&[]) == run(&["--seed", "0"]));
    // The seed goes on with the state.
    folder.write("g", steps(&tensors(&grads), 0..1));
    run(&["--seed", "7", "--state-out", "s"]);
    folder.write("g", steps(&tensors(&grads), 1..4));
    folder.ok(&["apply", "sgld", "--params", "o", "--grads", "g", "--out", "o", "--state", "s"]);
    assert!(folder.read("o") == first);
}

#[test]
fn apply_says_which_tensor_is_wrong_and_writes_nothing() {
    let folder = Folder::new("apply-errors");
    let w = || ("w", f32s(&[2, 3], &[1.0; 6]));
    let stack = |n: usize| f32s(&[n, 2, 3], &vec![1.0; 6 * n]);
    folder.write("p", safetensors(&[w(), ("b", f32s(&[2], &[1.0; 2])), ("h", (Dtype::I16, vec![1], vec![0, 0]))], &[]));
    let grads = |name: &str, entries: &[(&str, Entry)]| folder.write(name, safetensors(entries, &[]));
    grads("g", &[w()]);
    grads("unknown", &[w(), ("W", f32s(&[1], &[0.0]))]);
    grads("half", &[("h", (Dtype::I16, vec![1], vec![0, 0]))]);
    grads("wide", &[("w", f64s(&[2, 3], &[1.0; 6]))]);
    grads("shape", &[("w", f32s(&[3, 2], &[1.0; 6]))]);
    grads("rank", &[("w", f32s(&[1, 1, 2, 3], &[1.0; 6]))]);
    grads("steps", &[("w", stack(3)), ("b", f32s(&[2, 2], &[1.0; 4]))]);
    grads("single", &[("w", stack(3)), ("b", f32s(&[2], &[1.0; 2]))]);
    folder.write("damaged", b"not a file of tensors");
    let mut lying = folder.read("g");
    lying[0] = 0xff;
    lying[6] = 0xff;
    folder.write("lying", lying);
    folder.ok(&["apply", "adam", "--params", "p", "--grads", "g", "--out", "o", "--state-out", "state"]);
    grads("other", &[("w", f32s(&[6], &[1.0; 6]))]);
    grads("wide-other", &[("w", f64s(&[2, 3], &[1.0; 6]))]);
    grads("vast", &[("w", f32s(&[0, 1 << 40, 1 << 40], &[]))]);
    let with = |params, grads, out, more: &[&'static str]| {
        [&["apply", "adam", "--params", params, "--grads", grads, "--out", out], more].concat()
    };
    let commands = [
        with("missing", "g", "o", &[]),
        with("p", "missing", "o", &[]),
        with("damaged", "g", "o", &[]),
        with("p", "lying", "o", &[]),
        with("p", "unknown", "o", &[]),
        with("p", "half", "o", &[]),
        with("p", "wide", "o", &[]),
        with("p", "shape", "o", &[]),
        with("p", "rank", "o", &[]),
        with("p", "steps", "o", &[]),
        with("p", "single", "o", &[]),
        with("p", "g", "o", &["--set", "beta1=2"]),
        with("p", "g", "o", &["--state", "missing"]),
        with("p", "g", "o", &["--state", "p"]),
        with("p", "g", "o", &["--state", "state", "--set", "maximize=true"]),
        with("other", "other", "o", &["--state", "state"]),
        with("wide-other", "wide-other", "o", &["--state", "state"]),
        with("vast", "vast", "o", &[]),
        ["apply", "lion", "--params", "p", "--grads", "g", "--out", "o", "--state", "state"].to_vec(),
        // The last of the files cannot be written, so none is.
        with("p", "g", "o", &["--trace", "t", "--state-out", "no/such/folder"]),
        with("p", "g", ".", &["--trace", "t"]),
    ];
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
    let same = [with("p", "g", "o", &["--trace", "./o"]), with("p", "g", "x", &["--trace", "t", "--state-out", "t"])];
    insta::assert_snapshot!("same_output", transcript(&folder, 2, &same.each_ref().map(Vec::as_slice)));
}

// Schedules.

#[test]
fn schedule_gives_csv() {
    let folder = Folder::new("schedule-csv");
    let csv = |args: &[&str]| folder.ok(&[&["schedule"], args, &["--csv", "-"]].concat());
    let plain = ["step", "--set", "step_size=2", "--set", "gamma=0.5", "--base", "1", "--steps", "5"];
    let text = csv(&plain);
    assert_eq!(text, "step,value\n0,1\n1,1\n2,0.5\n3,0.5\n4,0.25\n");
    assert_eq!(folder.ok(&[&["schedule"], &plain[..], &["--csv", "f"]].concat()), "");
    assert_eq!(folder.text("f"), text);
    assert_eq!(csv(&["step(step_size=2, gamma=0.5)", "--base", "1", "--steps", "5"]), text);
    let listed = csv(&["multistep", "--set", "milestones=[1, 3]", "--base", "1", "--steps", "5", "--set", "gamma=0.5"]);
    assert_eq!(listed, "step,value\n0,1\n1,0.5\n2,0.5\n3,0.25\n4,0.25\n");
    // A file, and what it calls, which lies beside it.
    folder.write("half.sched", "schedule half\n\nvalue = tenth(base = base) * 5\n");
    folder.write("tenth.sched", "schedule tenth\n\nvalue = base / 10\n");
    for path in ["half.sched", "./half.sched"] {
        assert_eq!(csv(&[path, "--base", "-3", "--steps", "1"]), "step,value\n0,-1.5\n");
    }
    let joined = "linear(start_factor=0.5, total_iters=2) for 2 then cosine(t_max=4)";
    let several = csv(&[joined, "constant", "--base", "1", "--steps", "3"]);
    let lines: Vec<&str> = several.lines().collect();
    assert_eq!(lines[0], "step,\"linear(start_factor=0.5, total_iters=2) for 2 then cosine(t_max=4)\",constant");
    assert_eq!(lines[1..], ["0,0.5,1", "1,0.75,1", "2,1,1"]);
    // As many digits as it takes to read the same number back.
    let exact = updraft::Schedule::shipped("cosine").unwrap().set("t_max", 7).unwrap();
    for (s, line) in csv(&["cosine(t_max=7)", "--base", "0.1", "--steps", "8"]).lines().skip(1).enumerate() {
        let value: f64 = line.split_once(',').unwrap().1.parse().unwrap();
        assert_eq!(value.to_bits(), exact.value(s as u64, 0.1).unwrap().to_bits());
    }
}

#[test]
fn schedule_gives_what_was_observed_one_step_later() {
    let folder = Folder::new("schedule-inputs");
    folder.write("metrics", "1\n3\n\n");
    let args = ["schedule", "loss_scaled", "--base", "1", "--steps", "3", "--csv", "-", "--input"];
    assert_eq!(folder.ok(&[&args[..], &["loss=@metrics"]].concat()), "step,value\n0,1\n1,0.5\n2,0.25\n");
    assert_eq!(folder.ok(&[&args[..], &["loss=1"]].concat()), "step,value\n0,1\n1,0.5\n2,0.5\n");
    let mut plateau = args;
    plateau[1] = "plateau(patience=0, factor=0.5)";
    assert_eq!(folder.ok(&[&plateau[..], &["metric=4"]].concat()), "step,value\n0,1\n1,1\n2,0.5\n");
}

#[test]
fn schedule_draws() {
    let folder = Folder::new("schedule-draws");
    insta::assert_snapshot!(folder.ok(&[
        "schedule",
        "cosine(t_max=200)",
        "one_cycle",
        "--base",
        "0.1",
        "--steps",
        "200"
    ]));
    let args =
        ["schedule", "cosine(t_max=200)", "linear(total_iters=50) * a&b/odd.sched", "--base", "0.1", "--steps", "200"];
    fs::create_dir(folder.path("a&b")).unwrap();
    folder.write("a&b/odd.sched", "schedule odd\n\nvalue = 0.5\n");
    assert_eq!(folder.ok(&[&args[..], &["--svg", "plot.svg"]].concat()), "");
    let svg = folder.text("plot.svg");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"), "{svg}");
    for text in [">step<", ">value<", "cosine(t_max=200)", "linear(total_iters=50) * a&amp;b/odd"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    assert!(!svg.contains("NaN") && svg.matches("class=\"curve c1 d0\"").count() == 2, "{svg}");
}

#[test]
fn schedule_errors() {
    let folder = Folder::new("schedule-errors");
    folder.write("metrics", "1\n2\n");
    folder.write("broken.sched", "schedule broken\n\nvalue = bse\n");
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["schedule"], more, &["--base", "1", "--steps", "9", "--csv", "f"]].concat()
    }
    let commands = [
        with(&["cosin"]),
        with(&["missing.sched"]),
        with(&["broken.sched"]),
        with(&["cosine", "--set", "tmax=3"]),
        with(&["cosine(tmax=3)"]),
        with(&["cosine", "--set", "t_max=[3]"]),
        with(&["cosine for 3 then step", "--set", "t_max=3"]),
        with(&["loss_scaled"]),
        with(&["loss_scaled", "--input", "los=1"]),
        with(&["cosine", "--input", "loss=1"]),
        with(&["loss_scaled", "--input", "loss=@metrics"]),
        with(&["multistep(milestones=[3, 2])"]),
        with(&["plateau(mode=mean)"]),
        with(&["cosine for then step"]),
        with(&["cosine)"]),
        with(&["exponential(gamma=1e200)"]),
        with(&["cosine", "--svg", "no/such/folder"]),
    ];
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
    for args in [&["--base", "1", "--steps", "0"][..], &["--base", "nan", "--steps", "1"], &["--base", "1"]] {
        folder.fails(2, &[&["schedule", "cosine"], args].concat());
    }
    folder.fails(2, &with(&["cosine", "step", "--set", "gamma=1"]));
    folder.fails(2, &with(&["cosine", "--svg", "./f"]));
    folder.fails(2, &with(&["cosine", "--set", "t_max="]));
}

#[test]
fn schedules_are_listed_and_shown() {
    let folder = Folder::new("schedule-doc");
    insta::assert_snapshot!("doc_plateau", folder.ok(&["doc", "plateau"]));
    let text = "schedule tenth\nhyper  by=10\n\nvalue = base/by\n";
    folder.write("tenth.sched", text);
    folder.write("half.sched", "schedule half\n\nvalue = 5 * tenth(base = base)\n");
    let checked = folder.ok(&["check", "tenth.sched", "half.sched"]);
    assert_eq!(checked, "Checked 2 files: no errors, no warnings\n");
    assert!(folder.ok(&["doc", "half.sched"]).starts_with("# half\n"));
    folder.ok(&["fmt", "tenth.sched"]);
    let laid_out = "schedule tenth\nhyper by = 10\n\nvalue = base / by\n";
    assert_eq!(folder.text("tenth.sched"), laid_out);
    assert_eq!(folder.ok(&["emit", "tenth.sched", "--stage", "ast"]), laid_out);
    assert!(folder.ok(&["emit", "cosine", "--stage", "program"]).contains("value"));
    let commands: [&[&str]; 4] =
        [&["emit", "cosine", "--stage", "kernel"], &["doc", "cosin"], &["train", "cosine"], &["train", "tenth.sched"]];
    insta::assert_snapshot!(transcript(&folder, 1, &commands));
}

#[test]
fn apply_drives_hypers_and_goes_on_where_it_was() {
    let folder = Folder::new("apply-schedule");
    folder.write("p", safetensors(&[("w", f64s(&[1], &[0.0]))], &[]));
    let ones = |n: usize| safetensors(&[("w", f64s(&[n, 1], &vec![1.0; n]))], &[]);
    folder.write("g", ones(3));
    let step = ["--set", "lr=1", "--schedule", "lr=step(step_size=1, gamma=0.5)"];
    folder.ok(&apply("sgd", &step));
    assert_eq!(values(&tensors(&folder.read("o"))["w"]), [-1.75]);
    // A rule gets a line in its step, a schedule after it.
    folder.write("both.opt", "optimizer both\nhyper lr = 1\ninput loss\n\np -= lr * loss * g\n");
    folder.write("losses", "1\n3\n1\n");
    folder.ok(&apply("both.opt", &["--schedule", "lr=loss_scaled", "--input", "loss=@losses"]));
    assert_eq!(values(&tensors(&folder.read("o"))["w"]), [-(1.0 + 0.5 * 3.0 + 0.25)]);

    // 20 steps at once, and 12 and 8.
    let metrics: Vec<String> = (0..20).map(|k| ((k * 7) % 5 + 1).to_string()).collect();
    for (name, part) in [("all", 0..20), ("first", 0..12), ("second", 12..20)] {
        folder.write(&format!("g-{name}"), ones(part.len()));
        folder.write(&format!("m-{name}"), metrics[part].join("\n"));
    }
    let schedule = "lr=plateau(patience=1, factor=0.5) for 9 then plateau(patience=0, factor=0.7) * cosine(t_max=90)";
    let go = |params: &str, name: &str, more: &[&str]| {
        let (grads, metric) = (format!("g-{name}"), format!("metric=@m-{name}"));
        let args = ["apply", "adam", "--params", params, "--grads", &grads, "--input", &metric, "--schedule", schedule];
        let (out, state) = (format!("o-{name}"), format!("s-{name}"));
        folder.ok(&[&args[..], &["--out", &out, "--state-out", &state], more].concat());
    };
    go("p", "all", &[]);
    go("p", "first", &[]);
    go("o-first", "second", &["--state", "s-first"]);
    assert!(folder.read("o-all") == folder.read("o-second") && folder.read("s-all") == folder.read("s-second"));
    let commands = [
        apply("sgd", &["--schedule", "lrr=cosine"]),
        apply("sgd", &["--schedule", "nesterov=cosine"]),
        apply("sgd", &["--schedule", "lr=cosin"]),
        apply("sgd", &["--schedule", "lr=loss_scaled"]),
        apply("sgd", &["--schedule", "lr=loss_scaled", "--input", "metric=1"]),
        apply("sgd", &["--schedule", "lr=multistep(milestones=[3, 3])"]),
        apply("sgd", &["--schedule", "lr=0 * cosine + -1"]),
        [
            &["apply", "adam", "--params", "p", "--grads", "g", "--out", "o", "--state", "s-first"][..],
            &["--schedule", "lr=plateau"],
        ]
        .concat(),
    ];
    insta::assert_snapshot!(transcript(&folder, 1, &commands.each_ref().map(Vec::as_slice)));
}

#[test]
fn train_drives_hypers() {
    let folder = Folder::new("train-schedule");
    digits(&folder);
    let train = ["train", "adam", "--data", "digits", "--epochs", "2", "--batch", "10", "--schedule"];
    let schedules = ["lr=loss_scaled * grad_norm_scaled", "--schedule", "beta1=0.5", "--report", "r.html"];
    let text = folder.ok(&[&train[..], &schedules].concat());
    assert!(text.contains("lr=0.001 by loss_scaled * grad_norm_scaled beta1=0.9 by 0.5 "), "{text}");
    let report = folder.text("r.html");
    for title in ["<h2>lr by step</h2>", "<h2>beta1 by step</h2>", "loss_scaled * grad_norm_scaled"] {
        assert!(report.contains(title), "{title}");
    }
    // A rate of 0 from the second epoch on learns no more.
    let still = ["lr=constant for 1 then 0", "--advance", "epoch"];
    let text = folder.ok(&[&train[..], &still].concat());
    let test_loss = |line: &str| line.split_whitespace().nth(2).unwrap().to_string();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("/2 ")).collect();
    assert_eq!(test_loss(lines[0]), test_loss(lines[1]), "{text}");
    assert!(text.contains(" for 1 then 0 per epoch"), "{text}");
    folder.ok(&[&train[..], &["lr=plateau(patience=0)", "--advance", "epoch"]].concat());
    folder.write("needs.sched", "schedule needs\ninput other\n\nvalue = base\nif s > 1 { value = other }\n");
    let needs = [&train[..], &["lr=needs.sched"]].concat();
    let commands: [&[&str]; 4] = [
        &["train", "adam", "sgd", "--schedule", "beta1=cosine"],
        &["train", "adam", "--schedule", "lr=cosin"],
        &["train", "adam", "--schedule", "lr=multistep(milestones=[2, 1])"],
        &needs,
    ];
    let said: Vec<String> = commands.iter().map(|args| folder.run(args).stderr).collect();
    insta::assert_snapshot!(said.join("\n"));
}

// train.

/// A folder in MNIST's format: 2 x 2 pixels, of which one is bright and says which digit it is.
fn digits(folder: &Folder) {
    fs::create_dir(folder.path("digits")).unwrap();
    for (split, count) in [("train", 40_u8), ("t10k", 12)] {
        let labels: Vec<u8> = (0..count).map(|index| index % 4).collect();
        let pixels = labels.iter().flat_map(|label| (0..4).map(move |at| if at == *label { 250 } else { 5 }));
        let images = [&[0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2][..], &pixels.collect::<Vec<u8>>()].concat();
        folder.write(&format!("digits/{split}-images-idx3-ubyte"), images);
        folder
            .write(&format!("digits/{split}-labels-idx1-ubyte"), [&[0, 0, 8, 1, 0, 0, 0, count][..], &labels].concat());
    }
}

#[test]
fn train_reports_every_epoch() {
    let folder = Folder::new("train");
    digits(&folder);
    let train = ["train", "adam", "--data", "digits", "--epochs", "2", "--batch", "7", "--set", "lr=0.002"];
    let text = folder.ok(&[&train[..], &["--report", "r.html"]].concat());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "adam: lr=0.002 beta1=0.9 beta2=0.999 eps=1e-8 weight_decay=0 maximize=false");
    assert!(lines[1].starts_with("epoch  train loss  test loss"), "{text}");
    assert!(lines[2].starts_with("  1/2  ") && lines[3].starts_with("  2/2  ") && lines[4].is_empty(), "{text}");
    assert_eq!(lines[3].len(), lines[1].len(), "{text}");
    assert_eq!(lines[5], "adam: 100.0% test accuracy after 2 epochs");
    assert!(lines[6].contains("forward ") && lines[6].contains("backward ") && lines[6].contains("step "), "{text}");
    assert_eq!(lines.last(), Some(&"The report is in r.html"));
    assert!(folder.text("r.html").starts_with("<!doctype html>"));
    // What is computed depends on the seed alone; what is measured does not repeat.
    assert_eq!(losses(&folder.ok(&train)), losses(&text));
    assert_ne!(losses(&folder.ok(&[&train[..], &["--seed", "1"]].concat())), losses(&text));
}

#[test]
fn train_compares_rules() {
    let folder = Folder::new("train-several");
    digits(&folder);
    folder.write("still.opt", "optimizer still\nhyper rate = 0 in [0, inf)\n\np -= rate * g\n");
    let text = folder.ok(&["train", "sgd", "still.opt", "--data", "digits", "--epochs", "1", "--set", "lr=0.1"]);
    assert!(text.starts_with("sgd: lr=0.1 "), "{text}");
    assert!(text.contains("\nstill: rate=0\n"), "{text}");
    let table: Vec<&str> = text.lines().rev().take(4).collect();
    assert!(table[3].starts_with("rule ") && table[1].starts_with("sgd ") && table[0].starts_with("still "), "{text}");
}

#[test]
fn a_diverged_run_is_an_error_that_says_where() {
    let folder = Folder::new("train-diverged");
    digits(&folder);
    folder.write("blow.opt", "optimizer blow\n\np *= 1e20\n");
    let ran = folder.run(&["train", "blow.opt", "--data", "digits", "--epochs", "1", "--batch", "8", "--report", "r"]);
    assert_eq!(ran.code, Some(1));
    insta::assert_snapshot!(ran.stderr);
    // The report is about what there is.
    assert!(folder.text("r").contains("Every loss turned non-finite"));
    let ran = folder.run(&["train", "blow.opt", "sgd", "--data", "digits", "--epochs", "1"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), "error: 1 of 2 runs diverged\n"));
    assert!(ran.stdout.contains("\nsgd "), "the others are trained all the same: {}", ran.stdout);
}

/// The lines of epochs, without what was measured.
fn losses(text: &str) -> Vec<String> {
    let is_epoch = |line: &&str| line.trim_start().split_once('/').is_some_and(|(n, _)| n.parse::<u32>().is_ok());
    let epochs = text.lines().filter(is_epoch);
    epochs.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn train_tests_averages_and_views() {
    let folder = Folder::new("train-tested");
    digits(&folder);
    let train = |rule: &str, more: &[&str]| {
        folder.ok(&[&["train", rule, "--data", "digits", "--epochs", "3", "--batch", "7"], more].concat())
    };
    let (plain, average) = (train("adam", &[]), train("adam", &["--ema", "0.9"]));
    assert_eq!(average.lines().nth(1), Some("tested with the average of its parameters (--ema 0.9)"));
    assert!(average.contains("% test accuracy after 3 epochs, with the average of its parameters\n"), "{average}");
    // The losses in training are the same, those in testing are not.
    let columns = |text: &str, n: usize| -> Vec<String> {
        losses(text).iter().map(|line| line.split(' ').nth(n).unwrap().to_string()).collect()
    };
    assert_eq!((columns(&plain, 1), columns(&plain, 1).len()), (columns(&average, 1), 3));
    assert!(columns(&plain, 2) != columns(&average, 2), "{average}");
    // An average that keeps nothing is the parameters.
    assert_eq!(losses(&train("adam", &["--ema", "0"])), losses(&plain));
    let view = train("schedule_free_sgd", &["--set", "lr=0.1"]);
    assert_eq!(view.lines().nth(1), Some("tested with its view `averaged`"));
    assert!(view.contains(", with its view `averaged`\n"), "{view}");
    // With several, nobody says which.
    let two = "optimizer two\nhyper lr = 0.1 in [0, inf)\n\np -= lr * g\nview zero = 0*p\nview same = p\n";
    folder.write("two.opt", two);
    folder.write("one.opt", two.replace("two", "one").replace("view zero = 0*p\n", ""));
    let (two, one) = (train("two.opt", &[]), train("one.opt", &[]));
    assert!(two.lines().nth(1).unwrap().starts_with("epoch") && one.contains("its view `same`"));
    assert_eq!(losses(&two), losses(&one));
    let both = folder.ok(&["train", "schedule_free_sgd", "sgd", "--data", "digits", "--epochs", "1", "--report", "r"]);
    assert!(both.contains("\n\nschedule_free_sgd is tested with its view `averaged`\n"), "{both}");
    assert!(folder.text("r").contains("schedule_free_sgd is tested with its view averaged."));
}

#[test]
fn train_gives_the_loss_and_counts_skips() {
    let folder = Folder::new("train-loss");
    digits(&folder);
    let train = ["--data", "digits", "--epochs", "2", "--batch", "7"];
    for rule in ["clip_adamw", "polyak_sps", "momo"] {
        let text = folder.ok(&[&["train", rule], &train[..]].concat());
        assert_eq!(losses(&text).len(), 2, "{text}");
        let threads = folder.ok(&[&["train", rule, "--threads", "3"], &train[..]].concat());
        assert_eq!(losses(&threads), losses(&text));
    }
    // Inputs of every extent that a scalar has are the same number.
    let weighted = |per: &str| {
        let rule = format!("optimizer weighted\ninput loss{per}\n\np -= 0.1 * loss * g\n");
        folder.write("weighted.opt", rule);
        losses(&folder.ok(&[&["train", "weighted.opt"], &train[..]].concat()))
    };
    assert_eq!(weighted(""), weighted(" per tensor"));
    assert_eq!(weighted(""), weighted(" per group"));
    // Steps that are skipped are counted, and told where there are any.
    folder.write("late.opt", "optimizer late\ninput loss\n\nskip if loss > 0\np -= 0.1*g\n");
    let text = folder.ok(&[&["train", "late.opt", "--report", "r"], &train[..]].concat());
    assert!(text.lines().nth(2).unwrap().ends_with("  6 steps skipped"), "{text}");
    assert!(text.contains("\n12 of 12 steps skipped\n"), "{text}");
    assert!(folder.text("r").contains(" late skipped 12 of 12 steps."));
    // A loss that is not finite ends the run, unless its step is skipped.
    folder.write("burst.opt", "optimizer burst\n\nif t == 2 { p *= 1e18 } else { p -= 0.1*g }\n");
    let ran = folder.run(&[&["train", "burst.opt"], &train[..]].concat());
    assert!(ran.code == Some(1) && ran.stderr.contains("the training loss is NaN at step 3"), "{}", ran.stderr);
    let ran = folder.run(&[&["train", "burst.opt", "--skip-nonfinite"], &train[..]].concat());
    assert_eq!(ran.code, Some(1));
    // Nothing changes any more, so the end of the epoch is the end of the run.
    insta::assert_snapshot!(ran.stderr);
}

#[test]
fn train_refuses_before_it_trains() {
    let folder = Folder::new("train-errors");
    digits(&folder);
    fs::create_dir(folder.path("empty")).unwrap();
    folder.write("needs.opt", "optimizer needs\ninput room\n\np -= room * g\n");
    folder.write("late.opt", "optimizer late\ninput room\n\np -= 0.1*g\nif t == 3 { p += room }\n");
    folder.write("rows.opt", "optimizer rows\n\np -= 0.1 * g / max(abs(g) per row)\n");
    insta::assert_snapshot!(transcript(
        &folder,
        1,
        &[
            &["train", "adm"],
            &["train", "adam", "--data", "nowhere"],
            &["train", "adam", "--data", "empty"],
            &["train", "adam", "--set", "learning_rate=1"],
            &["train", "adam", "sgd", "--set", "learning_rate=1"],
            &["train", "lion", "adam", "--set", "beta2=1"],
            &["train", "adam", "--report", "no/such/r.html"],
            &["train", "adam", "--report", "digits"],
            &["train", "needs.opt", "--data", "digits"],
            &["train", "adam", "sophia"],
            &["train", "late.opt", "--data", "digits"],
            &["train", "adam", "rows.opt", "--data", "digits"],
            &["train", "adam", "--ema", "1.5"],
        ]
    ));
}

// bench.

/// Every shipped rule can be measured: what it needs is given.
#[test]
fn bench_measures_every_rule() {
    let folder = Folder::new("bench");
    let names: Vec<&str> = updraft::SHIPPED.iter().map(|(name, _)| *name).collect();
    let options = ["--elements", "12", "--seconds", "0.001", "--json"];
    let out = folder.ok(&[&["bench"][..], &names, &options].concat());
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // By each code generator of this machine.
    let codegens: Vec<&str> =
        Codegen::ALL.into_iter().filter(|codegen| codegen.is_available()).map(Codegen::name).collect();
    let measured: Vec<_> =
        lines.iter().map(|line| (line["rule"].as_str().unwrap(), line["codegen"].as_str().unwrap())).collect();
    let each = |name: &'static str| codegens.iter().map(move |codegen| (name, *codegen));
    let expected: Vec<_> = updraft::SHIPPED.iter().flat_map(|(name, _)| each(name)).collect();
    assert_eq!(measured, expected);
    for line in &lines {
        for number in ["ns_per_element", "gb_per_s", "floor_ratio"] {
            assert!(line[number].as_f64().is_some_and(|x| x > 0.0), "{number} of {line}");
        }
    }
    let bytes = |rule: &str| lines.iter().find(|line| line["rule"] == rule).unwrap()["bytes_per_element"].clone();
    assert_eq!([bytes("sgd"), bytes("adam"), bytes("clip_adamw")], [12, 28, 32]);
}

#[test]
fn bench_measures_every_combination() {
    let folder = Folder::new("bench-cases");
    folder.write("own.opt", "optimizer own\nhyper lr = 0.1\ninput scale per tensor\n\np -= lr * scale * g\n");
    let options = ["--elements", "7,1Ki", "--tensors", "3", "--threads", "1,2", "--dtype", "f32,f64"];
    let more = [
        "--math",
        "strict,fast",
        "--codegen",
        "cranelift",
        "--denormals",
        "flush",
        "--set",
        "lr=0.5",
        "--seconds",
        "0.001",
    ];
    let command = [&["bench", "own.opt", "sgd"][..], &options, &more].concat();
    let out = folder.ok(&[&command[..], &["--json"]].concat());
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    let mut expected = [
        "rule",
        "dtype",
        "elements",
        "tensors",
        "threads",
        "codegen",
        "math",
        "ns_per_element",
        "bytes_per_element",
        "gb_per_s",
        "floor_ratio",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let case = |line: &serde_json::Value| {
        ["rule", "dtype", "elements", "tensors", "threads", "codegen", "math"]
            .map(|key| line[key].to_string())
            .join(" ")
    };
    let cases: std::collections::BTreeSet<String> = lines.iter().map(case).collect();
    assert_eq!((lines.len(), cases.len()), (32, 32));
    assert!(cases.contains(r#""own" "f64" 1024 3 2 "cranelift" "strict""#), "{cases:?}");
    assert!(lines.iter().all(|line| line["bytes_per_element"] == if line["dtype"] == "f64" { 24 } else { 12 }));
    // The table has a line for each, and its columns stand under one another.
    let table = folder.ok(&command);
    let rows: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(rows.len(), 33);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{table}");
    folder.fails(1, &["bench", "own.opt", "sgd", "--set", "beta=1"]);
    folder.fails(1, &["bench", "own.opt", "sgd", "--set", "momentum=-1"]);
}

// The process.

#[test]
fn completions_know_every_command() {
    let folder = Folder::new("completions");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.ok(&["completions", shell]);
        for word in
            ["check", "fmt", "explain", "list", "doc", "emit", "apply", "train", "bench", "completions", "state-out"]
        {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = Folder::new("pipe");
    folder.write("broken.opt", BROKEN);
    let closed = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        ran(folder.command(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap())
    };
    for args in [&["list"][..], &["doc", "adam"], &["emit", "adam", "--stage", "clif"], &["completions", "zsh"]] {
        let ran = closed(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    // That nobody reads it does not make it right.
    assert_eq!(closed(&["check", "broken.opt"]).code, Some(1));
}

#[test]
fn colours_are_for_terminals() {
    let folder = Folder::new("colour");
    folder.write("broken.opt", BROKEN);
    for args in
        [&["check", "broken.opt"][..], &["doc", "broken.opt"], &["explain", "unknown-name"], &["--help"], &["emit"]]
    {
        let ran = folder.run(args);
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{args:?}");
    }
    // `script` runs a command on a terminal of its own. It is part of every Linux distribution that has a shell.
    #[cfg(target_os = "linux")]
    for (variable, coloured) in [("X=", true), ("NO_COLOR=1", false), ("NO_COLOR=", true), ("TERM=dumb", false)] {
        let updraft = env!("CARGO_BIN_EXE_updraft");
        let command = format!("TERM=xterm {variable} '{updraft}' check broken.opt");
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(&folder.0).env_remove("NO_COLOR").stdin(Stdio::null());
        let ran = ran(script.output().unwrap());
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(
            ran.stdout.contains("error") && ran.stdout.contains('\u{1b}') == coloured,
            "{variable}: {}",
            ran.stdout
        );
    }
}
