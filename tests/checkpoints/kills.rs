//! Processes that are killed while they save.
//!
//! A child runs on from the file, saves after every step, and is killed at some moment. The file is whole each time, and
//! what it holds is to the bit the run that never stopped; a temporary file that a kill leaves goes with the next save.

use crate::{Folder, Random, Work, cases, names};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Says to `in_the_child` that it is in the child, and where its file is.
const CHILD: &str = "UPDRAFT_TEST_SAVES_TO";

#[test]
fn in_the_child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let path = Path::new(&path);
    let mut work = if path.exists() { Work::read(path) } else { Work::new() };
    // A bound, so that nothing stays behind if nobody kills it.
    for _ in 0..2_000 {
        work.step();
        work.checkpoint().save_keeping(path, 2).unwrap();
    }
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    let folder = Folder::new("kills");
    let path = folder.file();
    let mut straight = Work::new();
    let mut random = Random(11);
    let (count, mut stale, mut lasted) = (cases(20), 0, 0);
    for case in 0..count {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::in_the_child", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "case {case}: the child ended by itself: {status}");
        stale += usize::from(names(&folder.0).iter().any(|name| name.ends_with(".tmp")));
        if !path.exists() {
            assert_eq!(straight.steps(), 0, "case {case}: the file is gone");
            continue;
        }
        let found = Work::read(&path);
        assert!(found.steps() >= straight.steps(), "case {case}: steps were lost");
        lasted += usize::from(found.steps() > straight.steps());
        while straight.steps() < found.steps() {
            straight.step();
        }
        assert!(found.bytes() == straight.bytes(), "case {case}: step {} is another one", found.steps());
        // The one before is whole too, and a step or more behind; a kill between two names may leave it out.
        let last = folder.0.join("state.safetensors.1");
        if last.exists() {
            assert!(Work::read(&last).steps() <= found.steps());
        }
    }
    let steps = straight.steps();
    println!("{count} kills over {steps} steps: {lasted} after a save, {stale} left a temporary file");
    // A child runs for 30 ms in the mean, and saves in a few.
    assert!(lasted > 0 || count < 10, "no child has ever saved");
    straight.checkpoint().save(&path).unwrap();
    assert!(names(&folder.0).iter().all(|name| !name.ends_with(".tmp")), "{:?}", names(&folder.0));
    // Going on from what the last one left is going on.
    let mut resumed = Work::read(&path);
    (0..3).for_each(|_| [&mut resumed, &mut straight].into_iter().for_each(Work::step));
    assert!(resumed.bytes() == straight.bytes());
}
