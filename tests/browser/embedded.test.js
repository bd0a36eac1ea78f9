// The widget in a shop of another origin, with keys, under a policy as strict as the shop's can be.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, blockWebSocket, launch, openPage, phase, quit, shot, transport } from './browser.js';
import { freePort, startServer, startShop } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** A server with keys, a shop that is on the list, and one that is not. */
async function street(t) {
  const [ours, theirs] = [await freePort(), await freePort()];
  const folder = mkdtempSync(path.join(tmpdir(), 'warmcut-keys-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keys = path.join(folder, 'keys.json');
  const shop = { name: 'demo', publishable: 'pk_demo', secret: 'sk_demo_secret', origins: [`http://127.0.0.1:${ours}`] };
  writeFileSync(keys, JSON.stringify({ shops: [shop] }));
  const server = await startServer(t, '--keys', keys);
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>
    <h1>A shop</h1><warm-cutout></warm-cutout>
    <script type="module" src="${server.origin}/widget.js" data-key="pk_demo"></script>`;
  const host = server.origin;
  const policy = `default-src 'none'; script-src ${host}; connect-src ${host} ${host.replace('http', 'ws')}; img-src blob:; style-src 'none'`;
  return { server, shop: await startShop(t, ours, html, policy), stranger: await startShop(t, theirs, html, policy) };
}

for (const [way, init] of [['socket', undefined], ['events', blockWebSocket]]) {
  test(`a shop of another origin gets its cutout over its ${way}`, options, async (t) => {
    const { server, shop } = await street(t);
    const page = await openPage(t, { server, init });
    await page.goto(shop);
    await page.locator('warm-cutout').hover();
    await phase(page, 'warming', 'ready');
    await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
    await assertCutout(page);
    assert.equal(await transport(page, `${server.origin}/widget.js`), way);
    await shot(page, `embedded-${way}`);
    assertQuiet(page);
  });
}

// Over HTTP too: the refusal itself may be read by any page, and nothing else.
for (const [way, init, noise] of [['socket', undefined, undefined], ['events', blockWebSocket, /403/]]) {
  test(`an origin that is not on the list is told so over its ${way}`, options, async (t) => {
    const { server, stranger } = await street(t);
    const page = await openPage(t, { server, init });
    await page.goto(stranger);
    await page.locator('warm-cutout').hover();
    await phase(page, 'failed');
    const why = await page.locator('warm-cutout .why').innerText();
    assert.ok(why.includes(stranger), `the message names the origin: ${why}`);
    await shot(page, `stranger-${way}`);
    assertQuiet(page, noise);
  });
}
