// The page in a real browser: from the alarm until the application is served again, by two people.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { demo, inEveryDress, launch, person, signIn, wellMade } from "./stage.mjs";

const PATIENCE = 120_000;
let stage, at, browser, alice, bob, run;

before(async () => {
  stage = demo(8);
  [at, browser] = await Promise.all([stage.ready, launch()]);
  alice = await person(browser, at.url);
  bob = await person(browser, at.url);
  alice.page.setDefaultTimeout(30_000);
  bob.page.setDefaultTimeout(30_000);
});

after(async () => {
  await browser?.close();
  await stage?.stop();
});

const clean = () => {
  assert.deepEqual(alice.faults, []);
  assert.deepEqual(bob.faults, []);
};

test("the first page is a sign-in, which a wrong token does not pass", async () => {
  const { page } = alice;
  await page.goto(at.url + "/");
  assert.equal(new URL(page.url()).pathname, "/ui");
  await inEveryDress(page, "sign-in");
  await signIn(page, "not-a-token");
  await page.getByRole("alert").waitFor();
  assert.equal((await alice.context.cookies()).length, 0);
  // By the keyboard alone: the first stop leads past the head of the page.
  await page.keyboard.press("Tab");
  await page.reload();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.getByLabel("Token").focus();
  await page.keyboard.type(at.alice);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Applications" }).waitFor();
  const [cookie, ...others] = await alice.context.cookies();
  assert.equal(others.length, 0);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
  assert.ok(cookie.expires <= Date.now() / 1000 + 12 * 3600 + 60);
  assert.ok(!(await page.content()).includes(at.alice), "no page shows a token");
  clean();
});

test("an alarm shows by itself, with why and with what would change it", async () => {
  const { page } = alice;
  await page.goto(at.url + "/ui");
  await page.getByText("recommends a failover").first().waitFor({ timeout: PATIENCE });
  await inEveryDress(page, "overview");
  await page.getByRole("link", { name: "payments", exact: true }).click();
  await page.getByRole("heading", { name: "Why", exact: true }).waitFor();
  await page.getByText("Loses at most").waitFor();
  await page.locator("#plots svg").first().waitFor();
  await inEveryDress(page, "application");
  clean();
});

test("a failover is started with its plan in sight, and not without its name", async () => {
  const { page } = alice;
  await page.getByRole("link", { name: "Fail over…" }).click();
  await page.getByText("Point of no return").first().waitFor();
  await inEveryDress(page, "failover");
  await page.getByLabel("Type payments to confirm").fill("ledger");
  await page.getByLabel("Loss that you accept").fill("600");
  await page.getByLabel("Reason").fill("us-east-1 is gone <script>alert(1)</script>");
  await page.getByRole("button", { name: "Fail over payments" }).click();
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByLabel("Loss that you accept").inputValue(), "600", "what was typed stands there still");
  await page.getByLabel("Type payments to confirm").fill("payments");
  await page.getByRole("button", { name: "Fail over payments" }).click();
  await page.waitForURL(/\/ui\/runs\/payments-[0-9a-f]{32}$/);
  run = page.url();
  await page.getByText("us-east-1 is gone <script>alert(1)</script>").waitFor();
  clean();
});

test("nobody approves their own, and a yes to another plan is refused", async () => {
  const { page } = alice;
  await page.getByRole("link", { name: "What is to be approved" }).waitFor({ timeout: PATIENCE });
  await inEveryDress(page, "run-waiting");
  await page.goto(run + "/approval");
  await page.getByText("You asked for this run").waitFor();
  assert.equal(await page.getByRole("button", { name: /Approve/ }).count(), 0);

  await bob.page.goto(run + "/approval");
  await signIn(bob.page, at.bob);
  await bob.page.getByRole("button", { name: /Approve/ }).waitFor();
  assert.equal(bob.page.url(), run + "/approval", "the link leads there after signing in");
  await inEveryDress(bob.page, "approval");
  await bob.page.locator("input[name=digest]").evaluate((input) => { input.value = "0".repeat(64); });
  await bob.page.getByLabel("Reason").fill("another plan");
  await bob.page.getByRole("button", { name: /Approve/ }).click();
  await bob.page.getByRole("heading", { name: "Another plan was shown" }).waitFor();
  await wellMade(bob.page, "a refusal");
  clean();
});

test("a second person approves, and the first sees it go on until it is served again", async () => {
  await alice.page.goto(run);
  await alice.page.getByText("approval of").first().waitFor();
  await bob.page.goto(run + "/approval");
  await bob.page.getByLabel("Reason").fill("read the plan, agreed");
  await bob.page.getByRole("button", { name: /Approve/ }).click();
  await bob.page.waitForURL(run);
  // Nobody loads this page again.
  await alice.page.getByText("read the plan, agreed").waitFor({ timeout: PATIENCE });
  await alice.page.locator("#timeline rect").nth(2).waitFor({ timeout: PATIENCE });
  await inEveryDress(alice.page, "run-working");
  await alice.page.locator("#state .chip", { hasText: "succeeded" }).waitFor({ timeout: PATIENCE });
  await alice.page.getByText("RTO, measured").waitFor();
  await inEveryDress(alice.page, "run-over");
  await alice.page.goto(at.url + "/ui");
  // Served again, and alone: nothing speaks of the lost Region's health, so it is not called healthy.
  await alice.page.locator(".app", { hasText: "in us-west-2" }).waitFor({ timeout: PATIENCE });
  assert.equal(await alice.page.locator(".app .chip", { hasText: "down" }).count(), 0);
  await inEveryDress(alice.page, "overview-after");
  clean();
});

test("the runs and a run's evidence are there to be read", async () => {
  const { page } = alice;
  await page.goto(at.url + "/ui/runs");
  await page.getByRole("link", { name: /payments: failover/ }).waitFor();
  await inEveryDress(page, "runs");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "JSON lines" }).first().click()]);
  assert.match(download.suggestedFilename(), /^payments-[0-9a-f]{32}\.jsonl$/);
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Evidence" }).click();
  await page.getByText(/^RTO .* of .*: (met|missed|not known)/).first().waitFor();
  await inEveryDress(page, "evidence");
  clean();
});

test("without scripts everything is read, and forms are sent", async () => {
  const plain = await person(browser, at.url, { javaScriptEnabled: false });
  await plain.page.goto(at.url + "/ui");
  await signIn(plain.page, at.bob);
  await plain.page.getByRole("heading", { name: "Applications" }).waitFor();
  assert.match(await plain.page.locator("#live").innerText(), /does not renew itself without scripts/);
  await plain.page.goto(run);
  await plain.page.getByText("RTO, measured").waitFor();
  await plain.page.getByRole("button", { name: "Sign out" }).click();
  await plain.page.getByLabel("Token").waitFor();
  await plain.page.goto(run);
  await plain.page.getByLabel("Token").waitFor();
  assert.deepEqual(plain.faults, []);
  await plain.context.close();
});

test("a link of another site leads an approver to the page that they are signed in to", async () => {
  const elsewhere = at.url.replace("127.0.0.1", "localhost");
  await bob.page.goto(elsewhere + "/healthz");
  await bob.page.evaluate((to) => { location.href = to; }, run);
  await bob.page.waitForURL(run);
  await bob.page.getByText("RTO, measured").waitFor();
});
