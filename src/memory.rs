//! Memory that the allocator keeps for later, given back to the system.

/// Returns what glibc's allocator holds of freed memory. Elsewhere it does nothing.
#[allow(unsafe_code, reason = "a C function with no other way to call it")]
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number, touches only memory that is free, and may be called from
    // any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
