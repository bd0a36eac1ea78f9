// The widget and the server are held to the same recorded events, so that neither drifts alone: here the
// server says what has their shapes, and the widget shows what they tell. Their types are in types.ts.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertQuiet, launch, openPage, phase, quit } from './browser.js';
import { record } from './record.js';
import { recorded } from './recorded.js';
import { cutout, startScript } from './scripted.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** Values that a busy machine says beside the recorded ones: of a job that had to wait. */
const BUSY = { 'job.position': ['number'], 'job.eta_ms': ['object'], 'job.eta_ms.p50': ['number'], 'job.eta_ms.p90': ['number'] };

/** The fields of each type of event, deep down, and what each may be. */
function shapes(scenes) {
  const all = {};
  const note = (place, value) => {
    const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
    (all[place] ??= new Set()).add(kind);
    if (kind === 'object') for (const [name, inner] of Object.entries(value)) note(`${place}.${name}`, inner);
  };
  for (const event of Object.values(scenes).flat()) note(event.type, event);
  return all;
}

/** What must be said in each scene; how often its progress is told depends on the time that it takes. */
const course = (events) => [...new Set(events.map(({ type, stage, status, code }) => [type, stage, status, code].filter(Boolean).join(' ')))]
  .filter((line) => !line.includes('progress') && !line.includes('queued'));

test('the server says what was recorded of it', options, async (t) => {
  const scenes = await record(t);
  const [said, was] = [shapes(scenes), shapes(recorded)];
  const renew = 'if this is meant, write it anew: node tests/browser/record.js';
  for (const [place, kinds] of Object.entries(said)) {
    const known = new Set([...(was[place] ?? []), ...(BUSY[place] ?? [])]);
    assert.ok(known.size, `${place} is new; ${renew}`);
    for (const kind of kinds) assert.ok(known.has(kind), `${place} is ${kind}, not ${[...known].join(' or ')}; ${renew}`);
  }
  for (const place of Object.keys(was)) assert.ok(said[place], `${place} is gone; ${renew}`);
  for (const scene of Object.keys(recorded)) assert.deepEqual(course(scenes[scene]), course(recorded[scene]), renew);
});

test('the widget shows what the recorded events tell', options, async (t) => {
  const script = await startScript(t);
  const page = await openPage(t);
  await page.goto(`${script.origin}/upload.html`);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout').hover();
  const channel = await script.opened();
  for (const event of recorded.estimated) channel.say(event);
  await phase(page, 'ready');
  const steps = () => page.locator('warm-cutout [data-step]').evaluateAll((items) =>
    items.map(({ dataset, lastChild }) => `${dataset.step} ${dataset.status} ${lastChild.textContent}`));
  const seconds = (stage) => `${(recorded.estimated.findLast((event) => event.stage === stage).elapsed_ms / 1000).toFixed(1)} s`;
  assert.deepEqual((await steps()).slice(0, 3), ['container', 'model_load', 'gpu_ready'].map((stage) => `${stage} done ${seconds(stage)}`));

  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  const { upload } = await channel.asked();
  const [accepted, ...rest] = recorded.photo;
  channel.say({ ...accepted, upload, at_ms: Date.now() });
  await channel.has(accepted.total_bytes);
  const bytes = cutout(PHOTO);
  for (const event of rest) {
    const mine = 'upload' in event ? { upload } : {};
    if (event.type === 'cutout') channel.say({ ...event, bytes: bytes.length }, bytes);
    else channel.say({ ...event, ...mine });
  }
  await phase(page, 'done');
  const { timings_ms, width, height, model } = recorded.photo.find(({ type }) => type === 'cutout');
  assert.deepEqual((await steps()).slice(3).map((step) => step.split(' ', 2).join(' ')), ['upload done', 'queue done', 'cutout done']);
  assert.equal(await page.locator('#facts [data-time=total]').innerText(), `${timings_ms.total} ms`);
  const what = await page.locator('#what').innerText();
  assert.ok(what.includes(`${width} × ${height}`) && what.includes(model), what);

  for (const scene of ['broken', 'refused']) {
    channel.upload = null;
    await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
    const { upload } = await channel.asked();
    for (const event of recorded[scene]) channel.say({ ...event, ...('upload' in event && { upload }), at_ms: Date.now() });
    await phase(page, 'failed');
    const { message } = recorded[scene].find(({ type }) => type === 'problem');
    const why = await page.locator('warm-cutout .why').innerText();
    assert.equal(why.toLowerCase(), `${message.toLowerCase()}.`);
  }
  assertQuiet(page);
});
