// The extension on a product page, in a browser: the photo's way into the cart.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit, shot } from '../browser/browser.js';
import { Colour, locale } from './extension.js';
import { openShop, section } from './shop.js';

const options = { timeout: 2 * TIMEOUT_MS };
const NAME = 'properties[_cutout]';

before(launch);
after(quit);

async function visit(t, given) {
  const shop = await openShop(t, given);
  const page = await openPage(t, { server: shop.server });
  const channels = [];
  page.on('websocket', (socket) => channels.push(socket));
  page.on('request', (request) => request.url().includes('/v1/') && channels.push(request));
  await page.goto(shop.url);
  return { ...shop, page, channels };
}

const choose = (page) => page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
const add = (page) => page.locator('[name=add]').click();
const addedTo = (page) => page.locator('body[data-added]').waitFor({ state: 'attached' });
const cutouts = (pairs) => pairs.filter(([name]) => name === NAME).map(([, value]) => value);
const inForm = (page, form) => page.evaluate(([form, name]) => new FormData(document.querySelector(form)).getAll(name), [form, NAME]);

for (const theme of ['beside', 'inside', 'byhand']) {
  test(`the cutout’s address goes into the cart once, with the block ${theme} the form`, options, async (t) => {
    const { page, server, added } = await visit(t, { theme });
    await choose(page);
    await assertCutout(page);
    await shot(page, `shopify-${theme}`);
    await add(page);
    await addedTo(page);

    assert.equal(added.length, 1);
    const [address, ...more] = cutouts(added[0]);
    assert.ok(address?.startsWith(`${server.origin}/v1/cutouts/`), `${address}`);
    assert.deepEqual(more, [], 'once');
    const answer = await fetch(address);
    assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'image/png']);
    assertQuiet(page);
  });
}

test('it goes into its product’s form, and out again with the cutout', options, async (t) => {
  const { page } = await visit(t);
  await choose(page);
  await assertCutout(page);
  assert.deepEqual(await inForm(page, '#product-form-main'), [await page.locator('warm-cutout').evaluate(({ value }) => value)]);
  assert.equal((await inForm(page, '#sticky')).length, 1, 'the same product’s form in another section');
  assert.deepEqual(await inForm(page, '#quick-add'), [], 'another product’s form in the same section');

  await page.locator('warm-cutout input[type=file]').setInputFiles({ name: 'empty.jpg', mimeType: 'image/jpeg', buffer: Buffer.alloc(0) });
  await phase(page, 'failed');
  assert.deepEqual(await inForm(page, '#product-form-main'), [], 'a photo that is gone again');
});

test('a form that the theme replaced has it when it is sent', options, async (t) => {
  const { page, added } = await visit(t);
  await choose(page);
  await assertCutout(page);
  await page.evaluate(() => {
    const old = document.querySelector('product-form');
    old.querySelector('[data-warmcut-of]').remove();
    old.replaceWith(document.importNode(old, true));
  });
  await add(page);
  await addedTo(page);
  assert.equal(cutouts(added[0]).length, 1);
});

test('a copy of the block, as in a quick view, has a cutout of its own', options, async (t) => {
  const { page, added } = await visit(t);
  await page.evaluate(() => {
    const view = document.createElement('dialog');
    view.append(document.importNode(document.querySelector('.product'), true));
    document.body.append(view);
    view.showModal();
  });
  await page.locator('dialog .choose').waitFor();
  await page.locator('dialog warm-cutout input[type=file]').setInputFiles(PHOTO);
  await page.locator('dialog [part~=download]').waitFor();
  assert.equal((await inForm(page, 'dialog #product-form-main')).length, 1);
  await page.locator('dialog').evaluate((view) => view.remove());
  await add(page);
  await addedTo(page);
  assert.deepEqual(cutouts(added[0]), [], 'the page’s own block has none');
});

test('a product that needs a cutout isn’t added without one, nor before it is there', options, async (t) => {
  for (const theme of ['beside', 'inside', 'byhand']) {
    await t.test(theme, options, async (t) => {
      const { url, server, added } = await openShop(t, { theme, block: { settings: { required: true } } });
      const page = await openPage(t, { server });
      let held = [];
      await page.routeWebSocket(/\/v1\/socket/, (socket) => {
        const far = socket.connectToServer();
        far.onMessage((message) => (held ? held.push(() => socket.send(message)) : socket.send(message)));
      });
      await page.goto(url);
      await page.locator('warm-cutout .choose').waitFor();
      const alert = page.locator('.warmcut [role=alert]');
      await add(page);
      assert.equal(await alert.innerText(), locale('en').widget.required);
      assert.ok(await alert.evaluate((alert) => alert === document.activeElement), 'it is where the keyboard is');
      await shot(page, `shopify-required-${theme}`);

      await choose(page);
      await phase(page, 'uploading');
      await add(page);
      assert.equal(await alert.innerText(), locale('en').block.busy);
      assert.equal(added.length, 0);

      held.splice(0).forEach((send) => send());
      held = null;
      await assertCutout(page);
      assert.equal(await alert.innerText(), '');
      await add(page);
      await addedTo(page);
      assert.equal(cutouts(added[0]).length, 1);
      assertQuiet(page);
    });
  }
});

test('where the block’s script didn’t load, a form around it still misses the cutout, and sends it', options, async (t) => {
  const { url, server, added } = await openShop(t, { theme: 'inside', block: { settings: { required: true } } });
  const page = await openPage(t, { server });
  await page.route('**/cdn/warmcut.js', (route) => route.abort());
  await page.goto(url);
  await page.locator('warm-cutout .choose').waitFor();
  const valid = () => page.locator('#everything').evaluate((form) => form.checkValidity());
  assert.equal(await valid(), false);
  await choose(page);
  await assertCutout(page);
  assert.equal(await valid(), true);
  await add(page);
  await addedTo(page);
  assert.equal(cutouts(added[0]).length, 1);
  assertQuiet(page, /warmcut\.js/);
});

test('a browser that tells no states still holds back what needs a cutout', options, async (t) => {
  const { url, server, added } = await openShop(t, { block: { settings: { required: true } } });
  const page = await openPage(t, { server, init: withoutStates });
  await page.goto(url);
  await page.locator('warm-cutout .choose').waitFor();
  await add(page);
  assert.equal(await page.locator('.warmcut [role=alert]').innerText(), locale('en').widget.required);
  await choose(page);
  await assertCutout(page);
  await add(page);
  await addedTo(page);
  assert.equal(cutouts(added[0]).length, 1);
  assertQuiet(page);
});

/** Runs in the page before anything else: a browser that doesn't know `:state()`. */
function withoutStates() {
  const { supports } = CSS;
  const { matches } = Element.prototype;
  CSS.supports = (...given) => !given[0].includes(':state(') && supports.apply(CSS, given);
  Element.prototype.matches = function (selector) {
    if (selector.includes(':state(')) throw new DOMException('not a selector', 'SyntaxError');
    return matches.call(this, selector);
  };
}

test('a product that can do without is added without', options, async (t) => {
  const { page, added } = await visit(t);
  await page.locator('warm-cutout .choose').waitFor();
  await add(page);
  await addedTo(page);
  assert.deepEqual(cutouts(added[0]), []);
});

test('the theme editor opens no channel, and its reload of a section starts over', options, async (t) => {
  const { page, channels, added } = await visit(t, { designMode: true, loader: { warm_on: 'page_view hover focus touch viewport selector upload' } });
  await page.locator('warm-cutout .choose').waitFor();
  await page.clock.install();
  await page.locator('warm-cutout').hover();
  await page.locator('warm-cutout .choose').focus();
  await page.clock.runFor(10_000);
  const chooser = page.waitForEvent('filechooser');
  await page.locator('warm-cutout .choose').click();
  await chooser;
  assert.deepEqual(channels, [], 'neither pointer, keyboard, click nor time');
  await page.clock.resume();
  await page.evaluate(() => document.getAnimations().forEach((animation) => animation.finish()));
  assert.equal(await page.locator('.warmcut__setup').isVisible(), false, 'the script is there');

  // A merchant may try it all the same.
  await choose(page);
  await assertCutout(page);
  assert.equal((await inForm(page, '#product-form-main')).length, 1);
  await page.evaluate((html) => {
    const main = document.querySelector('#shopify-section-main');
    const tell = (type) => main.dispatchEvent(new CustomEvent(type, { bubbles: true, detail: { sectionId: 'main' } }));
    tell('shopify:section:unload');
    main.innerHTML = html;
    tell('shopify:section:load');
  }, section({ block: { request: { page_type: 'product', design_mode: true } } }));
  await page.locator('warm-cutout .choose').waitFor(); // by itself
  assert.deepEqual(await inForm(page, '#product-form-main'), []);
  await choose(page);
  await assertCutout(page);
  const again = await inForm(page, '#product-form-main');
  assert.equal(again.length, 1);
  await add(page);
  await addedTo(page);
  assert.deepEqual(cutouts(added[0]), again);
  assertQuiet(page);
});

for (const [theme, size, text] of [
  ['a rem of a tenth', { root: '62.5%', text: '1.6rem' }, 16],
  ['that, enlarged', { root: '81.25%', text: '1.6rem' }, 20.8],
  ['an ordinary rem', { root: '100%', text: '1rem' }, 16],
  ['small text', { root: '100%', text: '0.8rem' }, 16],
]) {
  test(`the widget reads as large as the theme’s text, and has its place from the start: ${theme}`, options, async (t) => {
    const { url, server } = await openShop(t, { size, block: { settings: { height: 500 } } });
    const page = await openPage(t, { server });
    let hold;
    const held = new Promise((resolve) => (hold = resolve));
    await page.route('**/widget.js', hold);
    await page.goto(url, { waitUntil: 'commit' });
    const widget = await held;
    await page.locator('footer form').waitFor();
    const height = async (selector) => Math.round((await page.locator(selector).boundingBox()).height);
    const whole = Math.round((500 * text) / 16);
    assert.equal(await height('warm-cutout'), whole, 'before it is there');
    await widget.continue();
    await page.locator('warm-cutout .choose').waitFor();
    assert.equal(await height('warm-cutout [part=box]'), whole);
    assert.equal(await height('warm-cutout .choose'), Math.round(2.75 * text), 'as large as a finger');
    assert.equal(await page.evaluate(() => window.shifted), 0);
  });
}

test('the settings reach the server, and another language and direction the shopper', options, async (t) => {
  const { server, url } = await openShop(t, { block: { language: 'ar', settings: { format: 'webp', crop: true, ground_2: new Colour('#ffcc00') } } });
  const page = await openPage(t, { server });
  const uploads = [];
  page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => typeof payload === 'string' && uploads.push(JSON.parse(payload))));
  await page.goto(url);
  const button = page.locator('warm-cutout .choose');
  assert.equal(await button.innerText(), locale('ar').widget.choose);
  assert.equal(await page.locator('warm-cutout [part=box]').evaluate((box) => getComputedStyle(box).direction), 'rtl');
  await shot(page, 'shopify-arabic');
  await choose(page);
  await phase(page, 'done');
  const { options: sent } = uploads.find(({ type }) => type === 'upload');
  assert.deepEqual([sent.format, sent.crop], ['webp', 'true']);
  const grounds = page.locator('warm-cutout [name=ground]');
  await grounds.last().waitFor();
  assert.deepEqual(await grounds.evaluateAll((all) => all.map(({ value }) => value)), ['', '#ffcc00'], 'and none');
  const [address] = await inForm(page, '#product-form-main');
  assert.equal((await fetch(address)).headers.get('content-type'), 'image/webp');
  assertQuiet(page);
});

test('where the script is missing, the merchant is told why and the shopper what to do', options, async (t) => {
  for (const designMode of [true, false]) {
    const { page } = await visit(t, { designMode, loader: false });
    const late = page.locator('.warmcut__late');
    assert.deepEqual(await late.evaluateAll((all) => all.map((one) => one.checkVisibility({ visibilityProperty: true }))), designMode ? [false, false] : [false]);
    await page.evaluate(() => document.getAnimations().forEach((animation) => animation.finish()));
    const { unavailable, setup } = locale('en').block;
    assert.deepEqual(await late.allInnerTexts(), designMode ? [unavailable, setup] : [unavailable]);
    await shot(page, `shopify-missing-${designMode ? 'editor' : 'shop'}`);
  }
});
