//! Memory between pages that nobody may touch.

use std::ptr::{self, NonNull};

/// The size of a page, or a multiple of it.
const PAGE: usize = 1 << 16;

/// Some pages, with one before and one behind them that faults whoever touches it. They are mapped twice: the test reads
/// and writes them through a window of its own, so that those that a kernel gets can be for reading alone.
pub struct Guarded {
    window: NonNull<u8>,
    /// The page before those that a kernel gets.
    guard: NonNull<u8>,
    bytes: usize,
}

fn check(result: *mut libc::c_void) -> NonNull<u8> {
    assert_ne!(result, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    NonNull::new(result.cast()).expect("no mapping begins at 0")
}

impl Guarded {
    /// So many bytes at least, all 0.
    pub fn new(bytes: usize, writable: bool) -> Guarded {
        let bytes = bytes.next_multiple_of(PAGE).max(PAGE);
        let shared = libc::PROT_READ | libc::PROT_WRITE;
        let given = if writable { shared } else { libc::PROT_READ };
        // SAFETY: the name is a C string; the call has no other precondition.
        let file = unsafe { libc::memfd_create(c"guarded".as_ptr(), 0) };
        assert!(file >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: changes the size of the file that was made just now.
        assert_eq!(unsafe { libc::ftruncate(file, bytes as libc::off_t) }, 0);
        // SAFETY: a new mapping, at an address that the system chooses.
        let window = check(unsafe { libc::mmap(ptr::null_mut(), bytes, shared, libc::MAP_SHARED, file, 0) });
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: as before.
        let guard = check(unsafe { libc::mmap(ptr::null_mut(), bytes + 2 * PAGE, libc::PROT_NONE, anonymous, -1, 0) });
        let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: takes the place of pages of the mapping before, which are this function's own.
        check(unsafe { libc::mmap(guard.as_ptr().wrapping_add(PAGE).cast(), bytes, given, fixed, file, 0) });
        // SAFETY: the file is this function's own; the mappings keep what it holds.
        unsafe { libc::close(file) };
        Guarded { window, guard, bytes }
    }

    /// How many there are: a whole number of pages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of it, as the test sees it.
    pub fn window(&mut self) -> &mut [u8] {
        // SAFETY: the window is mapped for reading and writing for as long as `self` lives, and borrowed with it. The same
        // memory is reached through `given` only while a kernel runs, which is never while this slice is used.
        unsafe { std::slice::from_raw_parts_mut(self.window.as_ptr(), self.bytes) }
    }

    /// The address of a byte of it, as a kernel sees it. It may lie in a guard.
    pub fn given(&self, at: isize) -> *mut u8 {
        self.guard.as_ptr().wrapping_add(PAGE).wrapping_offset(at)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: both mappings are this value's own, and no slice of them outlives it.
        unsafe { libc::munmap(self.window.as_ptr().cast(), self.bytes) };
        // SAFETY: as before.
        unsafe { libc::munmap(self.guard.as_ptr().cast(), self.bytes + 2 * PAGE) };
    }
}
