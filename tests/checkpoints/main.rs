//! Nothing is lost: what an optimizer keeps survives damage that is found, processes that are killed, disks that are full
//! and runs that are resumed with other threads. Each campaign has a share here; `UPDRAFT_CHECKPOINTS=N` runs N of each.

#[cfg(target_os = "linux")]
mod kills;
mod mutations;
mod resume;
#[cfg(target_os = "linux")]
mod storage;
mod train;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use updraft::{Optimizer, Rule, Schedule, Tensor};

/// How many cases of a campaign: as many as are asked for, else the share of every run.
fn cases(share: u64) -> u64 {
    std::env::var("UPDRAFT_CHECKPOINTS").ok().and_then(|n| n.parse().ok()).unwrap_or(share)
}

/// An empty folder that no other test uses; it is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("updraft-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The names of the files of a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// Random numbers (splitmix64), so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % bound
    }
}

/// A run of some thousand parameters with a schedule, whose gradients follow from the step, and whose parameters travel in
/// the checkpoint: so a file is a whole run.
struct Work {
    opt: Optimizer,
    w: Vec<f32>,
}

const LEN: usize = 40_000;

impl Work {
    fn new() -> Work {
        let schedule: Schedule = "linear(total_iters=50) for 100 then cosine(t_max=900)".parse().unwrap();
        let rule = Rule::shipped("adamw").unwrap();
        Work { opt: rule.optimizer().schedule("lr", schedule).unwrap().build().unwrap(), w: vec![1.0; LEN] }
    }

    /// As it is in a file.
    fn read(path: &Path) -> Work {
        let mut work = Work::new();
        let checkpoint = updraft::Checkpoint::read(path).unwrap();
        work.opt.restore(&checkpoint, Default::default()).unwrap();
        let Some((_, updraft::StateValues::F32(w))) = checkpoint.param("w") else { panic!("w is missing") };
        work.w.copy_from_slice(w);
        work
    }

    fn steps(&self) -> u64 {
        self.opt.steps("w")
    }

    fn step(&mut self) {
        let t = self.steps();
        let mut random = Random(t);
        let g: Vec<f32> = (0..LEN).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect();
        self.opt.step(&mut [Tensor::new("w", &mut self.w, &g)]).unwrap();
    }

    fn checkpoint(&self) -> updraft::Checkpoint {
        let mut checkpoint = self.opt.checkpoint();
        checkpoint.put_param("w", &[LEN], &self.w).unwrap();
        checkpoint
    }

    fn bytes(&self) -> Vec<u8> {
        self.checkpoint().to_bytes().unwrap()
    }
}
