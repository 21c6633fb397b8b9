//! What `strace -f -y` saw a store do: writes to its log, syncs of it, and acknowledgements.
//!
//! A call counts when it has returned: `<unfinished ...>` says that it began, `resumed` that it is over.

use std::collections::BTreeMap;

/// A call that has returned without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Something was written to the log.
    Wrote,
    /// The log is on the disk.
    Synced,
    /// Somebody was told.
    Acknowledged,
}

/// The calls of a trace that matter, in the order in which they returned; acknowledgements where they began.
pub(super) fn read(trace: &str) -> Vec<Call> {
    let mut under_way: BTreeMap<&str, Option<Call>> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<...") {
            let call = under_way.remove(process).flatten().filter(|c| *c != Call::Acknowledged);
            calls.extend(call.filter(|_| returned_well(rest)));
            continue;
        }
        let call = call(rest);
        if rest.ends_with("<unfinished ...>") {
            under_way.insert(process, call);
            // Told as soon as it is being told.
            calls.extend(call.filter(|c| *c == Call::Acknowledged));
        } else if returned_well(rest) {
            calls.extend(call);
        }
    }
    calls
}

fn call(line: &str) -> Option<Call> {
    let (name, arguments) = line.split_once('(')?;
    // `5</tmp/x/journal.sqlite-wal>, …`
    let file = arguments.split_once('<')?.1.split_once('>')?.0;
    match name {
        "pwrite64" | "write" if file.ends_with("/journal.sqlite-wal") => Some(Call::Wrote),
        "fdatasync" | "fsync" if file.ends_with("/journal.sqlite-wal") => Some(Call::Synced),
        "write" if file.ends_with("/acknowledged") => Some(Call::Acknowledged),
        _ => None,
    }
}

fn returned_well(line: &str) -> bool {
    line.rsplit_once("= ").is_some_and(|(_, value)| !value.starts_with('-') && !value.starts_with('?'))
}

/// How many acknowledgements there were, and syncs; the error is the first that came too early.
pub(super) fn judge(calls: &[Call]) -> Result<(usize, usize), String> {
    let (mut acknowledged, mut syncs) = (0, 0);
    let (mut written, mut durable) = (false, false);
    for call in calls {
        match call {
            Call::Wrote => (written, durable) = (true, false),
            Call::Synced => {
                syncs += 1;
                durable = written;
            }
            Call::Acknowledged if written && durable => {
                acknowledged += 1;
                (written, durable) = (false, false);
            }
            Call::Acknowledged => {
                return Err(format!("acknowledgement {} came before its sync (written: {written})", acknowledged + 1));
            }
        }
    }
    Ok((acknowledged, syncs))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
10 pwrite64(5</t/journal.sqlite-wal>, \"x\", 24, 0) = 24
10 fdatasync(5</t/journal.sqlite-wal> <unfinished ...>
11 write(9</t/other>, \"x\", 1) = 1
10 <... fdatasync resumed>) = 0
11 write(9</t/acknowledged>, \"acknowledged\\n\", 13) = 13
";

    #[test]
    fn an_acknowledgement_counts_after_its_sync_has_returned() {
        assert_eq!(judge(&read(TRACE)), Ok((1, 1)));
    }

    #[test]
    fn one_that_is_not_synced_or_not_yet_or_in_vain_is_seen() {
        let without: String = TRACE.lines().filter(|l| !l.contains("fdatasync")).map(|l| format!("{l}\n")).collect();
        let lines: Vec<_> = TRACE.lines().collect();
        let early = [lines[0], lines[1], lines[4], lines[3]].join("\n");
        let failed = TRACE.replace("resumed>) = 0", "resumed>) = -1 EIO (Input/output error)");
        for trace in [without, early, failed] {
            assert!(judge(&read(&trace)).is_err(), "{trace}");
        }
    }
}
