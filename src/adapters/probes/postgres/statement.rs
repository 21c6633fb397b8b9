//! The statements, as text for PostgreSQL's simple protocol: all statements of one text are one transaction, in one
//! round trip, and its end is told after the commit.
//!
//! Invariant: only numbers, time stamps and names of the form `[a-z0-9-]` are put into a text, so nothing can be
//! quoted out of it.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{
    database::ServerState,
    heartbeat::{Beat, ROWS_KEPT, Row, Shown},
    id::BeaterId,
};

/// What `EXTRACT` makes of a stamp: microseconds, which is all that PostgreSQL keeps.
const STAMP: &str = "(EXTRACT(epoch FROM written_at) * 1000000)::bigint";

/// For every new connection. Aurora can forward a secondary's writes to the writer: not those of this session. Where
/// there is no such thing, PostgreSQL takes the name for a setting of somebody else's, and keeps it.
pub(super) fn session(timeout: Duration) -> String {
    let ms = timeout.as_millis().max(1);
    format!(
        "SET apg_write_forward.consistency_mode = 'off'; SET statement_timeout = {ms}; SET lock_timeout = {ms}; \
         SET idle_in_transaction_session_timeout = {ms}"
    )
}

/// Writes a beat and removes what is too old. A server in recovery makes the transaction read-only itself, and so
/// refuses to write or to forward what follows; the beat is then refused with 25006, as by any read-only server.
pub(super) fn beat(beat: &Beat) -> String {
    let Beat { beater, number, sent_at } = beat;
    let mut text =
        "SELECT pg_catalog.set_config('transaction_read_only', 'on', true) WHERE pg_catalog.pg_is_in_recovery();"
            .to_owned();
    if let Some(last) = number.checked_sub(ROWS_KEPT) {
        text += &format!("DELETE FROM failoverd.heartbeat WHERE beater = '{beater}' AND number <= {last};");
    }
    text += &format!(
        "DELETE FROM failoverd.heartbeat \
         WHERE beater <> '{beater}' AND written_at < '{sent_at}'::timestamptz - interval '{ROWS_KEPT} seconds';\
         INSERT INTO failoverd.heartbeat (beater, number, written_at) VALUES ('{beater}', {number}, '{sent_at}')"
    );
    text
}

/// One row: whether the server is in recovery; number and stamp of the beater's newest; who, number and stamp of
/// anybody's newest.
pub(super) fn last_beat(beater: &BeaterId) -> String {
    format!(
        "SELECT pg_catalog.pg_is_in_recovery(), mine.number, mine.stamp, newest.beater, newest.number, newest.stamp \
         FROM (SELECT 1) AS one \
         LEFT JOIN (SELECT number, {STAMP} AS stamp FROM failoverd.heartbeat \
             WHERE beater = '{beater}' ORDER BY number DESC LIMIT 1) AS mine ON true \
         LEFT JOIN (SELECT beater, number, {STAMP} AS stamp FROM failoverd.heartbeat \
             ORDER BY written_at DESC LIMIT 1) AS newest ON true"
    )
}

/// The numbers that are there. Twice the rows kept is more than there can be.
pub(super) fn beats_held(beater: &BeaterId, from: u64) -> String {
    let from = from.min(i64::MAX.unsigned_abs());
    let limit = 2 * ROWS_KEPT;
    format!(
        "SELECT number FROM failoverd.heartbeat WHERE beater = '{beater}' AND {from} <= number ORDER BY number LIMIT {limit}"
    )
}

/// Whether the server takes writes, in one row.
pub(super) const STATE: &str =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";

/// Before a write is tried, in a transaction of its own: a session may overrule a default of read-only, a server in
/// recovery it may not.
pub(super) const INSIST_ON_WRITING: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE";

/// A write that is rolled back: it fails where the server takes none. As a beat, it is never forwarded by a secondary.
pub(super) fn tried_write(now: Timestamp) -> String {
    format!(
        "BEGIN;\
         SELECT pg_catalog.set_config('transaction_read_only', 'on', true) WHERE pg_catalog.pg_is_in_recovery();\
         INSERT INTO failoverd.heartbeat (beater, number, written_at) VALUES ('fence', {}, '{now}');\
         ROLLBACK",
        i64::MAX
    )
}

/// Clients' sessions but the heartbeat's own. Superusers' are not among them, and neither are those that replicate.
/// Without pg_read_all_stats a session's kind is not shown; it is then taken for a client's.
const OTHERS: &str = "FROM pg_catalog.pg_stat_activity AS a JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid \
     WHERE a.pid <> pg_catalog.pg_backend_pid() AND r.rolname <> current_user AND NOT r.rolsuper \
     AND NOT r.rolreplication AND coalesce(a.backend_type, 'client backend') = 'client backend'";

/// By role.
pub(super) fn sessions() -> String {
    format!("SELECT r.rolname, count(*) {OTHERS} GROUP BY r.rolname ORDER BY r.rolname")
}

pub(super) fn end_sessions() -> String {
    format!("SELECT count(pg_catalog.pg_terminate_backend(a.pid)) {OTHERS}")
}

/// What [`STATE`] answers; `None` where it is not what was asked for.
pub(super) fn state(column: &dyn Fn(usize) -> Option<String>) -> Option<ServerState> {
    let (recovery, read_only) = (column(0)?, column(1)?);
    Some(ServerState {
        in_recovery: match recovery.as_str() {
            "t" => true,
            "f" => false,
            _ => return None,
        },
        read_only: match read_only.as_str() {
            "on" => true,
            "off" => false,
            _ => return None,
        },
    })
}

/// What [`last_beat`] answers, column by column; `None` where it is not what was asked for.
pub(super) fn shown(column: &dyn Fn(usize) -> Option<String>, beater: &BeaterId) -> Option<Shown> {
    let row = |beater: BeaterId, at: usize| {
        let written_at = Timestamp::from_microsecond(column(at + 1)?.parse().ok()?).ok()?;
        Some(Row { beater, number: column(at)?.parse().ok()?, written_at })
    };
    let optional = |beater: Option<BeaterId>, at: usize| match column(at) {
        Some(_) => row(beater?, at).map(Some),
        None => Some(None),
    };
    let in_recovery = match column(0)?.as_str() {
        "t" => true,
        "f" => false,
        _ => return None,
    };
    let other = column(3).and_then(|b| b.parse().ok());
    Some(Shown { newest: optional(Some(beater.clone()), 1)?, newest_of_any: optional(other, 4)?, in_recovery })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beater() -> BeaterId {
        "a-1".parse().expect("valid")
    }

    #[test]
    fn a_beat_guards_itself_first_and_removes_only_what_is_old() {
        let sent_at: Timestamp = "2026-11-21T12:00:00.123456Z".parse().expect("valid");
        let text = |number| beat(&Beat { beater: beater(), number, sent_at });
        assert!(text(1).starts_with("SELECT pg_catalog.set_config('transaction_read_only', 'on', true) WHERE"));
        assert!(!text(ROWS_KEPT - 1).contains("beater = 'a-1' AND number"), "nothing of ours is old yet");
        assert!(text(ROWS_KEPT + 7).contains("beater = 'a-1' AND number <= 7;"));
        assert!(text(1).ends_with("VALUES ('a-1', 1, '2026-11-21T12:00:00.123456Z')"), "{}", text(1));
    }

    #[test]
    fn what_a_database_shows_is_read_or_is_no_answer() {
        let read =
            |columns: [Option<&str>; 6]| shown(&|i| columns.get(i).copied().flatten().map(str::to_owned), &beater());
        let none = read([Some("t"), None, None, None, None, None]).expect("an empty table is an answer");
        assert_eq!(none, Shown { newest: None, newest_of_any: None, in_recovery: true });
        let both = read([Some("f"), Some("7"), Some("1000001"), Some("b"), Some("9"), Some("2000000")]).expect("read");
        let row = both.newest.expect("ours");
        assert_eq!((row.number, row.written_at.as_microsecond(), both.in_recovery), (7, 1_000_001, false));
        assert_eq!(both.newest_of_any.expect("another's").beater.as_str(), "b");
        for broken in [
            [None, None, None, None, None, None],
            [Some("maybe"), None, None, None, None, None],
            [Some("t"), Some("x"), Some("1"), None, None, None],
            [Some("t"), Some("1"), None, None, None, None],
            [Some("t"), None, None, None, Some("1"), Some("1")],
        ] {
            assert_eq!(read(broken), None, "{broken:?}");
        }
    }
}
