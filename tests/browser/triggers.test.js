// What counts as intent, and when: each trigger on a shop's page whose clock stands still.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, phase, quit, show, transport } from './browser.js';
import { ALL, BODY, FAR, INTENTS, PHONE, drag, passive, scroll, scrollWithin, shops, touch } from './intents.js';

const options = { timeout: 4 * TIMEOUT_MS };

before(launch);
after(quit);

const TRIGGERS = [
  { trigger: 'hover', act: INTENTS.hover, ms: 65 },
  { trigger: 'selector', act: INTENTS.selector, ms: 200 },
  { trigger: 'selector', how: 'a change', act: INTENTS.change },
  { trigger: 'focus', act: INTENTS.focus },
  { trigger: 'touch', act: touch, ...PHONE },
  { trigger: 'viewport', since: 1000, act: (page) => scroll(page, 0.45), ms: 500, body: FAR, ...PHONE },
  { trigger: 'viewport', how: 'a scroller of its own', since: 1000, act: scrollWithin, ms: 500, body: `<div>${FAR}</div>`, ...PHONE },
  { trigger: 'upload', how: 'a click', act: INTENTS.click, tag: 'data-warm-on="upload"' },
  { trigger: 'upload', how: 'a file dragged over it', act: (page) => drag(page, 'file') },
  { trigger: 'upload', how: 'a chosen photo', act: (page) => page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO), tag: 'data-warm-on=""' },
  { trigger: 'page_view', act: () => {}, ms: 2500, tag: ALL },
  { trigger: 'manual', act: (page, widget) => page.evaluate(async (widget) => (await import(widget)).connect().warm(), widget), tag: 'data-warm-on=""' },
];

test('one intent opens one channel, which says why', options, async (t) => {
  const visit = await shops(t);
  for (const { trigger, how, since = 0, act, ms, ...given } of TRIGGERS) {
    await t.test([trigger, how].filter(Boolean).join(' by '), async (t) => {
      const { page, triggers, widget } = await visit(t, given);
      await page.clock.runFor(since); // of the page's own beginning
      assert.deepEqual(await triggers(), [], 'nothing before');
      await act(page, widget);
      if (ms) {
        await page.clock.runFor(ms - 1);
        assert.deepEqual(await triggers(), [], `nothing within ${ms} ms`);
        await page.clock.runFor(1);
      }
      await phase(page, 'ready', 'done');
      assert.deepEqual(await triggers(), [trigger]);
      assert.equal(await transport(page, widget), 'socket');
      for (const [name, intent] of Object.entries(INTENTS)) if (name !== 'touch' || given.hasTouch) await intent(page);
      await page.clock.runFor(5000);
      assert.deepEqual(await triggers(), [trigger], 'further intents open no second one');
      assertQuiet(page);
    });
  }
});

test('what only passes by opens nothing', options, async (t) => {
  const visit = await shops(t);
  await t.test('a pointer', async (t) => {
    const { page, triggers } = await visit(t);
    for (const [pass, ms] of [[INTENTS.hover, 64], [INTENTS.selector, 199]]) {
      await pass(page);
      await page.clock.runFor(ms);
      await page.mouse.move(700, 850);
      await page.clock.runFor(1000);
      await pass(page);
      await page.clock.runFor(ms);
      await page.mouse.move(-1, -1); // out of the window
      await page.clock.runFor(1000);
    }
    assert.deepEqual(await triggers(), []);
  });

  await t.test('a page that is looked at, where it isn’t asked for', async (t) => {
    const { page, triggers } = await visit(t);
    await page.clock.runFor(60_000);
    assert.deepEqual(await triggers(), []);
  });

  await t.test('a word that is dragged over it', async (t) => {
    const { page, triggers } = await visit(t);
    await drag(page, 'word');
    assert.deepEqual(await triggers(), []);
  });

  await t.test('a widget that is scrolled by, or shows less than half', async (t) => {
    const { page, triggers } = await visit(t, { body: FAR, ...PHONE });
    await scroll(page, 0.55);
    await page.clock.runFor(1000);
    assert.deepEqual(await triggers(), [], 'less than half');
    for (const below of [0.5, 0.3, 0.1]) {
      await scroll(page, below - 0.05);
      await page.clock.runFor(499);
    }
    assert.deepEqual(await triggers(), [], 'the shopper still scrolls');
    await scroll(page, -4);
    await page.clock.runFor(1000);
    assert.deepEqual(await triggers(), [], 'gone over the upper edge');
  });

  await t.test('a widget that is nowhere to be seen on a phone', async (t) => {
    const { page, triggers } = await visit(t, { body: `<p hidden><warm-cutout></warm-cutout></p>${BODY.replaceAll('warm-cutout', 'article')}`, ...PHONE });
    await page.clock.runFor(1000);
    assert.deepEqual(await triggers(), []);
  });

  await t.test('what the shop doesn’t list', async (t) => {
    const { page, triggers } = await visit(t, { tag: 'data-warm-on=""', ...PHONE });
    for (const intent of Object.values(INTENTS)) await intent(page);
    await page.clock.runFor(5000);
    assert.deepEqual(await triggers(), []);
  });
});

/** As a browser tells of a network or battery. */
const connection = (told) => `Object.defineProperty(navigator, 'connection', { value: ${JSON.stringify(told)} })`;
const battery = (level, charging) => `navigator.getBattery = async () => (${JSON.stringify({ level, charging })})`;

const MODEST = [
  ['saves data', connection({ saveData: true, effectiveType: '4g' }), true],
  ['is on 2g', connection({ saveData: false, effectiveType: '2g' }), true],
  ['is on slow-2g', connection({ saveData: false, effectiveType: 'slow-2g' }), true],
  ['is on 3g', connection({ saveData: false, effectiveType: '3g' }), false],
  ['has a fifth of a battery left', battery(0.2, false), true],
  ['has more of it', battery(0.21, false), false],
  ['charges it', battery(0.05, true), false],
];

test('where bytes or power are short, only a click warms', options, async (t) => {
  const visit = await shops(t);
  for (const [name, init, short] of MODEST) {
    await t.test(`a shopper who ${name}`, async (t) => {
      const { page, triggers } = await visit(t, { tag: ALL, init: { content: init }, ...PHONE });
      await passive(page);
      if (!short) return assert.equal((await triggers()).length, 1, 'is warmed for');
      assert.deepEqual(await triggers(), []);
      await INTENTS.click(page);
      await phase(page, 'ready');
      assert.deepEqual(await triggers(), ['upload']);
    });
  }
});

test('a page that isn’t before a shopper’s eyes doesn’t warm', options, async (t) => {
  const visit = await shops(t);
  await t.test('in a theme’s editor nothing does', async (t) => {
    const { page, triggers } = await visit(t, { tag: ALL, init: () => (window.Shopify = { designMode: true }), ...PHONE });
    await passive(page);
    await INTENTS.click(page);
    await drag(page, 'file');
    assert.deepEqual(await triggers(), []);
  });

  await t.test('a page that is prerendered counts from when it is shown', async (t) => {
    const init = () => Object.defineProperty(document, 'prerendering', { value: true, configurable: true });
    const { page, triggers } = await visit(t, { tag: ALL, init });
    await page.clock.runFor(5000);
    assert.deepEqual(await triggers(), []);
    await page.evaluate(() => {
      Object.defineProperty(document, 'prerendering', { value: false });
      document.dispatchEvent(new Event('prerenderingchange'));
    });
    await page.clock.runFor(2499);
    assert.deepEqual(await triggers(), []);
    await page.clock.runFor(1);
    await phase(page, 'ready');
    assert.deepEqual(await triggers(), ['page_view']);
  });

  for (const [trigger, ms, context] of [['page_view', 2500, {}], ['viewport', 500, PHONE]]) {
    await t.test(`a tab in the background counts from when it is shown, for ${trigger}`, async (t) => {
      const init = () => Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
      const { page, triggers } = await visit(t, { tag: ALL, init, ...context });
      await page.clock.runFor(60_000);
      assert.deepEqual(await triggers(), [], 'never seen');
      await show(page, 'visible');
      await page.clock.runFor(ms - 1);
      await show(page, 'hidden');
      await page.clock.runFor(5000);
      assert.deepEqual(await triggers(), [], 'seen too shortly');
      await show(page, 'visible');
      await page.clock.runFor(ms - 1);
      assert.deepEqual(await triggers(), [], 'each look counts for itself');
      await page.clock.runFor(1);
      await phase(page, 'ready');
      assert.deepEqual(await triggers(), [trigger]);
    });
  }
});

test('what a theme brings later counts too', options, async (t) => {
  const visit = await shops(t);
  const reload = (page) => page.evaluate((html) => {
    document.querySelector('main').innerHTML = html; // as a section's reload does
  }, BODY);
  for (const { trigger, act, ms, given } of [
    { trigger: 'hover', act: INTENTS.hover, ms: 65 },
    { trigger: 'focus', act: INTENTS.focus },
    { trigger: 'selector', act: INTENTS.selector, ms: 200 },
    { trigger: 'viewport', act: () => {}, ms: 500, given: PHONE },
  ]) {
    await t.test(trigger, async (t) => {
      const { page, triggers } = await visit(t, { body: '<main></main>', ...given });
      await page.clock.runFor(5000);
      await reload(page);
      await page.locator('warm-cutout .choose').waitFor();
      await act(page);
      if (ms) await page.clock.runFor(ms);
      await phase(page, 'ready');
      assert.deepEqual(await triggers(), [trigger]);
    });
  }
});

test('on a phone: from the first touch to the cutout', options, async (t) => {
  const visit = await shops(t);
  const { page, triggers } = await visit(t, PHONE);
  await page.clock.resume();
  const chooser = page.waitForEvent('filechooser');
  await page.locator('warm-cutout .choose').tap();
  await phase(page, 'ready');
  assert.deepEqual(await triggers(), ['touch']);
  await (await chooser).setFiles(PHOTO);
  await assertCutout(page);
  assert.deepEqual(await triggers(), ['touch'], 'the photo goes over the same channel');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, 'nothing is wider than the screen');
  assertQuiet(page);
});
