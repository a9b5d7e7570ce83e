//! The memory of code: never writable and executable at once, and given back. Alone in its process, because it counts
//! the process's mappings.
#![cfg(all(feature = "jit", target_os = "linux"))]

use updraft::codegen::{Backend, Cranelift, Target};
use updraft::ir::parse_kernel;

fn maps() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap()
}

fn count(maps: &str, permissions: &str) -> usize {
    maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|p| p.starts_with(permissions))).count()
}

#[test]
fn code_is_never_writable_and_is_given_back() {
    let text =
        "kernel k f32 {\nuniform u\nstream p f32 rw\n%0 = load p\n%1 = uniform u\n%2 = mul %0, %1\nstore p, %2\n}";
    let kernel = parse_kernel(text).unwrap();
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

    for _ in 0..500 {
        drop(compile());
    }
    let after = maps();
    assert_eq!(count(&after, "r-x"), before, "{after}");
    assert_eq!(count(&after, "rwx"), 0, "{after}");
}
