// The stage of the browser tests: a demo whose people are these tests, a Chromium, and what every page must keep.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const here = dirname(fileURLToPath(import.meta.url));
export const pictures = join(here, "pictures");
mkdirSync(pictures, { recursive: true });

// `failoverd demo --by-hand`: where its page is, and the tokens of its people.
export function demo(rate) {
  const child = spawn(process.env.FAILOVERD_BIN, ["demo", "--by-hand", "--rate", String(rate)], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  const ready = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the demo does not begin: " + said)), 60_000);
    child.on("exit", (code) => reject(new Error(`the demo ended with ${code}: ${said}`)));
    child.stdout.on("data", (data) => {
      said += data;
      const found = /page: (\S+)\/ui\nalice, operator: (\S+)\nbob, approver: (\S+)\n/.exec(said);
      if (found) {
        clearTimeout(late);
        resolve({ url: found[1], alice: found[2], bob: found[3] });
      }
    });
  });
  return {
    ready,
    said: () => said,
    stop: () => new Promise((resolve) => { child.removeAllListeners("exit"); child.once("exit", resolve); child.kill("SIGINT"); setTimeout(() => child.kill("SIGKILL"), 20_000).unref(); }),
  };
}

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });

// A browser of one person, that notes whatever a page must not do.
export async function person(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const faults = [];
  context.on("request", (request) => {
    if (!request.url().startsWith(url + "/")) faults.push("asks elsewhere: " + request.url());
  });
  context.on("console", (message) => {
    // A refusal that a test asks for is told by the browser as an error of the document.
    const refused = /^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !refused) faults.push(`${message.type()}: ${message.text()}`);
  });
  context.on("weberror", (error) => faults.push("script: " + error.error()));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) => console.error("content policy: " + e.violatedDirective + " " + e.blockedURI));
  });
  const page = await context.newPage();
  return { context, page, faults };
}

export async function signIn(page, token) {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

// No serious or critical violation, and nothing to scroll sideways to.
export async function wellMade(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter((v) => ["serious", "critical"].includes(v.impact));
  const told = grave.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 160) + " " + n.failureSummary).join(" | ")}`);
  assert.deepEqual(told, [], what);
  const [wide, window_] = await page.evaluate(() => [document.scrollingElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window_, `${what}: ${wide} px wide in ${window_} px`);
}

// A picture of the page in each width and each colour scheme, each of them well made.
export async function inEveryDress(page, name) {
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme });
      await wellMade(page, `${name} at ${width} px, ${colorScheme}`);
      await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}
