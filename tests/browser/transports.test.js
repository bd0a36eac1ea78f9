// The ways to the server, from another origin: which one is taken, and what it means to be refused on each.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, WAYS, assertCutout, assertQuiet, launch, noteChannels, openPage, phase, quit, stopClock, transport, tries } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

/** What the browser itself says of an answer that refuses. */
const NOISE = /status of 4\d\d|^warmcut: /;

/** The longest jitter after a failure of each way, which comes on top of what the server asks for. */
const JITTER_MS = 4000;

before(launch);
after(quit);

/** A page whose tries to open a channel are noted, and whose clock stands still. */
async function visit(t, address, { server, init }) {
  const page = await openPage(t, { server, init });
  await page.addInitScript(noteChannels);
  await stopClock(page);
  await page.goto(address);
  await page.locator('warm-cutout .choose').waitFor();
  return page;
}

/** The shopper's first sign of intent. */
async function hover(page) {
  await page.locator('warm-cutout').hover();
  await page.clock.runFor(65);
}

const choose = (page) => page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);

test('with both streams blocked a shop of another origin gets its cutout by polling, and remembers it', options, async (t) => {
  const { server, shop, host } = await street(t);
  const page = await visit(t, shop, { server, init: WAYS.poll });
  await page.clock.resume();
  await hover(page);
  await phase(page, 'ready');
  await choose(page);
  await assertCutout(page);
  assert.equal(await transport(page, `${host}/widget.js`), 'poll');
  assert.deepEqual(await tries(page, 'way'), ['socket', 'events', 'poll']);

  await page.goto(`${shop}/?another=product`);
  await hover(page);
  await phase(page, 'ready');
  assert.deepEqual(await tries(page, 'way'), ['poll'], 'on the next page too');
  assertQuiet(page);
});

test('who polls asks for a photo’s job as soon as the photo is there', options, async (t) => {
  const { server, shop } = await street(t);
  const page = await visit(t, shop, { server, init: WAYS.poll });
  await hover(page);
  await phase(page, 'warming', 'ready');
  await choose(page); // and the clock stands still
  await phase(page, 'queued', 'processing', 'done');
});

test('a line that holds a stream back is left for the next one after 10 s', options, async (t) => {
  const { shop, wire, host, server } = await street(t, { wired: true });
  const page = await visit(t, shop, { server });
  const shaken = wire.stopAt({ before: '101 Switching' });
  await hover(page);
  await shaken.reached;
  await page.clock.runFor(9999);
  await phase(page, 'connecting');
  assert.deepEqual(await tries(page, 'way'), ['socket']);

  const streaming = wire.stopAt({ before: 'text/event-stream' });
  await page.clock.runFor(1);
  await streaming.reached;
  await page.clock.runFor(9999);
  await phase(page, 'connecting');
  assert.deepEqual(await tries(page, 'way'), ['socket', 'events']);

  await page.clock.runFor(1);
  await phase(page, 'ready');
  await page.clock.resume();
  await choose(page);
  await assertCutout(page);
  assert.deepEqual(await tries(page, 'way'), ['socket', 'events', 'poll']);
  assert.equal(await transport(page, `${host}/widget.js`), 'poll');
});

for (const [way, init] of Object.entries(WAYS)) {
  /** The ways that are tried until one gets through. */
  const all = Object.keys(WAYS);
  const first = all.slice(0, all.indexOf(way) + 1);

  test(`who is refused over its ${way} is told why, and not tried for again and again`, options, async (t) => {
    const { server, shop, stranger } = await street(t);
    for (const [address, status, says] of [
      [`${shop}/?key=pk_other`, 401, /key/],
      [stranger, 403, new RegExp(`origin ${stranger} is not on the list`)],
    ]) {
      const page = await visit(t, address, { server, init });
      const answers = [];
      page.on('response', (response) => response.ok() || answers.push(response.status()));
      await hover(page);
      await phase(page, 'failed');
      const why = page.locator('warm-cutout .why');
      assert.equal(await why.innerText(), 'This page may not use the cutout service. Please tell the shop.');
      assert.match(page.wrong.find((line) => line.startsWith('warmcut: ')), says, 'the shop is told why');
      assert.equal(await page.locator('warm-cutout [role=status]').innerText(), await why.innerText(), 'it is read aloud');
      if (way !== 'socket') assert.deepEqual(answers, [status]);

      await page.mouse.move(0, 0);
      await hover(page);
      await page.clock.runFor(120_000);
      await phase(page, 'failed');
      assert.deepEqual(await tries(page, 'way'), first, 'neither time nor another hover changes it');
      await page.locator('warm-cutout .retry').click();
      await page.waitForFunction((count) => window.channels.length > count, first.length);
      assert.deepEqual(await tries(page, 'way'), [...first, way], 'a click tries again');
      await phase(page, 'failed');
      assertQuiet(page, NOISE);
      await page.context().close();
    }
  });

  test(`who is one too many over its ${way} comes back when the server asks for it`, options, async (t) => {
    const { server, shop, host } = await street(t, { args: ['--max-sessions-per-shop', '1'] });
    const taken = await fetch(`${host}/v1/sessions?key=pk_demo`, { method: 'POST', headers: { Origin: shop } });
    assert.equal(taken.status, 201);

    const page = await visit(t, shop, { server, init });
    const failed = page.evaluate(async (widget) => {
      const connection = (await import(widget)).connect();
      await new Promise((heard) => connection.addEventListener('state', ({ detail }) => detail.failures && heard()));
    }, `${host}/widget.js`);
    await hover(page);
    await failed;
    await page.getByRole('status').getByText('Busy just now').waitFor();
    await page.locator('warm-cutout .choose').click();
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await page.clock.runFor(59_999);
    await phase(page, 'connecting');
    assert.deepEqual(await tries(page, 'way'), first, 'neither an impatient shopper nor time changes it before');

    await server.kill();
    await server.start(); // with no sessions
    await page.clock.runFor(1 + JITTER_MS);
    await phase(page, 'warming', 'ready');
    await page.clock.resume();
    await choose(page);
    await assertCutout(page);
    assert.deepEqual(await tries(page, 'way'), [...first, way], 'it is no reason to take another way');
    assertQuiet(page, NOISE);
  });
}
