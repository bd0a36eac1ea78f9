// A visit that is longer than its page: away and back, offline, again, and in two tabs.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, WAYS, assertCutout, assertQuiet, largePhoto, launch, noteChannels, openPage, phase, quit, stopClock, tries } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };
const OTHER_PHOTO = path.join(path.dirname(PHOTO), 'coffee.jpg');

/** A warm-up that lasts long enough to be met on its way. */
const SLOW = ['--warm', 'intent', '--cpu', 'portable'];

/** Playwright switches off what every shopper has. */
before(() => launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] }));
after(quit);

const choose = (page, photo = PHOTO) => page.locator('warm-cutout input[type=file]').setInputFiles(photo);

/** The size of the cutout that the shopper sees. */
async function size(page) {
  const { width, height } = await assertCutout(page);
  return [width, height];
}

/** A number of the server's; of a counter the sum over its labels, as far as `labels` doesn't choose. */
async function metric({ origin }, name, labels = '') {
  const text = await (await fetch(`${origin}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name) && /[ {]/.test(line[name.length]) && line.includes(labels));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Waits until the server holds so many channels. */
async function channelsAre(server, count) {
  const deadline = Date.now() + TIMEOUT_MS;
  while ((await metric(server, 'warmcut_channels')) !== count) {
    assert.ok(Date.now() < deadline, `the server should hold ${count} channels`);
  }
}

/** What the page's connection knows. */
const state = (page, host) => page.evaluate(async (widget) => {
  const { session, transport, run } = (await import(widget)).connect().state;
  return { session: session?.session, resumed: session?.resumed, transport, run: run?.run };
}, `${host}/widget.js`);

/** Notes each stage as the page hears it. */
const noteStages = (page, host) => page.evaluate(async (widget) => {
  window.stages = [];
  (await import(widget)).connect().addEventListener('stage', ({ detail: { stage, status } }) => {
    if (status === 'started' || status === 'done') window.stages.push(`${stage} ${status}`);
  });
}, `${host}/widget.js`);

/** Runs in the page before anything else. */
function noteShows() {
  window.shows = [];
  addEventListener('pageshow', ({ persisted }) => window.shows.push(persisted));
}

/** Goes to another page of the shop, and gives a way back, on which Playwright hears of no navigation. */
async function leave(page, shop) {
  await page.goto(`${shop}/?another=product`);
  return async () => {
    await page.evaluate(() => history.back());
    await page.waitForFunction(() => window.shows?.at(-1) === true);
  };
}

for (const [way, init] of Object.entries(WAYS)) {
  test(`a page comes back out of the browser’s cache, and its ${way} with it`, options, async (t) => {
    const { server, shop, host } = await street(t);
    const page = await openPage(t, { server, init });
    await page.addInitScript(noteShows);
    await page.addInitScript(noteChannels);
    await page.goto(shop);
    await page.locator('warm-cutout').hover();
    await phase(page, 'ready');
    const first = await state(page, host);
    if (way !== 'poll') assert.equal(await metric(server, 'warmcut_channels'), 1);

    const back = await leave(page, shop);
    await channelsAre(server, 0);
    await back();
    if (way !== 'poll') await channelsAre(server, 1);
    await choose(page);
    await assertCutout(page);
    assert.deepEqual(await state(page, host), { ...first, resumed: true, transport: way }, 'it is the same session');
    assert.equal(await metric(server, 'warmcut_warmups_total'), 1);
    const blocked = Object.keys(WAYS).indexOf(way);
    assert.deepEqual((await tries(page, 'way')).slice(blocked), [way, way], 'once, and once more');
    if (way === 'socket') assert.deepEqual(await tries(page, 'resumes'), [false, true], 'after the last event that it heard');
  });
}

test('a photo on its way goes on when the shopper comes back to its page', options, async (t) => {
  const { server, shop, wire } = await street(t, { wired: true });
  const page = await openPage(t, { server });
  await page.addInitScript(noteShows);
  await page.goto(shop);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  const midway = wire.stopAt({ up: 2_000_000 });
  await choose(page, largePhoto(4_000_000));
  await midway.reached;
  await phase(page, 'uploading');

  const back = await leave(page, shop);
  wire.cut(); // what the browser had taken, and not yet sent, is lost on such a line
  await channelsAre(server, 0);
  await back();
  await assertCutout(page);
});

test('who was offline goes on as soon as there is a network', options, async (t) => {
  const { server, shop, wire, host } = await street(t, { wired: true });
  const page = await openPage(t, { server });
  await stopClock(page);
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout').hover();
  await page.clock.runFor(65);
  await phase(page, 'ready');
  const before = await state(page, host);

  await page.context().setOffline(true);
  wire.cut();
  await choose(page);
  await page.locator('warm-cutout .label', { hasText: 'Connection lost, trying again' }).waitFor();
  await page.context().setOffline(false); // and the clock stands still
  await phase(page, 'done');
  await page.clock.resume();
  await assertCutout(page);
  assert.deepEqual(await state(page, host), { ...before, resumed: true });
});

test('a reload meets the warm-up that is on its way, and every later page the same session', options, async (t) => {
  const { server, shop, wire, host } = await street(t, { args: [...SLOW, '--threads', '1'], wired: true });
  const page = await openPage(t, { server });
  const testing = wire.stopAt({ after: '"stage":"gpu_ready"' });
  await page.goto(shop);
  await page.locator('warm-cutout').hover();
  await testing.reached;
  await page.locator('warm-cutout [data-step=gpu_ready][data-status=now]').waitFor();
  const first = await state(page, host);
  assert.equal(await metric(server, 'warmcut_warmups_total'), 0, 'it is on its way');

  for (const address of [shop, shop, `${shop}/?another=product`]) {
    await page.goto(address);
    await page.locator('warm-cutout').hover();
    await phase(page, 'ready');
    assert.deepEqual(await page.locator('warm-cutout [data-step]:visible').evaluateAll((items) => items.map(({ dataset }) => dataset.status)), ['done', 'done', 'done']);
    assert.deepEqual(await state(page, host), { ...first, resumed: true });
    assert.equal(await metric(server, 'warmcut_warmups_total'), 1);
  }
  await choose(page);
  await assertCutout(page);
  assertQuiet(page);
});

test('two tabs share a run, see every stage of it, and get each their own cutout', options, async (t) => {
  const { server, shop, host } = await street(t, { args: SLOW });
  const one = await openPage(t, { server });
  const two = await one.context().newPage();
  const tabs = [[one, PHOTO], [two, OTHER_PHOTO]];
  for (const [page] of tabs) {
    await page.goto(shop);
    await noteStages(page, host);
    await page.locator('warm-cutout .choose').waitFor();
  }
  await Promise.all(tabs.map(([page]) => page.locator('warm-cutout').hover()));
  for (const [page, photo] of tabs) await choose(page, photo);
  assert.notDeepEqual(await size(one), await size(two), 'the photos have different sizes, and so have the cutouts');
  for (const [page] of tabs) {
    const stages = ['container', 'model_load', 'gpu_ready'].flatMap((stage) => [`${stage} started`, `${stage} done`]);
    assert.deepEqual(await page.evaluate(() => window.stages), stages);
  }
  const [first, second] = [await state(one, host), await state(two, host)];
  assert.equal(first.run, second.run);
  assert.notEqual(first.session, second.session);
  assert.equal(await metric(server, 'warmcut_warmups_total'), 1);
  assert.equal(await metric(server, 'warmcut_jobs_total', 'succeeded'), 2);
});

test('a tab that was opened from the first shares its session, and minds its own photo', options, async (t) => {
  const { server, shop, host } = await street(t);
  const one = await openPage(t, { server });
  await one.goto(shop);
  await one.locator('warm-cutout').hover();
  await phase(one, 'ready');
  const opened = one.context().waitForEvent('page');
  await one.evaluate((address) => void open(address), `${shop}/?another=product`);
  const two = await opened;
  await two.locator('warm-cutout').hover();
  await phase(two, 'ready');
  assert.equal((await state(two, host)).session, (await state(one, host)).session);
  await Promise.all([choose(one), choose(two, OTHER_PHOTO)]);
  assert.notDeepEqual(await size(one), await size(two), 'the photos have different sizes, and so have the cutouts');
  assert.equal(await metric(server, 'warmcut_jobs_total', 'succeeded'), 2);
});
