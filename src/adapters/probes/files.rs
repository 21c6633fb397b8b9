//! Files that a configuration or a command line names, and that may be anything: a FIFO that nobody writes to, a device
//! without an end, a mount whose server is gone.
//!
//! Invariants: only regular files are read, and at most so many bytes of them; whoever waits stops waiting after his
//! patience; at most one thread waits for the disk per path, however often it is asked for. What a thread that hangs
//! in the kernel holds, only the kernel gives back.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::within;
use crate::ports::Clock;

/// Opens a regular file. Blocks where its disk does.
///
/// # Errors
/// That it cannot be opened, or is none.
pub fn open(path: &Path) -> Result<File, String> {
    // Opening a FIFO without this waits for somebody who writes to it.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(|e| e.to_string())?;
    match file.metadata().map_err(|e| e.to_string())?.is_file() {
        true => Ok(file),
        false => Err("is not a regular file".to_owned()),
    }
}

/// What a regular file of at most `limit` bytes holds. Blocks where its disk does.
///
/// # Errors
/// That it cannot be read, is no regular file, or is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if limit < bytes.len() as u64 { Err(format!("is longer than {limit} bytes")) } else { Ok(bytes) }
}

/// Reads for tasks that may not wait. See the module.
#[derive(Debug, Default)]
pub struct Files {
    /// Held, by path, by whoever reads: as many as there are paths in the configuration.
    reading: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl Files {
    /// As [`read`], for at most `patience`.
    ///
    /// # Errors
    /// As [`read`]; and that the disk does not answer.
    pub async fn read(&self, clock: &dyn Clock, patience: Duration, path: &str, limit: u64) -> Result<Vec<u8>, String> {
        let path = PathBuf::from(path);
        let turn = {
            let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(reading.entry(path.clone()).or_default())
        };
        let work = async {
            // The thread holds it until the kernel lets it go, so that no second one waits beside it.
            let turn = turn.lock_owned().await;
            let read = tokio::task::spawn_blocking(move || {
                let bytes = read(&path, limit);
                drop(turn);
                bytes
            });
            read.await.map_err(|e| format!("the reading thread ended: {e}"))?
        };
        let read = within(clock, patience, work).await;
        read.unwrap_or_else(|| Err(format!("its disk does not answer within {patience:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::SystemClock;

    fn fifo(folder: &Path) -> PathBuf {
        let path = folder.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        path
    }

    #[test]
    fn only_regular_files_of_a_bounded_length_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = "is not a regular file".to_owned();
        assert_eq!(read(Path::new("/dev/zero"), 10), Err(none.clone()));
        assert_eq!(read(folder.path(), 10), Err(none.clone()));
        assert_eq!(read(&fifo(folder.path()), 10), Err(none));
        let path = folder.path().join("text");
        std::fs::write(&path, "0123456789").expect("written");
        assert_eq!(read(&path, 10).expect("read"), b"0123456789");
        assert_eq!(read(&path, 9), Err("is longer than 9 bytes".to_owned()));
        assert!(read(&folder.path().join("none"), 9).is_err());
    }

    #[tokio::test]
    async fn one_thread_at_most_waits_for_a_disk_and_nobody_for_longer_than_his_patience() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        std::fs::write(&path, "here").expect("written");
        let (files, text) = (Files::default(), path.display().to_string());
        let (clock, patience) = (SystemClock, Duration::from_millis(50));
        assert_eq!(files.read(&clock, Duration::from_secs(30), &text, 10).await.expect("read"), b"here");
        // As if the thread before were still in the kernel.
        let hangs = files.reading.lock().expect("nobody panics")[&path].clone().lock_owned().await;
        for _ in 0..3 {
            let why = files.read(&clock, patience, &text, 10).await.expect_err("the disk hangs");
            assert_eq!(why, "its disk does not answer within 50ms");
        }
        drop(hangs);
        assert_eq!(files.read(&clock, Duration::from_secs(30), &text, 10).await.expect("read"), b"here");
    }
}
