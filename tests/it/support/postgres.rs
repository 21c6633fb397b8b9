//! Real PostgreSQL servers, started for one test, on loopback ports, in a temporary folder; they die with the test.
//!
//! Needs `tests/postgres/setup.sh` to have been run; without it the tests that use this fail and say so. PostgreSQL
//! refuses to run as root: a test that is root runs it as `postgres`, or `nobody`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::{Client, NoTls};

pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
/// Trusted without a password, from loopback; the tests' own.
pub(crate) const ADMIN: &str = "admin";
pub(crate) const DATABASE: &str = "orders";

/// Where the servers of one test live.
pub(crate) struct Place {
    bin: PathBuf,
    folder: tempfile::TempDir,
    /// Whom to run as, where not as ourselves.
    user: Option<(u32, u32)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/postgres/bin");
        let bin = bin.canonicalize().unwrap_or_else(|e| {
            panic!("{}: {e}: run tests/postgres/setup.sh first", bin.display());
        });
        let folder = tempfile::tempdir().expect("a folder");
        let user = geteuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("given away");
        }
        Self { bin, folder, user }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = match self.user {
            Some((uid, gid)) => {
                // Becomes the program, so that the child's id is the server's.
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C").env_remove("PGDATA").stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let Output { status, stdout, stderr } = self.command(program).args(arguments).output().expect("runs");
        let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{program} {arguments:?}: {said}");
    }

    /// A file that the servers can read and nobody else.
    pub(crate) fn give(&self, path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("protected");
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("given away");
        }
    }

    /// A new server with an empty database, which asks everybody but [`ADMIN`] for a password.
    pub(crate) async fn primary(&self, settings: &[(&str, &str)]) -> Server {
        let data = self.path("primary");
        let data_text = data.to_str().expect("UTF-8");
        self.run("initdb", &["-D", data_text, "-U", ADMIN, "-E", "UTF8", "--auth=trust", "--no-sync"]);
        let rules = format!(
            "host all {ADMIN} 127.0.0.1/32 trust\nhost replication {ADMIN} 127.0.0.1/32 trust\n\
             host all all 127.0.0.1/32 scram-sha-256\n"
        );
        fs::write(data.join("pg_hba.conf"), rules).expect("written");
        let server = self.start(data, settings);
        server.ready("postgres").await.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.expect("made");
        server
    }

    /// A hot standby of `primary`, streaming from it.
    pub(crate) async fn standby(&self, primary: &Server) -> Server {
        let data = self.path("standby");
        let (port, path) = (primary.port.to_string(), data.to_str().expect("UTF-8").to_owned());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", ADMIN, "-D", &path];
        self.run("pg_basebackup", &[&from[..], &["-R", "-X", "stream", "-c", "fast", "--no-sync"]].concat());
        let server =
            self.start(data, &[("wal_receiver_status_interval", "1s"), ("wal_retrieve_retry_interval", "200ms")]);
        let primary = primary.admin().await;
        let begun = Instant::now();
        loop {
            let streams = primary.query("SELECT FROM pg_stat_replication WHERE state = 'streaming'", &[]).await;
            if streams.expect("asked").len() == 1 {
                break;
            }
            assert!(begun.elapsed() < READY_WITHIN, "the standby does not stream");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.ready(DATABASE).await;
        server
    }

    fn start(&self, data: PathBuf, settings: &[(&str, &str)]) -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let mut command = self.command("postgres");
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        // The power does not fail here: what the kernel has survives the death of a process.
        let common = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("fsync", "off"),
            ("shared_buffers", "16MB"),
            ("max_connections", "40"),
        ];
        for (key, value) in common.iter().chain(settings) {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        let log = fs::File::create(data.with_extension("log")).expect("a log");
        let child = command.stdout(log.try_clone().expect("twice")).stderr(log).spawn().expect("postgres starts");
        Server { child, port, log: data.with_extension("log") }
    }
}

/// A user that is not root: PostgreSQL's own where there is one.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let ids = |name: &str| {
        let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("a user who is not root")
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Server {
    /// Waits until it takes connections.
    async fn ready(&self, database: &str) -> Client {
        let begun = Instant::now();
        loop {
            match self.connect(database).await {
                Ok(client) => return client,
                Err(error) => assert!(
                    begun.elapsed() < READY_WITHIN,
                    "PostgreSQL is not ready: {error}\n{}",
                    fs::read_to_string(&self.log).unwrap_or_default()
                ),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let text = format!("host=127.0.0.1 port={} user={ADMIN} dbname={database} connect_timeout=5", self.port);
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A connection that may do everything.
    pub(crate) async fn admin(&self) -> Client {
        self.connect(DATABASE).await.expect("connected")
    }

    /// The server and every process of it whose title has all of `parts`.
    fn processes(&self, parts: &[&str]) -> Vec<Pid> {
        let parent = self.child.id();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("processes").flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            // `pid (name) state ppid …`; the name may hold anything but is followed by the last bracket.
            let stat = read("stat");
            let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            let title = read("cmdline");
            if of == Some(parent) && parts.iter().all(|part| title.contains(part)) {
                found.extend(Pid::from_raw(id));
            }
        }
        found
    }

    fn whole(&self) -> Vec<Pid> {
        let server = Pid::from_raw(i32::try_from(self.child.id()).expect("an id"));
        server.into_iter().chain(self.processes(&[])).collect()
    }

    /// Stops the processes whose titles have all of `parts`; panics where there is none.
    pub(crate) fn freeze_part(&self, parts: &[&str]) {
        let found = self.processes(parts);
        assert!(!found.is_empty(), "no process {parts:?}");
        found.into_iter().for_each(|id| kill_process(id, Signal::STOP).expect("stopped"));
    }

    /// Stops the whole server: its sockets stay open, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// To every process; those that have ended in the meantime need none. The server itself first, so that it starts
    /// no other.
    fn signal(&self, signal: Signal) {
        for id in self.whole() {
            _ = kill_process(id, signal);
        }
    }

    /// Kills the whole server at once, as the loss of its machine would.
    pub(crate) fn kill(&mut self) {
        // First stopped, so that none does anything more while the others die.
        self.freeze();
        self.signal(Signal::KILL);
        self.child.wait().expect("dead");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // An immediate shutdown leaves no shared memory behind.
        self.thaw();
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            _ = kill_process(id, Signal::QUIT);
        }
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Duration::from_secs(5) < begun.elapsed() {
                self.signal(Signal::KILL);
                _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
