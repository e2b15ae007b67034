//! The memory allocator.

/// The gateway allocates buffers on one thread and frees them on another. In this pattern glibc's allocator keeps a
/// multiple of the memory in its arenas and becomes slower (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Disables transparent huge pages. mimalloc requests pages of 2 MiB, each of which is resident as soon as one byte is
/// used: 50 % more memory for a few per cent of CPU time (docs/performance.md). mimalloc itself reads this setting only
/// from the environment, before `main`. If the system call fails, the process uses more memory.
pub(crate) fn prefer_small_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}
