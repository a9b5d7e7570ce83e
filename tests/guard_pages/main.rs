//! Machine code stays inside its slices: every kernel of the shipped rules on arrays that lie between pages that nobody may
//! touch, at every distance from them; what is only read is mapped for reading alone. The bits are the evaluator's.
//!
//! The kernels run in a child process, so that a fault is a failure that names the kernel. `cargo test` runs a share of all
//! lengths and distances; `UPDRAFT_GUARD_PAGES=all cargo test --release --test guard_pages` runs every one.
#![cfg(all(target_os = "linux", feature = "jit"))]
#![allow(unsafe_code)]

#[path = "../generate/mod.rs"]
mod generate;
mod kernels;
mod memory;
mod run;
#[path = "../shipped/mod.rs"]
mod shipped;

use generate::Random;
use kernels::{Named, shapes, shipped_kernels};
use run::{Bench, LONGEST, Lie, OFFSETS, Side};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use updraft::codegen::{Code, Codegen, Lanes, Target, backend};
use updraft::ir::parse_kernel;

/// Tells `in_the_child` what to do.
const TASK: &str = "UPDRAFT_TEST_GUARD_PAGES";

/// The file that says what a child was doing when it ended.
const PLACE: &str = "UPDRAFT_TEST_GUARD_PAGES_PLACE";

// What a child is doing. ------------------------------------------------------------------------------------------------

/// The bytes of the file before the name of what runs: length, offset, side, and the bytes of the name.
const NUMBERS: usize = 32;

/// The file, mapped, so that what is written outlives the process that writes it.
struct Place(memmap2::MmapMut);

impl Place {
    fn open(path: &Path) -> Place {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        // SAFETY: the file is a child's own until that has ended.
        Place(unsafe { memmap2::MmapMut::map_mut(&file).unwrap() })
    }

    fn name(&mut self, name: &str) {
        let len = name.len().min(self.0.len() - NUMBERS);
        self.0[24..NUMBERS].copy_from_slice(&(len as u64).to_ne_bytes());
        self.0[NUMBERS..NUMBERS + len].copy_from_slice(&name.as_bytes()[..len]);
    }

    fn run(&mut self, len: usize, offset: usize, side: Side) {
        self.0[..8].copy_from_slice(&(len as u64).to_ne_bytes());
        self.0[8..16].copy_from_slice(&(offset as u64).to_ne_bytes());
        self.0[16..24].copy_from_slice(&(side as u64).to_ne_bytes());
        // The run that follows may be the last that this process does.
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn text(path: &Path) -> String {
        let bytes = std::fs::read(path).unwrap();
        let number = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let name = String::from_utf8_lossy(&bytes[NUMBERS..NUMBERS + number(24) as usize]).into_owned();
        let side = if number(16) == Side::Front as u64 { "behind the page before" } else { "before the page behind" };
        format!("{name}: {} elements, offset {}, {side}", number(0), number(8))
    }
}

/// What a child came to: what it printed, or the signal that ended it and where.
fn child(task: &str) -> Result<String, String> {
    let place: PathBuf = std::env::temp_dir().join(format!("updraft-guard-pages-{}-{task}", std::process::id()));
    std::fs::write(&place, [0; 512]).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_the_child", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        .env(PLACE, &place)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = match output.status.signal() {
        Some(signal) => Err(format!("signal {signal} in {}", Place::text(&place))),
        None if output.status.success() => Ok(text),
        None => Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr))),
    };
    std::fs::remove_file(&place).unwrap();
    result
}

// The child. ------------------------------------------------------------------------------------------------------------

/// The code of a kernel by every generator that this machine has, for one lane and in vectors.
fn codes(named: &Named) -> Vec<(String, Code)> {
    let isas = Codegen::ALL.into_iter().filter_map(|codegen| Some((codegen, codegen.host()?)));
    let targets =
        isas.flat_map(|(codegen, isa)| [Lanes::One, Lanes::Simd].map(|lanes| (codegen, Target { isa, lanes })));
    let code = |(codegen, target): (Codegen, Target)| {
        let code = backend(target.isa).compile(&named.kernel, target).unwrap();
        (format!("{}; {}, {:?}", named.name, codegen.name(), target.lanes), code)
    };
    targets.map(code).collect()
}

/// All lengths.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=257).chain(LONGEST - 2..=LONGEST)
}

/// Runs kernels at all lengths and distances, or at so many of them; how many runs there were.
fn run_all(all: &[Named], some: Option<usize>, place: &mut Place) -> usize {
    let mut random = Random::new(0x9a9e);
    let mut runs = 0;
    let every: Vec<_> = lengths()
        .flat_map(|len| (0..OFFSETS).flat_map(move |offset| [Side::Front, Side::Back].map(|side| (len, offset, side))))
        .collect();
    for named in all {
        let mut bench = Bench::new(named, Lie::None, &mut random);
        for (name, code) in codes(named) {
            place.name(&name);
            place.run(0, 0, Side::Front);
            bench.run_dangling(&code);
            let mut run = |(len, offset, side)| {
                place.run(len, offset, side);
                runs += 1;
                if let Err(error) = bench.run(&code, len, offset, side) {
                    panic!("{error}: {name}: {len} elements, offset {offset}, {side:?}");
                }
            };
            match some {
                None => every.iter().copied().for_each(run),
                Some(some) => (0..some).for_each(|_| run(random.pick(&every))),
            }
        }
    }
    runs
}

/// A kernel that reads a stream, uniforms and another stream that it writes.
fn sgd() -> Named {
    let text = "kernel sgd f32 {\nuniform lr\nstream p f32 rw\nstream g f32 r\n\n%0 = load p\n%1 = load g\n\
                %2 = uniform lr\n%3 = fma %1, %2, %0\nstore p, %3\n}";
    Named { name: "sgd, f32".into(), kernel: parse_kernel(text).unwrap() }
}

/// The same, if it stepped on its gradient.
fn sgd_that_writes_its_gradient() -> Named {
    let mut named = sgd();
    let text = updraft::ir::print_kernel(&named.kernel).replace("stream g f32 r", "stream g f32 rw");
    named.kernel = parse_kernel(&text.replace("store p, %3", "store p, %3\nstore g, %0")).unwrap();
    named
}

/// The deliberate faults: what is wrong, and at which end it shows.
const FAULTS: [(&str, Lie, Side); 7] = [
    ("reads-before", Lie::Before(1), Side::Front),
    ("reads-behind", Lie::Behind(1), Side::Back),
    ("writes-before", Lie::Before(0), Side::Front),
    ("writes-behind", Lie::Behind(0), Side::Back),
    ("uniforms-before", Lie::Uniforms, Side::Front),
    ("uniforms-behind", Lie::Uniforms, Side::Back),
    ("writes-gradient", Lie::ReadOnly(1), Side::Back),
];

#[test]
fn in_the_child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let mut place = Place::open(Path::new(&std::env::var(PLACE).unwrap()));
    let start = std::time::Instant::now();
    let (shapes, shipped) = match &*task {
        "all" => (run_all(&shapes(), None, &mut place), run_all(&shipped_kernels(), None, &mut place)),
        "some" => (run_all(&shapes(), Some(400), &mut place), run_all(&shipped_kernels(), Some(40), &mut place)),
        fault => {
            let (code, fault) = fault.split_once('-').unwrap();
            let (_, lie, side) = FAULTS.into_iter().find(|(name, ..)| *name == fault).unwrap();
            let named = if fault == "writes-gradient" { sgd_that_writes_its_gradient() } else { sgd() };
            let mut bench = Bench::new(&named, lie, &mut Random::new(1));
            // The distances of stream 0 and 1 are 0 at these offsets.
            let offset = if matches!(lie, Lie::Before(1) | Lie::Behind(1)) { OFFSETS - 1 } else { 0 };
            let (name, code) = codes(&named).swap_remove(code.parse().unwrap());
            place.name(&name);
            place.run(13, offset, side);
            let result = bench.run(&code, 13, offset, side);
            return println!("no fault: {result:?}");
        }
    };
    println!("{shipped} runs of kernels of shipped rules, {shapes} of shapes, in {:.1?}", start.elapsed());
}

// The parent. -----------------------------------------------------------------------------------------------------------

#[test]
fn kernels_stay_inside_of_their_slices() {
    let all = std::env::var("UPDRAFT_GUARD_PAGES").is_ok_and(|all| all == "all");
    let text = child(if all { "all" } else { "some" }).unwrap_or_else(|error| panic!("{error}"));
    let line = text.lines().find(|line| line.contains("runs of kernels")).unwrap_or_else(|| panic!("{text}"));
    println!("{line}");
}

/// A harness that sees no fault where there is one proves nothing where it sees none.
#[test]
fn the_harness_sees_every_fault() {
    let codes = codes(&sgd());
    for (index, (name, _)) in codes.iter().enumerate() {
        for (fault, _, side) in FAULTS {
            let error = child(&format!("{index}-{fault}")).map_or_else(|error| error, |text| panic!("{fault}: {text}"));
            let side = if side == Side::Front { "behind the page before" } else { "before the page behind" };
            let offset = if fault.starts_with("reads") { OFFSETS - 1 } else { 0 };
            let expected = format!("{name}: 13 elements, offset {offset}, {side}");
            assert!(
                error.starts_with("signal 11 in ") && error.ends_with(&expected),
                "{fault}: {error}, not {expected}"
            );
        }
    }
}

/// And bits that differ, and what is written beside a slice without a fault.
#[test]
fn the_harness_sees_other_bits() {
    let right = sgd();
    let mut other = sgd();
    other.kernel = parse_kernel(&updraft::ir::print_kernel(&right.kernel).replace("%1, %2, %0", "%2, %2, %0")).unwrap();
    let mut bench = Bench::new(&right, Lie::None, &mut Random::new(1));
    // Numbers beside the slices of what is read, so that what is made of them is not what was there.
    for (offset, side) in (0..OFFSETS).flat_map(|offset| [(offset, Side::Front), (offset, Side::Back)]) {
        assert_eq!(bench.run(&codes(&right)[0].1, 40, offset, side), Ok(()));
    }
    for ((_, wrong), (_, right)) in codes(&other).into_iter().zip(codes(&right)) {
        for side in [Side::Front, Side::Back] {
            assert_eq!(bench.run(&wrong, 20, 3, side), Err("stream 0 differs in element 0".into()));
            assert_eq!(bench.run(&right, 20, 3, side), Ok(()));
            assert_eq!(bench.run_told(&right, 20, 19, 3, side), Err("stream 0 differs in element 19".into()));
            let outside = Err("stream 0 was written outside of its slice".into());
            assert_eq!(bench.run_told(&right, 20, 21, 3, side), outside);
        }
    }
}
