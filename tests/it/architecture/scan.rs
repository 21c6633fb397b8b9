//! Reads Rust source far enough to say which paths it names.
//!
//! A lexer (comments, strings and lifetimes told apart) and a reader of use trees; it knows nothing of types,
//! and deliberately does not expand macros: a path hidden in another crate's macro is not seen.

/// What the source is made of, as far as paths need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Ident(String),
    /// The contents of a string literal, escapes left as written.
    Str(String),
    /// `::`
    Sep,
    Sym(char),
}

/// A path that the source names, with `self`, `super` and `crate` resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Whether it starts at this crate's root; otherwise the first segment is another crate (or a local name).
    pub(super) ours: bool,
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// Inside an item under `#[cfg(test)]`.
    pub(super) in_test: bool,
}

/// Splits `source` into tokens, each with its line.
pub(super) fn lex(source: &str) -> Vec<(Token, usize)> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while let Some(c) = lexer.peek(0) {
        lexer.one(c);
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<(Token, usize)>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn one(&mut self, c: char) {
        match (c, self.peek(1)) {
            ('/', Some('/')) => while self.bump().is_some_and(|c| c != '\n') {},
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => {
                self.out.push((Token::Sep, self.line));
                self.at += 2;
            }
            _ if c.is_alphanumeric() || c == '_' => self.word(),
            _ => {
                if !c.is_whitespace() {
                    self.out.push((Token::Sym(c), self.line));
                }
                self.bump();
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.at += 2;
                }
                (None, _) => return,
                _ => {
                    self.bump();
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.bump();
        while let Some(c) = self.bump() {
            match c {
                '"' => break,
                '\\' => {
                    text.push(c);
                    text.extend(self.bump());
                }
                _ => text.push(c),
            }
        }
        self.out.push((Token::Str(text), line));
    }

    /// `#`s, then a string that only `"` and as many `#`s end.
    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        let mut text = String::new();
        self.at += hashes + 1;
        while let Some(c) = self.bump() {
            if c == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                self.at += hashes;
                break;
            }
            text.push(c);
        }
        self.out.push((Token::Str(text), line));
    }

    /// A character literal, which is dropped, or the tick of a lifetime, whose name would otherwise be a word.
    fn quote(&mut self) {
        self.bump();
        if self.peek(0) == Some('\\') {
            self.at += 2;
            while self.bump().is_some_and(|c| c != '\'') {}
        } else if self.peek(1) == Some('\'') {
            self.bump();
            self.bump();
        } else {
            while self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '_') {
                self.bump();
            }
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(c) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
            text.push(c);
            self.bump();
        }
        let hashes = (0..).take_while(|n| self.peek(*n) == Some('#')).count();
        let raw = matches!(text.as_str(), "r" | "br" | "cr");
        match self.peek(hashes) {
            Some('"') if raw => self.raw_string(hashes),
            Some('"') if hashes == 0 && matches!(text.as_str(), "b" | "c") => self.string(),
            Some(_) if raw && hashes == 1 => {
                self.bump(); // r#name: the name follows as a word of its own.
            }
            _ => self.out.push((Token::Ident(text), line)),
        }
    }
}

/// Every path that `source`, the file of module `module`, names.
pub(super) fn paths(module: &[&str], source: &str) -> Vec<Named> {
    let tokens = lex(source);
    let mut walk = Walk { tokens: &tokens, module, scopes: Vec::new(), pending_test: false, out: Vec::new() };
    let mut at = 0;
    while at < tokens.len() {
        at = walk.step(at);
    }
    walk.out
}

/// What a `{` opened.
struct Scope {
    inline_module: Option<String>,
    test: bool,
}

struct Walk<'a> {
    tokens: &'a [(Token, usize)],
    module: &'a [&'a str],
    scopes: Vec<Scope>,
    /// `#[cfg(test)]` was read and its item has not opened yet.
    pending_test: bool,
    out: Vec<Named>,
}

impl Walk<'_> {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        matches!(self.token(at), Some(Token::Ident(w)) if w == word)
    }

    fn is_sym(&self, at: usize, sym: char) -> bool {
        self.token(at) == Some(&Token::Sym(sym))
    }

    /// Handles what is at `at`; answers where to go on.
    fn step(&mut self, at: usize) -> usize {
        match &self.tokens[at].0 {
            Token::Sym('{') => {
                let inline_module = match at.checked_sub(2) {
                    Some(before) if self.is_word(before, "mod") => match self.token(at - 1) {
                        Some(Token::Ident(name)) => Some(name.clone()),
                        _ => None,
                    },
                    _ => None,
                };
                let test = std::mem::take(&mut self.pending_test) || self.in_test();
                self.scopes.push(Scope { inline_module, test });
            }
            Token::Sym('}') => {
                self.scopes.pop();
            }
            Token::Sym(';') => self.pending_test = false,
            Token::Sym('#') if self.is_cfg_test(at) => {
                self.pending_test = true;
                return at + 7;
            }
            Token::Str(text) if text.starts_with("crate::") || text.starts_with("super::") => {
                // `#[serde(with = "crate::…")]` names a path too.
                self.record(text.split("::").map(str::to_owned).collect(), at);
            }
            Token::Ident(word) if word == "use" && !self.is_sym(at + 1, '<') => {
                let start = at + 1 + usize::from(self.token(at + 1) == Some(&Token::Sep));
                return self.tree(start, Vec::new());
            }
            Token::Ident(_) if self.starts_a_path(at) => return self.tree(at, Vec::new()),
            _ => {}
        }
        at + 1
    }

    fn in_test(&self) -> bool {
        self.scopes.last().is_some_and(|scope| scope.test)
    }

    fn is_cfg_test(&self, at: usize) -> bool {
        self.is_sym(at + 1, '[')
            && self.is_word(at + 2, "cfg")
            && self.is_sym(at + 3, '(')
            && self.is_word(at + 4, "test")
            && self.is_sym(at + 5, ')')
            && self.is_sym(at + 6, ']')
    }

    fn starts_a_path(&self, at: usize) -> bool {
        let follows_sep = at > 0 && self.token(at - 1) == Some(&Token::Sep);
        // `pub(in crate::x)` narrows; it names nothing.
        let narrows = at > 2 && self.is_word(at - 1, "in") && self.is_sym(at - 2, '(') && self.is_word(at - 3, "pub");
        self.token(at + 1) == Some(&Token::Sep) && !follows_sep && !narrows
    }

    /// Reads a use tree (or a plain path, which is one without braces) from `at`; answers where it ends.
    fn tree(&mut self, mut at: usize, mut prefix: Vec<String>) -> usize {
        loop {
            match self.token(at) {
                Some(Token::Ident(word)) => {
                    if word != "self" || prefix.is_empty() {
                        prefix.push(word.clone());
                    }
                    at += 1;
                    if self.is_word(at, "as") {
                        at += 2;
                    }
                    if self.token(at) != Some(&Token::Sep) {
                        self.record(prefix, at - 1);
                        return at;
                    }
                    at += 1;
                }
                Some(Token::Sym('*')) => {
                    prefix.push("*".to_owned());
                    self.record(prefix, at);
                    return at + 1;
                }
                Some(Token::Sym('{')) => {
                    at += 1;
                    while at < self.tokens.len() && !self.is_sym(at, '}') {
                        let end = self.tree(at, prefix.clone());
                        at = end + usize::from(self.is_sym(end, ',') || end == at);
                    }
                    return at + 1;
                }
                _ => {
                    self.record(prefix, at.saturating_sub(1));
                    return at;
                }
            }
        }
    }

    fn record(&mut self, written: Vec<String>, at: usize) {
        let inline = self.scopes.iter().filter_map(|scope| scope.inline_module.as_deref());
        let here = self.module.iter().copied().chain(inline).map(str::to_owned);
        let mut ours = false;
        let mut segments: Vec<String> = Vec::new();
        for word in written {
            match word.as_str() {
                "crate" => ours = true,
                "self" | "super" => {
                    if !ours {
                        segments = here.clone().collect();
                        ours = true;
                    }
                    if word == "super" {
                        segments.pop();
                    }
                }
                _ => segments.push(word),
            }
        }
        let line = self.tokens.get(at).map_or(0, |(_, line)| *line);
        let in_test = self.in_test() || self.pending_test;
        self.out.push(Named { ours, segments, line, in_test });
    }
}
