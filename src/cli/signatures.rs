//! Below the status of applications: where AWS was not seen to refuse old signatures.

use super::render::{status as of_applications, wrapped};
use crate::http::condition::{ApplicationsView, SignatureView};

/// The status of all applications, and what is to be known of the replica that was asked.
pub(super) fn status(view: &ApplicationsView) -> String {
    let mut out = of_applications(&view.applications);
    // Mostly they stand alike: one line for those, and another for whoever differs.
    let mut alike: Vec<(&SignatureView, Vec<&str>)> = Vec::new();
    for one in &view.signatures {
        let same = |of: &SignatureView| {
            (&of.state, &of.detail, of.lands_within_seconds) == (&one.state, &one.detail, one.lands_within_seconds)
        };
        match alike.iter_mut().find(|(of, _)| same(of)) {
            Some((_, services)) => services.push(&one.service),
            None => alike.push((one, vec![&one.service])),
        }
    }
    for (of, services) in alike {
        out.push_str(&line(of, &services));
    }
    out
}

fn line(of: &SignatureView, services: &[&str]) -> String {
    let because = of.detail.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let text = format!(
        "{}: {}{because}; a call without an answer is waited out for {} s before one that leads elsewhere",
        services.join(", "),
        of.state,
        of.lands_within_seconds
    );
    wrapped("signatures  ", &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_verified_is_said_with_its_wait() {
        let of = |service: &str, seconds: f64| SignatureView {
            service: service.to_owned(),
            state: "unverified".to_owned(),
            detail: None,
            lands_within_seconds: seconds,
        };
        let signatures = vec![of("rds", 1_800.0), of("sns", 900.0), of("s3", 1_800.0)];
        let text = status(&ApplicationsView { applications: Vec::new(), signatures });
        assert!(text.contains("rds, s3: unverified") && text.contains("1800\n"), "{text}");
        assert!(text.contains("sns: unverified") && text.contains("900 s"), "{text}");
    }
}
