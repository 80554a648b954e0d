//! The priority of threads.

use std::io;

/// The lowest priority that the system knows.
const NICEST: libc::c_int = 19;

/// Gives the calling thread the lowest priority: it runs when nobody else wants to.
///
/// # Errors
/// What the system reports.
#[expect(unsafe_code, reason = "the standard library has no priorities")]
pub fn lower_thread_priority() -> io::Result<()> {
    // SAFETY: the call takes three numbers. On Linux, 0 is the calling thread, not its process.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_steps_back_and_the_others_stay() {
        let before = nice();
        let lowered = std::thread::spawn(move || {
            lower_thread_priority().unwrap();
            nice()
        });
        assert_eq!(lowered.join().unwrap(), "19");
        assert_eq!(nice(), before);
    }

    /// Field 19 of the thread's line; the name in parentheses is field 2.
    fn nice() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit(')').next().unwrap().split(' ').nth(17).unwrap().to_owned()
    }
}
