//! Writing files whole or not at all.
//!
//! Comes in: paths and bytes. Goes out: all of the files, or an error and none of them changed: everything is written
//! and flushed to the disk beside its destination first, only then moved there, and then the folder is flushed. A process
//! that is killed leaves whole files, and perhaps a temporary one, which the next write of that file removes. A destination
//! may be a file that is being read; if it is a link, what it points to is replaced. Folders and devices are refused: moving
//! a file to `/dev/null` would replace it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes each file. On an error the destinations are as they were (unless moving itself fails half-way, which the
/// operating system all but rules out once the bytes are there).
#[cfg(any(feature = "cli", test))]
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Result<(), (PathBuf, io::Error)> {
    write(files, 0)
}

/// Writes one file and keeps this many that stood there before, as `<path>.1` (the last), `<path>.2` and so on.
pub(crate) fn write_keeping(path: &Path, bytes: &[u8], previous: usize) -> io::Result<()> {
    write(&[(path, bytes)], previous).map_err(|(_, error)| error)
}

fn write(files: &[(&Path, &[u8])], previous: usize) -> Result<(), (PathBuf, io::Error)> {
    let mut written: Vec<Written> = Vec::new();
    let result = files.iter().try_for_each(|(path, bytes)| {
        let of_path = |error| (path.to_path_buf(), error);
        // A file that does not exist yet has no other name.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        remove_stale(&target);
        let (beside, mut file) = create_beside(&target).map_err(of_path)?;
        let done = fill(&mut file, &target, bytes);
        written.push(Written { beside, target, _file: file });
        done.map_err(of_path)
    });
    let of_target = |target: &Path, result: io::Result<()>| result.map_err(|error| (target.to_path_buf(), error));
    let result = result.and_then(|()| {
        written.iter().try_for_each(|Written { beside, target, .. }| {
            of_target(target, keep(target, previous).and_then(|()| fs::rename(beside, target)))
        })?;
        written.iter().try_for_each(|Written { target, .. }| of_target(target, flush_folder(target)))
    });
    if result.is_err() {
        for Written { beside, .. } in &written {
            // It may not have come into being; the first error is the one to tell.
            let _ = fs::remove_file(beside);
        }
    }
    result
}

/// A file that is written and not moved yet.
struct Written {
    beside: PathBuf,
    target: PathBuf,
    /// Its lock says that its process lives.
    _file: File,
}

/// A new file beside `path`, which nobody else writes, no other process and no other thread of this one, and which is
/// locked, so that nobody takes it for a stale one.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    if path.file_name().is_none() || path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file"));
    }
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is a device or a pipe, not a file"));
    }
    for _ in 0..1000 {
        let beside = temporary(path);
        match File::create_new(&beside) {
            Ok(file) => {
                // A file system without locks has no stale files that could be told from others.
                let _ = file.lock();
                // Somebody may have taken it for a stale one before it was locked.
                if is_at(&file, &beside) {
                    return Ok((beside, file));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are a thousand temporary files of this name beside it"))
}

/// A name for a temporary file of a destination, which this process uses once.
fn temporary(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = before_number(path);
    name.push(format!("{}-{number}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// What the names of temporary files of a destination begin with.
fn before_number(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

/// Whether a file still has this name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let at = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        at(file.metadata()).is_some_and(|own| at(fs::symlink_metadata(path)) == Some(own))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Removes the temporary files of processes that were killed while they wrote this file: those that nobody has locked.
/// Nothing depends on it, so what goes wrong is left for the next time.
fn remove_stale(path: &Path) {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let Ok(names) = fs::read_dir(folder) else { return };
    let prefix = before_number(path);
    for name in names.flatten().map(|entry| entry.file_name()) {
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let middle = rest.and_then(|rest| rest.strip_suffix(b".tmp"));
        if !middle
            .is_some_and(|middle| middle.contains(&b'-') && middle.iter().all(|b| b.is_ascii_digit() || *b == b'-'))
        {
            continue;
        }
        let beside = folder.join(name);
        if !fs::symlink_metadata(&beside).is_ok_and(|found| found.is_file()) {
            continue;
        }
        // The lock is held until the file is gone, so that its name is not given to another one meanwhile.
        if let Ok(file) = File::open(&beside)
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(&beside);
        }
    }
}

fn fill(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The new file keeps the permissions of the one that it replaces, from before anybody could read it; some file systems
    // have none.
    if let Ok(old) = fs::metadata(path) {
        let _ = file.set_permissions(old.permissions());
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Keeps the file of this path, and those that were kept before it, under the next number. The path itself stays.
fn keep(path: &Path, previous: usize) -> io::Result<()> {
    if previous == 0 || !path.exists() {
        return Ok(());
    }
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let is_free = |number: &usize| fs::symlink_metadata(numbered(*number)).is_err();
    // To the first gap: what stands behind it need not move, and is not lost.
    let last = (1..=previous).find(is_free).unwrap_or(previous);
    // Under a name of its own first, so that what is kept is whole too.
    let copy = temporary(path);
    let copied = fs::hard_link(path, &copy).or_else(|_| {
        // Not every file system has links.
        fs::copy(path, &copy).and_then(|_| File::open(&copy)?.sync_all())
    });
    let moved = copied.and_then(|()| {
        (1..last).rev().try_for_each(|number| fs::rename(numbered(number), numbered(number + 1)))?;
        fs::rename(&copy, numbered(1))
    });
    // Two names of one file are not exchanged by renaming.
    let _ = fs::remove_file(&copy);
    moved
}

/// Brings to the disk which files a folder has.
fn flush_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Not every file system has folders that can be flushed, and the file itself is written.
            Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {}
            result => result?,
        }
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty folder of its own for each test.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("updraft-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn all_files_are_written_or_none() {
        let folder = folder("all");
        let (a, b) = (folder.join("a"), folder.join("b"));
        write_all(&[(&a, b"1"), (&b, b"2")]).unwrap();
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"1".to_vec(), b"2".to_vec()));
        let missing = folder.join("no such folder").join("c");
        let (path, _) = write_all(&[(&a, b"3"), (&missing, b"4")]).unwrap_err();
        assert_eq!(path, missing);
        assert_eq!(fs::read(&a).unwrap(), b"1");
        assert!(write_all(&[(&folder, b"5")]).is_err());
        #[cfg(unix)]
        {
            let link = folder.join("link");
            std::os::unix::fs::symlink(&b, &link).unwrap();
            write_all(&[(&link, b"6")]).unwrap();
            assert_eq!(fs::read(&b).unwrap(), b"6");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            fs::remove_file(&link).unwrap();
            let socket = folder.join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            assert!(write_all(&[(&socket, b"7")]).is_err());
            fs::remove_file(&socket).unwrap();
        }
        assert_eq!(names(&folder), ["a", "b"], "temporary files are left");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_mode_stays() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("mode");
        let file = folder.join("f");
        fs::write(&file, b"old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        write_keeping(&file, b"new", 1).unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&folder.join("f.1"))), (0o640, 0o640));
        assert_eq!(fs::read(&file).unwrap(), b"new");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn as_many_are_kept_as_are_asked_for() {
        let folder = folder("keep");
        let file = folder.join("f");
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        for i in 0..6 {
            write_keeping(&file, format!("{i}").as_bytes(), 3).unwrap();
        }
        assert_eq!(names(&folder), ["f", "f.1", "f.2", "f.3"]);
        assert_eq!([text("f"), text("f.1"), text("f.2"), text("f.3")], ["5", "4", "3", "2"]);
        // A write that keeps none leaves those that are there.
        write_all(&[(&file, b"6")]).unwrap();
        assert_eq!([text("f"), text("f.1")], ["6", "4"]);
        write_keeping(&file, b"7", 1).unwrap();
        assert_eq!([text("f"), text("f.1"), text("f.2")], ["7", "6", "3"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn temporary_files_of_the_dead_are_removed_and_of_the_living_are_not() {
        let folder = folder("stale");
        let file = folder.join("f");
        for name in [".f.1-0.tmp", ".f.77-3.tmp", ".f.x.tmp", ".g.1-0.tmp", ".f.1-0.tmp.kept"] {
            fs::write(folder.join(name), b"half").unwrap();
        }
        let living = File::create(folder.join(".f.2-0.tmp")).unwrap();
        living.lock().unwrap();
        write_all(&[(&file, b"whole")]).unwrap();
        assert_eq!(names(&folder), [".f.1-0.tmp.kept", ".f.2-0.tmp", ".f.x.tmp", ".g.1-0.tmp", "f"]);
        drop(living);
        write_all(&[(&file, b"again")]).unwrap();
        assert_eq!(names(&folder), [".f.1-0.tmp.kept", ".f.x.tmp", ".g.1-0.tmp", "f"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
