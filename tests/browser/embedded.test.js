// The widget in a shop of another origin, with keys, under a policy as strict as the shop's can be.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, blockWebSocket, launch, openPage, phase, quit, shot, transport } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

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
