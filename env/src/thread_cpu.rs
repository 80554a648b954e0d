//! The time that a thread has had a core.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Time that the calling thread has run since it began, in user and kernel: neighbours do not count.
///
/// # Errors
/// What the system reports.
#[expect(unsafe_code, reason = "the standard library has no such clock")]
pub fn thread_cpu_time() -> io::Result<Duration> {
    let mut answer = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the call takes a number and a place for its answer, which outlives it.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, hence it has filled the place.
    let answer = unsafe { answer.assume_init() };
    let seconds = u64::try_from(answer.tv_sec).unwrap_or_default();
    Ok(Duration::new(seconds, u32::try_from(answer.tv_nsec).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_of_the_thread_that_does_it_alone() {
        let before = thread_cpu_time().unwrap();
        let worked = std::thread::spawn(|| {
            let (begin, mut sum) = (thread_cpu_time().unwrap(), 0_u64);
            while thread_cpu_time().unwrap() < begin + Duration::from_millis(40) {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            thread_cpu_time().unwrap()
        });
        assert!(worked.join().unwrap() >= Duration::from_millis(40));
        let waited = thread_cpu_time().unwrap() - before;
        assert!(waited < Duration::from_millis(30), "{waited:?}");
    }
}
