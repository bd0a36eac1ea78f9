// The ways to the server, from another origin: which one is taken, and what it means to be refused on each.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, WAYS, assertCutout, assertQuiet, channels, launch, openPage, phase, quit, stopClock, transport } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };
const PATHS = { socket: '/v1/socket', events: '/v1/events', poll: '/v1/sessions' };

/** What the browser itself says of an answer that refuses. */
const NOISE = /status of 4\d\d/;

/** The longest jitter after a failure of each way, which comes on top of what the server asks for. */
const JITTER_MS = 4000;

before(launch);
after(quit);

/** Names of the ways that were tried, once there are so many. */
async function tried(page, opened, count) {
  while (opened.length < count) await page.waitForEvent('request');
  return opened.map(({ pathname }) => Object.keys(PATHS).find((way) => PATHS[way] === pathname));
}

const choose = (page) => page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);

test('with both streams blocked a shop of another origin gets its cutout by polling, and remembers it', options, async (t) => {
  const { shop, host } = await street(t);
  const page = await openPage(t, { init: WAYS.poll });
  await page.goto(shop);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await choose(page);
  await assertCutout(page);
  assert.equal(await transport(page, `${host}/widget.js`), 'poll');

  const opened = channels(page);
  await page.addInitScript(() => {
    window.sockets = 0;
    const { WebSocket } = window;
    window.WebSocket = class extends WebSocket {
      constructor(...given) {
        super(...given);
        window.sockets++;
      }
    };
  });
  await page.goto(`${shop}/?another=product`);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  assert.deepEqual(await tried(page, opened, 1), ['poll'], 'on the next page too');
  assert.equal(await page.evaluate(() => window.sockets), 0);
  assertQuiet(page);
});

test('who polls asks for a photo’s job as soon as the photo is there', options, async (t) => {
  const { server, shop } = await street(t);
  const page = await openPage(t, { server, init: WAYS.poll });
  await stopClock(page);
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout').hover();
  await page.clock.runFor(65);
  await phase(page, 'warming', 'ready');
  await choose(page); // and the clock stands still
  await phase(page, 'queued', 'processing', 'done');
});

test('a line that holds a stream back is left for the next one after 10 s', options, async (t) => {
  const { shop, wire, host, server } = await street(t, { wired: true });
  const page = await openPage(t, { server });
  const opened = channels(page);
  await stopClock(page);
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();

  const shaken = wire.stopAt({ before: '101 Switching' });
  await page.locator('warm-cutout').hover();
  await page.clock.runFor(65);
  await shaken.reached;
  await page.clock.runFor(9999);
  await phase(page, 'connecting');
  assert.deepEqual(await tried(page, opened, 1), ['socket']);

  const streaming = wire.stopAt({ before: 'text/event-stream' });
  await page.clock.runFor(1);
  await streaming.reached;
  await page.clock.runFor(9999);
  await phase(page, 'connecting');
  assert.deepEqual(await tried(page, opened, 2), ['socket', 'events']);

  await page.clock.runFor(1);
  await phase(page, 'ready');
  await page.clock.resume();
  await choose(page);
  await assertCutout(page);
  assert.deepEqual(await tried(page, opened, 3), ['socket', 'events', 'poll']);
  assert.equal(await transport(page, `${host}/widget.js`), 'poll');
});

for (const [way, init] of Object.entries(WAYS)) {
  test(`who is refused over its ${way} is told why, and not tried for again and again`, options, async (t) => {
    const { server, shop, stranger } = await street(t);
    for (const [address, says] of [[`${shop}/?key=pk_other`, /key/], [stranger, new RegExp(`origin ${stranger} is not on the list`)]]) {
      const page = await openPage(t, { server, init });
      const answers = [];
      page.on('response', (response) => answers.push(response.status()));
      await stopClock(page);
      await page.goto(address);
      await page.locator('warm-cutout .choose').waitFor();
      const opened = channels(page);
      await page.locator('warm-cutout').hover();
      await page.clock.runFor(65);
      await phase(page, 'failed');
      const why = page.locator('warm-cutout .why');
      assert.match(await why.innerText(), says);
      assert.equal(await page.locator('warm-cutout [role=status]').innerText(), await why.innerText(), 'it is read aloud');
      if (way !== 'socket') assert.equal(answers.at(-1), address === stranger ? 403 : 401);

      await page.mouse.move(0, 0);
      await page.locator('warm-cutout').hover();
      await page.clock.runFor(120_000);
      await phase(page, 'failed');
      assert.deepEqual(await tried(page, opened, 1), [way], 'neither time nor another hover changes it');
      await page.locator('warm-cutout .retry').click();
      await phase(page, 'failed');
      assert.deepEqual(await tried(page, opened, 2), [way, way], 'a click tries again');
      assertQuiet(page, NOISE);
      await page.context().close();
    }
  });

  test(`who is one too many over its ${way} comes back when the server asks for it`, options, async (t) => {
    const { server, shop, host } = await street(t, { args: ['--max-sessions-per-shop', '1'] });
    const taken = await fetch(`${host}/v1/sessions?key=pk_demo`, { method: 'POST', headers: { Origin: shop } });
    assert.equal(taken.status, 201);

    const page = await openPage(t, { server, init });
    await stopClock(page);
    await page.goto(shop);
    await page.locator('warm-cutout .choose').waitFor();
    const opened = channels(page);
    const widget = `${host}/widget.js`;
    const failed = page.evaluate(async (widget) => {
      const connection = (await import(widget)).connect();
      await new Promise((heard) => connection.addEventListener('state', ({ detail }) => detail.failures && heard()));
    }, widget);
    await page.locator('warm-cutout').hover();
    await page.clock.runFor(65);
    await failed;
    await page.locator('warm-cutout .choose').click();
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await page.clock.runFor(59_999);
    await phase(page, 'connecting');
    assert.deepEqual(await tried(page, opened, 1), [way], 'neither an impatient shopper nor time changes it before');

    await server.kill();
    await server.start(); // with no sessions
    await page.clock.runFor(1 + JITTER_MS);
    await phase(page, 'warming', 'ready');
    await page.clock.resume();
    await choose(page);
    await assertCutout(page);
    assert.deepEqual(await tried(page, opened, 2), [way, way], 'it is no reason to take another way');
    assertQuiet(page, NOISE);
  });
}
