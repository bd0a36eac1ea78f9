// What breaks on the way: the server, or the line to it. The shopper is told so, and gets the cutout.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, WAYS, assertCutout, largePhoto, launch, openPage, phase, quit, show, stopClock, transport } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

/** No pause before another try is longer. */
const PAUSE_MS = 15_000;

/** A way that has worked is given up after so many tries in vain, and all of them begin again. */
const MANY = 5;

before(launch);
after(quit);

/** A page of a shop whose line to the server is in our hands, and whose clock stands still. */
async function visit(t, { init, args } = {}) {
  const { server, shop, wire, host } = await street(t, { args, wired: true });
  const page = await openPage(t, { server, init });
  await stopClock(page);
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  return { server, wire, page, widget: `${host}/widget.js` };
}

const choose = (page, photo) => page.locator('warm-cutout input[type=file]').setInputFiles(photo);

/** The channel has failed so often, and rests: the clock alone moves it on. */
const failed = (page, widget, times) => page.evaluate(async ([widget, times]) => {
  const connection = (await import(widget)).connect();
  while (connection.state.failures < times) await new Promise((heard) => connection.addEventListener('state', heard, { once: true }));
}, [widget, times]);

/** What the shopper reads, once it is this. */
const reads = (page, text) => page.locator('warm-cutout .label', { hasText: text }).waitFor();

/** The steps that are shown, each with its state. */
const steps = (page) => page.locator('warm-cutout [data-step]:visible').evaluateAll((items) =>
  Object.fromEntries(items.map(({ dataset }) => [dataset.step, dataset.status])));

const LOST = 'Connection lost, trying again';

for (const [way, init] of Object.entries({ socket: WAYS.socket, events: WAYS.events })) {
  test(`the server dies while the model loads, watched over its ${way}`, options, async (t) => {
    const { server, wire, page, widget } = await visit(t, { init, args: ['--warm', 'intent'] });
    const loading = wire.stopAt({ after: '"stage":"model_load"' });
    await page.locator('warm-cutout').hover();
    await page.clock.runFor(65);
    await loading.reached;
    await reads(page, 'Getting ready, choose your photo meanwhile');
    await page.locator('warm-cutout [data-step=model_load][data-status=now]').waitFor();
    assert.deepEqual(await steps(page), { container: 'done', model_load: 'now', gpu_ready: 'todo' });

    await server.kill();
    wire.cut();
    await reads(page, LOST);
    assert.equal(await page.locator('warm-cutout [role=status]').innerText(), `${LOST}. Load the model`);
    for (let times = 1; times < MANY; times++) {
      await failed(page, widget, times);
      await page.clock.runFor(PAUSE_MS);
    }
    await failed(page, widget, MANY);
    await reads(page, LOST);
    assert.deepEqual(await steps(page), { container: 'done', model_load: 'now', gpu_ready: 'todo' }, 'nothing is claimed meanwhile');

    await server.start();
    const again = wire.stopAt({ after: '"stage":"model_load"' });
    await page.clock.runFor(PAUSE_MS);
    await again.reached;
    await reads(page, 'The service restarted and starts over');
    again.go();
    await phase(page, 'ready');
    await page.clock.resume();
    await choose(page, PHOTO);
    await assertCutout(page);
    assert.equal(await transport(page, widget), way, 'a server that is gone says nothing against the way to it');
  });
}

/** Warm, with the clock running, so that a photo goes up as it would. */
async function warmed(t, init) {
  const given = await visit(t, { init });
  await given.page.locator('warm-cutout').hover();
  await given.page.clock.runFor(65);
  await phase(given.page, 'ready');
  await given.page.clock.resume();
  return given;
}

/** Stops a clock that ran; it is told of a time that it can't have reached yet. */
const halt = async (page) => page.clock.pauseAt(await page.evaluate(() => Date.now() + 10_000));

for (const [way, init] of Object.entries({ socket: WAYS.socket, events: WAYS.events })) {
  test(`the server dies while a photo goes up over its ${way}`, options, async (t) => {
    const { server, wire, page, widget } = await warmed(t, init);
    wire.lag = 20;
    const midway = wire.stopAt({ up: 2_000_000 });
    await choose(page, largePhoto(4_000_000));
    await midway.reached;
    await reads(page, 'Sending your photo');
    await page.locator('warm-cutout [data-step=upload] time', { hasText: /^[1-9]\d %/ }).waitFor();
    assert.deepEqual(await steps(page), { upload: 'now', queue: 'todo', cutout: 'todo' });

    await halt(page);
    await server.kill();
    wire.cut();
    await reads(page, LOST);
    assert.deepEqual(await steps(page), { upload: 'now', queue: 'todo', cutout: 'todo' });
    assert.equal(await page.locator('warm-cutout [role=status]').innerText(), LOST);

    wire.lag = 0;
    await server.start();
    await page.clock.resume();
    await assertCutout(page);
    assert.equal(await transport(page, widget), way);
  });
}

for (const [way, when, sight] of [
  ['socket', 'a photo at work', { after: '"status":"processing"' }],
  ['events', 'a cutout on its way', { before: 'content-type: image/png' }],
  ['poll', 'a cutout on its way', { before: 'content-type: image/png' }],
]) {
  test(`the server dies with ${when}, watched over its ${way}`, options, async (t) => {
    const { server, wire, page } = await warmed(t, WAYS[way]);
    const working = wire.stopAt(sight);
    await choose(page, largePhoto(4_000_000));
    await working.reached;
    await reads(page, 'Cutting out');

    await halt(page);
    await server.kill();
    wire.cut();
    if (way === 'poll') await page.clock.runFor(5000); // it asks only now and then
    await reads(page, LOST);

    await server.start();
    const midway = wire.stopAt({ up: 2_000_000 });
    await page.clock.resume();
    await midway.reached;
    await reads(page, 'Sending your photo');
    await page.locator('warm-cutout [data-step=upload][data-status=now]').waitFor(); // once the model is ready
    assert.deepEqual(await steps(page), { upload: 'now', queue: 'todo', cutout: 'todo' }, 'its first try counts no more');
    midway.go();
    await assertCutout(page);
  });
}

test('a photo whose line is cut goes on at what has arrived', options, async (t) => {
  const { wire, page } = await warmed(t);
  const photo = largePhoto(8_000_000);
  const before = wire.sent;
  const midway = wire.stopAt({ up: 4_000_000 });
  await choose(page, photo);
  await midway.reached;
  await halt(page);
  wire.cut();
  await reads(page, LOST);
  await page.clock.resume();
  await assertCutout(page);
  const sent = wire.sent - before;
  assert.ok(sent >= photo.buffer.length, 'all of it went up');
  assert.ok(sent < photo.buffer.length + 500_000, `little of it twice: ${sent} bytes for ${photo.buffer.length}`);
});

test('who rests before another try is woken by the shopper', options, async (t) => {
  const { server, wire, page, widget } = await visit(t);
  await page.locator('warm-cutout').hover();
  await page.clock.runFor(65);
  await phase(page, 'ready');
  const interrupt = async () => {
    await server.kill();
    wire.cut();
    for (let times = 1; times < 3; times++) {
      await failed(page, widget, times);
      await page.clock.runFor(PAUSE_MS);
    }
    await failed(page, widget, 3);
    await server.start();
    await reads(page, LOST);
  };
  await interrupt();
  await show(page, 'hidden');
  await show(page, 'visible');
  await reads(page, 'Ready when you are');

  await interrupt();
  await choose(page, PHOTO);
  await assertCutout(page);
});
