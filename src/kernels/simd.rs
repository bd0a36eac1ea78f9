//! The few vector operations that the kernels need, for each kind of processor.
//!
//! A kernel is written once, over [`Simd`], and compiled once for each [`Level`] inside a function that
//! has the level's instructions enabled; [`dispatch`] picks one at run time. Everything on the way is
//! `#[inline(always)]`, or it would be compiled without them.
#![allow(unsafe_code, reason = "processor intrinsics have no safe form")]

/// Instructions that the kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the compilation target has: SSE2 on x86, NEON on 64-bit ARM.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// All levels that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "nothing to add"))]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                levels.push(Self::Avx2);
                if std::arch::is_x86_feature_detected!("avx512f") {
                    levels.push(Self::Avx512);
                }
            }
        }
        levels
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// In a word: `avx512`, `avx2`, or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let levels = Self::available();
        levels.iter().copied().find(|level| level.name() == name).ok_or_else(|| {
            let names: Vec<_> = levels.iter().map(|level| level.name()).collect();
            format!("this processor has {}", names.join(", "))
        })
    }
}

/// Operations on one register's worth of channels.
///
/// # Safety
/// Every function needs the instructions of its level; only [`dispatch`] gives them. Pointers must be
/// good for [`Simd::WIDTH`] values and aligned to them.
pub(crate) trait Simd: Copy {
    /// Values in a register.
    const WIDTH: usize;
    /// Rows of a product that are summed at once: as many as registers allow for sixteen channels each.
    const ROWS: usize;
    /// Blocks of sixteen outputs that are summed at once: two where registers allow for it, and a row's value is
    /// fetched once for both.
    const TOGETHER: usize = 1;
    /// A register.
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// Past the caches: for maps so large that they would only push out what is still needed.
    unsafe fn stream(to: *mut f32, value: Self::V);
    /// Asks for a cache line that is soon needed.
    fn prefetch(_: *const f32) {}
    /// What was streamed is there for every thread that this one tells of it.
    fn fence() {}
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` when one is not a number.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
}

/// The most that [`Simd::TOGETHER`] is.
pub(crate) const MOST_TOGETHER: usize = 2;

/// Work that is written over [`Simd`].
pub(crate) trait Kernel {
    /// # Safety
    /// Called by [`dispatch`] only. Implementations are `#[inline(always)]`.
    unsafe fn run<S: Simd>(self);
}

/// Runs a kernel with the instructions of a level.
///
/// # Panics
/// When the processor hasn't them.
pub(crate) fn dispatch(level: Level, kernel: impl Kernel) {
    // Detection is a load and a test after the first time.
    match level {
        // SAFETY: needs nothing that the compilation target hasn't.
        Level::Portable => unsafe { kernel.run::<Portable>() },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            assert!(
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
            );
            // SAFETY: just checked.
            unsafe { x86::with_avx2(kernel) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            assert!(std::arch::is_x86_feature_detected!("avx512f"));
            // SAFETY: just checked.
            unsafe { x86::with_avx512(kernel) }
        }
    }
}

/// Four values at once, in plain Rust that every compiler turns into vectors.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    const WIDTH: usize = 4;
    const ROWS: usize = 2;
    type V = [f32; 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the trait's promise.
        unsafe { from.cast::<[f32; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: the trait's promise.
        unsafe { to.cast::<[f32; 4]>().write(value) }
    }
    #[inline(always)]
    unsafe fn stream(to: *mut f32, value: Self::V) {
        // SAFETY: the trait's promise.
        unsafe { Self::store(to, value) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|n| a[n] + b[n])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|n| a[n] - b[n])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|n| a[n] * b[n])
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Fused only where that is an instruction and not a call.
        std::array::from_fn(|n| {
            if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                a[n].mul_add(b[n], c[n])
            } else {
                a[n] * b[n] + c[n]
            }
        })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|n| if a[n] > b[n] { a[n] } else { b[n] })
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Simd};

    #[derive(Clone, Copy)]
    pub(super) struct Avx2;
    #[derive(Clone, Copy)]
    pub(super) struct Avx512;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn with_avx2(kernel: impl Kernel) {
        // SAFETY: this function has the instructions.
        unsafe { kernel.run::<Avx2>() }
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn with_avx512(kernel: impl Kernel) {
        // SAFETY: this function has the instructions.
        unsafe { kernel.run::<Avx512>() }
    }

    macro_rules! simd {
        ($name:ident, $register:ty, $width:literal, $rows:literal, $together:literal, $splat:ident $load:ident $store:ident $stream:ident
         $add:ident $sub:ident $mul:ident $fma:ident $max:ident) => {
            // SAFETY of every block: the trait's promise gives the instructions and the pointers.
            impl Simd for $name {
                const WIDTH: usize = $width;
                const ROWS: usize = $rows;
                const TOGETHER: usize = $together;
                type V = $register;

                #[inline(always)]
                unsafe fn splat(value: f32) -> Self::V {
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self::V {
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(to: *mut f32, value: Self::V) {
                    unsafe { $store(to, value) }
                }
                #[inline(always)]
                fn prefetch(line: *const f32) {
                    // SAFETY: every x86-64 processor has it, and takes any address.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
                }
                #[inline(always)]
                fn fence() {
                    // SAFETY: every x86-64 processor has it.
                    unsafe { _mm_sfence() }
                }
                #[inline(always)]
                unsafe fn stream(to: *mut f32, value: Self::V) {
                    unsafe { $stream(to, value) }
                }
                #[inline(always)]
                unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
                    unsafe { $max(a, b) }
                }
            }
        };
    }

    // 16 registers: 6 rows of 2, 2 for the weights, 1 for a broadcast.
    simd!(Avx2, __m256, 8, 6, 1, _mm256_set1_ps _mm256_load_ps _mm256_store_ps _mm256_stream_ps
          _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps _mm256_max_ps);
    // 32 registers: 12 rows of 2, 2 for the weights, 1 for a broadcast.
    simd!(Avx512, __m512, 16, 12, 2, _mm512_set1_ps _mm512_load_ps _mm512_store_ps _mm512_stream_ps
          _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps _mm512_max_ps);
}
