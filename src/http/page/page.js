// Keeps an open page new: asks for it again from time to time, and at once when its stream says so, and puts the sections
// in that have changed. What somebody is typing into stays. Nothing here is needed to read or to act.
"use strict";
(() => {
  const every = Number(document.body.dataset.every || 0) * 1000;
  if (!every) return;
  const live = document.getElementById("live");
  let last = Date.now(), timer = 0, asking = false, again = false, over = false;

  const say = (text, bad) => {
    if (live.textContent === text) return;
    live.textContent = text;
    live.classList.toggle("stale", bad);
  };
  const touched = (section) =>
    section.contains(document.activeElement) ||
    [...section.querySelectorAll("input:not([type=hidden]), textarea")].some((i) => i.value !== i.defaultValue);

  const swap = (now, next) => {
    const open = new Map([...now.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
    const focus = now.contains(document.activeElement) ? document.activeElement : null;
    const href = focus && focus.getAttribute("href");
    const id = focus && (focus.id || (focus.parentElement && focus.parentElement.id));
    const was = focus && focus.tagName;
    for (const d of next.querySelectorAll("details[id]")) if (open.has(d.id)) d.open = open.get(d.id);
    if (now.innerHTML === next.innerHTML) return;
    now.replaceChildren(...document.importNode(next, true).childNodes);
    // The same link, or the same summary, has the focus again.
    let same = null;
    if (href) same = [...now.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
    else if (id) { const e = document.getElementById(id); same = e && was === "SUMMARY" ? e.querySelector("summary") : e; }
    if (same) same.focus({ preventScroll: true });
  };

  const renew = async () => {
    if (asking) { again = true; return; }
    asking = true;
    clearTimeout(timer);
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error", cache: "no-store" });
      if (answer.status === 401) { say("You are signed out. Load the page again to sign in.", true); over = true; return; }
      if (!answer.ok) throw new Error("status " + answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const section of document.querySelectorAll("[data-live], [data-form]")) {
        const other = next.getElementById(section.id);
        if (!other || (section.hasAttribute("data-form") && touched(section))) continue;
        swap(section, other);
      }
      document.title = next.title;
      last = Date.now();
      if (!Number(next.body.dataset.every || 0)) { over = true; say("It is over: this page changes no more.", false); }
      else say("Live", false);
    } catch (error) {
      say("No answer since " + Math.round((Date.now() - last) / 1000) + " s: what you see is old.", true);
    } finally {
      asking = false;
      if (!over) timer = setTimeout(renew, again ? 100 : every);
      again = false;
    }
  };

  if (document.body.dataset.events) {
    const stream = new EventSource(document.body.dataset.events);
    stream.addEventListener("record", () => renew());
    stream.addEventListener("end", () => { stream.close(); renew(); });
    addEventListener("pagehide", () => stream.close());
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !over) renew(); });
  timer = setTimeout(renew, every);
  say("Live", false);
})();
