//! The real binary as a process: started, watched, killed.

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
};

use super::stage::Stage;

/// How long a start may take; a debug build on a busy machine is slow.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The binary as it was when this process began: a build elsewhere may replace it while tests run.
static BINARY: LazyLock<Binary> = LazyLock::new(|| {
    let built = Path::new(env!("CARGO_BIN_EXE_failoverd"));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().join("failoverd");
    std::fs::hard_link(built, &path).or_else(|_| std::fs::copy(built, &path).map(drop)).expect("the binary is copied");
    let file = File::open(&path).expect("the binary is there");
    // Started through the open file, so that nothing is left behind where no destructor runs.
    Binary { path: PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())), _file: file }
});

struct Binary {
    path: PathBuf,
    _file: File,
}

/// What a life is started with.
pub(crate) struct Launch<'a> {
    pub(crate) config: PathBuf,
    pub(crate) aws_url: String,
    /// Where the journals' table is, where they are in one.
    pub(crate) table_url: Option<String>,
    pub(crate) failpoint: Option<&'a str>,
    pub(crate) limits: Limits,
}

/// What a life is not given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// It may write no file longer than this.
    pub(crate) file_kib_max: Option<u64>,
    /// It may have no more files open.
    pub(crate) files_max: Option<u64>,
    /// It logs all that there is to say into a pipe, of which nobody reads more than where it listens.
    pub(crate) log_is_blocked: bool,
}

impl Limits {
    /// As the shell says them. Beyond the first a write fails, as on a full disk; the signal that would come with it is
    /// ignored.
    fn script(self) -> Option<String> {
        let file = self.file_kib_max.map(|kib| format!("trap '' XFSZ; ulimit -f {kib}; "));
        let files = self.files_max.map(|most| format!("ulimit -n {most}; "));
        let all = [file, files].into_iter().flatten().collect::<String>();
        (!all.is_empty()).then(|| format!("{all}exec \"$0\" \"$@\""))
    }
}

/// What a verb of the client says to the daemon at `url`, as `alice`: what it prints, and whether it went well.
pub(crate) async fn verb(url: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(&BINARY.path)
        .args(args)
        .env_clear()
        .env("FAILOVERD_URL", url)
        .env("FAILOVERD_TOKEN", "alice-kill-token")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How a start went.
pub(crate) enum Started {
    Listening(Box<Daemon>),
    /// It ended before it listened.
    Ended(ExitStatus),
}

impl Started {
    pub(crate) fn listening(self) -> Result<Daemon, String> {
        match self {
            Self::Listening(daemon) => Ok(*daemon),
            Self::Ended(status) => Err(format!("ended before it listened: {status}")),
        }
    }
}

/// One life of the daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) url: String,
    child: Child,
    pub(crate) log: PathBuf,
    /// Open, and read no further.
    _unread: Option<ChildStdout>,
}

impl Daemon {
    pub(crate) async fn start(stage: &Stage, life: u32, launch: &Launch<'_>) -> Started {
        let log = stage.log(life);
        let out = File::create(&log).expect("a log file");
        let mut command = match launch.limits.script() {
            None => Command::new(&BINARY.path),
            Some(script) => {
                let mut shell = Command::new("bash");
                shell.args(["-c", script.as_str()]).arg(&BINARY.path);
                shell
            }
        };
        let is_blocked = launch.limits.log_is_blocked;
        let stdout = if is_blocked { Stdio::piped() } else { out.try_clone().expect("the log file").into() };
        let mut child = command
            .args(["serve", "--config"])
            .arg(&launch.config)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_ENDPOINT_URL", &launch.aws_url)
            .envs(launch.table_url.as_ref().map(|url| ("AWS_ENDPOINT_URL_DYNAMODB", url)))
            .env("AWS_ACCESS_KEY_ID", "SIMULATED")
            .env("AWS_SECRET_ACCESS_KEY", "simulated")
            .env("AWS_REGION", "us-west-2")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(launch.failpoint.map(|f| ("FAILOVERD_FAILPOINT", f)))
            .stdin(Stdio::null())
            .envs(is_blocked.then_some(("FAILOVERD_LOG", "trace")))
            .stdout(stdout)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let unread = match child.stdout.take() {
            Some(pipe) => Some(read_until_it_listens(pipe, &log).await),
            None => None,
        };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return Started::Ended(status);
            }
            if let Some(address) = address_in(&log) {
                return Started::Listening(Box::new(Self {
                    url: format!("http://{address}"),
                    child,
                    log,
                    _unread: unread,
                }));
            }
            assert!(Instant::now() < deadline, "neither listening nor ended: {}", stage.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().expect("a pid"))) else {
            return;
        };
        // Dead already is what was wanted.
        let _ = kill_process(pid, signal);
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::KILL);
        let _status = self.child.wait().await;
    }

    /// SIGTERM only.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stands still until [`Daemon::go_on`], and does not know it.
    pub(crate) fn stand_still(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it lives")
    }

    /// Waits for its end; `None` where `limit` was not enough.
    pub(crate) async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(limit, self.child.wait()).await.ok().map(|status| status.expect("a child of ours"))
    }

    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Copies what comes out of `pipe` to `log`, and no more than says where the API listens.
async fn read_until_it_listens(mut pipe: ChildStdout, log: &Path) -> ChildStdout {
    let mut seen = Vec::new();
    let read = async {
        while address_in(log).is_none() && pipe.read_buf(&mut seen).await.is_ok_and(|count| 0 < count) {
            std::fs::write(log, &seen).expect("the log file");
        }
    };
    tokio::time::timeout(START_LIMIT, read).await.expect("it starts, or ends");
    pipe
}

/// The address of the log line that says where the API listens.
fn address_in(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|l| l.contains(r#""message":"listening""#))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line["fields"]["address"].as_str()?.to_owned())
}
