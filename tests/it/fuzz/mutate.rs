//! Real files, mutated: a few changes each, drawn from a seed, so that most of a file still makes sense and the
//! readers get beyond its first line.

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use rand_chacha::{
    ChaCha12Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use super::{timed, words};

/// No input is longer; readers' own limits lie on both sides of it.
const BYTES_MAX: usize = 200_000;

/// Words that mean something in a language, and such as readers trip over.
pub(super) type Words = &'static [&'static str];

pub(super) const YAML: Words = &[
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!!str ",
    "|\n",
    ">-\n  ",
    "? ",
    "- ",
    "---\n",
    "...\n",
    "{",
    "}",
    "[",
    "]",
    "~",
    "null",
    "true",
    ".nan",
    ".inf",
    "0x10",
    "1e999",
    "\"\\u0000\"",
    "\t",
    "#",
    "'",
    "\"",
    ": ",
    "24h",
    "0s",
    "-1s",
    "99999999999999999999h",
    "us-east-1",
    "primary",
    "needs: [",
    "when: \"",
    "steps:\n",
    "timeout: 1ns",
];
pub(super) const TOML: Words = &[
    "[",
    "]",
    "[[",
    "]]",
    "[applications]",
    "[[applications]]",
    "= ",
    "\"\"\"",
    "'''",
    "{ ",
    " }",
    "\"",
    "'",
    "nan",
    "-inf",
    "1979-05-27T07:32:00Z",
    "0xffffffffffffffff",
    "9223372036854775808",
    "1e400",
    "true",
    "a.b.c = 1\n",
    "\\u0000",
    "\"24h\"",
    "\"0s\"",
    "arn:aws:rds:",
    "#",
    "ttl = \"60s\"\n",
    "regions = []\n",
];
pub(super) const JSON: Words = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "\"",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "0.1",
    "\"event\":",
    "\"seq\":0",
    "\"schema_version\":2",
    "\"epoch\":0",
    "\"1970-01-01T00:00:00Z\"",
    "\"run_finished\"",
    "\"dry_run\":true,",
    "\"accept_data_loss_seconds\":-1,",
    "\"mode\":\"failover\",",
];
pub(super) const CEL: Words = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "==",
    "<",
    " in ",
    ".",
    "steps",
    "steps.gate.state",
    "target",
    "accepted_loss_seconds",
    "size(",
    "string(",
    "int(",
    "double(",
    "1/0",
    "0u",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "b'",
    "r\"",
    "'",
    "\"",
    "null",
    "has(",
    ".map(x, x)",
    ".all(x, true)",
    "%",
    "timestamp(",
    "duration(",
];
pub(super) const ANSWERS: Words = &[
    "<",
    ">",
    "</",
    "/>",
    "<![CDATA[",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "&b;",
    "&#0;",
    "&#x110000;",
    "<?xml version=\"1.1\"?>",
    "{",
    "}",
    "null",
    "NaN",
    "Infinity",
    "1e999",
    "-1",
    "99999999999999999999",
    "\u{feff}",
    "available",
    "PENDING",
    "INSYNC",
    "On",
    "Off",
    "<member>",
    "<Error><Code>Throttling</Code></Error>",
    "\"__type\":\"ThrottlingException\"",
];

/// One input.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Which seed it was made of.
    pub(super) seed: usize,
    pub(super) bytes: Vec<u8>,
}

/// One target: its seeds, its words, and how often it is run.
pub(super) struct Fuzz {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Words,
    iterations: u64,
    first: u64,
    until: Option<Instant>,
}

impl Fuzz {
    /// `iterations` is for a normal run; `FAILOVERD_FUZZ_SECONDS` sets a time instead, and `FAILOVERD_FUZZ_SEED` the
    /// number of the first iteration.
    pub(super) fn of(name: &'static str, seeds: Vec<Vec<u8>>, words: Words, iterations: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{name}: {e}")));
        let until = number("FAILOVERD_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
        Self { name, seeds, words, iterations, first: number("FAILOVERD_FUZZ_SEED").unwrap_or(0), until }
    }

    /// The numbers of the iterations.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, iterations, until) = (self.first, self.iterations, self.until);
        (first..).take_while(move |n| match until {
            Some(until) => Instant::now() < until,
            None => n - first < iterations,
        })
    }

    /// The input of iteration `n`: every seed as it is at first, then mutated ones.
    pub(super) fn case(&self, n: u64) -> Case {
        let count = self.seeds.len();
        match usize::try_from(n) {
            Ok(seed) if seed < count => Case { seed, bytes: self.seeds[seed].clone() },
            _ => {
                let mut rng = ChaCha12Rng::seed_from_u64(n);
                let seed = below(&mut rng, count);
                Case { seed, bytes: mutated(&mut rng, &self.seeds[seed], &self.seeds, self.words) }
            }
        }
    }

    /// Runs `target`, which says whether it accepted its input. It must accept some, and refuse some.
    #[expect(clippy::print_stdout, reason = "what a long run is read for")]
    pub(super) fn run(&self, target: impl Fn(&Case) -> bool) {
        let (mut accepted, mut refused) = (0, 0);
        // What hangs, overflows a stack or is killed leaves its input there.
        let last = format!("{}/fuzz-{}", env!("CARGO_TARGET_TMPDIR"), self.name);
        let mut file = File::create(&last).expect("a file");
        for n in self.numbers() {
            let case = self.case(n);
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&case.bytes)).expect("kept");
            match catch_unwind(AssertUnwindSafe(|| timed(|| target(&case)))) {
                Ok(true) => accepted += 1,
                Ok(false) => refused += 1,
                Err(panic) => panic!(
                    "{}: iteration {n} (its input is in {last}): {}\n{:?}",
                    self.name,
                    words(&*panic),
                    String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(3_000)])
                ),
            }
        }
        let _ = fs::remove_file(last);
        println!("{}: {accepted} accepted, {refused} refused", self.name);
        assert!(accepted > 0 && refused > 0, "{}: {accepted} accepted, {refused} refused", self.name);
    }
}

/// A number below `limit`, which is not 0.
pub(super) fn below(rng: &mut ChaCha12Rng, limit: usize) -> usize {
    usize::try_from(rng.next_u64() % limit as u64).expect("below a usize")
}

/// `seed` with one to four changes; now and then nothing but rubbish.
pub(super) fn mutated(rng: &mut ChaCha12Rng, seed: &[u8], others: &[Vec<u8>], words: Words) -> Vec<u8> {
    if below(rng, 50) == 0 {
        let mut rubbish = vec![0; below(rng, 400)];
        rng.fill_bytes(&mut rubbish);
        return rubbish;
    }
    let mut bytes = seed.to_vec();
    for _ in 0..=below(rng, 4) {
        change(rng, &mut bytes, others, words);
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

/// A place in `bytes`, their end included, and one at or after it, mostly near.
fn range(rng: &mut ChaCha12Rng, bytes: &[u8]) -> (usize, usize) {
    let from = below(rng, bytes.len() + 1);
    let most = if below(rng, 4) == 0 { bytes.len() } else { 24 };
    (from, (from + below(rng, most + 1)).min(bytes.len()))
}

/// The line that `at` stands in, its end included.
fn line(bytes: &[u8], at: usize) -> (usize, usize) {
    let from = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let to = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n + 1);
    (from, to)
}

fn change(rng: &mut ChaCha12Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>], words: Words) {
    let (from, to) = range(rng, bytes);
    match below(rng, 12) {
        0 if from < bytes.len() => bytes[from] ^= 1 << below(rng, 8),
        1 if from < bytes.len() => bytes[from] = u8::try_from(below(rng, 256)).expect("a byte"),
        2 => {
            let mut rubbish = vec![0; below(rng, 8)];
            rng.fill_bytes(&mut rubbish);
            bytes.splice(from..from, rubbish);
        }
        3 => drop(bytes.drain(from..to)),
        4 => bytes.truncate(from),
        5 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(from..from, part);
        }
        6 => {
            let word = words[below(rng, words.len())];
            bytes.splice(from..to, word.bytes());
        }
        // Deep, or long.
        7 => {
            let word = words[below(rng, words.len())];
            let times = 1 << below(rng, 11);
            bytes.splice(from..from, word.repeat(times).into_bytes());
        }
        // A piece of another file.
        8 => {
            let other = &others[below(rng, others.len())];
            let (start, end) = range(rng, other);
            bytes.splice(from..to, other[start..end].iter().copied());
        }
        // A line is missing, or there twice, or elsewhere.
        9 | 10 => {
            let (start, end) = line(bytes, from);
            let moved: Vec<_> = bytes.drain(start..end).collect();
            for _ in 0..below(rng, 3) {
                let at = below(rng, bytes.len() + 1);
                let at = line(bytes, at).0;
                bytes.splice(at..at, moved.iter().copied());
            }
        }
        // Another number.
        _ => {
            let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|n| from + n) else { return };
            let end = bytes[start..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| start + n);
            let numbers =
                ["0", "1", "-1", "255", "256", "65536", "4294967296", "9223372036854775807", "1e400", "0.5", "00"];
            bytes.splice(start..end, numbers[below(rng, numbers.len())].bytes());
        }
    }
}
