//! How the process gets its memory.

/// What passes through the gateway is allocated on one thread and freed on another: glibc's allocator keeps many times
/// of that in its arenas, and grows slower with it (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The allocator asks for pages of 2 MiB, which are all there as soon as one byte of each is used: half as much memory
/// again for a few per cent of time (docs/performance.md). It is told so by the system, because it could be told itself
/// only before it begins, by the environment. Where the system does not listen the process is larger, and works.
pub(crate) fn prefer_small_pages() {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true).ok();
}
