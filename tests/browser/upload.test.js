// The upload page: a big bar, every step with its time.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit, shot } from './browser.js';
import { startServer } from './server.js';

before(launch);
after(quit);

/** The upload page, whose bar is watched from within as often as the browser paints. */
async function visit(t) {
  const server = await startServer(t);
  const page = await openPage(t, { server });
  await page.goto(`${server.origin}/upload.html`);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout [role=progressbar]').evaluate((bar) => {
    window.seen = [];
    const look = () => {
      const [all, part] = [bar, bar.firstChild].map((node) => node.getBoundingClientRect().width);
      window.seen.push({
        working: /uploading|starting|waiting|queued|processing/.test(bar.closest('.box').dataset.phase),
        told: bar.ariaValueNow === null ? null : Number(bar.ariaValueNow),
        painted: all ? Math.floor((100 * part) / all) : null,
      });
      requestAnimationFrame(look);
    };
    look();
  });
  return { page, seen: () => page.evaluate(() => window.seen) };
}

test('what is painted of the bar is never more than what is told', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const { page, seen } = await visit(t);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await page.waitForFunction(() => window.seen.at(-1)?.painted >= 99); // full, and all of it painted
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  const known = (await seen()).filter(({ told, painted }) => told !== null && painted !== null);
  assert.deepEqual(known.filter(({ told, painted }) => painted > told + 1), [], 'told and painted, in percent');
  assertQuiet(page);
});

test('the upload page shows each step with its time, and the cutout', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const { page, seen } = await visit(t);
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);

  const known = (await seen()).filter(({ working, told }) => working && told !== null).map(({ told }) => told);
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
