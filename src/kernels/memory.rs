//! Memory for maps and filters: large, zero at first, and cheap to touch.
//!
//! A map of a network is megabytes, and a fresh one costs a fault for every 4 KB page, which is a third
//! of a first run; while it is in use, a tile's rows lie on as many pages, more than the processor
//! remembers. So large memory comes in pages of 2 MB where the system has them, and goes back to it at once.
//! A build with debug assertions takes the heap instead: a sanitizer sees its ends, and not a mapping's.
#![allow(unsafe_code, reason = "mapping memory has no safe form")]

use std::ops::{Deref, DerefMut};

use crate::planes::Lanes;

/// Pixels or filters, zero at first.
#[derive(Debug, Default)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Heap(Vec<Lanes>),
    #[cfg(all(target_os = "linux", not(debug_assertions)))]
    Mapped(mapped::Pages),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Buffer {
    /// So many, all zero.
    pub fn zeroed(len: usize) -> Self {
        #[cfg(all(target_os = "linux", not(debug_assertions)))]
        if let Some(pages) = mapped::Pages::zeroed(len) {
            return Self(Memory::Mapped(pages));
        }
        Self(Memory::Heap(vec![Lanes::ZERO; len]))
    }
}

impl Deref for Buffer {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        match &self.0 {
            Memory::Heap(values) => values,
            #[cfg(all(target_os = "linux", not(debug_assertions)))]
            Memory::Mapped(pages) => pages.values(),
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        match &mut self.0 {
            Memory::Heap(values) => values,
            #[cfg(all(target_os = "linux", not(debug_assertions)))]
            Memory::Mapped(pages) => pages.values_mut(),
        }
    }
}

#[cfg(all(target_os = "linux", not(debug_assertions)))]
mod mapped {
    use std::ptr::NonNull;

    use crate::planes::Lanes;

    /// A large page, on x86-64 and on ARM with pages of 4 KB.
    const LARGE: usize = 2 << 20;

    /// Memory of its own from the system.
    #[derive(Debug)]
    pub(super) struct Pages {
        values: NonNull<Lanes>,
        len: usize,
        /// What was mapped: it begins before `values`, so that those begin with a large page.
        mapping: (*mut libc::c_void, usize),
    }

    // SAFETY: the memory is this value's alone, and lent as Rust lends it.
    unsafe impl Send for Pages {}
    // SAFETY: the same.
    unsafe impl Sync for Pages {}

    impl Pages {
        /// None where the heap does as well, or the system has nothing to give.
        pub(super) fn zeroed(len: usize) -> Option<Self> {
            let bytes = len.checked_mul(size_of::<Lanes>()).filter(|bytes| *bytes >= LARGE)?;
            let mapped = bytes.checked_add(LARGE)?;
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping that nothing else knows; the system fills it with zeros.
            let start = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return None;
            }
            let skip = start.addr().next_multiple_of(LARGE) - start.addr();
            // SAFETY: `skip` is less than a large page, so `bytes` lie behind it within the mapping. The
            // advice is only that: where it isn't taken, pages are small. It ends with the last whole large
            // page, so that no more is ever resident than is used.
            let values = unsafe {
                let values = start.byte_add(skip);
                libc::madvise(values, bytes / LARGE * LARGE, libc::MADV_HUGEPAGE);
                values
            };
            Some(Self { values: NonNull::new(values.cast())?, len, mapping: (start, mapped) })
        }

        pub(super) fn values(&self) -> &[Lanes] {
            // SAFETY: `len` values that were zero at first, which is a value of every `f32`.
            unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.len) }
        }

        pub(super) fn values_mut(&mut self) -> &mut [Lanes] {
            // SAFETY: the same, and borrowed once.
            unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.len) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            let (start, len) = self.mapping;
            // SAFETY: what `zeroed` mapped, and nothing borrows it any more. It can't fail for a mapping
            // that exists.
            unsafe { libc::munmap(start, len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_buffers_are_zero_and_can_be_written() {
        for len in [0, 1, 100, (2 << 20) / 64, 100_000] {
            let mut buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|lanes| *lanes == Lanes::ZERO));
            buffer.fill(Lanes([1.0; 16]));
            assert!(
                std::thread::spawn(move || buffer.iter().all(|lanes| lanes.0[15] == 1.0))
                    .join()
                    .expect("no panic")
            );
        }
    }
}
