//! What every page has around it: head, skip link, the way to the others, and who looks.

use maud::{DOCTYPE, Markup, html};

use super::{assets, door::FIELD, sign_in};
use crate::http::{Api, auth::PAGE, auth::Principal};

/// What a page is put into.
#[derive(Debug)]
pub(super) struct Shell<'a> {
    pub(super) title: &'a str,
    pub(super) subject: &'a str,
    /// Nobody signs in here.
    pub(super) is_open: bool,
    /// What every form holds.
    pub(super) form: &'a str,
    /// How the page is kept new; `None`: it is not.
    pub(super) live: Option<Live<'a>>,
}

/// How a page that is open is kept new.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live<'a> {
    /// Asked for again after so many seconds.
    pub(super) every_seconds: u32,
    /// A stream that says at once when there is something new.
    pub(super) events: Option<&'a str>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(api: &Api, principal: &'a Principal, form: &'a str, title: &'a str) -> Self {
        Self { title, subject: principal.subject.as_str(), is_open: api.access.is_open(), form, live: None }
    }

    pub(super) fn live(self, every_seconds: u32, events: Option<&'a str>) -> Self {
        Self { live: Some(Live { every_seconds, events }), ..self }
    }

    /// The field that shows that a form is of this page.
    pub(super) fn secret(&self) -> Markup {
        html! { input type="hidden" name=(FIELD) value=(self.form); }
    }

    /// The page around `main`.
    pub(super) fn page(&self, main: &Markup) -> Markup {
        let head = html! {
            nav aria-label="Pages" {
                a.home href=(PAGE) { "failoverd" }
                a href=(PAGE) { "Applications" }
                a href={ (PAGE) "/runs" } { "Runs" }
                a href={ (PAGE) "/evidence" } { "Evidence" }
            }
            div.account { (sign_in::out(self)) }
        };
        whole(self.title, &head, main, self.live)
    }
}

/// A page for somebody who is not known.
pub(super) fn bare(title: &str, main: &Markup) -> Markup {
    let head = html! { nav aria-label="Pages" { a.home href=(PAGE) { "failoverd" } } };
    whole(title, &head, main, None)
}

fn whole(title: &str, head: &Markup, main: &Markup, live: Option<Live<'_>>) -> Markup {
    let every = live.map(|live| live.every_seconds);
    let events = live.and_then(|live| live.events);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " - failoverd" }
                link rel="icon" href={ "/ui/icon.svg?v=" (assets::version()) } type="image/svg+xml";
                link rel="stylesheet" href={ "/ui/page.css?v=" (assets::version()) };
                script src={ "/ui/page.js?v=" (assets::version()) } defer {}
            }
            body data-every=[every] data-events=[events] {
                a.skip href="#main" { "Skip to the content" }
                header.top { (head) }
                @if live.is_some() {
                    p #live .live role="status" {
                        noscript { "This page does not renew itself without scripts: load it again." }
                    }
                }
                main #main tabindex="-1" { (main) }
            }
        }
    }
}
