//! The memory of code: never writable and executable at once, and given back, however often kernels are compiled and
//! optimizers built and dropped. Alone in its process, because it counts the process's mappings and its memory.
//!
//! `UPDRAFT_CYCLES=100000 cargo test --release --test pages` compiles and drops so often.
#![cfg(all(feature = "jit", target_os = "linux"))]
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use updraft::check::program::{Extent, Input};
use updraft::codegen::{Backend, Codegen, Cranelift, Lanes, Target, Wide};
use updraft::ir::{Kernel, parse_kernel};
use updraft::{Rule, SHIPPED, Tensor};

fn maps() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap()
}

fn permissions(maps: &str) -> impl Iterator<Item = &str> {
    maps.lines().filter_map(|line| line.split_whitespace().nth(1))
}

fn count(maps: &str, wanted: &str) -> usize {
    permissions(maps).filter(|p| p.starts_with(wanted)).count()
}

/// Bytes of memory that the process has in use.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Does something while another thread looks at the mappings all the time: how often it looked, or mappings of which one
/// could be written and executed.
fn watched(run: impl FnOnce()) -> Result<usize, String> {
    let (done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = None;
            while !done.load(Ordering::Relaxed) {
                let maps = maps();
                if permissions(&maps).any(|p| p.contains('w') && p.contains('x')) {
                    seen = Some(maps);
                }
                looks.fetch_add(1, Ordering::Relaxed);
            }
            seen.map_or(Ok(looks.load(Ordering::Relaxed)), Err)
        });
        // A thread has mappings of its own, which are there from its first look on.
        while looks.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        // The watch ends however this does.
        let result = catch_unwind(AssertUnwindSafe(run));
        done.store(true, Ordering::Relaxed);
        let looks = watch.join().unwrap();
        result.map_or_else(|panic| resume_unwind(panic), |()| looks)
    })
}

/// A watch that sees no such page where there is one proves nothing.
fn the_watch_sees_a_page_that_is_both() {
    let both = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: a new mapping, at an address that the system chooses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, both, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if page == libc::MAP_FAILED {
        return println!("skipped: the system gives no page that is both");
    }
    let seen = watched(|| std::thread::sleep(Duration::from_millis(300)));
    // SAFETY: the page that was mapped just now; nobody else knows it.
    unsafe { libc::munmap(page, 4096) };
    assert!(seen.is_err_and(|maps| count(&maps, "rwx") == 1));
}

/// How many cycles are asked for.
fn cycles(otherwise: usize) -> usize {
    std::env::var("UPDRAFT_CYCLES").ok().and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

/// Runs `cycle` so often and holds memory and mappings to what they were after the first of them.
fn gives_back(what: &str, cycles: usize, cycle: impl Fn(usize)) {
    let looks = watched(|| {
        let first = cycles / 10;
        (0..first).for_each(&cycle);
        let (before, memory) = (maps(), resident());
        (first..first + cycles).for_each(&cycle);
        let (after, grown) = (maps(), resident().saturating_sub(memory));
        let (was, is) = (before.lines().count(), after.lines().count());
        println!("{cycles} cycles of {what}: memory grew by {} KiB, {was} mappings became {is}", grown >> 10);
        assert_eq!(count(&after, "r-x"), count(&before, "r-x"), "{before}\n{after}");
        assert!(is <= was, "{before}\n{after}");
        assert!(grown < 8 << 20, "{what}: {grown} bytes in {cycles} cycles");
    });
    let looks = looks.unwrap_or_else(|maps| panic!("{what}: {maps}"));
    println!("the mappings were looked at {looks} times meanwhile");
    assert!(looks > 2);
}

fn kernel() -> Kernel {
    let text =
        "kernel k f32 {\nuniform u\nstream p f32 rw\n%0 = load p\n%1 = uniform u\n%2 = mul %0, %1\nstore p, %2\n}";
    parse_kernel(text).unwrap()
}

fn code_lives_as_long_as_its_clones() {
    let kernel = kernel();
    let compile = || Cranelift::default().compile(&kernel, Target::host().unwrap()).unwrap();
    drop(compile());
    let before = count(&maps(), "r-x");

    let alive: Vec<_> = (0..20).map(|_| compile()).collect();
    let during = maps();
    assert_eq!(count(&during, "rwx"), 0, "{during}");
    assert!(count(&during, "r-x") > before, "code is in pages of its own:\n{during}");
    // A clone keeps its pages when the others go.
    let last = alive.last().unwrap().clone();
    drop(alive);
    assert_eq!(count(&maps(), "r-x"), before + 1, "{}", maps());
    drop(last);
    assert_eq!(count(&maps(), "r-x"), before, "{}", maps());
}

fn kernels_are_compiled_and_dropped() {
    let kernel = kernel();
    let backends: [(&dyn Backend, Codegen); 2] = [(&Cranelift::default(), Codegen::Cranelift), (&Wide, Codegen::Wide)];
    for (backend, codegen) in backends {
        let Some(isa) = codegen.host() else { continue };
        gives_back(&format!("one kernel by {}", codegen.name()), cycles(3000), |index| {
            let lanes = [Lanes::One, Lanes::Simd][index % 2];
            drop(backend.compile(&kernel, Target { isa, lanes }).unwrap());
        });
    }
}

/// Every shipped rule by turns.
fn optimizers_are_built_and_dropped() {
    let rules: Vec<Rule> = SHIPPED.iter().map(|(name, _)| Rule::shipped(name).unwrap()).collect();
    gives_back("a whole optimizer", cycles(2000), |index| {
        let rule = &rules[index % rules.len()];
        // All rules by each generator.
        let codegens: Vec<Codegen> = Codegen::ALL.into_iter().filter(|codegen| codegen.is_available()).collect();
        let codegen = codegens[index / rules.len() % codegens.len()];
        let mut opt = rule.optimizer().codegen(codegen).build().unwrap();
        let (mut p, g) = ([1.0f32; 37], [0.5f32; 37]);
        let (arrays, scalars): (Vec<&Input>, Vec<&Input>) =
            rule.program().inputs.iter().partition(|input| input.extent == Extent::Element);
        scalars.iter().for_each(|input| opt.input(&input.name, 0.75).unwrap());
        let tensor = Tensor::new("a", &mut p, &g);
        let tensor = arrays.iter().fold(tensor, |tensor, input| tensor.input_array(&input.name, &g));
        opt.step(&mut [tensor]).unwrap();
        assert_eq!(opt.warning(), None);
    });
}

/// One test, because the threads of others come and go with mappings of their own.
#[test]
fn code_is_never_writable_and_executable_and_is_given_back() {
    the_watch_sees_a_page_that_is_both();
    code_lives_as_long_as_its_clones();
    kernels_are_compiled_and_dropped();
    optimizers_are_built_and_dropped();
}
