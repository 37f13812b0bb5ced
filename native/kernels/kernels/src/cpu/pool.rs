//! One pool of worker threads per process: whoever waits spins briefly, then sleeps.
//!
//! Workers keep off the core of their caller ([`super::cores`]).

use super::cores::Places;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread that waits for work, or for the others, spins before it sleeps. Long enough to bridge the gap
/// between two ops of a step, short enough that an idle process burns nothing.
const SPIN: Duration = Duration::from_micros(100);

type Task = *const (dyn Fn(usize) + Sync);

struct Job {
    task: Task,
    tasks: usize,
}

// SAFETY: the pointer is only dereferenced between publication and completion of a job, while the
// caller of `run` keeps the closure alive on its stack.
unsafe impl Send for Job {}

struct Shared {
    epoch: AtomicUsize,
    next: AtomicUsize,
    running: AtomicUsize,
    panicked: AtomicBool,
    job: Mutex<Option<Job>>,
    wake: Condvar,
    parked: AtomicUsize,
    /// Whether the caller of `run` sleeps until `running` is zero.
    awaited: AtomicBool,
    finished: Mutex<()>,
    done: Condvar,
    places: Places,
}

/// A fixed set of threads that run the tasks of one data-parallel loop at a time.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    entry: Mutex<()>,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// Starts a pool of `threads` (the calling thread counts as one of them).
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            job: Mutex::new(None),
            wake: Condvar::new(),
            parked: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            finished: Mutex::new(()),
            done: Condvar::new(),
            places: Places::new(threads),
        });
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("swift-worker-{index}"))
                .spawn(move || worker(&shared, index))
                .expect("the operating system refused to start a worker thread");
        }
        Self { shared, threads, entry: Mutex::new(()) }
    }

    /// The process-wide pool: `SWIFT_THREADS` threads, else one per available core.
    pub fn global() -> &'static Pool {
        static GLOBAL: OnceLock<Pool> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let asked = std::env::var("SWIFT_THREADS").ok().and_then(|text| text.parse::<usize>().ok());
            Pool::new(asked.filter(|count| *count > 0).unwrap_or(cores))
        })
    }

    /// A pool of the calling thread alone: for the inside of tasks.
    pub fn serial() -> &'static Pool {
        static SERIAL: OnceLock<Pool> = OnceLock::new();
        SERIAL.get_or_init(|| Pool::new(1))
    }

    /// The calling thread will run most of the loops, and keeps to a core of its own while it waits and works in turn.
    pub fn stay(&self) {
        self.shared.places.stay();
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `task(0) … task(tasks - 1)`, each once, in any order on any thread, and returns when all
    /// are done. Tasks must write disjoint data. Which thread runs a task never changes its result,
    /// so results are independent of timing. A nested call runs its tasks on the calling thread.
    ///
    /// # Panics
    /// When a task panicked.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks == 0 {
            return;
        }
        if self.threads == 1 || tasks == 1 || INSIDE.with(Cell::get) {
            for index in 0..tasks {
                task(index);
            }
            return;
        }
        let _entry = lock(&self.entry);
        let shared = &*self.shared;
        shared.places.arrange();
        // SAFETY: only the lifetime is erased; `run` does not return before `running` is zero and the
        // job is withdrawn, so no worker can touch the closure afterwards.
        let erased: Task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        {
            let mut job = lock(&shared.job);
            shared.next.store(0, Ordering::Relaxed);
            shared.panicked.store(false, Ordering::Relaxed);
            *job = Some(Job { task: erased, tasks });
            shared.epoch.fetch_add(1, Ordering::Release);
            if shared.parked.load(Ordering::Relaxed) > 0 {
                shared.wake.notify_all();
            }
        }
        drain(shared, task, tasks);
        // Withdraw the job, then wait for workers that took a share.
        *lock(&shared.job) = None;
        shared.await_workers();
        assert!(!shared.panicked.load(Ordering::Relaxed), "a task of the thread pool panicked");
    }

    /// As [`Self::run`], but each thread takes successive tasks of a share of its own and goes on to the others' shares
    /// when that is done: for tasks that read memory in their order, which then is one stream per thread.
    ///
    /// # Panics
    /// When a task panicked.
    pub fn run_in_streams(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shares = self.threads.min(tasks);
        if shares <= 1 || INSIDE.with(Cell::get) {
            return self.run(tasks, task);
        }
        let first = |share: usize| share * tasks / shares;
        let next: Vec<AtomicUsize> = (0..shares).map(|share| AtomicUsize::new(first(share))).collect();
        self.run(shares, &|own| {
            for share in (own..shares).chain(0..own) {
                loop {
                    let index = next[share].fetch_add(1, Ordering::Relaxed);
                    if index >= first(share + 1) {
                        break;
                    }
                    task(index);
                }
            }
        });
    }

    /// Splits `0..len` into contiguous chunks of at most `chunk` elements and runs `body(start, end)`.
    /// The partition depends on `len` and `chunk` only, never on the number of threads.
    pub fn for_chunks(&self, len: usize, chunk: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let chunk = chunk.max(1);
        self.run(len.div_ceil(chunk), &|index| {
            let start = index * chunk;
            body(start, (start + chunk).min(len));
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Returns when no worker holds a share of the job.
    fn await_workers(&self) {
        let start = Instant::now();
        while self.running.load(Ordering::SeqCst) > 0 {
            if start.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            let mut guard = lock(&self.finished);
            self.awaited.store(true, Ordering::SeqCst);
            while self.running.load(Ordering::SeqCst) > 0 {
                guard = self.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.awaited.store(false, Ordering::SeqCst);
        }
    }

    /// A worker ends its share. Either it sees that the caller sleeps, or the caller sees that nobody runs.
    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) {
            let _guard = lock(&self.finished);
            self.done.notify_all();
        }
    }
}

fn drain(shared: &Shared, task: &(dyn Fn(usize) + Sync), tasks: usize) {
    INSIDE.with(|inside| inside.set(true));
    loop {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= tasks {
            break;
        }
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(index))).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
    }
    INSIDE.with(|inside| inside.set(false));
}

fn worker(shared: &Shared, index: usize) {
    shared.places.enter(index);
    let mut seen = 0;
    loop {
        let start = Instant::now();
        while shared.epoch.load(Ordering::Acquire) == seen {
            if start.elapsed() > SPIN {
                let mut job = lock(&shared.job);
                shared.parked.fetch_add(1, Ordering::Relaxed);
                while shared.epoch.load(Ordering::Acquire) == seen {
                    job = shared.wake.wait(job).unwrap_or_else(PoisonError::into_inner);
                }
                shared.parked.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            for _ in 0..32 {
                std::hint::spin_loop();
            }
        }
        let taken = {
            let job = lock(&shared.job);
            seen = shared.epoch.load(Ordering::Acquire);
            job.as_ref().map(|job| {
                shared.running.fetch_add(1, Ordering::AcqRel);
                (job.task, job.tasks)
            })
        };
        if let Some((task, tasks)) = taken {
            // SAFETY: `running` was raised under the lock while the job was published, so the caller
            // of `run` still waits and the closure is alive.
            drain(shared, unsafe { &*task }, tasks);
            shared.leave();
        }
    }
}

/// A raw pointer that may cross threads; the kernel that makes one guarantees disjoint writes.
#[derive(Clone, Copy)]
pub struct SharedMut<T>(*mut T, usize);

// SAFETY: the type only transports a pointer; each use site proves disjointness.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// Wraps a slice for disjoint writes by several tasks.
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr(), slice.len())
    }

    /// The address of element `index`, for writes that no slice describes.
    ///
    /// # Panics
    /// When the index lies outside.
    pub fn at(&self, index: usize) -> *mut T {
        assert!(index < self.1, "index {index} outside 0..{}", self.1);
        self.0.wrapping_add(index)
    }

    /// The elements `start..end` as a mutable slice.
    ///
    /// # Safety
    /// No two live slices of the same `SharedMut` may overlap, and the slice it was made from must
    /// outlive the result.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice<'a>(&self, start: usize, end: usize) -> &'a mut [T] {
        assert!(start <= end && end <= self.1, "range {start}..{end} outside 0..{}", self.1);
        // SAFETY: in bounds by the assertion; disjointness and lifetime by the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), end - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pool, SharedMut};

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            for (tasks, streams) in [1, 2, 3, 7, 64, 1000].into_iter().flat_map(|tasks| [(tasks, false), (tasks, true)])
            {
                let mut hits = vec![0u32; tasks];
                let shared = SharedMut::new(&mut hits);
                // SAFETY: each task writes its own element.
                let hit = |index: usize| unsafe { shared.slice(index, index + 1)[0] += 1 };
                if streams {
                    pool.run_in_streams(tasks, &hit)
                } else {
                    pool.run(tasks, &hit)
                }
                assert!(hits.iter().all(|hit| *hit == 1));
            }
        }
    }

    #[test]
    fn nested_loops_do_not_deadlock_and_parked_workers_wake() {
        let pool = Pool::new(4);
        for _ in 0..50 {
            std::thread::sleep(std::time::Duration::from_micros(200));
            pool.run(8, &|_| pool.run(4, &|_| std::hint::spin_loop()));
        }
    }

    #[test]
    fn a_panicking_task_is_reported_and_the_pool_survives() {
        let pool = Pool::new(2);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(4, &|index| assert!(index != 2));
        }));
        assert!(caught.is_err());
        pool.run(4, &|_| ());
    }
}
