//! Puts commits on disk from a thread of its own, so that a slow disk never delays a sample.

use std::collections::VecDeque;
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
    /// Go on in a new segment.
    Rotate(PathBuf),
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
    /// Made with the first flush.
    file: Option<File>,
    path: PathBuf,
    length: u64,
    /// Commits that are not on disk yet; tried again with the next one.
    backlog: Vec<u8>,
    /// A failed attempt may have left bytes behind the good ones.
    torn: bool,
    sync: bool,
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    if let Some(folder) = path.parent() {
        // The name must survive a power cut as well as the bytes.
        File::open(folder).and_then(|folder| folder.sync_all())?;
    }
    Ok(file)
}

impl Segment {
    /// Write from the last good length on: what a failed attempt left behind is overwritten, and bytes whose sync
    /// failed are written again rather than trusted.
    fn flush(&mut self) -> io::Result<()> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(create(&self.path)?),
        };
        if std::mem::replace(&mut self.torn, true) {
            file.set_len(self.length)?;
        }
        file.write_all_at(&self.backlog, self.length)?;
        if self.sync {
            file.sync_data()?;
        }
        self.torn = false;
        self.length += self.backlog.len() as u64;
        self.backlog.clear();
        Ok(())
    }
}

/// Segments that are not wholly on disk, oldest first; the last one is open.
struct Segments(VecDeque<Segment>);

impl Segments {
    fn flush(&mut self) -> io::Result<()> {
        for segment in &mut self.0 {
            segment.flush()?;
        }
        let finished = self.0.len().saturating_sub(1);
        self.0.drain(..finished);
        Ok(())
    }

    fn run(mut self, jobs: &Receiver<Job>, state: &Mutex<DiskState>, sync: bool) {
        loop {
            let commit = match jobs.recv() {
                Ok(Job::Append(bytes, commit)) => {
                    if let Some(open) = self.0.back_mut() {
                        open.backlog.extend_from_slice(&bytes);
                    }
                    commit
                }
                Ok(Job::Rotate(path)) => {
                    self.0.push_back(Segment { file: None, path, length: 0, backlog: Vec::new(), torn: false, sync });
                    continue;
                }
                Ok(Job::Stop) | Err(_) => return,
            };
            let outcome = self.flush();
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(()) => {
                    state.durable = commit;
                    state.failure = None;
                }
                Err(error) => {
                    let waiting: usize = self.0.iter().map(|segment| segment.backlog.len()).sum();
                    let path = self.0.iter().find(|segment| !segment.backlog.is_empty()).map(|segment| &segment.path);
                    state.failure = Some(format!(
                        "{waiting} bytes could not be written to {}: {error}; they are kept in memory and tried again with each commit",
                        path.map_or_else(String::new, |path| path.display().to_string())
                    ));
                }
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
        let file = create(path).map_err(|error| MeterError::io("create the segment", path, &error))?;
        let segment =
            Segment { file: Some(file), path: path.to_owned(), length: 0, backlog: Vec::new(), torn: false, sync };
        let segments = Segments(VecDeque::from([segment]));
        let (jobs, receiver) = channel();
        let state = Arc::new(Mutex::new(DiskState::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("swift-journal".to_owned())
            .spawn(move || segments.run(&receiver, &shared, sync))
            .map_err(|error| MeterError::io("start the writer for", path, &error))?;
        Ok(Self { jobs, state, thread: Some(thread) })
    }

    /// Queue a commit's bytes.
    pub fn append(&self, bytes: Vec<u8>, commit: u64) {
        // The thread lives as long as `self`; a send can only fail after it panicked, which `state` shows.
        let _ = self.jobs.send(Job::Append(bytes, commit));
    }

    /// Put what follows into a new segment.
    pub fn rotate(&self, path: PathBuf) {
        let _ = self.jobs.send(Job::Rotate(path));
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
