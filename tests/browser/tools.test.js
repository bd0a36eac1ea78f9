// What follows a cutout, and what a shopper may ask for before it.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, largePhoto, launch, openPage, phase, quit, show } from './browser.js';
import { street } from './server.js';
import { eta, visit } from './visit.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** A shop whose visitor has a cutout. */
async function shopper(t, { attributes = '', ...context } = {}) {
  const { server, shop } = await street(t, { body: `<form><warm-cutout name="cutout" ${attributes}></warm-cutout><button>Order</button></form>` });
  const page = await openPage(t, { server, ...context });
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  const cut = async () => {
    await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
    await phase(page, 'done');
    await page.locator('warm-cutout .grounds').waitFor({ state: 'attached' });
  };
  return { server, page, cut };
}

/** A picture's pixel at a share of its width and height, as [r, g, b, a]. */
const pixel = (page, source, x, y) => page.evaluate(async ([source, x, y]) => {
  const isLink = source.startsWith('blob:');
  const image = new Image();
  image.src = isLink ? source : URL.createObjectURL(await (await navigator.clipboard.read())[0].getType(source));
  await image.decode();
  const pen = new OffscreenCanvas(image.width, image.height).getContext('2d');
  pen.drawImage(image, 0, 0);
  return [image.width, ...pen.getImageData(Math.floor(image.width * x), Math.floor(image.height * y), 1, 1).data];
}, [source, x, y]);

test('the cutout is compared with its photo, by mouse and by keyboard', options, async (t) => {
  const { page, cut } = await shopper(t);
  await cut();
  const seen = () => page.locator('warm-cutout .result').evaluate((image) => getComputedStyle(image).clipPath);
  assert.equal(await seen(), 'inset(0px 0px 0px 0%)', 'all of the cutout at first');
  const slider = page.getByRole('slider', { name: 'Compare with your photo' });
  const { x, y, width, height } = await page.locator('warm-cutout .media').boundingBox();
  await page.mouse.click(x + width / 2, y + height / 3);
  assert.match(await seen(), /^inset\(0px 0px 0px (49|50|51)%\)$/, 'the photo up to where the pointer is');
  await slider.press('Home');
  await slider.press('ArrowRight');
  assert.equal(await seen(), 'inset(0px 0px 0px 1%)');
  await page.evaluate(() => (document.documentElement.dir = 'rtl'));
  assert.equal(await seen(), 'inset(0px 1% 0px 0px)', 'from the other side where one reads from there');
  assertQuiet(page);
});

test('a cropped cutout doesn’t lie over its photo, and isn’t compared with it', options, async (t) => {
  const { page, cut } = await shopper(t, { attributes: 'crop' });
  await cut();
  assert.equal(await page.locator('warm-cutout .compare').isVisible(), false);
  assert.equal(await page.locator('warm-cutout .grounds').isVisible(), true);
});

test('on another ground it is seen, downloaded and copied so', options, async (t) => {
  const { page, cut } = await shopper(t, { attributes: 'grounds="#336699 nonsense"', permissions: ['clipboard-read', 'clipboard-write'], acceptDownloads: true });
  await page.evaluate(() => {
    window.grounds = [];
    document.addEventListener('warmcut:ground', ({ detail }) => window.grounds.push(detail.colour));
  });
  await cut();
  const link = page.locator('warm-cutout .download');
  assert.deepEqual((await pixel(page, await link.getAttribute('href'), 0.99, 0.01)).slice(1), [0, 0, 0, 0], 'clear at first');
  assert.equal(await page.locator('warm-cutout [name=ground]').count(), 2, 'none, and the one that is a colour');

  await page.getByRole('radio', { name: '#336699' }).check();
  const download = page.waitForEvent('download');
  await link.click();
  assert.equal((await download).suggestedFilename(), 'cat-cutout.png');
  assert.deepEqual(await pixel(page, await link.getAttribute('href'), 0.99, 0.01), [451, 0x33, 0x66, 0x99, 255]);

  await page.getByRole('button', { name: 'Copy' }).click();
  await page.locator('warm-cutout .copy[data-done]').waitFor();
  assert.equal(await page.locator('warm-cutout [role=status]').innerText(), 'Copied');
  assert.deepEqual((await pixel(page, 'image/png', 0.99, 0.01)).slice(1), [0x33, 0x66, 0x99, 255]);

  await page.locator('warm-cutout [type=color]').fill('#ffcc00');
  assert.equal(await page.locator('warm-cutout .result').evaluate((image) => getComputedStyle(image).backgroundColor), 'rgb(255, 204, 0)');
  await page.getByRole('radio', { name: 'Transparent' }).check();
  assert.deepEqual(await page.evaluate(() => window.grounds), ['#336699', '#ffcc00', null]);
  assertQuiet(page);
});

test('the next photo begins with none of the last one’s choices', options, async (t) => {
  const { page, cut } = await shopper(t);
  await cut();
  await page.locator('warm-cutout .compare').fill('60');
  await page.locator('warm-cutout [type=color]').fill('#ffcc00');
  await cut();
  assert.equal(await page.locator('warm-cutout .compare').inputValue(), '0');
  assert.equal(await page.getByRole('radio', { name: 'Transparent' }).isChecked(), true);
  await assertCutout(page);
});

test('a form that requires the photo isn’t sent without it', options, async (t) => {
  const { page, cut } = await shopper(t, { attributes: 'required' });
  await page.evaluate(() => {
    window.sent = [];
    document.querySelector('form').addEventListener('submit', (event) => {
      event.preventDefault();
      window.sent.push(new FormData(event.target).get('cutout'));
    });
  });
  assert.equal(await page.locator('warm-cutout:state(idle)').count(), 1);
  const look = () => page.locator('warm-cutout').evaluate((host) => ({
    valid: !host.matches(':invalid'),
    value: host.value,
    focused: host.shadowRoot.activeElement?.className ?? null,
    states: ['done', 'busy'].filter((name) => host.matches(`:state(${name})`)),
  }));
  await page.getByRole('button', { name: 'Order' }).click();
  assert.deepEqual(await page.evaluate(() => window.sent), []);
  const { focused, ...before } = await look();
  assert.deepEqual(before, { valid: false, value: null, states: [] });
  assert.match(focused, /choose/, 'the focus is where the photo goes');

  await cut();
  await page.getByRole('button', { name: 'Order' }).click();
  const [sent] = await page.evaluate(() => window.sent);
  const { value, valid, states } = await look();
  assert.ok(sent.includes('/v1/cutouts/c_') && sent === value && valid);
  assert.deepEqual(states, ['done']);
});

test('where a theme shrinks the rem the widget keeps the size of the text around', options, async (t) => {
  const height = async (root, text) => {
    const style = `html { font-size: ${root} } body { font-size: ${text} }`;
    const { server, shop } = await street(t, { style });
    const page = await openPage(t, { server });
    await page.goto(shop);
    await page.locator('warm-cutout .choose').waitFor();
    return page.locator('warm-cutout .choose').evaluate((button) => button.offsetHeight);
  };
  const usual = await height('100%', '1.5rem');
  assert.equal(await height('62.5%', '1.6rem'), usual);
  assert.equal(await height('81.25%', '1.6rem'), Math.round(usual * 1.3), 'larger with larger text');
});

test('who waits long is told when it is ready, if they asked for it', options, async (t) => {
  const init = () => {
    window.notes = [];
    window.Notification = class {
      static requestPermission = async () => window.permission ?? 'granted';
      constructor(title, { body }) {
        window.notes.push([title, body]);
      }
    };
  };
  const shop = await visit(t, { init });
  const { page } = shop;
  const button = page.getByRole('button', { name: 'Tell me when it’s ready' });

  await shop.warm();
  await shop.say('stage', { stage: 'model_load', status: 'started' });
  await shop.pass(4000);
  assert.equal(await button.isVisible(), false, 'nobody is asked about a short wait');
  await shop.pass(2000);
  await button.click();
  await page.getByRole('button', { name: 'We’ll tell you' }).waitFor();
  await show(page, 'hidden');
  for (let waited = 0; waited < 4; waited++) {
    await shop.pass(30_000);
    await shop.say('stage', { stage: 'model_load', status: 'progress' });
  }
  await shop.say('ready'); // over the channel that would have been closed long ago
  const [[title, body]] = await page.evaluate(() => window.notes);
  assert.deepEqual([title, body], [await page.title(), 'Ready for your photo']);
  await show(page, 'visible');
  assertQuiet(page);

  const other = await visit(t, { init: () => (window.Notification = class { static requestPermission = async () => 'denied'; }) });
  await other.warm();
  await other.say('stage', { stage: 'model_load', status: 'started' }, { eta_ms: eta(20_000, 30_000), run_eta_ms: eta(40_000, 60_000) });
  await other.pass(200);
  await other.page.getByRole('button', { name: 'Tell me when it’s ready' }).click();
  assert.equal(await other.page.getByRole('button', { name: 'Notifications are blocked here' }).isDisabled(), true);
});

test('a form waits for a photo that is on its way, and an Enter doesn’t cancel it', options, async (t) => {
  const shop = await visit(t, { body: '<form action="/sent"><warm-cutout name="cutout"></warm-cutout><input name="q" aria-label="q"><button>Order</button></form>' });
  const { page } = shop;
  await shop.warm();
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await shop.pass(100);
  for (let presses = 0; presses < 2; presses++) {
    await page.locator('[name=q]').press('Enter');
    await page.keyboard.press('Enter');
  }
  assert.equal(new URL(page.url()).pathname, '/', 'not sent');
  await phase(page, 'uploading');
  assert.equal(await page.locator('warm-cutout').evaluate((host) => host.matches(':invalid')), true);
  await page.locator('warm-cutout .cancel').click();
  assert.equal(await page.locator('warm-cutout').evaluate((host) => host.matches(':invalid')), false, 'without a photo it may go');
  assertQuiet(page);
});

/** A shop's page with these words, where the photo is broken. */
async function told(t, attributes, init) {
  const { server, shop } = await street(t, { body: `<warm-cutout ${attributes}></warm-cutout>` });
  const page = await openPage(t, { server, init });
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout input[type=file]').setInputFiles({ name: 'a.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('only words') });
  await phase(page, 'failed');
  return { page, why: await page.locator('warm-cutout .why').innerText(), choose: await page.locator('warm-cutout .choose').textContent() };
}

test('a shop’s own words win, and wrong ones harm nobody', options, async (t) => {
  const own = { choose: '<b>Foto</b>', problem_unsupported_media_type: '„{name}“ ist kein Foto.' };
  const { why, choose } = await told(t, `data-strings='${JSON.stringify(own)}'`);
  assert.deepEqual([choose, why], ['<b>Foto</b>', '„a.jpg“ ist kein Foto.'], 'in place of the server’s too, and as text');
  for (const wrong of ['', '{nope', '{"choose": 5}']) {
    const { page, choose, why } = await told(t, `data-strings='${wrong}'`, () => addEventListener('DOMContentLoaded', () => (document.documentElement.lang = 'en_US')));
    assert.equal(choose, wrong.includes('5') ? '5' : 'Choose a photo', wrong);
    assert.match(why, /no image that we know/);
    assertQuiet(page);
  }
});

test('what the network kept from the page comes when it is asked for again', options, async (t) => {
  const { server, shop } = await street(t);
  const page = await openPage(t, { server });
  let broken = ['widget.css', 'widget-channel.js', 'widget-fit.js'];
  await page.route('**/widget*', (route) => {
    const file = broken.find((name) => route.request().url().endsWith(name));
    broken = broken.filter((name) => name !== file);
    return file ? route.abort() : route.continue();
  });
  await page.goto(shop);
  await page.locator('warm-cutout').evaluate((host) => host.load().catch(() => {}));
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await page.locator('warm-cutout .choose').waitFor();

  const photo = largePhoto(3_000_000);
  await page.locator('warm-cutout input[type=file]').setInputFiles(photo);
  for (const missing of ['widget-channel.js', 'widget-fit.js']) {
    await phase(page, 'failed');
    assert.match(await page.locator('warm-cutout .why').innerText(), /didn’t get through.*try again/, missing);
    await page.locator('warm-cutout .retry').click();
  }
  await assertCutout(page);
});

test('an element that goes takes its listeners with it, and one that comes back goes on', options, async (t) => {
  const { page, cut } = await shopper(t);
  const devtools = await page.context().newCDPSession(page);
  const listeners = async () => {
    await devtools.send('HeapProfiler.collectGarbage');
    return (await devtools.send('Memory.getDOMCounters')).jsEventListeners;
  };
  const turn = (times) => page.evaluate(async (times) => {
    for (let i = 0; i < times; i++) {
      const host = document.body.appendChild(document.createElement('warm-cutout'));
      await host.load();
      host.remove();
    }
    await new Promise((resolve) => setTimeout(resolve));
  }, times);
  await turn(5);
  const before = await listeners();
  await turn(20);
  assert.ok((await listeners()) - before < 20, 'not even one for each');

  await page.evaluate(() => {
    window.host = document.querySelector('warm-cutout');
    window.host.remove();
  });
  await page.evaluate(() => document.querySelector('form').prepend(window.host));
  await cut();
  await assertCutout(page);
});

test('a picture is not taken by a widget that nobody sees', options, async (t) => {
  const { page } = await shopper(t);
  await page.locator('warm-cutout').evaluate((host) => (host.hidden = true));
  const taken = await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File(['x'], 'private.png', { type: 'image/png' }));
    const event = new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
  });
  assert.equal(taken, false);
});
