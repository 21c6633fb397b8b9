//! [`Databases`] over real PostgreSQL connections: the state of a server, a write that is tried, the sessions of others.
//!
//! Invariant: a refusal is the server's own word that it takes no writes (SQLSTATE 25006, after the session has asked to
//! write); everything else that is no success is unknown. Nothing that is tried is kept: it is rolled back, and where the
//! answer is lost the connection is dropped, by which the server rolls it back.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use super::{PostgresHeartbeats, Session, explain, is_rolled_back, rows, statement, within};
use crate::{
    domain::{
        cloud::Outcome,
        database::{ServerState, Sessions, WriteAnswer},
        heartbeat::DatabaseEndpoint,
    },
    ports::{Databases, heartbeat::LookError},
};

impl PostgresHeartbeats {
    /// The answer to `text` over a new connection.
    async fn fresh(&self, at: &DatabaseEndpoint, text: &str) -> Result<Vec<SimpleQueryMessage>, LookError> {
        let shown = || format!("{} ({})", at.address, at.region);
        let no_answer = |reason: String| LookError::NoAnswer { at: shown(), reason };
        let work = async {
            let session = Session::open(at, &self.secrets, &*self.clock).await.map_err(no_answer)?;
            session.ask(text).await.map_err(|e| match is_rolled_back(&e) {
                true => LookError::Rejected { at: shown(), reason: explain(&e) },
                false => no_answer(explain(&e)),
            })
        };
        let answer = within(&*self.clock, at.timeout, work).await;
        answer.unwrap_or_else(|| Err(no_answer(format!("no answer within {:?}", at.timeout))))
    }
}

#[async_trait]
impl Databases for PostgresHeartbeats {
    async fn state(&self, at: &DatabaseEndpoint) -> Result<ServerState, LookError> {
        let rows = rows(self.fresh(at, statement::STATE).await?);
        let state = rows.first().and_then(|row| statement::state(&|i| row.try_get(i).ok()?.map(str::to_owned)));
        state.ok_or_else(|| LookError::Rejected {
            at: format!("{} ({})", at.address, at.region),
            reason: "it does not say whether it is in recovery".to_owned(),
        })
    }

    async fn try_write(&self, at: &DatabaseEndpoint) -> WriteAnswer {
        let work = async {
            let session = match Session::open(at, &self.secrets, &*self.clock).await {
                Ok(session) => session,
                Err(reason) => return WriteAnswer::Unknown { reason },
            };
            // A default of read-only is nobody's fence: whoever likes writes all the same.
            if let Err(e) = session.ask(statement::INSIST_ON_WRITING).await {
                return WriteAnswer::Unknown { reason: explain(&e) };
            }
            match session.ask(&statement::tried_write(self.clock.wall())).await {
                Ok(_rolled_back) => WriteAnswer::Taken,
                Err(e) if is_rolled_back(&e) && e.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                    WriteAnswer::Refused { reason: explain(&e) }
                }
                Err(e) => WriteAnswer::Unknown { reason: explain(&e) },
            }
        };
        within(&*self.clock, at.timeout, work)
            .await
            .unwrap_or_else(|| WriteAnswer::Unknown { reason: format!("no answer within {:?}", at.timeout) })
    }

    async fn sessions(&self, at: &DatabaseEndpoint) -> Result<Sessions, LookError> {
        let rows = rows(self.fresh(at, &statement::sessions()).await?);
        let mut sessions = Sessions::default();
        for row in &rows {
            let column = |i: usize| row.try_get(i).ok().flatten().map(str::to_owned);
            let (Some(role), Some(count)) = (column(0), column(1).and_then(|n| n.parse::<u64>().ok())) else {
                return Err(LookError::Rejected {
                    at: format!("{} ({})", at.address, at.region),
                    reason: "it does not say who is connected".to_owned(),
                });
            };
            sessions.count += count;
            sessions.roles.push(role);
        }
        Ok(sessions)
    }

    async fn end_sessions(&self, at: &DatabaseEndpoint) -> Outcome {
        let is_sent = AtomicBool::new(false);
        let work = async {
            let session = match Session::open(at, &self.secrets, &*self.clock).await {
                Ok(session) => session,
                Err(reason) => return Outcome::NotSent { reason },
            };
            is_sent.store(true, Ordering::Relaxed);
            match session.ask(&statement::end_sessions()).await {
                Ok(_) => Outcome::Accepted { request_id: None, handle: None },
                // Some may have ended before the one that may not be: the server says which it refuses.
                Err(e) if is_rolled_back(&e) => Outcome::Rejected {
                    code: e.code().map_or_else(|| "ERROR".to_owned(), |code| code.code().to_owned()),
                    message: explain(&e),
                    request_id: None,
                },
                Err(e) => Outcome::Unknown { reason: explain(&e) },
            }
        };
        within(&*self.clock, at.timeout, work).await.unwrap_or_else(|| {
            let within = format!("within {:?}", at.timeout);
            match is_sent.load(Ordering::Relaxed) {
                true => Outcome::Unknown { reason: format!("no answer {within}") },
                false => Outcome::NotSent { reason: format!("no connection {within}") },
            }
        })
    }
}
