//! Keeps the threads of a pool on cores of their own without binding them to any.
//!
//! A scheduler places a thread when it wakes, by a guess, and later moves only threads that have not run for a while.
//! Threads that work and wait in turn never look so, and two of them can share one core for seconds beside an idle one.
//! A worker that finds itself on the core of another thread of its pool asks to be moved, and is free again at once.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Least time between two moves of a thread: where there are more busy threads than cores, moving is not the cure.
const PAUSE: Duration = Duration::from_millis(5);

/// Where each thread of a pool was last seen.
pub struct Places {
    #[cfg(target_os = "linux")]
    cores: Vec<AtomicUsize>,
    /// Least time between two moves.
    #[cfg(target_os = "linux")]
    pause: Duration,
}

#[cfg(target_os = "linux")]
impl Places {
    /// Places of `threads` threads, none seen yet.
    pub fn new(threads: usize) -> Self {
        Self { cores: (0..threads).map(|_| AtomicUsize::new(usize::MAX)).collect(), pause: PAUSE }
    }

    /// Notes the core of the calling thread, which is thread `index`.
    pub fn note(&self, index: usize) -> usize {
        // SAFETY: no arguments; -1 where the kernel cannot tell.
        let core = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(usize::MAX);
        self.cores[index].store(core, Ordering::Relaxed);
        core
    }

    /// Notes the core of thread `index`; when a thread of a lower index is there, moves to a core where none is.
    pub fn part(&self, index: usize, moved: &mut Option<Instant>) {
        let core = self.note(index);
        let is_taken = |core: usize, by: &[AtomicUsize]| by.iter().any(|seen| seen.load(Ordering::Relaxed) == core);
        if core == usize::MAX || !is_taken(core, &self.cores[..index]) {
            return;
        }
        if moved.is_some_and(|moved| moved.elapsed() < self.pause) {
            return;
        }
        *moved = Some(Instant::now());
        let size = std::mem::size_of::<libc::cpu_set_t>();
        // SAFETY: the set is plain bits, of the size that is passed; thread 0 is the calling one; the indices are below
        // the number of bits.
        unsafe {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
                return;
            }
            let free = (0..8 * size).find(|core| libc::CPU_ISSET(*core, &allowed) && !is_taken(*core, &self.cores));
            let Some(free) = free else { return };
            let mut only: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(free, &mut only);
            if libc::sched_setaffinity(0, size, &raw const only) == 0 {
                libc::sched_setaffinity(0, size, &raw const allowed);
            }
        }
        self.note(index);
    }
}

#[cfg(not(target_os = "linux"))]
impl Places {
    /// Nothing is noted on this system.
    pub fn new(_threads: usize) -> Self {
        Self {}
    }

    /// Does nothing.
    pub fn note(&self, _index: usize) -> usize {
        usize::MAX
    }

    /// Does nothing.
    pub fn part(&self, _index: usize, _moved: &mut Option<Instant>) {
        let _ = PAUSE;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::Places;

    fn allowed_cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    #[test]
    fn a_thread_on_the_core_of_another_moves_and_stays_free() {
        if allowed_cores() < 2 {
            println!("skipped: one core");
            return;
        }
        // On a thread of its own, which keeps its affinity to itself. Another program may take a core between two
        // looks, so one of several tries must end apart.
        let apart = (0..50).any(|_| {
            std::thread::spawn(|| {
                let places = Places::new(2);
                let before = allowed_cores();
                let first = places.note(0);
                places.part(1, &mut None);
                assert_eq!(allowed_cores(), before, "the thread may run where it could before");
                places.note(1) != first
            })
            .join()
            .expect("the thread ends")
        });
        assert!(apart);
    }

    #[test]
    fn moves_are_paced() {
        // Longer than a busy machine can stop this thread between two calls.
        let places = Places { pause: Duration::from_secs(3600), ..Places::new(2) };
        let mut moved = None;
        places.note(0);
        places.part(1, &mut moved);
        let first = moved;
        places.note(0);
        places.part(1, &mut moved);
        assert_eq!(moved, first);
    }
}
