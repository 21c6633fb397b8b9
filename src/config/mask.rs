//! A document as it may be shown: the same lines at the same places, without the values of keys that can hold a secret.
//!
//! Invariant: a fault is drawn in its line, and that line may be the one where somebody has written a secret instead of a
//! reference to it; so what is shown is masked before it is kept. Byte for byte as long as it was, so that every place still
//! fits. It knows no grammar, since the document may be broken: where it cannot tell where a value ends, it masks more. It
//! does not look for secrets where nothing names them.

use crate::domain::secret::SecretRef;

/// A key with one of these in its name can hold a secret; where a token's digest is due, the token itself is soon pasted.
const SECRET_WORDS: [&str; 10] =
    ["token", "secret", "key", "passw", "passphrase", "header", "auth", "credential", "cookie", "sha256"];

/// `text` with `*` for what can be secret.
pub(super) fn masked(text: &str) -> String {
    let mut mask = Mask { text, hidden: vec![false; text.len()], section: String::new() };
    let (mut from, mut below) = (0, None);
    for line in text.split_inclusive('\n') {
        let range = from..from + line.len();
        match mask.hidden[range.clone()].iter().position(|hidden| !hidden) {
            // A value goes on in all of it.
            None => {}
            Some(0) => below = mask.line(range.start, line, below),
            Some(after) => below = mask.line(range.start + after, &line[after..], None),
        }
        from = range.end;
    }
    let shown = text.char_indices().flat_map(|(at, c)| {
        let hide = mask.hidden[at] && !matches!(c, '\n' | '\r');
        std::iter::repeat_n(if hide { '*' } else { c }, if hide { c.len_utf8() } else { 1 })
    });
    shown.collect()
}

struct Mask<'a> {
    text: &'a str,
    /// Of each byte.
    hidden: Vec<bool>,
    /// The TOML table that a line is in.
    section: String,
}

impl Mask<'_> {
    /// Hides what is secret in the line at `from`; `below` is the column of a secret key whose value may go on in deeper
    /// lines. Returns the same for the next line.
    fn line(&mut self, from: usize, line: &str, below: Option<usize>) -> Option<usize> {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            self.urls(from, line, false);
            return below;
        }
        let indent = line.len() - line.trim_start().len();
        if below.is_some_and(|column| column < indent) {
            self.hide(from + indent, from + line.len());
            return below;
        }
        if content.starts_with('[') && !content.contains('=') {
            content.to_ascii_lowercase().clone_into(&mut self.section);
        }
        let is_of_secrets = ["header", "secret", "credential"].iter().any(|word| self.section.contains(word));
        let is_channel = ["channel", "slack", "hook"].iter().any(|w| self.section.contains(w) || line.contains(w));
        self.urls(from, line, is_channel);
        let mut below = None;
        let mut at = 0;
        while let Some((name, column, value)) = next_key(line, at) {
            at = value;
            let name = name.to_ascii_lowercase();
            if is_of_secrets || SECRET_WORDS.iter().any(|word| name.contains(word)) {
                below = below.or(Some(column));
                at = self.value(from, value, line.len());
            }
            if line.len() <= at {
                break;
            }
        }
        below
    }

    /// Hides the value that begins at `value` of the line at `from`, which ends at `end`; returns where it ends in the line.
    fn value(&mut self, from: usize, value: usize, end: usize) -> usize {
        let start = from + value;
        let rest = &self.text[start..];
        let line_end = from + end;
        for quote in ["\"\"\"", "'''", "\"", "'"] {
            let Some(inner) = rest.strip_prefix(quote) else { continue };
            let closed = closing(inner, quote).map(|i| quote.len() + i);
            let to_the_end = if quote.len() == 3 { rest.len() } else { line_end - start };
            let inner_end = closed.unwrap_or(to_the_end).max(quote.len());
            if rest[quote.len()..inner_end].parse::<SecretRef>().is_err() {
                self.hide(start + quote.len(), start + inner_end);
            }
            let after = start + inner_end + quote.len();
            if closed.is_none() || line_end <= after {
                return end;
            }
            let follows = self.text[after..line_end].trim_start();
            if follows.is_empty() || follows.starts_with([',', '}', ']', '#']) {
                return after - from;
            }
            // The quotes close too early: what follows may be the rest of it.
            self.hide(after, line_end);
            return end;
        }
        if rest.starts_with(['[', '{']) {
            let closes = bracketed(rest);
            self.hide(start + 1, start + closes);
            return (value + closes).min(end);
        }
        let plain = self.text[start..line_end].split(" #").next().unwrap_or_default().trim();
        let is_one_word = !plain.contains([' ', ',', '\t']);
        let is_shown =
            matches!(plain, "true" | "false" | "|" | ">" | "") || (is_one_word && plain.parse::<SecretRef>().is_ok());
        if !is_shown {
            self.hide(start, line_end);
        }
        end
    }

    /// Hides who a URL of the line says that one is and what it asks, and of a `channel` all but the host: there a path is
    /// as good as a password.
    fn urls(&mut self, from: usize, line: &str, is_channel: bool) {
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '}' | ']' | '`');
        for (at, _) in line.match_indices("://") {
            let rest = &line[at + 3..];
            let url = &rest[..rest.find(is_end).unwrap_or(rest.len())];
            let start = from + at + 3;
            let host = url.rfind('@').map_or(0, |i| i + 1);
            self.hide(start, start + host.saturating_sub(1));
            let ends: &[char] = if is_channel { &['/', '?'] } else { &['?'] };
            if let Some(i) = url[host..].find(ends) {
                self.hide(start + host + i + 1, start + url.len());
            }
        }
    }

    fn hide(&mut self, from: usize, to: usize) {
        if from < to {
            self.hidden[from..to].fill(true);
        }
    }
}

/// The next key of `line` from `at` on: its name, the column where it begins, and where its value begins.
fn next_key(line: &str, at: usize) -> Option<(&str, usize, usize)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'');
    let bytes = line.as_bytes();
    let mut from = at;
    loop {
        let sign = from + line.get(from..)?.find(['=', ':'])?;
        from = sign + 1;
        let next = bytes.get(sign + 1).copied().unwrap_or(b'\n');
        let is_quoted = sign.checked_sub(1).is_some_and(|i| matches!(bytes[i], b'"' | b'\''));
        // A colon that no space follows is of a URL, an ARN or a time.
        if bytes[sign] == b':' && !next.is_ascii_whitespace() && !is_quoted {
            continue;
        }
        let before = line.get(at..sign)?.trim_end();
        let begins =
            before.rfind(|c| !is_of_name(c)).map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let name = before[begins..].trim_matches(['"', '\'']);
        if name.is_empty() {
            continue;
        }
        let after = &line[sign + 1..];
        let value = sign + 1 + (after.len() - after.trim_start_matches([' ', '\t']).len());
        return Some((name, at + begins, value));
    }
}

/// Where `quote` closes what stands before it in `text`; one that stands for one quote closes in the same line.
fn closing(text: &str, quote: &str) -> Option<usize> {
    let mut skip = false;
    for (i, c) in text.char_indices() {
        if std::mem::take(&mut skip) {
            continue;
        }
        match c {
            '\\' if quote.starts_with('"') => skip = true,
            '\n' if quote.len() == 1 => return None,
            // Twice is one that is meant, in YAML.
            _ if quote.len() == 1 && text[i..].starts_with(quote) && text[i + 1..].starts_with(quote) => skip = true,
            _ if text[i..].starts_with(quote) => return Some(i),
            _ => {}
        }
    }
    None
}

/// How long the list or table is that `text` begins with, whatever stands in quotes; all of it where it does not end.
fn bracketed(text: &str) -> usize {
    let (mut depth, mut quote, mut skip) = (0_usize, None, false);
    for (i, c) in text.char_indices() {
        if std::mem::take(&mut skip) {
            continue;
        }
        match (quote, c) {
            (Some('"'), '\\') => skip = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            (None, _) => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2";

    #[track_caller]
    fn check(text: &str, shown: &str) {
        let masked = masked(text);
        assert_eq!(masked, shown);
        assert_eq!(masked.len(), text.len(), "every place still fits");
    }

    #[test]
    fn the_values_of_keys_that_can_hold_a_secret_are_not_shown() {
        check("routing_key = \"hunter2\"  # x\n", "routing_key = \"*******\"  # x\n");
        check("token = hunter2\n", "token = *******\n");
        check(
            "{ name = \"a\", password = 'hunter2', kind = \"b\" }",
            "{ name = \"a\", password = '*******', kind = \"b\" }",
        );
        check("password = \"hunter2\nname = \"a\"\n", "password = \"*******\nname = \"a\"\n");
        check("  password: hünter2\n  name: a\n", "  password: ********\n  name: a\n");
        check("\"x-token\": \"a\\\"b\", n: 1", "\"x-token\": \"****\", n: 1");
        check("token: 'a''b', n: 1", "token: '****', n: 1");
        check("token = \"a\"hunter2\n", "token = \"*\"*******\n");
        check(
            "{ headers = { a = \"b\" }, password = \"hunter2\" }",
            "{ headers = {*********}, password = \"*******\" }",
        );
        check("{ password: file:/x, token: hunter2 }\n", "{ password: *************************\n");
    }

    #[test]
    fn what_a_value_goes_on_in_is_not_shown_either() {
        check("headers = {\n  a = \"hunter2\"\n}\nname = \"b\"\n", "headers = {\n***************\n}\nname = \"b\"\n");
        check("secrets = [\"]\",\n\"hunter2\"]\nn = 1\n", "secrets = [****\n*********]\nn = 1\n");
        check(
            "[traces.headers]\nx = \"hunter2\"\n[store]\nx = \"b\"\n",
            "[traces.headers]\nx = \"*******\"\n[store]\nx = \"b\"\n",
        );
        check("  secret: |\n    hunter2\n\n    hunter2\n  b: c\n", "  secret: |\n    *******\n\n    *******\n  b: c\n");
        check("secret = \"\"\"\nhunter2\n\"\"\"\nn = 1\n", "secret = \"\"\"\n*******\n\"\"\"\nn = 1\n");
    }

    #[test]
    fn a_url_shows_neither_who_one_is_nor_what_is_asked_and_that_of_a_channel_its_host_only() {
        check(
            "url = \"https://ann:hunter2@a.example/p?x=hunter2\"",
            "url = \"https://***********@a.example/p?*********\"",
        );
        check("url = \"https://a.example/healthz\"", "url = \"https://a.example/healthz\"");
        check(
            "[[notify.channels]]\nurl = \"https://hooks.example/T1/hunter2\"\n",
            "[[notify.channels]]\nurl = \"https://hooks.example/**********\"\n",
        );
    }

    #[test]
    fn a_reference_and_what_is_no_secret_are_shown() {
        for text in [
            "password = \"file:/run/secrets/pg\"\n",
            "  routing_key: env:PAGERDUTY\n",
            "arn = \"arn:aws:secretsmanager:us-east-1:1:x\"\n",
            "timeout = \"90s\"\nwhen: \"purpose == 'failover'\"\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn no_secret_is_shown_of_a_document_that_is_cut_off_anywhere() {
        let text =
            "headers = { a = \"hunter2\" }\ntoken = 'hunter2'\nsecret: |\n  hunter2\npassword = [ \"hunter2\" ]\n";
        for end in 0..text.len() {
            let masked = masked(&text[..end]);
            assert_eq!(masked.len(), end);
            assert!(!masked.contains(SECRET), "{masked}");
        }
    }
}
