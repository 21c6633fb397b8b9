//! Below the status of applications: where AWS was not seen to refuse old signatures.

use super::render::{status as of_applications, wrapped};
use crate::http::condition::{ApplicationsView, SignatureView};

/// The status of all applications, and what is to be known of the replica that was asked.
pub(super) fn status(view: &ApplicationsView) -> String {
    let mut out = of_applications(&view.applications);
    for signature in &view.signatures {
        out.push_str(&line(signature));
    }
    out
}

fn line(of: &SignatureView) -> String {
    let because = of.detail.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let text = format!(
        "{}: {}{because}; a call without an answer is waited out for {} s before one that leads elsewhere",
        of.service, of.state, of.lands_within_seconds
    );
    wrapped("signatures  ", &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_verified_is_said_with_its_wait() {
        let of = SignatureView {
            service: "rds".to_owned(),
            state: "unverified".to_owned(),
            detail: None,
            lands_within_seconds: 1_800.0,
        };
        let text = status(&ApplicationsView { applications: Vec::new(), signatures: vec![of] });
        assert!(text.contains("rds: unverified") && text.contains("1800 s"), "{text}");
    }
}
