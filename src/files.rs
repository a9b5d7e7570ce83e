//! Writing files whole or not at all.
//!
//! Comes in: paths and bytes. Goes out: all of the files, or an error and none of them changed: everything is written
//! and flushed beside its destination first, and only then moved there. A destination may be a file that is being read; if it
//! is a link, what it points to is replaced. Folders and devices are refused: moving a file to `/dev/null` would replace it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes each file. On an error the destinations are as they were (unless moving itself fails half-way, which the
/// operating system all but rules out once the bytes are there).
pub(crate) fn write_all(files: &[(&Path, &[u8])]) -> Result<(), (PathBuf, io::Error)> {
    let mut written: Vec<(PathBuf, PathBuf)> = Vec::new();
    let result = files.iter().try_for_each(|(path, bytes)| {
        // A file that does not exist yet has no other name.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let (beside, file) = create_beside(&target).map_err(|error| (path.to_path_buf(), error))?;
        written.push((beside, target.clone()));
        write(file, &target, bytes).map_err(|error| (path.to_path_buf(), error))
    });
    let result = result.and_then(|()| {
        written.iter().try_for_each(|(from, to)| fs::rename(from, to).map_err(|error| (to.clone(), error)))
    });
    if result.is_err() {
        for (beside, _) in &written {
            // It may not have come into being; the first error is the one to tell.
            let _ = fs::remove_file(beside);
        }
    }
    result
}

/// A new file beside `path`, which nobody else writes: no other process, and no other thread of this one.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    if path.file_name().is_none() || path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file"));
    }
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is a device or a pipe, not a file"));
    }
    let mut number = 0;
    loop {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        match File::create_new(&beside) {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn write(mut file: File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    // The new file keeps the permissions of the one that it replaces.
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_written_or_none() {
        let folder = std::env::temp_dir().join(format!("updraft-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
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
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "temporary files are left: {names:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
