// What a shop's page counts on around the widget: its form, its experiment, its tabs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

const FORM = '<form><warm-cutout name="properties[_cutout]"></warm-cutout><button type="reset">Start over</button></form>';

/** A page whose form holds the widget, and the channels that it opens. */
async function visit(t, tag) {
  const { server, shop } = await street(t, { tag, body: FORM });
  const page = await openPage(t, { server });
  const channels = [];
  page.on('websocket', (socket) => channels.push(socket));
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  return { server, page, channels };
}

const field = (page) => page.evaluate(() => new FormData(document.querySelector('form')).get('properties[_cutout]'));

test('the cutout is a field of the form: an address that an order can keep', options, async (t) => {
  const { server, page } = await visit(t);
  assert.equal(await field(page), null, 'nothing before there is a cutout');

  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  const value = await field(page);
  assert.ok(value.startsWith(`${server.origin}/v1/cutouts/`), value);
  assert.doesNotMatch(value, /\bs_|token=s_/, 'it is no key to the session');
  const answer = await fetch(value);
  assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'image/png']);

  await page.locator('button[type=reset]').click();
  await page.locator('warm-cutout .choose').waitFor({ state: 'visible' });
  assert.equal(await field(page), null, 'a form that is reset has none');
  assertQuiet(page);
});

test('a visitor of the holdout is warmed for by an explicit click alone', options, async (t) => {
  const { server, page, channels } = await visit(t, 'data-holdout="100"');
  await page.clock.install();
  await page.locator('warm-cutout').hover();
  await page.locator('warm-cutout .choose').focus();
  await page.clock.runFor(5000);
  // Whoever wanted the channel's module by now has it before us.
  await page.evaluate((module) => import(module), `${server.origin}/widget-channel.js`);
  assert.equal(channels.length, 0, 'neither hover nor focus warms');

  const chooser = page.waitForEvent('filechooser');
  await page.locator('warm-cutout .choose').click();
  await (await chooser).setFiles(PHOTO);
  await page.clock.resume();
  await assertCutout(page);
  assert.equal(channels.length, 1);
});

test('a draw for the holdout stays the visitor’s', options, async (t) => {
  const { server, page } = await visit(t, 'data-holdout="50"');
  const held = () => page.evaluate(async (widget) => (await import(widget)).holdout, `${server.origin}/widget.js`);
  for (const [draw, expected] of [['49.9', true], ['50', false]]) {
    await page.evaluate((draw) => localStorage.setItem('warmcut holdout', draw), draw);
    for (let loads = 0; loads < 2; loads++) {
      await page.reload();
      assert.equal(await held(), expected, draw);
    }
  }
});

test('a hidden tab hangs up after a grace, and goes on where it was', options, async (t) => {
  const { page, channels } = await visit(t);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await page.clock.install();

  const show = (state) => page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await show('hidden');
  await page.clock.runFor(10_000);
  assert.equal(channels[0].isClosed(), false, 'a glance at another tab costs nothing');
  await page.clock.runFor(15_000);
  if (!channels[0].isClosed()) await channels[0].waitForEvent('close');

  const again = page.waitForEvent('websocket');
  await show('visible');
  assert.match((await again).url(), /last_event_id=/, 'the same session goes on');
  await phase(page, 'ready');
  assert.equal(channels.length, 2);
  assertQuiet(page);
});

test('a picture is pasted into the page, unless into a text', options, async (t) => {
  const { page } = await visit(t);
  const paste = (selector) => page.evaluate(async ([selector, bytes]) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(bytes)], 'pasted.jpg', { type: 'image/jpeg' }));
    const event = new ClipboardEvent('paste', { clipboardData, bubbles: true, composed: true, cancelable: true });
    document.querySelector(selector).dispatchEvent(event);
    return event.defaultPrevented;
  }, [selector, [...readFileSync(PHOTO)]]);

  await page.evaluate(() => document.body.append(document.createElement('textarea')));
  assert.equal(await paste('textarea'), false, 'the text keeps its own');
  await phase(page, 'idle');
  assert.equal(await paste('h1'), true);
  await assertCutout(page);
  assertQuiet(page);
});
