//! Disks that are full and folders that may not be written: a typed error, the old file, and nothing beside it.
//!
//! Each case runs in a child process, which takes the room or the right away from itself.
#![allow(unsafe_code)]

use crate::{Folder, Work, names};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use updraft::Error;

/// Says to `in_the_child` that it is in the child, what to do, and where.
const CHILD: &str = "UPDRAFT_TEST_STORAGE";

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Files may not grow beyond this many bytes from now on.
fn limit_files(bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: a handler that ignores a signal is no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    // SAFETY: the pointer is to a limit that lives through the call.
    done(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) })
}

/// The folder becomes a disk of its own, of this size, for this process alone.
fn small_disk(folder: &Path, size: &str) -> io::Result<()> {
    let text = |text: &str| std::ffi::CString::new(text).unwrap();
    let at = text(folder.to_str().unwrap());
    let (kind, size, root) = (text("tmpfs"), text(&format!("size={size}")), text("/"));
    // Who is not root may be in a namespace of users of its own.
    // SAFETY: this call takes an integer, and changes what this process sees alone.
    done(unsafe { libc::unshare(libc::CLONE_NEWNS) })
        // SAFETY: as above.
        .or_else(|_| done(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }))?;
    let (none, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: the strings live through the call, and this call takes no others.
    done(unsafe { libc::mount(none, root.as_ptr(), none, private, std::ptr::null()) })?;
    // SAFETY: the strings live through the call.
    done(unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) })
}

#[test]
fn in_the_child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (what, folder) = what.split_once(':').unwrap();
    let folder = Path::new(folder);
    let file = folder.join("state.safetensors");
    let mut work = Work::new();
    work.step();
    let setup = match what {
        "limit" => {
            work.checkpoint().save(&file).unwrap();
            limit_files(100_000)
        }
        // A file of 480 KB and half of the next one.
        "disk" => small_disk(folder, "800k").map(|()| work.checkpoint().save(&file).unwrap()),
        _ => {
            work.checkpoint().save(&file).unwrap();
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).unwrap();
            // Root may write anywhere, so it becomes nobody.
            // SAFETY: this call takes an integer, and changes the rights of this process alone. Who is not root may not,
            // and need not.
            let _ = unsafe { libc::setuid(65534) };
            std::fs::write(folder.join("probe"), b"").expect_err("the folder can be written still");
            Ok(())
        }
    };
    if let Err(error) = setup {
        println!("skipped: this machine does not let a process do that to itself ({error})");
        return;
    }
    let good = work.bytes();
    work.step();
    let error = work.checkpoint().save_keeping(&file, 1).unwrap_err();
    let Error::Io { path, error } = error else { panic!("{error}") };
    assert_eq!(path, file);
    assert!(std::fs::read(&file).unwrap() == good, "the old file has changed");
    assert_eq!(names(folder), ["state.safetensors"]);
    // What is kept in memory is not touched by it.
    assert_eq!(work.steps(), 2);
    println!("refused: {:?} {error}", error.kind());
}

fn in_a_child(what: &str) -> String {
    let folder = Folder::new(what);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::in_the_child", "--nocapture"])
        .env(CHILD, format!("{what}:{}", folder.0.display()))
        .output()
        .unwrap();
    let _ = std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|line| line.contains("refused: ") || line.contains("skipped: ")).collect()
}

#[test]
fn a_file_that_may_not_grow() {
    assert!(in_a_child("limit").contains("refused: FileTooLarge"));
}

#[test]
fn a_disk_that_is_full() {
    let said = in_a_child("disk");
    println!("{said}");
    assert!(said.contains("refused: StorageFull") || said.contains("skipped: this machine"), "{said}");
}

#[test]
fn a_folder_that_may_not_be_written() {
    assert!(in_a_child("folder").contains("refused: PermissionDenied"));
}
