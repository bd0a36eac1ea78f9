// The service worker of our pages: they open without a network, all of one version, with nothing of a session.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, quit, shot } from './browser.js';
import { startFront } from './front.js';
import { startServer } from './server.js';

const options = { timeout: 3 * TIMEOUT_MS };
const PAGES = { '/': 'The Pet Portrait', '/upload.html': 'Cut out a photo', '/developers.html': 'For developers' };

before(launch);
after(quit);

async function visit(t, path = '/', context = {}) {
  const server = await startServer(t);
  const front = await startFront(t, server);
  const page = await openPage(t, { server, ...context });
  await page.goto(front.origin + path);
  return { server, front, page };
}

/** The name of the set that the worker keeps, once it has one; null if it keeps none. */
const kept = (page) => page.evaluate(async () => {
  const { active } = await navigator.serviceWorker.ready;
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
    active.postMessage('keep', [port2]);
  });
});

/** Every address in every cache, and all their text. */
const stored = (page) => page.evaluate(async () => {
  const found = {};
  for (const name of await caches.keys()) {
    const cache = await caches.open(name);
    for (const request of await cache.keys()) {
      const { pathname, search } = new URL(request.url);
      (found[name] ??= {})[pathname + search] = await (await cache.match(request)).text();
    }
  }
  return found;
});

/** What is kept counts as old: the next page asks again. */
const age = (page) => page.evaluate(async () => {
  const state = await caches.open('warmcut state');
  const current = await (await state.match('/sw.js?current')).json();
  await state.put('/sw.js?current', Response.json({ ...current, at: 0 }));
});

const worker = async (page) => page.context().serviceWorkers()[0] ?? page.context().waitForEvent('serviceworker');

for (const [how, cut] of [['the browser is offline', ({ page }) => page.context().setOffline(true)], ['the server is gone', ({ front }) => front.down()]]) {
  test(`every page opens while ${how}`, options, async (t) => {
    const { server, front, page } = await visit(t);
    assert.ok(await kept(page));
    await cut({ page, front });
    for (const [path, title] of [...Object.entries(PAGES), ['/?utm_source=letter', PAGES['/']]]) {
      const offline = await page.context().newPage();
      const wrong = [];
      // To choose a pet is intent, and the session that it opens can't be had.
      const isOfSession = (message) => `${message.text()} ${message.location().url}`.includes('/v1/');
      offline.on('console', (message) => message.type() === 'error' && !isOfSession(message) && wrong.push(message.text()));
      offline.on('pageerror', (error) => wrong.push(String(error)));
      await offline.goto(front.origin + path);
      assert.match(await offline.title(), new RegExp(title));
      if (path !== '/developers.html') {
        await offline.locator('warm-cutout').scrollIntoViewIfNeeded();
        await offline.locator('warm-cutout .choose').waitFor();
      } else {
        await offline.getByRole('button', { name: 'Pause' }).click();
        assert.equal(await offline.locator('#pause').getAttribute('aria-pressed'), 'true', 'its script runs');
      }
      for (const pet of await offline.locator('.pets input').all()) {
        await pet.evaluate((radio) => radio.click());
        await offline.locator('#print').evaluate((print) => print.decode());
      }
      await offline.waitForLoadState('networkidle');
      const broken = await offline.evaluate(() => [...document.images].filter((image) => image.getAttribute('src') && !image.naturalWidth).map(({ src }) => src));
      assert.deepEqual(broken, []);
      assert.deepEqual(wrong, [], 'every file is there');
      await shot(offline, `offline-${title.split(' ').at(-1).toLowerCase()}`);
      await offline.close();
    }
    assert.equal(server.log().includes('panic'), false);
  });
}

test('nothing of a session is kept, whatever the pages do', options, async (t) => {
  const { page } = await visit(t);
  assert.ok(await kept(page));
  await page.reload(); // now it goes through the worker
  assert.ok(await page.evaluate(() => navigator.serviceWorker.controller));
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await assertCutout(page);
  await age(page);
  assert.ok(await kept(page));
  const caches = await stored(page);
  const { token, session } = await page.evaluate(async () => (await import('/widget.js')).connect().state.session);
  const text = JSON.stringify(caches);
  assert.ok(text.includes('/widget-ui.js'));
  for (const secret of [token, session]) assert.ok(!text.includes(secret));
  for (const path of Object.values(caches).flatMap(Object.keys)) assert.doesNotMatch(path, /^\/v1|^\/health|signature/);
  assertQuiet(page);
});

test('it takes plain requests for files of the pages, and no others', options, async (t) => {
  const { front, page } = await visit(t);
  const taken = await (await worker(page)).evaluate((origin) => {
    const asks = {
      page: ['/'], module: ['/widget.js'], picture: ['/art/cat.svg'],
      session: ['/v1/sessions/s_1'], named: ['/v1/cutouts/c_1.png'], health: ['/health'], metrics: ['/metrics'],
      told: ['/widget.js', { headers: { Authorization: 'Bearer x' } }], part: ['/samples/cat.jpg', { headers: { Range: 'bytes=0-9' } }],
      sent: ['/', { method: 'POST' }], head: ['/', { method: 'HEAD' }], elsewhere: ['https://shop.example/widget.js'],
    };
    return Object.entries(asks).filter(([, [path, init]]) => isOurs(new Request(new URL(path, origin), init))).map(([name]) => name);
  }, front.origin);
  assert.deepEqual(taken, ['page', 'module', 'picture']);
});

test('a page that opened without a network stays with its version when the network is back', options, async (t) => {
  const { front, page } = await visit(t, '/', { viewport: { width: 360, height: 500 } });
  const first = await kept(page);
  front.down();
  await page.reload();
  assert.equal(await page.locator('warm-cutout .box').count(), 0, 'its interface is still to come');
  front.up();
  front.files.set('/widget-ui.js', 'document.title = "another version"; export const mount = () => {};');
  // What the worker knows in memory may be gone by then; and a newer set has come.
  const other = await page.context().newPage();
  await other.goto(`${front.origin}/upload.html`);
  await age(other);
  const second = await kept(other);
  assert.notEqual(second, first);
  await (await worker(page)).evaluate(() => (held = null));

  await page.locator('warm-cutout').scrollIntoViewIfNeeded();
  await page.locator('warm-cutout .choose').waitFor();
  assert.match(await page.title(), /The Pet Portrait/);
  assert.deepEqual(Object.keys(await stored(page)).sort(), ['warmcut state', first, second].sort(), 'its set stays for as long as it does');

  await page.reload(); // online, and so of the newest version
  await page.locator('warm-cutout').scrollIntoViewIfNeeded();
  await page.waitForFunction(() => document.title === 'another version');
  await age(page);
  await kept(page);
  assert.deepEqual(Object.keys(await stored(page)).sort(), ['warmcut state', second].sort(), 'then nobody holds to the old one');
});

test('a page that opened over the network gets nothing from a set', options, async (t) => {
  const { front, page } = await visit(t, '/', { viewport: { width: 360, height: 500 } });
  assert.ok(await kept(page));
  await page.reload();
  front.down();
  await page.locator('warm-cutout').scrollIntoViewIfNeeded();
  const got = await page.evaluate(() => fetch('/widget-ui.js').then(() => 'a file', () => 'nothing'));
  assert.equal(got, 'nothing');
});

test('a server that changes while it is asked gives no set', options, async (t) => {
  const server = await startServer(t);
  const front = await startFront(t, server);
  const page = await openPage(t, { server });
  let version = 0;
  front.files.set('/trim.js', () => `// ${version++}\nexport const trimmed = (blob) => ({ blob, whole: true });`);
  await page.goto(front.origin);
  assert.equal(await kept(page), null);
  assert.deepEqual(Object.keys(await stored(page)), []);
  front.files.delete('/trim.js');
  assert.ok(await kept(page), 'the next page asks again');
});

test('a broken worker is replaced while its pages are open, and what it kept goes', options, async (t) => {
  const server = await startServer(t);
  const front = await startFront(t, server);
  const page = await openPage(t, { server });
  front.files.set('/sw.js', `
    addEventListener('install', (event) => { skipWaiting(); event.waitUntil(caches.open('warmcut set of old')); });
    addEventListener('fetch', (event) => event.request.mode === 'navigate' || event.respondWith(Response.error()));`);
  await page.goto(front.origin);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload();
  assert.equal(await page.evaluate(() => customElements.get('warm-cutout')), undefined, 'it breaks every page');

  // Another tab of the shop stays as it is: no worker waits until the last of them is closed.
  await (await page.context().newPage()).goto(front.origin);
  front.files.delete('/sw.js');
  const next = page.context().waitForEvent('serviceworker');
  await page.reload(); // whatever comes of it, the browser looks for a new worker
  await (await next).evaluate(() => new Promise((resolve) => {
    const look = () => self.serviceWorker.state === 'activated' && resolve();
    self.serviceWorker.addEventListener('statechange', look);
    look();
  }));
  await page.reload();
  assert.ok(await kept(page));
  assert.ok(!Object.keys(await stored(page)).includes('warmcut set of old'));
});

test('it comes after the page, and reloads nothing', options, async (t) => {
  const server = await startServer(t);
  const front = await startFront(t, server);
  const page = await openPage(t, { server });
  let release;
  front.files.set('/art/gift.svg', () => new Promise((resolve) => (release = () => resolve('<svg xmlns="http://www.w3.org/2000/svg"/>'))));
  await page.goto(front.origin, { waitUntil: 'commit' });
  await page.locator('.mini .scene').first().waitFor(); // its script has run
  await page.evaluate(async () => (await fetch('/samples/README.md')).text());
  assert.ok(!front.asked.includes('/sw.js'), 'the last picture goes first');
  let navigations = 0;
  page.on('framenavigated', () => navigations++);
  front.files.delete('/art/gift.svg');
  release();
  assert.ok(await kept(page));
  assert.equal(await page.evaluate(() => navigator.serviceWorker.controller), null, 'the first page is left alone');
  assert.equal(navigations, 0);

  const asked = front.asked.length;
  await page.reload();
  await kept(page);
  assert.ok(front.asked.length - asked < 60, 'a set that is fresh is not asked for again');
  assertQuiet(page);
});

test('a click on a notification brings the tab that asked, or opens its page', options, async (t) => {
  const { front, page } = await visit(t);
  await kept(page);
  const clicked = (url, tabs) => worker(page).then((sw) => sw.evaluate(([url, tabs]) => new Promise((resolve) => {
    const clients = {
      matchAll: async () => tabs.map((tab) => ({ url: tab, focus: async () => resolve(`focus ${tab}`) })),
      openWindow: async (address) => resolve(`open ${address}`),
    };
    Object.defineProperty(self, 'clients', { value: clients, configurable: true });
    const event = new Event('notificationclick');
    let closed = false;
    Object.assign(event, { notification: { close: () => (closed = true), data: url && { url } }, waitUntil: (done) => done.then(() => resolve(`nothing, closed ${closed}`)) });
    self.dispatchEvent(event);
  }), [url, tabs]));
  const [a, b, c] = ['/', '/upload.html', '/upload.html?photo=1'].map((path) => front.origin + path);
  assert.equal(await clicked(b, [a, c, b]), `focus ${b}`);
  assert.equal(await clicked(b, [a, c]), `focus ${c}`, 'the same page with another query');
  assert.equal(await clicked(b, [a]), `open ${b}`);
  assert.equal(await clicked(undefined, []), `open ${a}`);
  assert.equal(await clicked('https://elsewhere.example/', [a]), 'nothing, closed true');
});
