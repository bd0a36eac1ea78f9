// A slow warm-up, event by event at the times that the test wants, under the browser's own paused clock: the
// bar, the words beside it and what is read aloud, sampled every 100 ms.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, phase, quit } from './browser.js';
import { cutout } from './scripted.js';
import { eta, visit } from './visit.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** A visit whose widget is sampled. */
async function watched(t) {
  const seen = await visit(t);
  await seen.warm();
  await seen.page.locator('warm-cutout').evaluate((host) => {
    window.samples = [];
    const root = host.shadowRoot;
    const text = (selector) => root.querySelector(selector).textContent;
    setInterval(() => {
      const bar = root.querySelector('[role=progressbar]');
      window.samples.push({
        phase: root.querySelector('.box').dataset.phase,
        value: bar.ariaValueNow === null ? null : Number(bar.ariaValueNow),
        label: text('.label'),
        aside: text('.aside'),
        said: text('[role=status]'),
      });
    }, 100);
  });
  return { ...seen, samples: () => seen.page.evaluate(() => window.samples.splice(0)) };
}

/** Each text in the order in which it came. */
const course = (samples, name) => samples.map((sample) => sample[name]).filter((value, i, all) => value !== all[i - 1]);

test('a slow warm-up is shown honestly, to the end', options, async (t) => {
  const { page, say, pass, samples } = await watched(t);
  await say('stage', { stage: 'container', status: 'started' }, { eta_ms: eta(8000, 12_000), run_eta_ms: eta(40_000, 70_000) });
  await pass(9000);
  await say('stage', { stage: 'container', status: 'done' }, { elapsed_ms: 9000, eta_ms: null, run_eta_ms: eta(32_000, 58_000) });
  await say('stage', { stage: 'model_load', status: 'started' }, { eta_ms: eta(22_000, 30_000), run_eta_ms: eta(32_000, 58_000) });
  await pass(10_000);
  await say('stage', { stage: 'model_load', status: 'progress' }, { elapsed_ms: 10_000, progress: 0.4, eta_ms: eta(12_000, 20_000), run_eta_ms: eta(22_000, 48_000) });
  await pass(35_000); // 15 s past its p90
  await say('stage', { stage: 'model_load', status: 'done' }, { elapsed_ms: 45_000, eta_ms: null, run_eta_ms: eta(10_000, 28_000) });
  await say('stage', { stage: 'gpu_ready', status: 'started' }, { eta_ms: eta(10_000, 14_000), run_eta_ms: eta(10_000, 14_000) });
  await pass(11_000);
  const slow = await samples();
  await say('stage', { stage: 'gpu_ready', status: 'done' }, { elapsed_ms: 11_000, eta_ms: null });
  await say('ready', {}, { total_ms: 65_000 });
  await pass(500);
  const after = await samples();

  assert.ok(slow.length > 640, `sampled every 100 ms: ${slow.length}`);
  const values = slow.filter(({ phase }) => phase === 'warming').map(({ value }) => value);
  assert.ok(values.every((value) => value !== null), 'measured runs are known, so a value is told all the time');
  assert.deepEqual(values, values.toSorted((a, b) => a - b), 'progress never falls');
  assert.ok(Math.max(...values) < 100, `nor is it full before ready: ${Math.max(...values)}`);
  assert.ok(values.at(-1) > 85, `and at the end nearly so: ${values.at(-1)}`);
  assert.equal(after.at(-1).value, 100, 'ready is full');
  assert.equal(after.at(-1).label, 'Ready when you are');

  const asides = course(slow, 'aside').map((text) => text.replace(/^\d+ % · /, ''));
  const times = course(asides.map((aside) => ({ aside })), 'aside');
  assert.deepEqual(times, [
    'about 40 s', 'about 35 s', 'about 30 s', 'about 25 s', 'about 20 s', 'about 15 s', 'about 10 s', 'about 5 s', 'a few seconds',
    'taking longer than usual', 'about 10 s', 'about 5 s', 'a few seconds',
  ], 'rounded to 5 s, and withdrawn past its p90');
  assert.ok(slow.filter(({ aside }) => aside.includes('longer')).length > 100);

  assert.deepEqual(course([...slow, ...after], 'said').filter(Boolean), [
    'Getting ready, choose your photo meanwhile. Start the machine',
    'Getting ready, choose your photo meanwhile. Load the model',
    'Getting ready, choose your photo meanwhile. Test it on a photo',
    'Ready when you are',
  ], 'read aloud when the stage changes, and at no other time');
  assertQuiet(page);
});

test('without measured runs the bar claims nothing, and the time that passed is told', options, async (t) => {
  const { page, say, pass, samples } = await watched(t);
  await say('stage', { stage: 'container', status: 'started' });
  await pass(3000);
  await say('stage', { stage: 'container', status: 'done' }, { elapsed_ms: 3000 });
  await say('stage', { stage: 'model_load', status: 'started' });
  await pass(12_300);
  const slow = await samples();
  assert.ok(slow.every(({ value, aside }) => value === null && aside === ''), 'no value, no estimate');
  const step = page.locator('warm-cutout [data-step=model_load]');
  assert.equal(await step.locator('time').innerText(), '12 s');
  assert.equal(await page.locator('warm-cutout [role=progressbar]').getAttribute('aria-valuenow'), null);
  await say('ready');
  await pass(100);
  assert.equal((await samples()).at(-1).value, 100);
  assertQuiet(page);
});

test('a stage that is tried once more says so, and a run that starts over says that', options, async (t) => {
  const { page, say, pass, samples } = await watched(t);
  const usual = { eta_ms: eta(10_000, 20_000), run_eta_ms: eta(15_000, 25_000) };
  await say('stage', { stage: 'model_load', status: 'started' }, usual);
  await pass(5000);
  await say('stage', { stage: 'model_load', status: 'progress' }, { ...usual, status: 'retrying', elapsed_ms: 5000, detail: 'the file was cut off' });
  await pass(5000);
  assert.match(await page.locator('warm-cutout [data-step=model_load] time').innerText(), /^once more · 10 s$/);
  const first = await samples();
  const values = first.map(({ value }) => value).filter((value) => value !== null);
  assert.deepEqual(values, values.toSorted((a, b) => a - b), 'another try doesn’t take progress back');

  await say('stage', { stage: 'container', status: 'started' }, { run: 'r_another', ...usual });
  await pass(300);
  const [again] = (await samples()).slice(-1);
  assert.equal(again.label, 'The service restarted and starts over');
  assert.match(again.said, /restarted/, 'that is read aloud');
  assert.ok(again.value < values.at(-1), 'and the bar starts over with it');
  assertQuiet(page);
});

test('a photo that is chosen while the model warms is sent, waits, and is cut out', options, async (t) => {
  const { page, say, pass, samples, channel } = await watched(t);
  const usual = { eta_ms: eta(20_000, 30_000), run_eta_ms: eta(30_000, 40_000) };
  await say('stage', { stage: 'container', status: 'done' }, { run_eta_ms: eta(30_000, 40_000) });
  await say('stage', { stage: 'model_load', status: 'started' }, usual);
  await pass(10_000);
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await page.clock.runFor(100);
  const { upload, bytes } = await channel().asked();
  await phase(page, 'uploading');
  await say('upload', { status: 'accepted' }, { upload, total_bytes: bytes });
  await channel().has(bytes);
  await say('upload', { status: 'received' }, { upload, total_bytes: bytes, received_bytes: bytes });
  await say('job', { status: 'processing' }, { upload, status: 'starting', step: null, progress: null });
  await pass(12_000);
  await phase(page, 'starting');
  await say('ready');
  await say('job', { status: 'processing', step: 'infer' }, { upload });
  await pass(700);
  await phase(page, 'processing');
  const seen = await samples();
  const png = cutout(PHOTO);
  await say('cutout', {}, { bytes: png.length }, png);
  await assertCutout(page);
  await pass(100);

  const values = seen.map(({ value }) => value).filter((value) => value !== null);
  assert.deepEqual(values, values.toSorted((a, b) => a - b), 'one bar over the model and the photo, which never falls');
  assert.ok(Math.max(...values) < 100, 'and isn’t full before the cutout is here');
  assert.deepEqual(course(seen, 'label').slice(-4), [
    'Getting ready, choose your photo meanwhile', 'Sending your photo while we get ready', 'Your photo is here, nearly ready for it', 'Cutting out',
  ]);
  assertQuiet(page);
});
