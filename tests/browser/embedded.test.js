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
