//! How many files and connections this process may have open.

/// Files of the log, segments and threads that connections must leave room for.
const OWN_FILES: u64 = 512;

/// Connections that the system lets this process have, beside its own files.
///
/// Raises the soft limit to the hard one first: shells and systemd hand out 1,024 for the sake of
/// `select(2)`, which nothing here uses, and without files the log could not go on.
pub(crate) fn connections_max() -> usize {
    let files = raise();
    let connections = files.saturating_sub(OWN_FILES).max(files / 2);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[expect(unsafe_code, reason = "the standard library has no word for the limits of a process")]
fn raise() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the system writes into `limit`, which lives across the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 2 * OWN_FILES;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the system reads `raised`, which lives across the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    if done == 0 { raised.rlim_cur } else { limit.rlim_cur }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes_and_leaves_room_for_files() {
        let files = raise();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let shown: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
        assert_eq!(shown[0], shown[1], "{line}");
        assert!(shown[0] == "unlimited" || shown[0] == files.to_string(), "{line}");
        assert!(u64::try_from(connections_max()).unwrap() < files);
    }
}
