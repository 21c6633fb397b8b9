//! The release binary as a process of its own: started, asked, killed, weighed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use failoverd::{adapters::clock::SystemClock, ports::Clock as _};

/// The binary that is measured: the one that `cargo bench` built beside the benchmark, or that of `--binary=PATH`.
pub(crate) fn binary() -> String {
    let given = std::env::args().find_map(|a| a.strip_prefix("--binary=").map(str::to_owned));
    given.unwrap_or_else(|| env!("CARGO_BIN_EXE_failoverd").to_owned())
}

/// How long anything here may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// `failoverd serve`. Killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

/// An address of loopback that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Daemon {
    /// Executes `failoverd serve` against the AWS at `aws_url`. Returns at once.
    pub(crate) fn exec(config: &Path, address: SocketAddr, aws_url: &str) -> Self {
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log")).expect("a log");
        let child = Command::new(binary())
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env("AWS_ENDPOINT_URL", aws_url)
            .env("AWS_ACCESS_KEY_ID", "SIMULATED")
            .env("AWS_SECRET_ACCESS_KEY", "simulated")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .expect("the binary starts");
        Self { child, address }
    }

    /// One request over a fresh connection: the status and the body; `None` where nobody listens (yet).
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Some((status, body))
    }

    /// Asks `path` every millisecond until the answer satisfies.
    pub(crate) fn until(&self, path: &str, satisfied: impl Fn(u16, &str) -> bool) {
        wait_until(path, || self.ask("GET", path, "").is_some_and(|(status, body)| satisfied(status, &body)));
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already, where it was killed on purpose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks every 200 µs, on this thread.
#[expect(clippy::disallowed_methods, reason = "a benchmark polls a process from outside")]
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = SystemClock.boot() + PATIENCE;
    while !holds() {
        assert!(SystemClock.boot() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_micros(200));
    }
}
