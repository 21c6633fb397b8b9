//! TCP between two processes, which can be cut and mended while connections are open.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// How a line is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Connections break, and new ones are closed at once.
    Refused,
    /// Nothing arrives on either side. What was sent meanwhile arrives when the line is mended, as packets that are
    /// sent again do.
    Hole,
    /// Requests arrive, and no answer comes back until the line is mended.
    AnswersLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    to: Option<SocketAddr>,
    cut: Option<Cut>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Line {
    /// On a free port; where it leads to is said later, or now.
    pub(crate) async fn new(to: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let state = watch::Sender::new(State { to, cut: None });
        let seen = state.subscribe();
        let accepting = tokio::spawn(async move {
            loop {
                if let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(carry(near, seen.clone()));
                }
            }
        });
        Self { address, state, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where new connections go; `None`: they are closed.
    pub(crate) fn lead_to(&self, to: Option<SocketAddr>) {
        self.state.send_modify(|state| state.to = to);
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.state.send_modify(|state| state.cut = Some(cut));
    }

    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.cut = None);
    }
}

/// Waits while the line is cut in one of these ways.
async fn passes(state: &mut watch::Receiver<State>, stops: &[Cut]) {
    // The sender is gone with the test.
    let _ = state.wait_for(|state| state.cut.is_none_or(|cut| !stops.contains(&cut))).await;
}

async fn carry(near: TcpStream, state: watch::Receiver<State>) {
    let mut broken = state.clone();
    let mut waiting = state.clone();
    let carried = async {
        passes(&mut waiting, &[Cut::Hole]).await;
        let Some(to) = waiting.borrow().to else { return };
        let Ok(far) = TcpStream::connect(to).await else { return };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::select! {
            () = pipe(near_in, far_out, state.clone(), &[Cut::Hole]) => {}
            () = pipe(far_in, near_out, state, &[Cut::Hole, Cut::AnswersLost]) => {}
        }
    };
    tokio::select! {
        _ = broken.wait_for(|state| state.cut == Some(Cut::Refused)) => {}
        () = carried => {}
    }
}

async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>, stops: &[Cut]) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        passes(&mut state, stops).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
