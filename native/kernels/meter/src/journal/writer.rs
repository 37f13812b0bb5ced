//! Puts commits on disk from a thread of its own, so that a slow disk never delays a sample.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::{MeterError, Result};

enum Job {
    /// Append to the open segment; the number names the commit.
    Append(Vec<u8>, u64),
    Stop,
}

/// What the disk holds.
#[derive(Debug, Clone, Default)]
pub struct DiskState {
    /// Number of the last commit that is durable.
    pub durable: u64,
    /// Why the last write failed; empty again when a later one went through.
    pub failure: Option<String>,
}

/// The writing thread.
pub struct JournalWriter {
    jobs: Sender<Job>,
    state: Arc<Mutex<DiskState>>,
    thread: Option<JoinHandle<()>>,
}

struct Segment {
    file: File,
    path: PathBuf,
    length: u64,
    /// Commits that are not on disk yet; tried again with the next one.
    backlog: Vec<u8>,
    sync: bool,
}

impl Segment {
    /// Write from the last good length on: what a failed attempt left behind is overwritten, and bytes whose sync
    /// failed are written again rather than trusted.
    fn flush(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.write_all_at(&self.backlog, self.length)?;
        if self.sync {
            self.file.sync_data()?;
        }
        self.length += self.backlog.len() as u64;
        self.backlog.clear();
        Ok(())
    }
}

fn run(mut segment: Segment, jobs: &Receiver<Job>, state: &Mutex<DiskState>) {
    while let Ok(Job::Append(bytes, commit)) = jobs.recv() {
        segment.backlog.extend_from_slice(&bytes);
        let outcome = segment.flush();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                state.durable = commit;
                state.failure = None;
            }
            Err(error) => {
                state.failure = Some(format!(
                    "{} bytes could not be written to {}: {error}; they are kept in memory and tried again with each commit",
                    segment.backlog.len(),
                    segment.path.display()
                ));
            }
        }
    }
}

impl JournalWriter {
    /// Create the segment and start the thread. With `sync`, every commit is followed by fdatasync.
    ///
    /// # Errors
    /// `ERR_LEDGER_IO` when the file cannot be created.
    pub fn create(path: &Path, sync: bool) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| MeterError::io("create the segment", path, &error))?;
        if let Some(folder) = path.parent() {
            // The name must survive a power cut as well as the bytes.
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| MeterError::io("sync the folder", folder, &error))?;
        }
        let segment = Segment { file, path: path.to_owned(), length: 0, backlog: Vec::new(), sync };
        let (jobs, receiver) = channel();
        let state = Arc::new(Mutex::new(DiskState::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("swift-journal".to_owned())
            .spawn(move || run(segment, &receiver, &shared))
            .map_err(|error| MeterError::io("start the writer for", path, &error))?;
        Ok(Self { jobs, state, thread: Some(thread) })
    }

    /// Queue a commit's bytes.
    pub fn append(&self, bytes: Vec<u8>, commit: u64) {
        // The thread lives as long as `self`; a send can only fail after it panicked, which `state` shows.
        let _ = self.jobs.send(Job::Append(bytes, commit));
    }

    /// What the disk holds now.
    pub fn state(&self) -> DiskState {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match &self.thread {
            Some(thread) if thread.is_finished() => {
                DiskState { failure: Some("the journal's writing thread has ended".to_owned()), ..state }
            }
            _ => state,
        }
    }

    /// Write everything that is queued and end the thread.
    pub fn finish(&mut self) -> DiskState {
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return DiskState { failure: Some("the journal's writing thread panicked".to_owned()), ..self.state() };
        }
        self.state()
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        self.finish();
    }
}
