//! How much memory is in use at once, counted by the allocator: the same on every run.

#![allow(dead_code, reason = "each crate that includes this uses a part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// What this thread has allocated and not freed, and the most that this has been.
    static USED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The allocator of the system, which counts what each thread asks it for.
pub struct Counting;

fn count(bytes: isize) {
    // At the end of a thread there is nothing to count in.
    let _ = USED.try_with(|used| {
        let (now, most) = used.get();
        used.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: what the caller guarantees for `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: what the caller guarantees for `layout`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: what the caller guarantees for `at` and `layout`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While the bytes are moved both blocks are there.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: what the caller guarantees for `at`, `layout` and `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The result of `f`, and the most bytes that this thread had in use for it at once.
pub fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let (before, _) = USED.get();
    USED.set((before, before));
    let result = f();
    let (_, most) = USED.get();
    (result, usize::try_from(most - before).unwrap_or(0))
}
