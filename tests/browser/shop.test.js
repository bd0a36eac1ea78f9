// What a shop's page counts on around the widget: its form, its experiment, its tabs.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit, show } from './browser.js';
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

test('the keyboard alone gets there', options, async (t) => {
  const { page, channels } = await visit(t);
  const focused = () => page.evaluate(() => /** @type {any} */ (document.activeElement?.shadowRoot?.activeElement)?.ariaLabel
    ?? document.activeElement?.shadowRoot?.activeElement?.textContent);
  const press = async (key, until) => {
    for (let times = 0; times < 10; times++) {
      await page.keyboard.press(key);
      if (await focused() === until) return;
    }
    assert.fail(`${until} can't be reached: the focus is on ${await focused()}`);
  };
  const chooser = page.waitForEvent('filechooser'); // asked for early: it takes the browser a moment to listen
  await press('Tab', 'Choose a photo');
  await phase(page, 'warming', 'ready');
  assert.match(channels[0].url(), /trigger=focus/);
  await page.keyboard.press('Enter');
  await (await chooser).setFiles(PHOTO);
  await assertCutout(page);
  assert.match(await focused(), /Download|New photo/, 'the focus is where it goes on');

  await press('Shift+Tab', 'Transparent');
  await press('ArrowRight', 'White');
  assert.equal(await page.locator('warm-cutout .result').evaluate((image) => getComputedStyle(image).backgroundColor), 'rgb(255, 255, 255)');
  await press('ArrowRight', 'Dark');
  await press('Shift+Tab', 'Compare with your photo');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.getByRole('slider').inputValue(), '1');
  await press('Tab', 'New photo');
  const another = page.waitForEvent('filechooser');
  await page.keyboard.press('Space');
  await (await another).setFiles(PHOTO);
  await assertCutout(page);
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

  await show(page, 'hidden');
  await page.clock.runFor(10_000);
  assert.equal(channels[0].isClosed(), false, 'a glance at another tab costs nothing');
  await page.clock.runFor(15_000);
  if (!channels[0].isClosed()) await channels[0].waitForEvent('close');

  const again = page.waitForEvent('websocket');
  await show(page, 'visible');
  assert.match((await again).url(), /last_event_id=/, 'the same session goes on');
  await phase(page, 'ready');
  assert.equal(channels.length, 2);
  assertQuiet(page);
});

test('a picture is pasted into the page, unless into a text', options, async (t) => {
  const { page } = await visit(t);
  const paste = (selector, type = 'image/jpeg') => page.evaluate(async ([selector, type, bytes]) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([Uint8Array.from(bytes)], 'pasted', { type }));
    const event = new ClipboardEvent('paste', { clipboardData, bubbles: true, composed: true, cancelable: true });
    document.querySelector(selector).dispatchEvent(event);
    return event.defaultPrevented;
  }, [selector, type, [...readFileSync(PHOTO)]]);

  await page.evaluate(() => document.body.append(document.createElement('textarea')));
  assert.equal(await paste('textarea'), false, 'the text keeps its own');
  await phase(page, 'idle');
  assert.equal(await paste('h1'), true);
  await assertCutout(page);
  const first = await field(page);
  assert.equal(await paste('h1', 'text/plain'), false, 'what is no picture is none of ours');
  assert.equal(await field(page), first);

  await page.evaluate(() => document.body.append(document.createElement('warm-cutout')));
  const second = page.locator('warm-cutout').nth(1);
  await second.scrollIntoViewIfNeeded();
  await second.locator('.choose').waitFor();
  assert.equal(await paste('warm-cutout:last-child'), true);
  await second.locator('.result.in').waitFor();
  assert.equal(await field(page), first, 'the first one keeps its cutout');
  assertQuiet(page);
});

test('a page that is gone back to, or loaded again, has the cutout that it had', options, async (t) => {
  const { page, channels } = await visit(t);
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  const value = await field(page);
  for (const again of [() => page.reload(), () => page.goto('about:blank').then(() => page.goBack())]) {
    channels.length = 0;
    await again();
    await assertCutout(page);
    assert.equal(await field(page), value);
    assert.equal(await page.locator('warm-cutout .compare').isVisible(), false, 'the photo itself is not there any more');
    assert.equal(channels.length, 0, 'it takes no channel');
  }
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  assertQuiet(page);
});
