//! The file of a store: on which disk it is, whose it is, what it holds, and how SQLite is made to treat it.
//!
//! Invariant: a file that is not ours, is damaged, or is newer than this program is never written. A new store
//! appears whole, under its name, by one `rename`; so an empty file is never ours, and never taken for a fresh one.
//!
//! One owner: an OS lock (`flock`) on `<path>.lock`, held as long as a connection is open and released by the
//! kernel when the process dies. Not SQLite's `locking_mode=EXCLUSIVE`: that would shut out our own reading
//! connection too, and reads would wait behind every commit.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::OpenError;

/// The newest layout of the file that this program reads and writes (`user_version`).
pub const SCHEMA_VERSION: u32 = 1;

/// `application_id` of our files: `fovd` in ASCII.
const APPLICATION_ID: u32 = 0x666f_7664;

/// The one table. `seq` counts from 0 without gaps per journal.
const TABLE: &str = "CREATE TABLE records (journal TEXT NOT NULL, seq INTEGER NOT NULL, bytes BLOB NOT NULL, \
                     hash TEXT NOT NULL, PRIMARY KEY (journal, seq)) STRICT, WITHOUT ROWID";

/// How long a connection waits for a lock of SQLite's: only an operator's `sqlite3` can hold one against us.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// How much of a file tells what it is: SQLite's header [sqlite.org/fileformat.html 1.3].
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// `f_type` of file systems that are on the network or in user space [statfs(2), linux/magic.h].
const NOT_LOCAL: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE (sshfs, s3fs, gcsfuse and the like)"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "a VirtualBox share"),
];

/// The name of the file system if it is none that a store may be on.
fn not_local(f_type: u64) -> Option<&'static str> {
    // Some platforms sign-extend the 32 bits of `f_type`.
    let magic = f_type & 0xffff_ffff;
    NOT_LOCAL.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// `path` with `suffix` after its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The one absolute path of the file, so that two spellings of it meet at the same lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let fault = |source| io_fault(path, source);
    match path.canonicalize() {
        Ok(found) => return Ok(found),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(fault(e)),
    }
    let name = path.file_name().ok_or_else(|| OpenError::Foreign {
        path: path.to_owned(),
        reason: "the path does not name a file".to_owned(),
    })?;
    Ok(directory(path).canonicalize().map_err(fault)?.join(name))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses file systems on which locks or `fsync` are not to be relied on.
pub(super) fn refuse_unless_local(path: &Path) -> Result<(), OpenError> {
    let found = rustix::fs::statfs(directory(path)).map_err(|e| io_fault(path, io::Error::from(e)))?;
    match not_local(found.f_type.cast_unsigned()) {
        None => Ok(()),
        Some(name) => Err(OpenError::NotLocal { path: path.to_owned(), file_system: name.to_owned() }),
    }
}

/// Takes the store for this process, or says at once who has it. The lock ends with the returned file.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let fault = |source| io_fault(path, source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false) // It may name the holder.
        .open(beside(path, ".lock"))
        .map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Best effort: the holder may be about to write its name.
            let _ = file.take(200).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                named => named.to_owned(),
            };
            return Err(OpenError::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(fault(e)),
    }
    // Only a courtesy to whoever is refused: the lock is the kernel's, so a full disk is no fault yet.
    let host = rustix::system::uname();
    let holder = format!("process {} on {}\n", std::process::id(), host.nodename().to_string_lossy());
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(file)
}

/// What stands at the path, judged by its first bytes alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Store,
}

/// Looks at the file without SQLite, which would write to it. Call it only with the lock held: closing a
/// descriptor of a file drops every POSIX lock that this process has on it, SQLite's included.
pub(super) fn inspect(path: &Path) -> Result<Found, OpenError> {
    let fault = |source| io_fault(path, source);
    let foreign = |reason: &str| OpenError::Foreign { path: path.to_owned(), reason: reason.to_owned() };
    let corrupted = |reason: String| OpenError::Corrupted { path: path.to_owned(), reason };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return match fs::metadata(beside(path, "-wal")) {
                Ok(wal) if wal.len() > 0 => {
                    Err(corrupted("the file is gone, but its write-ahead log is there".to_owned()))
                }
                _ => Ok(Found::Nothing),
            };
        }
        Err(e) => return Err(fault(e)),
    };
    if !metadata.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(foreign("it is empty (a new store is made where there is no file)"));
    }
    let mut header = Vec::new();
    File::open(path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header)).map_err(fault)?;
    if !header.starts_with(MAGIC) {
        return Err(foreign("it is not a SQLite file"));
    }
    let word =
        |at: usize| header.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|bytes| u32::from_be_bytes(*bytes));
    let (Some(version), Some(id)) = (word(60), word(68)) else {
        return Err(corrupted(format!("it ends after {} bytes", header.len())));
    };
    if id != APPLICATION_ID {
        return Err(foreign(&format!("its application_id is {id:#010x}, expected {APPLICATION_ID:#010x}")));
    }
    check_version(path, version)?;
    Ok(Found::Store)
}

fn check_version(path: &Path, found: u32) -> Result<(), OpenError> {
    match found {
        SCHEMA_VERSION => Ok(()),
        newer if newer > SCHEMA_VERSION => Err(OpenError::NewerSchema { path: path.to_owned(), found }),
        _ => Err(OpenError::Corrupted {
            path: path.to_owned(),
            reason: format!("schema {found} has never been written by this program"),
        }),
    }
}

/// Makes an empty store beside `path` and moves it there whole.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(&new, suffix)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_fault(path, e)),
            _ => {} // Gone, or left by a process that died here.
        }
    }
    let make = || -> Result<(), rusqlite::Error> {
        let connection = Connection::open(&new)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.execute_batch(TABLE)?;
        connection.close().map_err(|(_, e)| e)
    };
    make().map_err(|e| sqlite_fault(path, e))?;
    let settle = || -> io::Result<()> {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        File::open(directory(path))?.sync_all()
    };
    settle().map_err(|e| io_fault(path, e))
}

/// Sets a pragma and reads it back: SQLite ignores what it does not know or cannot do.
fn ask(
    connection: &Connection,
    path: &Path,
    pragma: &'static str,
    asked: &'static str,
    expected: &'static str,
) -> Result<(), OpenError> {
    let fault = |e| sqlite_fault(path, e);
    // Some pragmas answer with a row and some do not; `pragma_update_and_check` insists on one.
    let mut statement = connection.prepare(&format!("PRAGMA {pragma} = {asked}")).map_err(fault)?;
    let mut rows = statement.query([]).map_err(fault)?;
    while rows.next().map_err(fault)?.is_some() {}
    let got =
        connection.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0)).map_err(fault)?;
    let got = match got {
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if got == expected { Ok(()) } else { Err(OpenError::PragmaRefused { pragma, asked, got }) }
}

/// A connection that writes. Every setting that durability stands on is read back.
pub(super) fn connect_writer(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    for (pragma, asked, expected) in [
        ("journal_mode", "WAL", "wal"),
        ("synchronous", "FULL", "2"),
        ("locking_mode", "NORMAL", "normal"),
        ("foreign_keys", "ON", "1"),
    ] {
        ask(&connection, path, pragma, asked, expected)?;
    }
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    ask(&connection, path, "query_only", "ON", "1")?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let fault = |e| sqlite_fault(path, e);
    // Each connection stays with one thread at a time, so SQLite's own mutexes are left out.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(BUSY_WAIT).map_err(fault)?;
    for (pragma, asked, expected) in [
        ("trusted_schema", "OFF", "0"),
        ("cell_size_check", "ON", "1"),
        // An I/O error on a mapped page would be a signal that kills, not an error that is told.
        ("mmap_size", "0", "0"),
    ] {
        ask(&connection, path, pragma, asked, expected)?;
    }
    Ok(connection)
}

/// [`check`], after whose refusal the file and its write-ahead log stay as they were found.
pub(super) fn check_kept(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    // Closing the last connection would fold the log into a damaged file.
    let keep = |on| {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on).map_err(|e| sqlite_fault(path, e))
    };
    keep(true)?;
    check(connection, path)?;
    keep(false)?;
    Ok(())
}

/// Whether the pages hang together and the table is the one that we know, seen through the write-ahead log.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let fault = |e| sqlite_fault(path, e);
    let corrupted = |reason: String| OpenError::Corrupted { path: path.to_owned(), reason };
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).map_err(fault)?;
    check_version(path, version)?;
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)).map_err(fault)?;
    if verdict != "ok" {
        return Err(corrupted(verdict));
    }
    let tables = connection
        .prepare("SELECT sql FROM sqlite_schema")
        .and_then(|mut statement| {
            statement.query_map([], |row| row.get::<_, Option<String>>(0))?.collect::<Result<Vec<_>, _>>()
        })
        .map_err(fault)?;
    match tables.as_slice() {
        [Some(sql)] if sql == TABLE => Ok(()),
        _ => Err(corrupted("its schema is not the one of its version".to_owned())),
    }
}

fn io_fault(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::DiskFull { path },
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            OpenError::ReadOnly { path, reason: source.to_string() }
        }
        _ => OpenError::Io { path, source },
    }
}

pub(super) fn sqlite_fault(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let reason = source.to_string();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::Corrupted { path, reason },
        Some(ErrorCode::DiskFull) => OpenError::DiskFull { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { path, reason },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Locked { path, holder: "another program that has the file open in SQLite".to_owned() }
        }
        _ => OpenError::Sqlite { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_user_space_file_systems_are_known_by_their_magic() {
        assert_eq!(not_local(0x6969), Some("NFS"));
        assert_eq!(not_local(0xff53_4d42), Some("CIFS"));
        assert_eq!(not_local(0xffff_ffff_ff53_4d42), Some("CIFS"));
        assert!(not_local(0x6573_5546).is_some_and(|name| name.contains("sshfs")));
        for local in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630] {
            assert_eq!(not_local(local), None, "{local:#x}");
        }
    }

    #[test]
    fn a_pragma_that_sqlite_does_not_honour_is_refused() {
        let memory = Connection::open_in_memory().expect("memory");
        let refused = ask(&memory, Path::new("m"), "journal_mode", "WAL", "wal");
        let Err(e @ OpenError::PragmaRefused { .. }) = refused else {
            panic!("expected a refusal, got {refused:?}");
        };
        assert_eq!(e.to_string(), "SQLite was asked for journal_mode = WAL and answered memory");
    }

    #[test]
    fn a_writer_has_the_settings_that_durability_stands_on() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("j.db");
        create(&path).expect("created");
        assert_eq!(inspect(&path).expect("ours"), Found::Store);
        let writer = connect_writer(&path).expect("opened");
        check_kept(&writer, &path).expect("sound");
        let reader = connect_reader(&path).expect("opened");
        let denied = reader.execute("INSERT INTO records VALUES ('a', 0, x'', '')", []);
        assert!(denied.is_err(), "a reader must not write");
    }
}
