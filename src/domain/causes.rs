//! What an error says of itself and of its causes, for people.
//!
//! Invariant: one line's worth of text; what a cause repeats of the error above it stands there once. It cuts nothing off and
//! hides nothing: limits and secrets are its callers' affair.

use std::{error::Error, iter::successors};

/// The error and all that caused it, outermost first, parted by colons. Many errors' own text tells the outermost alone.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()) {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
    }
    text
}

/// What lies at the bottom of the error. For errors whose own text repeats the URL and hides the reason, as reqwest's do.
pub fn deepest(error: &dyn Error) -> String {
    successors(error.source(), |&cause| cause.source()).last().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Over {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn causes_are_told_once_and_the_deepest_alone() {
        let refused = || io::Error::other("connection refused");
        let over = Over { text: "the topic was not reached", source: refused() };
        assert_eq!(chain(&over), "the topic was not reached: connection refused");
        assert_eq!(deepest(&over), "connection refused");
        let repeats = Over { text: "no answer: connection refused", source: refused() };
        assert_eq!(chain(&repeats), "no answer: connection refused");
        assert_eq!((chain(&refused()), deepest(&refused())), (refused().to_string(), refused().to_string()));
    }
}
