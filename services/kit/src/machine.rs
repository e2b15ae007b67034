//! The resources that this process may use.

use std::{fs, path::Path};

/// The memory limit of this process's control groups in bytes: the minimum of its own group and those above it. `None`:
/// there is no limit, or it cannot be read.
pub fn memory_limit() -> Option<u64> {
    limit_under(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// Like [`memory_limit`], with the hierarchy mounted at `root` and the text of proc_pid_cgroup(5).
fn limit_under(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        match controllers {
            // Version 2: one hierarchy for all controllers.
            "" => least(root, group, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                least(&root.join("memory"), group, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// The minimum of `file` in a group and the groups above it. In a container the group's path may be that of the host,
/// which does not exist inside; the container's own limit is then at the root.
fn least(hierarchy: &Path, group: &str, file: &str) -> Option<u64> {
    /// Version 1 writes "no limit" as the largest multiple of a page.
    const UNBOUNDED: u64 = 1 << 60;
    let group = hierarchy.join(group.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|path| path.starts_with(hierarchy));
    let stated = groups.filter_map(|path| fs::read_to_string(path.join(file)).ok()?.trim().parse().ok());
    stated.filter(|limit| *limit < UNBOUNDED).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn smallest_limit_of_all_groups_applies() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a/memory.max", "536870912\n");
        write(root.path(), "a/b/memory.max", "max\n");
        assert_eq!(limit_under(root.path(), "0::/a/b\n"), Some(512 << 20));
        write(root.path(), "a/b/memory.max", "1048576\n");
        assert_eq!(limit_under(root.path(), "0::/a/b\n"), Some(1 << 20));
        assert_eq!(limit_under(root.path(), "0::/elsewhere\n"), None);
    }

    #[test]
    fn limit_inside_a_container_is_at_the_root() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "memory.max", "268435456\n");
        assert_eq!(limit_under(root.path(), "0::/\n"), Some(256 << 20));
        assert_eq!(limit_under(root.path(), "0::/kubepods/pod1/c1\n"), Some(256 << 20));
    }

    #[test]
    fn cgroup_version_one_is_supported() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "memory/pod/memory.limit_in_bytes", "536870912\n");
        write(root.path(), "memory/memory.limit_in_bytes", "9223372036854771712\n");
        let groups = "12:cpu,cpuacct:/pod\n5:memory:/pod\n";
        assert_eq!(limit_under(root.path(), groups), Some(512 << 20));
        assert_eq!(limit_under(root.path(), "5:memory:/other\n"), None);
    }
}
