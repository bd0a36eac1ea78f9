// For who reads from the right, forces their own colours, or is made ill by what moves.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible } from './axe.js';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, quit, shot } from './browser.js';
import { cutout } from './scripted.js';
import { eta, visit } from './visit.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** Half of a warm-up, with a photo that waits for it. */
async function halfway(t, context) {
  const shop = await visit(t, { viewport: { width: 360, height: 800 }, ...context });
  await shop.warm();
  await shop.say('stage', { stage: 'model_load', status: 'started' }, { eta_ms: eta(8000, 12_000), run_eta_ms: eta(9000, 14_000) });
  await shop.pass(6000);
  return shop;
}

/** Sends the photo and gives its cutout back. */
async function cut(shop) {
  await shop.page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await shop.pass(100);
  const { upload } = await shop.channel().asked();
  const png = cutout(PHOTO);
  await shop.say('ready');
  await shop.say('job', { status: 'processing', step: 'infer' }, { upload });
  await shop.pass(100);
  return { done: () => shop.say('cutout', {}, { bytes: png.length }, png) };
}

test('from right to left everything stands on its other side', options, async (t) => {
  const shop = await halfway(t, { init: () => addEventListener('DOMContentLoaded', () => (document.documentElement.dir = 'rtl')) });
  const { page } = shop;
  const left = (selector) => page.locator(`warm-cutout ${selector}`).first().evaluate((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const text = range.getBoundingClientRect();
    const { left, right } = element.getBoundingClientRect();
    const box = element.getRootNode().querySelector('.box').getBoundingClientRect();
    const [from, to] = text.width ? [text.left, text.right] : [left, right];
    return (from + to) / 2 < (box.left + box.right) / 2;
  });
  assert.deepEqual([await left('[data-step=model_load] span'), await left('[data-step=model_load] time')], [false, true]);
  assert.deepEqual([await left('.label'), await left('.aside')], [false, true]);
  const fill = await page.locator('warm-cutout .bar').evaluate((bar) => {
    const [all, done] = [bar, bar.firstChild].map((element) => element.getBoundingClientRect());
    return { fromRight: Math.abs(all.right - done.right) < 1, part: done.width / all.width };
  });
  assert.ok(fill.fromRight && fill.part > 0.2 && fill.part < 0.9, `the bar fills from the right: ${JSON.stringify(fill)}`);
  const { done } = await cut(shop);
  assert.equal(await left('.cancel'), true);
  await shot(page, 'rtl');
  await done();
  await page.clock.resume();
  await assertCutout(page);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing sticks out');
  assertQuiet(page);
});

test('in forced colours bar, steps and buttons can still be told apart', options, async (t) => {
  const shop = await halfway(t, { forcedColors: 'active' });
  const { page } = shop;
  await shop.say('stage', { stage: 'container', status: 'done' });
  await shop.pass(100);
  const look = await page.locator('warm-cutout .box').evaluate((box) => {
    const style = (selector, pseudo) => getComputedStyle(box.querySelector(selector), pseudo);
    const probe = box.appendChild(document.createElement('i'));
    probe.style.cssText = 'background:Highlight;forced-color-adjust:none';
    const highlight = getComputedStyle(probe).backgroundColor;
    probe.remove();
    return {
      fill: style('.bar i').backgroundColor === highlight,
      edge: style('.bar').borderTopWidth,
      done: style('[data-step=container]', '::before').backgroundColor === highlight,
      button: style('.choose').borderTopWidth,
    };
  });
  assert.deepEqual(look, { fill: true, edge: '1px', done: true, button: '1px' });
  await shot(page, 'forced-colours');
  await page.clock.resume();
  await assertAccessible(page, 'forced colours');
});

test('with reduced motion nothing moves', options, async (t) => {
  const shop = await halfway(t, { reducedMotion: 'reduce' });
  const { page } = shop;
  const moving = () => page.locator('warm-cutout').evaluate((host) => host.shadowRoot.getAnimations().map(({ effect }) => effect.target.className));
  assert.deepEqual(await moving(), [], 'neither the bar nor the step that is under way');
  const { done } = await cut(shop);
  assert.deepEqual(await moving(), [], 'nor the light over the photo');
  await done();
  assert.deepEqual(await moving(), [], 'nor the cutout as it comes');
  await page.clock.resume();
  await assertCutout(page);
});
