//! Where the operating system forbids executable memory, the evaluator gives the same bits, with one warning.
//!
//! The test runs itself again in a child process that forbids it to itself (`PR_SET_MDWE`, Linux 6.3).
#![cfg(all(target_os = "linux", feature = "jit"))]
#![allow(unsafe_code)]

use std::process::Command;
use updraft::{Codegen, Engine, Rule, SHIPPED, Tensor};

/// Says to `in_the_child` that it is in the child.
const CHILD: &str = "UPDRAFT_TEST_WITHOUT_EXECUTABLE_MEMORY";

/// `PR_SET_MDWE` and its `PR_MDWE_REFUSE_EXEC_GAIN`: no memory becomes executable from now on.
fn forbid() -> std::io::Result<()> {
    let (refuse, zero): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: this option of prctl takes integers and changes nothing but this process's right to executable memory.
    match unsafe { libc::prctl(65, refuse, zero, zero, zero) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The bits of some steps of every shipped rule in f32 and f64, one line a rule and a code generator. A schedule drives `lr`,
/// and one tensor has rows and columns to reduce.
fn lines(engine: Engine, warned: bool) -> Vec<String> {
    let line = |name: &str, codegen: Codegen| {
        let rule = Rule::shipped(name).unwrap();
        let mut builder = rule.optimizer().engine(engine).codegen(codegen);
        if rule.hypers().any(|hyper| hyper.name == "lr") {
            let schedule = "linear(total_iters=3) for 3 then cosine(t_max=5)".parse().unwrap();
            builder = builder.schedule("lr", schedule).unwrap();
        }
        let mut opt = builder.build().unwrap();
        let (mut a, mut b, mut c) = ([1.0f32; 7], [-2.0f64; 5], [0.5f32; 33]);
        let mut warnings = Vec::new();
        for step in 0..8 {
            let (ga, gb) = ([0.1 * (step - 3) as f32; 7], [0.3 - 0.1 * f64::from(step); 5]);
            let gc: [f32; 33] = std::array::from_fn(|i| (step * i as i32 % 7) as f32 * 0.25 - 0.5);
            let program = opt.rule().program().clone();
            let (arrays, scalars): (Vec<_>, Vec<_>) =
                program.inputs.iter().partition(|input| input.extent == updraft::check::program::Extent::Element);
            scalars.iter().for_each(|input| opt.input(&input.name, 0.75).unwrap());
            let (ta, tb) = (Tensor::new("a", &mut a, &ga), Tensor::new("b", &mut b, &gb));
            let ta = arrays.iter().fold(ta, |tensor, input| tensor.input_array(&input.name, &ga));
            let tb = arrays.iter().fold(tb, |tensor, input| tensor.input_array(&input.name, &gb));
            let gc = ndarray::ArrayView2::from_shape((3, 11), &gc).unwrap();
            let tc = Tensor::new("c", ndarray::ArrayViewMut2::from_shape((3, 11), &mut c).unwrap(), gc);
            let tc = arrays.iter().fold(tc, |tensor, input| tensor.input_array(&input.name, gc));
            opt.step(&mut [ta, tb, tc]).unwrap();
            warnings.extend(opt.warning().map(str::to_string));
        }
        assert_eq!(opt.engine(), engine);
        // Several plans were refused, and there is one warning, which says why and what runs instead.
        warnings.dedup();
        assert_eq!(warnings.len(), usize::from(warned), "{name}: {warnings:?}");
        assert!(
            warnings.iter().all(|w| w.contains("memory") && w.contains("the evaluator runs instead")),
            "{warnings:?}"
        );
        let bits = (a.map(f32::to_bits), b.map(f64::to_bits), c.map(f32::to_bits));
        format!("bits of {name}, {}: {bits:?}", codegen.name())
    };
    let available = || Codegen::ALL.into_iter().filter(|codegen| codegen.is_available());
    SHIPPED.iter().flat_map(|(name, _)| available().map(|codegen| line(name, codegen))).collect()
}

#[test]
fn in_the_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    if let Err(error) = forbid() {
        println!("skipped: this kernel cannot forbid executable memory ({error})");
        return;
    }
    lines(Engine::Jit, true).iter().for_each(|line| println!("{line}"));
}

#[test]
fn the_evaluator_takes_over() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_the_child", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{text}\n{errors}");
    if let Some(skipped) = text.lines().find(|line| line.contains("skipped: ")) {
        println!("{skipped}");
        return;
    }
    let found: Vec<&str> = text.lines().filter_map(|line| Some(&line[line.find("bits of ")?..])).collect();
    assert_eq!(found, lines(Engine::Jit, false));
    assert_eq!(found, lines(Engine::Eval, false));
}
