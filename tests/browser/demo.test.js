// The demo shop: from the first intent to a cutout, over each transport.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TIMEOUT_MS, assertCutout, assertQuiet, blockWebSocket, launch, openPage, phase, quit, shot, transport, PHOTO } from './browser.js';
import { startServer } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };
const BLOCKED = /net::ERR_(FAILED|BLOCKED)/;

before(launch);
after(quit);

test('a hover opens the channel, and a photo comes back cut out, over WebSocket', options, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  const channels = [];
  page.on('websocket', (socket) => channels.push(socket.url()));
  await page.goto(server.origin);
  await page.locator('warm-cutout .choose').waitFor();
  await phase(page, 'idle');
  assert.deepEqual(channels, [], 'nothing is opened before there is intent');

  await page.locator('warm-cutout').hover();
  await phase(page, 'warming', 'ready');
  assert.equal(channels.length, 1, 'one intent opens one channel');
  assert.match(channels[0], /\/v1\/socket\?.*trigger=hover/);
  await phase(page, 'ready');

  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  assert.equal(await transport(page), 'socket');
  assert.equal(channels.length, 1, 'the photo goes over the channel that watched the model warm');

  await page.locator('#print.own').waitFor();
  await shot(page, 'demo');
  const name = await page.locator('warm-cutout .download').getAttribute('download');
  assert.equal(name, 'cat-cutout.png');
  assert.ok((await page.evaluate(() => window.shifted)) < 0.01, 'nothing on the page has moved');
  assertQuiet(page);
});

test('a sample photo, chosen while the model warms, is cut out when it is ready', options, async (t) => {
  const server = await startServer(t, '--warm', 'intent');
  const page = await openPage(t, { server });
  await page.goto(server.origin);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('[data-sample]').first().click();
  await assertCutout(page);
  assertQuiet(page);
});

test('with WebSocket blocked the page goes on over server-sent events', options, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server, init: blockWebSocket });
  await page.goto(server.origin);
  await page.locator('warm-cutout').hover();
  await phase(page, 'warming', 'ready');
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  assert.equal(await transport(page), 'events');
  await shot(page, 'demo-events');
  assertQuiet(page);

  await page.goto(`${server.origin}/?another`);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  assert.equal(await transport(page), 'events', 'what works is remembered for the visit');
});

test('with both blocked it goes on by polling', options, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server, init: blockWebSocket });
  await page.route('**/v1/events**', (route) => route.abort());
  await page.goto(server.origin);
  await page.locator('warm-cutout').hover();
  await phase(page, 'warming', 'ready');
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  assert.equal(await transport(page), 'poll');
  await shot(page, 'demo-poll');
  assertQuiet(page, BLOCKED);
});

test('a file that is no photo gets a sentence that helps, and the next photo works', options, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  await page.goto(server.origin);
  const input = page.locator('warm-cutout input[type=file]');
  await input.setInputFiles({ name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('these are only words') });
  await phase(page, 'failed');
  const why = page.locator('warm-cutout .why');
  assert.match(await why.innerText(), /\w+ .*\./, 'the server says why');
  assert.equal(await page.locator('warm-cutout [role=status]').innerText(), await why.innerText(), 'it is read aloud');
  await shot(page, 'demo-failed');

  await input.setInputFiles({ name: 'IMG_1.HEIC', mimeType: 'image/heic', buffer: Buffer.from('ftypheic') });
  await phase(page, 'failed');
  assert.match(await why.innerText(), /IMG_1\.HEIC.*JPEG, PNG or WebP/);

  await input.setInputFiles(PHOTO);
  await assertCutout(page);
  assertQuiet(page);
});

test('a shopper who cancels can start again', options, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  await page.goto(server.origin);
  const input = page.locator('warm-cutout input[type=file]');
  await input.setInputFiles(PHOTO);
  await page.locator('warm-cutout .cancel').click();
  await page.locator('warm-cutout .choose').waitFor({ state: 'visible' });
  await input.setInputFiles(PHOTO);
  await assertCutout(page);
  assertQuiet(page);
});
