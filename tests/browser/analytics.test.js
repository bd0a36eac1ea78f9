// The account of a visit: to the page at once, to the shop's sinks with consent, and to the server's metrics.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertQuiet, launch, openPage, phase, quit, show } from './browser.js';
import { street } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

const EVENTS = ['warming_started', 'warming_completed', 'upload_started', 'cutout_completed', 'warming_abandoned'];

/** A visitor whose account is noted, of a shop whose server warms at intent. */
async function visitor(t, tag, init = () => {}) {
  const { server, shop } = await street(t, { tag, args: ['--warm', 'intent'], body: '<warm-cutout></warm-cutout><p><a href="/">Another page</a></p>' });
  const page = await openPage(t, { server });
  await page.addInitScript(init);
  await page.addInitScript((events) => {
    window.told = [];
    for (const event of events) {
      addEventListener(`warmcut:${event}`, ({ detail, target, bubbles, composed }) => window.told.push([event, detail, target.localName, bubbles && composed]));
    }
  }, EVENTS);
  const beacons = [];
  page.on('request', (request) => request.url().includes('/v1/analytics') && beacons.push(request));
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  return {
    server, shop, page, beacons,
    told: () => page.evaluate(() => window.told),
    async cut() {
      await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
      await phase(page, 'done');
    },
    /** What the visit told is sent when its page is hidden. */
    hide: () => show(page, 'hidden'),
    /** The server's counts, once there are as many as expected. */
    async counted(expected) {
      for (const deadline = Date.now() + 10_000; ; ) {
        const text = await (await fetch(`${server.origin}/metrics`)).text();
        const lines = text.split('\n').filter((line) => /^warmcut_analytics_\w+(_total|_count)\{/.test(line)).sort();
        if (lines.length === expected.length || Date.now() > deadline) return assert.deepEqual(lines, expected);
      }
    },
  };
}

test('a visit’s account is told to the page, to the shop’s sinks, and to the server', options, async (t) => {
  const shopify = () => (window.Shopify = { analytics: { publish: (...event) => (window.published ??= []).push(event) } });
  const { page, told, cut, hide, counted, beacons } = await visitor(t, 'data-consent="granted" data-analytics="beacon dataLayer shopify"', shopify);
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await cut();
  await cut();
  const account = await told();
  assert.deepEqual(account.map(([event]) => event), [
    'warming_started', 'warming_completed', 'upload_started', 'cutout_completed', 'upload_started', 'cutout_completed',
  ]);
  assert.ok(account.every(([, , from, leaves]) => from === 'warm-cutout' && leaves), 'from the element, and out of every shadow root');
  const details = account.map(([, detail]) => detail);
  for (const detail of details) {
    if ('duration_ms' in detail) assert.ok(Number.isInteger(detail.duration_ms) && detail.duration_ms >= 0, JSON.stringify(detail));
    delete detail.duration_ms;
  }
  assert.deepEqual(details, [
    { trigger: 'hover', holdout: false },
    { cold: true, holdout: false },
    { was_warmed: true, holdout: false },
    { cached: false, holdout: false },
    { was_warmed: true, holdout: false },
    { cached: true, holdout: false },
  ]);

  await hide();
  const names = account.map(([event]) => `warmcut_${event}`);
  assert.deepEqual(await page.evaluate(() => window.dataLayer.map(({ event }) => event)), names);
  assert.deepEqual(await page.evaluate(() => window.published.map(([event]) => event)), names);
  assert.ok(names.every((name) => name.length <= 40 && /^\w+$/.test(name)), 'as GA4 wants names');
  const shop = 'shop="demo"';
  await counted([
    `warmcut_analytics_cutout_completed_seconds_count{${shop},cached="false",holdout="false"} 1`,
    `warmcut_analytics_cutout_completed_seconds_count{${shop},cached="true",holdout="false"} 1`,
    `warmcut_analytics_upload_started_total{${shop},was_warmed="true",holdout="false"} 2`,
    `warmcut_analytics_warming_completed_seconds_count{${shop},cold="true",holdout="false"} 1`,
    `warmcut_analytics_warming_started_total{${shop},trigger="hover",holdout="false"} 1`,
  ]);
  for (const beacon of beacons) assert.equal(beacon.headers()['content-type'], 'text/plain;charset=UTF-8', 'no preflight');
  assertQuiet(page);
});

test('who leaves without a photo is a warm-up for nobody, and who goes on in the shop isn’t', options, async (t) => {
  const { page, told, counted } = await visitor(t, 'data-consent="granted"');
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  await page.getByRole('link').click();
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout').hover();
  await phase(page, 'ready');
  assert.deepEqual(await told(), [], 'the visit goes on, and began only once');
  await counted([
    'warmcut_analytics_warming_completed_seconds_count{shop="demo",cold="true",holdout="false"} 1',
    'warmcut_analytics_warming_started_total{shop="demo",trigger="hover",holdout="false"} 1',
  ]);

  await page.goto('about:blank');
  await counted([
    'warmcut_analytics_warming_abandoned_seconds_count{shop="demo",ready="true",holdout="false"} 1',
    'warmcut_analytics_warming_abandoned_total{shop="demo",trigger="hover",ready="true",holdout="false"} 1',
    'warmcut_analytics_warming_completed_seconds_count{shop="demo",cold="true",holdout="false"} 1',
    'warmcut_analytics_warming_started_total{shop="demo",trigger="hover",holdout="false"} 1',
  ]);
});

test('the holdout is told apart', options, async (t) => {
  const { page, cut, hide, counted } = await visitor(t, 'data-consent="granted" data-holdout="100"');
  await page.locator('warm-cutout').hover();
  await cut();
  await hide();
  await counted([
    'warmcut_analytics_cutout_completed_seconds_count{shop="demo",cached="false",holdout="true"} 1',
    'warmcut_analytics_upload_started_total{shop="demo",was_warmed="false",holdout="true"} 1',
    'warmcut_analytics_warming_completed_seconds_count{shop="demo",cold="true",holdout="true"} 1',
    'warmcut_analytics_warming_started_total{shop="demo",trigger="upload",holdout="true"} 1',
  ]);
});

for (const [name, tag, init, late] of [
  ['refused by the page', 'data-consent="denied"', undefined, undefined],
  ['not asked for', '', undefined, (page, widget) => page.evaluate(async (widget) => (await import(widget)).connect().consent(true), widget)],
  [
    'open in Shopify’s banner', '',
    () => (window.Shopify = { customerPrivacy: { analyticsProcessingAllowed: () => Boolean(window.allowed), shouldShowBanner: () => !window.allowed } }),
    (page) => page.evaluate(() => {
      window.allowed = true;
      document.dispatchEvent(new Event('visitorConsentCollected'));
    }),
  ],
  [
    'refused in Shopify’s banner', '',
    () => (window.Shopify = { customerPrivacy: { analyticsProcessingAllowed: () => false, shouldShowBanner: () => false } }),
    undefined,
  ],
]) {
  test(`with consent ${name} nothing leaves the page${late ? ' until it is given' : ''}`, options, async (t) => {
    const { server, page, told, cut, hide, beacons, counted } = await visitor(t, `${tag} data-analytics="beacon dataLayer"`, init);
    await cut();
    await hide();
    assert.equal((await told()).length, 4, 'the page itself is told all the same');
    assert.deepEqual(beacons, []);
    assert.equal(await page.evaluate(() => window.dataLayer), undefined);
    if (late) {
      await late(page, `${server.origin}/widget.js`);
      assert.equal(await page.evaluate(() => window.dataLayer.length), 4);
    } else {
      await page.goto('about:blank');
      await counted([]);
    }
    assert.equal(beacons.length, late ? 1 : 0);
    assertQuiet(page);
  });
}
