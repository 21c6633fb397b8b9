//! A server on loopback that answers every request with a canned answer, or ill: hangs, hangs up, talks rubbish.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does with a request that it has read whole.
#[derive(Debug, Clone)]
pub(in super::super) enum Answer {
    Http {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    /// Keeps the connection open and says nothing.
    Hang,
    /// Closes the connection.
    HangUp,
    /// Promises more than it sends, then closes.
    BreakOff,
}

pub(in super::super) fn xml(status: u16, body: &str) -> Answer {
    Answer::Http { status, content_type: "text/xml", body: body.to_owned() }
}

pub(super) fn json(status: u16, body: &str) -> Answer {
    Answer::Http { status, content_type: "application/x-amz-json-1.0", body: body.to_owned() }
}

/// An error as the Query services (and Route 53) tell it.
pub(super) fn fault(status: u16, code: &str) -> Answer {
    xml(
        status,
        &format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>\
             <RequestId>req-1</RequestId></ErrorResponse>"
        ),
    )
}

/// A running server; it ends with the runtime of the test.
pub(in super::super) struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
    sound: Arc<AtomicBool>,
}

impl Server {
    /// Answers the requests in order; the last answer is repeated.
    pub(in super::super) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let sound = Arc::new(AtomicBool::new(true));
        let (seen, fine) = (Arc::clone(&requests), Arc::clone(&sound));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, seen, fine) = (answers.clone(), Arc::clone(&seen), Arc::clone(&fine));
                tokio::spawn(async move {
                    if serve(stream, &answers, &seen).await.is_none() {
                        fine.store(false, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { url, requests, sound }
    }

    /// The requests read whole so far: head and body.
    pub(in super::super) fn requests(&self) -> Vec<String> {
        assert!(self.sound.load(Ordering::SeqCst), "a request broke off");
        self.requests.lock().expect("not poisoned").clone()
    }
}

async fn serve(mut stream: TcpStream, answers: &[Answer], seen: &Mutex<Vec<String>>) -> Option<()> {
    let request = read(&mut stream).await?;
    let answer = {
        let mut seen = seen.lock().expect("not poisoned");
        seen.push(request);
        answers[(seen.len() - 1).min(answers.len() - 1)].clone()
    };
    match answer {
        Answer::Http { status, content_type, body } => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nx-amzn-requestid: req-1\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            // The client may have had enough before the end of it.
            stream.write_all(body.as_bytes()).await.ok();
        }
        Answer::Hang => std::future::pending().await,
        Answer::HangUp => {}
        Answer::BreakOff => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: 999\r\n\r\n<Part";
            stream.write_all(head).await.ok()?;
        }
    }
    stream.shutdown().await.ok();
    Some(())
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
