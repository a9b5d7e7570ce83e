//! What the most hostile files cost: time and memory from the text to the code of a first step, in every engine.
//!
//! Run it with `cargo bench --bench limits [PART OF A NAME]`. Each line is a file: its size, whether it is refused, the
//! milliseconds of check, of lower and plan, of code by each generator, and the most memory that was in use at once.
#![allow(unsafe_code)]

#[path = "../tests/hostile/mod.rs"]
mod hostile;
#[path = "../tests/memory/mod.rs"]
mod memory;
#[path = "../tests/oracles/mod.rs"]
mod oracles;

use memory::{Counting, peak};
use updraft::codegen::{Backend, Cranelift, Isa, Lanes, Target, Wide};
use updraft::ir::lower;
use updraft::plan::plan;
use updraft::syntax::ast::FileKind;
use updraft::{Rule, Schedule, Storage};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The time that this thread has had of the processor, in milliseconds: other programs do not count.
#[cfg(target_os = "linux")]
fn now() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and `time` is a `timespec` to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

#[cfg(not(target_os = "linux"))]
fn now() -> f64 {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed().as_secs_f64() * 1e3
}

/// The time since the last call.
fn ms(start: &mut f64) -> f64 {
    let time = now() - *start;
    *start = now();
    time
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!(
        "{:>46}  {:>7} {:>8} {:>8} {:>8} {:>8} {:>8}  kernels",
        "", "KiB", "check", "plan", "wide", "cranel.", "MiB"
    );
    let (mut slowest, mut largest) = (0.0f64, 0usize);
    for hostile in hostile::all() {
        if !only.is_empty() && !only.iter().any(|part| hostile.what.contains(part.as_str())) {
            continue;
        }
        let files = oracles::Files::new(&hostile.text);
        let (mut times, mut kernels) = ([0.0; 4], String::new());
        let (_, most) = peak(|| {
            let mut start = now();
            if files.main.name().ends_with(".sched") {
                // With the other files it cannot be a schedule of the API: those come from a folder.
                let checked = updraft::check::check_with(&updraft::syntax::parse(&files.main), &files);
                times[0] = ms(&mut start);
                kernels = checked.map_or_else(|found| format!("{} errors", found.len()), |_| "schedule".into());
                if let (Ok(schedule), false) =
                    (Schedule::parse("sample", files.main.text()), kernels.contains("errors"))
                {
                    let _ = schedule.value(1, 1.0);
                }
                times[1] = ms(&mut start);
                return;
            }
            let rule = match Rule::compile_with(files.main.clone(), &files) {
                Ok(rule) => rule,
                Err(error) => {
                    times[0] = ms(&mut start);
                    kernels = format!("{} errors", error.diagnostics().len());
                    return;
                }
            };
            assert_eq!(rule.program().kind, FileKind::Optimizer);
            let opt = rule.optimizer().build();
            times[0] = ms(&mut start);
            let Ok(opt) = opt else { return };
            let facts = opt.facts_of(&[64, 64], Storage::F32, 1);
            let plan = plan(&lower(rule.program(), &facts));
            times[1] = ms(&mut start);
            let sizes: Vec<usize> = plan.sweeps().map(|sweep| sweep.kernel.body.len()).collect();
            for (index, backend, isa) in
                [(2, &Wide as &dyn Backend, Isa::X86_64Avx2Fma), (3, &Cranelift::default(), Isa::X86_64Fma)]
            {
                for sweep in plan.sweeps() {
                    let code = backend.compile(&sweep.kernel, Target { isa, lanes: Lanes::Simd });
                    if let Err(error) = code {
                        println!("{error}");
                    }
                }
                times[index] = ms(&mut start);
            }
            kernels = format!("{} of {} at most", sizes.len(), sizes.iter().max().unwrap_or(&0));
        });
        let [check, planned, wide, cranelift] = times;
        let time = check + planned + wide.max(cranelift);
        (slowest, largest) = (slowest.max(time), largest.max(most));
        let mark = if time > 250.0 || most > 64 << 20 { "  <== over" } else { "" };
        println!(
            "{:>46}  {:>7} {check:>8.1} {planned:>8.1} {wide:>8.1} {cranelift:>8.1} {:>8.1}  {kernels}{mark}",
            hostile.what,
            hostile.text.len() / 1024,
            most as f64 / f64::from(1 << 20),
        );
    }
    println!("slowest: {slowest:.1} ms; most memory: {:.1} MiB", largest as f64 / f64::from(1 << 20));
}
