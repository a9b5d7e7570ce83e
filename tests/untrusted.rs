//! Files that nobody vouches for: what a rule can make the compiler read, and what of it reaches a terminal.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use updraft::library::{Beside, Library};
use updraft::syntax::ast::FileKind;
use updraft::{Error, Rule, Schedule};

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("updraft-untrusted-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(fs::canonicalize(folder).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const USER: &str = "optimizer top\nuse part\np -= g\n";
const PART: &str = "fragment part\ng *= 2\n";

fn loaded(path: &Path) -> String {
    match Rule::load(path) {
        Ok(rule) => format!("{} statements", rule.program().body.len()),
        Err(Error::Compile(error)) => error.diagnostics()[0].message.clone(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_rule_uses_lies_beside_it() {
    let folder = Folder::new("links");
    let top = folder.write("here/top.opt", USER);
    let secret = folder.write("there/part.opt", PART);
    // A link into another folder, whether by its file or by a folder in between.
    symlink(&secret, folder.path("here/part.opt")).unwrap();
    assert!(loaded(&top).ends_with("part.opt` is a link to a file in another folder"), "{}", loaded(&top));
    fs::remove_file(folder.path("here/part.opt")).unwrap();
    // A link to a file that lies here.
    folder.write("here/real.opt", PART);
    symlink("real.opt", folder.path("here/part.opt")).unwrap();
    assert_eq!(loaded(&top), "2 statements");
    // Both are links to one folder, as build tools lay them.
    fs::create_dir_all(folder.path("links")).unwrap();
    folder.write("store/top.opt", USER);
    folder.write("store/part.opt", PART);
    for name in ["top.opt", "part.opt"] {
        symlink(folder.path("store").join(name), folder.path("links").join(name)).unwrap();
    }
    assert_eq!(loaded(&folder.path("links/top.opt")), "2 statements");
    // No path is a name, whoever asks.
    for text in ["use ../there/part", "use there/part", "use /etc/passwd", "use \"part\"", "use .part"] {
        let hostile = folder.write("here/hostile.opt", format!("optimizer hostile\n{text}\np -= g\n"));
        assert!(matches!(Rule::load(&hostile), Err(Error::Compile(_))), "{text}");
    }
    let beside = Beside::of(&top);
    for stem in ["../there/part", "there/../part", "..\\there\\part", "/etc/passwd", "part\0"] {
        assert!(beside.find(FileKind::Fragment, stem).is_none(), "{stem}");
    }
    assert!(beside.find(FileKind::Fragment, "part").is_some());
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = Folder::new("devices");
    let top = folder.write("top.opt", USER);
    let part = folder.path("part.opt");
    // A pipe that nobody writes to would never end, a device neither.
    let name = std::ffi::CString::new(part.to_str().unwrap()).unwrap();
    // SAFETY: `name` ends with a zero and lives until the call returns.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(loaded(&top).ends_with("part.opt` is not a file"), "{}", loaded(&top));
    fs::remove_file(&part).unwrap();
    for other in ["/dev/zero", "/dev/null"] {
        symlink(other, &part).unwrap();
        assert!(loaded(&top).ends_with("part.opt` is not a file"), "{}", loaded(&top));
        fs::remove_file(&part).unwrap();
    }
    fs::create_dir(&part).unwrap();
    assert!(loaded(&top).ends_with("part.opt` is not a file"), "{}", loaded(&top));
    fs::remove_dir(&part).unwrap();
    symlink(&part, &part).unwrap();
    assert!(loaded(&top).contains("part.opt` cannot be read: "), "{}", loaded(&top));
    fs::remove_file(&part).unwrap();
    // One that cannot be read is not replaced by a shipped one of that name.
    folder.write("adam.opt", b"optimizer adam\np -= g # \xff\n");
    let user = folder.write("user.opt", "optimizer user\nuse adam\n");
    assert!(loaded(&user).contains("adam.opt` cannot be read: it is not UTF-8 (byte 24)"), "{}", loaded(&user));
    // A file without end, and one that is only very long (a hole, which takes no place on the disk).
    assert!(loaded(Path::new("/dev/zero")).contains("bytes; a rule file has at most 262144"));
    let long = fs::File::create(&part).unwrap();
    long.set_len(1 << 40).unwrap();
    assert!(loaded(&top).contains("the files that are named have more than 262144 bytes"), "{}", loaded(&top));
    assert!(loaded(&part).contains("bytes; a rule file has at most 262144"), "{}", loaded(&part));
}

#[test]
fn schedules_are_found_alike() {
    let folder = Folder::new("schedules");
    let top = folder.write("here/top.sched", "schedule top\nvalue = part()\n");
    let secret = folder.write("there/part.sched", "schedule part\nvalue = base\n");
    symlink(&secret, folder.path("here/part.sched")).unwrap();
    let error = Schedule::load(&top).unwrap_err().to_string();
    assert!(error.contains("is a link to a file in another folder"), "{error}");
    let long = "/dev/zero.sched for 1 then constant()".parse::<Schedule>().unwrap_err();
    assert!(matches!(long, Error::Io { .. }), "{long}");
    symlink("/dev/zero", folder.path("here/zero.sched")).unwrap();
    let zero = folder.path("here/zero.sched");
    let text = format!("{} for 1 then constant()", zero.display());
    assert!(matches!(text.parse::<Schedule>(), Err(Error::Compile(_))));
}

/// Control characters and characters that reorder text are shown as something else, in a terminal and in JSON.
#[cfg(feature = "cli")]
#[test]
fn nothing_moves_the_cursor() {
    let folder = Folder::new("terminal");
    let hostile = "\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{feff}\u{7}\u{0}";
    let name = format!("a{}.opt", hostile.replace('\0', ""));
    let path = folder.write(&name, format!("optimizer a\nuse b{hostile}\np -= x{hostile} # {hostile}\n\"{hostile}\n"));
    let state = folder.write(&format!("s{}", hostile.replace('\0', "")), format!("not a checkpoint{hostile}"));
    for args in [
        &["check", path.to_str().unwrap()][..],
        &["check", "--json", path.to_str().unwrap()],
        &["fmt", path.to_str().unwrap()],
        &["doc", path.to_str().unwrap()],
        &["emit", path.to_str().unwrap(), "--stage", "ast"],
        &["schedule", &format!("x{}", hostile.replace('\0', "")), "--base", "1", "--steps", "1"],
        &["doc", &format!("x{}", hostile.replace('\0', ""))],
        &["explain", &format!("x{}", hostile.replace('\0', ""))],
        &["train", "adam", "--set", &format!("lr{}=1", hostile.replace('\0', ""))],
        &[
            "apply",
            "adam",
            "--params",
            state.to_str().unwrap(),
            "--grads",
            state.to_str().unwrap(),
            "--out",
            "/dev/null",
        ],
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_updraft")).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        for bytes in [output.stdout, output.stderr] {
            let text = String::from_utf8(bytes).unwrap();
            let harmful = |c: char| {
                c.is_control() && c != '\n' && c != '\t'
                    || matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
            };
            assert!(!text.contains(harmful), "{args:?}: {text:?}");
            if args.contains(&"--json") && !text.is_empty() {
                let found: serde_json::Value = serde_json::from_str(&text).unwrap();
                // The data is what it was.
                assert!(found[0]["file"].as_str().unwrap().contains("\u{1b}[2J\u{7f}\u{9b}31m\u{202e}"), "{found}");
            }
        }
    }
}
