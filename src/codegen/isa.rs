//! The instruction sets that kernels are compiled for, by names that mean the same on every host.
//!
//! An [`Isa`] names exact features, never "the host's": text compiled for one is equal wherever it is compiled, and code
//! compiled for one runs on every machine that has these features. A machine without them has no `Isa` and takes the
//! evaluator.

use super::Cranelift;
use cranelift_codegen::isa::{OwnedTargetIsa, lookup_by_name};
use cranelift_codegen::settings::{self, Configurable, Flags};
use std::sync::OnceLock;

/// An instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Isa {
    /// x86-64 with SSE4.2, AVX and FMA, and nothing more.
    X86_64Fma,
    /// x86-64 with AVX2, FMA and F16C beside what [`X86_64Fma`](Isa::X86_64Fma) has: vectors of 256 bits.
    X86_64Avx2Fma,
    /// 64-bit Arm, whose vectors and fused multiply-add are part of every processor.
    Aarch64,
}

impl Isa {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Isa; 3] = [Isa::X86_64Fma, Isa::X86_64Avx2Fma, Isa::Aarch64];

    /// As written after `--isa`: `x86_64+fma`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::X86_64Fma => "x86_64+fma",
            Isa::X86_64Avx2Fma => "x86_64+avx2+fma",
            Isa::Aarch64 => "aarch64",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether this machine runs its code.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let has_fma = std::is_x86_feature_detected!("sse3")
                && std::is_x86_feature_detected!("ssse3")
                && std::is_x86_feature_detected!("sse4.1")
                && std::is_x86_feature_detected!("sse4.2")
                && std::is_x86_feature_detected!("avx")
                && std::is_x86_feature_detected!("fma");
            match self {
                Isa::X86_64Fma => has_fma,
                Isa::X86_64Avx2Fma => {
                    has_fma && std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("f16c")
                }
                Isa::Aarch64 => false,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Isa::Aarch64 && cfg!(target_arch = "aarch64")
        }
    }

    /// The one whose code is fastest on this machine, if it runs any.
    pub fn host() -> Option<Isa> {
        [Isa::X86_64Avx2Fma, Isa::X86_64Fma, Isa::Aarch64].into_iter().find(|isa| isa.is_available())
    }

    /// What makes its code.
    pub fn codegen(self) -> Codegen {
        match self {
            Isa::X86_64Avx2Fma => Codegen::Wide,
            Isa::X86_64Fma | Isa::Aarch64 => Codegen::Cranelift,
        }
    }

    /// How many elements of so many bytes one of its vectors holds.
    pub fn vector_lanes(self, bytes: usize) -> usize {
        let vector = match self {
            Isa::X86_64Avx2Fma => 32,
            Isa::X86_64Fma | Isa::Aarch64 => 16,
        };
        vector / bytes
    }

    /// Cranelift's description of it with these settings, made once in a process.
    pub(super) fn target(self, settings: Cranelift) -> &'static OwnedTargetIsa {
        static TARGETS: [[OnceLock<OwnedTargetIsa>; Isa::ALL.len()]; Cranelift::ALL.len()] =
            [const { [const { OnceLock::new() }; Isa::ALL.len()] }; Cranelift::ALL.len()];
        TARGETS[settings.index()][self as usize].get_or_init(|| {
            // No operating system in these triples: the code makes no calls, and has one calling convention of its own.
            let (triple, features): (&str, &[&str]) = match self {
                Isa::X86_64Fma => (
                    "x86_64-unknown-unknown",
                    &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_avx", "has_fma"],
                ),
                Isa::X86_64Avx2Fma => (
                    "x86_64-unknown-unknown",
                    &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_avx", "has_avx2", "has_fma"],
                ),
                Isa::Aarch64 => ("aarch64-unknown-unknown", &[]),
            };
            let mut builder = lookup_by_name(triple).expect("both back ends are compiled in");
            for feature in features {
                builder.enable(feature).expect("a feature of this back end");
            }
            builder.finish(flags(settings)).expect("settings that fit together")
        })
    }
}

/// The settings of all code, whatever the instruction set.
fn flags(cranelift: Cranelift) -> Flags {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", if cranelift.unoptimized { "none" } else { "speed" }),
        ("regalloc_algorithm", if cranelift.single_pass { "single_pass" } else { "backtracking" }),
        ("regalloc_checker", if cranelift.check_registers { "true" } else { "false" }),
        // A wrong function is reported rather than compiled, for little time.
        ("enable_verifier", "true"),
        // A frame of spilled registers must not step over the guard page of the stack.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        // What the executable memory asks for.
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
    ] {
        flags.set(name, value).expect("a setting of this version");
    }
    Flags::new(flags)
}

/// What makes code. All of it gives the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codegen {
    /// Cranelift: vectors of 128 bits, on every instruction set.
    Cranelift,
    /// The crate's own for AVX2: vectors of 256 bits.
    Wide,
}

impl Codegen {
    /// Every one.
    pub const ALL: [Codegen; 2] = [Codegen::Cranelift, Codegen::Wide];

    /// As written after `--codegen`: `wide`.
    pub fn name(self) -> &'static str {
        match self {
            Codegen::Cranelift => "cranelift",
            Codegen::Wide => "wide",
        }
    }

    /// The instruction set of this machine that it makes code for, if there is one.
    pub fn host(self) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.codegen() == self && isa.is_available())
    }

    /// Whether this machine runs its code.
    pub fn is_available(self) -> bool {
        self.host().is_some()
    }
}

/// How many elements the code handles at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Lanes {
    /// One after the other: the loop that is else the tail.
    One,
    /// Vectors, then a tail of one after the other.
    Simd,
}

/// What code is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// The instruction set.
    pub isa: Isa,
    /// The lanes.
    pub lanes: Lanes,
}

impl Target {
    /// The fastest code that this machine runs, if it runs any.
    pub fn host() -> Option<Target> {
        Isa::host().map(|isa| Target { isa, lanes: Lanes::Simd })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("x86_64"), None);
        assert_eq!(Codegen::ALL.map(Codegen::name), ["cranelift", "wide"]);
    }
}
