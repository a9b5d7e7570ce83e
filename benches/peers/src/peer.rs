//! A peer: an implementation of a rule at work on its own arrays.

use crate::floor::Floor;
use crate::hand::Hand;
use crate::rule::Rule;
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;
use updraft::Tensor;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is compared with what.
#[derive(Clone, Debug)]
pub struct Case {
    pub rule: Rule,
    pub elements: usize,
    pub threads: usize,
    /// The same for all peers.
    pub params: Vec<f32>,
    pub grads: Vec<f32>,
    /// Where these are, for other processes.
    pub files: (PathBuf, PathBuf),
}

/// An implementation of a rule that has taken its first step.
pub trait Peer {
    /// The nanoseconds of each of so many steps, by its own clock.
    fn run(&mut self, steps: usize) -> Result<Vec<f64>>;

    /// The first eight parameters.
    fn values(&mut self) -> Result<Vec<f32>>;
}

/// A peer in this process: its state, what a step does to it, and where its parameters are.
pub struct Own<T, S, V> {
    of: T,
    step: S,
    values: V,
}

impl<T, S: FnMut(&mut T) -> Result<()>, V: FnMut(&mut T) -> Result<Vec<f32>>> Own<T, S, V> {
    pub fn new(mut of: T, mut step: S, values: V) -> Result<Own<T, S, V>> {
        step(&mut of)?;
        Ok(Own { of, step, values })
    }
}

impl<T, S: FnMut(&mut T) -> Result<()>, V: FnMut(&mut T) -> Result<Vec<f32>>> Peer for Own<T, S, V> {
    fn run(&mut self, steps: usize) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(steps);
        for _ in 0..steps {
            let start = Instant::now();
            (self.step)(&mut self.of)?;
            times.push(start.elapsed().as_secs_f64() * 1e9);
        }
        Ok(times)
    }

    fn values(&mut self) -> Result<Vec<f32>> {
        (self.values)(&mut self.of)
    }
}

fn first(values: &[f32]) -> Vec<f32> {
    values[..values.len().min(8)].to_vec()
}

/// Updraft, as it comes.
pub fn updraft(case: &Case) -> Result<Box<dyn Peer>> {
    let mut builder = updraft::Rule::shipped(case.rule.name())?.optimizer().threads(case.threads);
    for (name, value) in case.rule.set() {
        builder = builder.set(name, *value)?;
    }
    let state = (builder.build()?, case.params.clone(), case.grads.clone());
    let peer = Own::new(state, |(opt, p, g)| Ok(opt.step(&mut [Tensor::new("w", p, &*g)])?), |(_, p, _)| Ok(first(p)))?;
    Ok(Box::new(peer))
}

/// Loops written by hand.
pub fn hand(case: &Case) -> Result<Box<dyn Peer>> {
    let hand = Hand::new(case.rule, case.elements, case.threads).ok_or("this CPU has no AVX2")?;
    let peer = Own::new(
        (hand, case.params.clone(), case.grads.clone()),
        |(hand, p, g)| {
            hand.step(p, g);
            Ok(())
        },
        |(_, p, _)| Ok(first(p)),
    )?;
    Ok(Box::new(peer))
}

/// The same arrays, read and written with additions only.
pub fn floor(case: &Case) -> Result<Box<dyn Peer>> {
    let floor = Floor::new(case.rule, case.elements, case.threads);
    let peer = Own::new(
        (floor, case.params.clone(), case.grads.clone()),
        |(floor, p, g)| {
            floor.step(p, g);
            Ok(())
        },
        |_| Ok(Vec::new()),
    )?;
    Ok(Box::new(peer))
}

/// The processes that run Python, by framework and number of threads.
pub struct Pythons {
    python: PathBuf,
    running: HashMap<(String, usize), Python>,
    /// What each said that it is.
    pub versions: Vec<String>,
}

struct Python {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Python {
    fn drop(&mut self) {
        // It is ours, and reads from a pipe that nobody writes to any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Python {
    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.to, "{line}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        if answer.is_empty() { Err("it has ended".into()) } else { Ok(answer.trim().to_string()) }
    }
}

impl Pythons {
    pub fn new(python: &Path) -> Pythons {
        Pythons { python: python.to_path_buf(), running: HashMap::new(), versions: Vec::new() }
    }

    fn get(&mut self, framework: &str, threads: usize) -> Result<&mut Python> {
        let key = (framework.to_string(), threads);
        if !self.running.contains_key(&key) {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers.py");
            let mut child = Command::new(&self.python)
                .arg(script)
                .args([framework, &threads.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (to, from) = (child.stdin.take().ok_or("no pipe")?, child.stdout.take().ok_or("no pipe")?);
            let mut python = Python { child, to, from: BufReader::new(from) };
            let version = python.answer()?;
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
            self.running.insert(key.clone(), python);
        }
        self.running.get_mut(&key).ok_or("it was just put there".into())
    }

    /// Forgets the peers of all processes, and their arrays.
    pub fn drop_peers(&mut self) -> Result<()> {
        self.running.values_mut().try_for_each(|python| python.ask("drop").map(|_| ()))
    }
}

/// A peer in another process.
pub struct Remote {
    pythons: Rc<RefCell<Pythons>>,
    name: &'static str,
    threads: usize,
}

impl Remote {
    pub fn new(pythons: &Rc<RefCell<Pythons>>, name: &'static str, case: &Case) -> Result<Box<dyn Peer>> {
        let (params, grads) = (case.files.0.display(), case.files.1.display());
        let remote = Remote { pythons: pythons.clone(), name, threads: case.threads };
        let (rule, elements) = (case.rule.name(), case.elements);
        match remote.ask(&format!("new {name} {rule} {elements} {params} {grads}"))?.as_str() {
            "ok" => Ok(Box::new(remote)),
            answer => Err(answer.strip_prefix("no ").unwrap_or(answer).to_string().into()),
        }
    }

    fn ask(&self, line: &str) -> Result<String> {
        let framework = self.name.split('-').next().unwrap_or(self.name);
        self.pythons.borrow_mut().get(framework, self.threads)?.ask(line)
    }
}

impl Peer for Remote {
    fn run(&mut self, steps: usize) -> Result<Vec<f64>> {
        let answer = self.ask(&format!("run {} {steps}", self.name))?;
        Ok(answer.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
    }

    fn values(&mut self) -> Result<Vec<f32>> {
        let answer = self.ask(&format!("values {}", self.name))?;
        Ok(answer.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
    }
}
