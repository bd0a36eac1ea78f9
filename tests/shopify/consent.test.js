// What a visit tells, and whom, by the settings of the embed and by the visitor's answer to Shopify's banner.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, quit } from '../browser/browser.js';
import { openShop } from './shop.js';

const options = { timeout: 2 * TIMEOUT_MS };
const EVENTS = ['warming_started', 'upload_started', 'warming_completed', 'cutout_completed'].sort();
const NAMES = EVENTS.map((event) => `warmcut_${event}`);
const ALL = { shopify_events: true, data_layer: true, beacon: true };

before(launch);
after(quit);

/**
 * Runs in the page before anything else: what Shopify brings of consent and events. `answer` is the visitor's:
 * yes, no, or none yet. With `late`, consent comes only when it is asked for, as in most shops.
 */
function shopify({ answer, late }) {
  Object.assign(window, { published: [], beacons: [], features: [] });
  window.answer = answer;
  const customerPrivacy = {
    analyticsProcessingAllowed: () => window.answer === 'yes',
    shouldShowBanner: () => window.answer === null,
  };
  const publish = (event, detail) => window.published.push({ event, ...detail });
  window.Shopify = { analytics: { publish }, ...(late ? {} : { customerPrivacy }) };
  const { sendBeacon } = navigator;
  navigator.sendBeacon = (url, body) => window.beacons.push(...JSON.parse(body).events) && sendBeacon.call(navigator, url, body);
  // Shopify's own script is deferred, and may come after ours.
  document.addEventListener('DOMContentLoaded', () => {
    window.Shopify.loadFeatures = (features, done) => {
      window.features.push(...features);
      window.Shopify.customerPrivacy = customerPrivacy;
      done();
    };
  });
}

/** A shopper who comes and gets a cutout. `told` says who has heard what, when nothing waits for a timer any more. */
async function visit(t, { loader, ...stub }) {
  const { url, server } = await openShop(t, { loader });
  const page = await openPage(t, { server, init: `(${shopify})(${JSON.stringify(stub)})` });
  await page.route('**/v1/analytics?*', (route) => route.fulfill({ status: 204 }));
  await page.clock.install();
  await page.goto(url);
  await page.evaluate((names) => {
    window.heard = [];
    for (const name of names) addEventListener(`warmcut:${name}`, () => window.heard.push(name));
  }, EVENTS);
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  assert.deepEqual((await page.evaluate(() => window.heard)).sort(), EVENTS, 'the page hears all of it, whatever the answer');
  const told = async () => {
    await page.clock.runFor(5000);
    return page.evaluate(() => ({ published: window.published, pushed: window.dataLayer ?? [], beacons: window.beacons }));
  };
  return { page, told };
}

const names = (events) => events.map(({ event }) => event).sort();

/** All sinks have all events, each once. */
function assertAll({ published, pushed, beacons }) {
  assert.deepEqual(names(published), NAMES);
  assert.deepEqual(names(pushed), NAMES);
  assert.deepEqual(names(beacons), EVENTS);
  assert.ok([...published, ...pushed, ...beacons].every(({ holdout }) => holdout === false));
}

const NOTHING = { published: [], pushed: [], beacons: [] };

test('a visitor who allows it is counted', options, async (t) => {
  const { page, told } = await visit(t, { answer: 'yes', loader: ALL });
  assertAll(await told());
  assert.deepEqual(await page.evaluate(() => window.features), [], 'Shopify’s consent was there already');
  assertQuiet(page);
});

test('one who refuses isn’t, and nothing is kept for later', options, async (t) => {
  const { page, told } = await visit(t, { answer: 'no', loader: ALL });
  assert.deepEqual(await told(), NOTHING);
  await answers(page, 'yes');
  assert.deepEqual(await told(), NOTHING, 'what was refused stays so');
  assertQuiet(page);
});

test('of one who hasn’t answered, all waits for the answer', options, async (t) => {
  for (const answer of ['yes', 'no']) {
    const { page, told } = await visit(t, { answer: null, loader: ALL });
    assert.deepEqual(await told(), NOTHING);
    await answers(page, answer);
    if (answer === 'yes') assertAll(await told());
    else assert.deepEqual(await told(), NOTHING);
    assertQuiet(page);
  }
});

/** As Shopify's banner does. */
const answers = (page, answer) => page.evaluate((answer) => {
  window.answer = answer;
  document.dispatchEvent(new CustomEvent('visitorConsentCollected', { detail: { analyticsAllowed: answer === 'yes' } }));
}, answer);

test('where nobody brought Shopify’s consent, the embed does', options, async (t) => {
  const { page, told } = await visit(t, { answer: 'yes', late: true, loader: ALL });
  assertAll(await told());
  assert.deepEqual(await page.evaluate(() => window.features), [{ name: 'consent-tracking-api', version: '0.1' }]);
  assertQuiet(page);
});

test('a shop that asks for no consent hears everything, in the sinks that it chose and no others', options, async (t) => {
  const { page, told } = await visit(t, { answer: 'no', loader: { consent: false } });
  const { published, ...others } = await told();
  assert.deepEqual(names(published), NAMES);
  assert.deepEqual(others, { pushed: [], beacons: [] });
  assertQuiet(page);
});

test('a shop that chose no sink tells nobody', options, async (t) => {
  const { page, told } = await visit(t, { answer: 'yes', loader: { consent: false, shopify_events: false } });
  assert.deepEqual(await told(), NOTHING);
  assertQuiet(page);
});
