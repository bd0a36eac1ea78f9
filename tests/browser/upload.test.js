// The upload page: a big bar, every step with its time.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit, shot } from './browser.js';
import { startServer } from './server.js';

before(launch);
after(quit);

test('what is painted of the bar is never more than what is told', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  await page.goto(`${server.origin}/upload.html`);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout [role=progressbar]').evaluate((bar) => {
    window.seen = [];
    const look = () => {
      const [all, part] = [bar, bar.firstChild].map((node) => node.getBoundingClientRect().width);
      if (all && bar.ariaValueNow !== null) window.seen.push([Number(bar.ariaValueNow), Math.floor((100 * part) / all)]);
      requestAnimationFrame(look);
    };
    look();
  });
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await page.waitForFunction(() => window.seen.at(-1)?.[1] >= 99); // full, and all of it painted
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  const seen = await page.evaluate(() => window.seen);
  assert.deepEqual(seen.filter(([told, painted]) => painted > told + 1), [], 'told and painted, in percent');
  assertQuiet(page);
});

test('the upload page shows each step with its time, and the cutout', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  await page.goto(`${server.origin}/upload.html`);
  await page.locator('warm-cutout .choose').waitFor();

  // The bar is watched from within, as often as a browser paints.
  await page.locator('warm-cutout [role=progressbar]').evaluate((bar) => {
    window.seen = [];
    const look = () => {
      const working = /uploading|starting|waiting|queued|processing/.test(bar.closest('.box').dataset.phase);
      if (working) window.seen.push(bar.ariaValueNow === null ? null : Number(bar.ariaValueNow));
      requestAnimationFrame(look);
    };
    look();
  });
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);

  const seen = await page.evaluate(() => window.seen);
  const known = seen.filter((value) => value !== null);
  assert.deepEqual(known, known.toSorted((a, b) => a - b), 'the bar never goes back');
  assert.ok(known.every((value) => value < 100), 'the bar is not full before the work is done');

  const steps = await page.locator('warm-cutout [data-step]').evaluateAll((items) =>
    items.map(({ dataset, lastChild }) => [dataset.step, dataset.status, lastChild.textContent]));
  assert.deepEqual(steps.map(([step, status]) => `${step} ${status}`), [
    'container done', 'model_load done', 'gpu_ready done', 'upload done', 'queue done', 'cutout done',
  ]);
  for (const [step, , time] of steps) assert.match(time, /^\d+(\.\d)? s$|min/, `${step} has its time`);
  for (const cell of await page.locator('#facts dd').allInnerTexts()) assert.match(cell, /^\d+(\.\d+)? m?s$/);
  await shot(page, 'upload');
  assertQuiet(page);
});
