//! Keeps the workers of a pool off the core of the thread that calls them.
//!
//! A scheduler places a thread when it wakes, by a guess. A worker that slept is often put on the core of its waker,
//! which goes on computing there: it then waits a whole slice (3 to 7 ms were measured on two cores) beside an idle core.
//! So each worker has a home, a core that no other thread of its pool calls home, and may run there and on cores that
//! are nobody's home. A caller that turns up on a worker's home changes homes with it, before the worker is woken. The
//! thread that calls all the time has a home too ([`Places::stay`]), or the scheduler would move it beside a worker in
//! the middle of a loop; any other caller is free.

#[cfg(target_os = "linux")]
pub use linux::Places;
#[cfg(not(target_os = "linux"))]
pub use other::Places;

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

    /// Index of no core.
    const NOWHERE: usize = usize::MAX;

    thread_local! {
        static STAYS: Cell<bool> = const { Cell::new(false) };
    }

    /// Homes of the threads of one pool; thread 0 is whoever calls.
    pub struct Places {
        homes: Vec<AtomicUsize>,
        /// The system's ids of the workers; 0 for a worker that has not begun and for the caller.
        ids: Vec<AtomicI32>,
        /// Whether a worker began since homes were given.
        has_newcomers: AtomicBool,
        /// Cores that the first caller was allowed; later ones may be bound already.
        allowed: OnceLock<Option<Cores>>,
    }

    impl Places {
        /// Places of `threads` threads, none at home yet.
        pub fn new(threads: usize) -> Self {
            let homes = (0..threads).map(|_| AtomicUsize::new(NOWHERE)).collect();
            Self {
                homes,
                ids: (0..threads).map(|_| AtomicI32::new(0)).collect(),
                has_newcomers: AtomicBool::new(false),
                allowed: OnceLock::new(),
            }
        }

        /// Worker `index` is the calling thread.
        pub fn enter(&self, index: usize) {
            // SAFETY: no arguments.
            self.ids[index].store(unsafe { libc::gettid() }, Ordering::Relaxed);
            self.has_newcomers.store(true, Ordering::Release);
        }

        /// The calling thread will call most of the time and keeps to its home from its next call on.
        pub fn stay(&self) {
            STAYS.set(true);
        }

        /// Called by whoever is about to wake the workers: none of them is at home where the caller runs.
        pub fn arrange(&self) {
            // SAFETY: no arguments; -1 where the kernel cannot tell.
            let Ok(core) = usize::try_from(unsafe { libc::sched_getcpu() }) else { return };
            let before = self.homes[0].load(Ordering::Relaxed);
            let has_newcomers =
                self.has_newcomers.load(Ordering::Relaxed) && self.has_newcomers.swap(false, Ordering::Acquire);
            if core == before && !has_newcomers {
                return;
            }
            let Some(allowed) = self.allowed.get_or_init(Cores::of_this_thread) else { return };
            let is_lost = |index: usize| {
                let home = self.homes[index].load(Ordering::Relaxed);
                home == NOWHERE || home == core || !allowed.has(home)
            };
            self.homes[0].store(core, Ordering::Relaxed);
            let lost: Vec<usize> = (1..self.homes.len()).filter(|index| is_lost(*index)).collect();
            for index in &lost {
                self.settle(*index, before, allowed);
            }
            let is_home = |core: usize| self.homes[1..].iter().any(|home| home.load(Ordering::Relaxed) == core);
            if STAYS.get() && !lost.is_empty() && !is_home(NOWHERE) {
                allowed.without(is_home).bind(0);
            }
        }

        /// Gives worker `index` the home that the caller left, else one that is nobody's; where there is none it may run
        /// anywhere.
        fn settle(&self, index: usize, left: usize, allowed: &Cores) {
            let id = self.ids[index].load(Ordering::Relaxed);
            if id == 0 {
                // Not begun; its turn comes when it has.
                return;
            }
            let others = |core: usize| {
                self.homes.iter().enumerate().any(|(of, home)| of != index && home.load(Ordering::Relaxed) == core)
            };
            let home = free_home(allowed, left, others);
            self.homes[index].store(home.unwrap_or(NOWHERE), Ordering::Relaxed);
            match home {
                Some(_) => allowed.without(others).bind(id),
                None => allowed.bind(id),
            }
        }
    }

    /// The core that was left, if it is free, else the first that is.
    fn free_home(allowed: &Cores, left: usize, is_taken: impl Fn(usize) -> bool) -> Option<usize> {
        let free = |core: &usize| allowed.has(*core) && !is_taken(*core);
        Some(left).filter(free).or_else(|| (0..Cores::MOST).find(free))
    }

    /// A set of cores.
    #[derive(Clone, Copy)]
    struct Cores(libc::cpu_set_t);

    impl Cores {
        const BYTES: usize = std::mem::size_of::<libc::cpu_set_t>();
        const MOST: usize = 8 * Self::BYTES;

        /// Those that the calling thread may use; `None` where the system does not tell.
        fn of_this_thread() -> Option<Self> {
            // SAFETY: the set is plain bits, of the size that is passed; thread 0 is the calling one.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                (libc::sched_getaffinity(0, Self::BYTES, &raw mut set) == 0).then_some(Self(set))
            }
        }

        fn has(&self, core: usize) -> bool {
            // SAFETY: the index is below the number of bits.
            core < Self::MOST && unsafe { libc::CPU_ISSET(core, &self.0) }
        }

        fn without(mut self, is_left_out: impl Fn(usize) -> bool) -> Self {
            for core in
                (0..Self::MOST).filter(|core| self.has(*core)).filter(|core| is_left_out(*core)).collect::<Vec<_>>()
            {
                // SAFETY: as above.
                unsafe { libc::CPU_CLR(core, &mut self.0) };
            }
            self
        }

        /// Lets a thread (0: the calling one) run on these cores only. Where the system refuses, it runs where it did.
        fn bind(&self, id: i32) {
            // SAFETY: plain bits of the size that is passed; an id of no thread is refused.
            unsafe { libc::sched_setaffinity(id, Self::BYTES, &raw const self.0) };
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{Cores, NOWHERE, Places, free_home};
        use std::sync::atomic::Ordering;
        use std::sync::{Arc, Barrier};

        /// Cores that a thread of its own may use after `calls` of [`Places::arrange`] by another, and where that one ran.
        fn worker_cores(places: Places, before: impl FnOnce(&Places) + Send + 'static) -> (Vec<usize>, usize, usize) {
            let places = Arc::new(places);
            let (begun, arranged) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
            let worker = {
                let (places, begun, arranged) = (Arc::clone(&places), Arc::clone(&begun), Arc::clone(&arranged));
                std::thread::spawn(move || {
                    places.enter(1);
                    begun.wait();
                    arranged.wait();
                    let mine = Cores::of_this_thread().expect("the system tells");
                    (0..Cores::MOST).filter(|core| mine.has(*core)).collect::<Vec<_>>()
                })
            };
            begun.wait();
            before(&places);
            places.arrange();
            arranged.wait();
            let home = |index: usize| places.homes[index].load(Ordering::Relaxed);
            (worker.join().expect("the worker ends"), home(0), home(1))
        }

        /// Those that the calling thread may run on; the standard library also counts what a container may use of them.
        fn cores() -> usize {
            Cores::of_this_thread().map_or(1, |mine| (0..Cores::MOST).filter(|core| mine.has(*core)).count())
        }

        #[test]
        fn a_worker_may_not_run_at_home_of_its_caller() {
            let (mine, caller, home) = worker_cores(Places::new(2), |_| ());
            if cores() < 2 {
                assert_eq!(home, NOWHERE);
                return;
            }
            assert!(mine.contains(&home) && !mine.contains(&caller), "{mine:?}, caller {caller}, home {home}");
            assert_eq!(mine.len(), cores() - 1, "cores that are nobody's home stay open");
        }

        #[test]
        fn a_caller_that_turns_up_at_home_of_a_worker_changes_homes_with_it() {
            if cores() < 2 {
                println!("skipped: one core");
                return;
            }
            let (_, caller, home) = worker_cores(Places::new(2), |places| {
                places.arrange();
                let here = places.homes[0].load(Ordering::Relaxed);
                // As if the two had lived the other way round.
                places.homes[0].store(places.homes[1].swap(here, Ordering::Relaxed), Ordering::Relaxed);
            });
            assert_ne!(caller, home);
        }

        #[test]
        fn a_caller_that_stays_is_bound_off_the_homes_of_workers_and_others_are_not() {
            if cores() < 2 {
                println!("skipped: one core");
                return;
            }
            for stays in [false, true] {
                let caller = std::thread::spawn(move || {
                    worker_cores(Places::new(2), move |places| {
                        if stays {
                            places.stay();
                        }
                    });
                    cores()
                });
                assert_eq!(caller.join().expect("the caller ends"), cores() - usize::from(stays));
            }
        }

        #[test]
        fn a_home_is_the_one_that_was_left_or_any_free_one_or_none() {
            // SAFETY: plain bits.
            let mut allowed = Cores(unsafe { std::mem::zeroed() });
            for core in [0, 2, 5] {
                // SAFETY: below the number of bits.
                unsafe { libc::CPU_SET(core, &mut allowed.0) };
            }
            assert_eq!(free_home(&allowed, 2, |core| core == 0), Some(2));
            assert_eq!(free_home(&allowed, 1, |core| core == 0), Some(2), "1 is not allowed");
            assert_eq!(free_home(&allowed, NOWHERE, |core| core < 3), Some(5));
            assert_eq!(free_home(&allowed, 2, |_| true), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    thread_local! {
        static STAYS: Cell<bool> = const { Cell::new(false) };
    }

    /// Homes of the threads of one pool; this system offers no way to give them.
    pub struct Places;

    impl Places {
        /// Nothing is arranged on this system.
        pub fn new(_threads: usize) -> Self {
            Self
        }

        /// Does nothing.
        pub fn enter(&self, _index: usize) {}

        /// Does nothing.
        pub fn stay(&self) {}

        /// Does nothing.
        pub fn arrange(&self) {}
    }
}
