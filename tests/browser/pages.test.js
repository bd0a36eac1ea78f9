// Our pages: what they look like and say, on every screen, to everybody, under the strictest policy, and
// without a network.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible } from './axe.js';
import { PHOTO, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit, shot } from './browser.js';
import { startFront } from './front.js';
import { startServer } from './server.js';

const options = { timeout: 4 * TIMEOUT_MS };
const PAGES = { portrait: '/', cutout: '/upload.html', developers: '/developers.html' };
const SCHEMES = ['light', 'dark'];

before(launch);
after(quit);

/** A page of ours behind the policy. */
async function visit(t, path, { args = [], ...context } = {}) {
  const server = await startServer(t, ...args);
  const front = await startFront(t, server);
  const page = await openPage(t, { server, ...context });
  await page.goto(front.origin + path);
  return { server, front, page };
}

for (const [name, path] of Object.entries(PAGES)) {
  for (const colorScheme of SCHEMES) {
    test(`${name} fits every screen, ${colorScheme}`, options, async (t) => {
      const server = await startServer(t);
      const front = await startFront(t, server);
      for (const width of [320, 360, 768, 1440]) {
        const page = await openPage(t, { server, viewport: { width, height: 800 }, colorScheme });
        await page.goto(front.origin + path);
        // Down to the end, so that everything has come that comes when it is seen.
        await page.evaluate(async () => {
          for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
            scrollTo({ top: y, behavior: 'instant' });
            await new Promise(requestAnimationFrame);
          }
          scrollTo({ top: 0, behavior: 'instant' });
        });
        if (name !== 'developers') await page.locator('warm-cutout .choose').waitFor();
        await page.waitForLoadState('networkidle');
        const wide = await page.evaluate(() => {
          const room = document.documentElement.clientWidth;
          return document.documentElement.scrollWidth <= room ? [] : [...document.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > room + 1)
            .map((element) => `${element.localName}.${element.className}`);
        });
        assert.deepEqual(wide, [], `nothing is wider than ${width} px`);
        const { shifted, shifts } = await page.evaluate(() => ({ shifted: window.shifted, shifts: window.shifts }));
        t.diagnostic(`layout shift at ${width} px: ${shifted}`);
        assert.deepEqual(shifts, [], `nothing moves at ${width} px`);
        await assertAccessible(page, `${name} at ${width} px, ${colorScheme}`);
        await shot(page, `${name}-${width}-${colorScheme}`);
        assertQuiet(page);
        await page.context().close();
      }
    });
  }
}

// The product page.

const field = (page) => page.evaluate(() => new FormData(document.querySelector('#buy')).get('properties[_cutout]'));

test('choosing a pet is intent: it warms, and the portrait is of that pet', options, async (t) => {
  const { page } = await visit(t, PAGES.portrait, { args: ['--warm', 'intent'] });
  const channels = [];
  page.on('websocket', (socket) => channels.push(socket.url()));
  for (const [pet, art] of [['Dog', 'dog'], ['Rabbit', 'rabbit'], ['Other', 'bird'], ['Cat', 'cat']]) {
    // By its event alone: a pointer on the way there would be intent already.
    await page.getByRole('radio', { name: pet }).evaluate((radio) => radio.click());
    assert.match(await page.locator('#print').getAttribute('src'), new RegExp(`art/${art}\\.svg`));
    assert.match(await page.locator('#print').getAttribute('alt'), new RegExp(art));
  }
  await phase(page, 'warming', 'ready');
  assert.equal(channels.length, 1);
  assert.match(channels[0], /[?&]trigger=selector\b/);
  assertQuiet(page);
});

test('each view changes the picture', options, async (t) => {
  const { page } = await visit(t, PAGES.portrait);
  const seen = new Set();
  for (const view of ['Up close', 'Sizes', 'As a gift', 'At home']) {
    const button = page.getByRole('button', { name: view });
    await button.click();
    assert.equal(await button.getAttribute('aria-pressed'), 'true');
    assert.equal(await page.locator('.views [aria-pressed=true]').count(), 1);
    await assertAccessible(page, view);
    seen.add((await page.locator('.gallery > .scene').screenshot()).toString('base64'));
    await shot(page, `portrait-view-${seen.size}`);
  }
  assert.equal(seen.size, 4);
  assert.deepEqual(await page.evaluate(() => window.shifts), []);
  assertQuiet(page);
});

for (const colorScheme of SCHEMES) {
  test(`an order without a photo says so, and with one it is in the basket, ${colorScheme}`, options, async (t) => {
    const { front, page } = await visit(t, PAGES.portrait, { colorScheme });
    await page.locator('warm-cutout .choose').waitFor();
    const submit = page.getByRole('button', { name: /Add to basket/ });
    await submit.click();
    const missing = page.getByRole('alert');
    assert.match(await missing.innerText(), /Add a photo first/);
    await page.waitForFunction(() => document.activeElement?.shadowRoot?.activeElement?.classList.contains('choose'));
    await page.waitForFunction(() => { // the page glides there
      const { top, bottom } = document.activeElement.shadowRoot.activeElement.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    });
    await assertAccessible(page, 'the photo is missing');
    await shot(page, `portrait-missing-${colorScheme}`);

    await page.getByRole('radio', { name: 'Cat' }).check({ force: true });
    await page.getByRole('radio', { name: 'Sage' }).check({ force: true });
    await page.getByRole('radio', { name: /50 × 70/ }).check({ force: true });
    await page.getByRole('radio', { name: 'Black' }).check({ force: true });
    await page.getByRole('button', { name: 'One more' }).click();
    await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
    await assertCutout(page);
    assert.equal(await missing.innerText(), '', 'what was missing is here');
    await page.locator('#print.own').waitFor();
    await shot(page, `portrait-cutout-${colorScheme}`);

    const value = await field(page);
    assert.ok(value.startsWith(`${front.origin}/v1/cutouts/`), value);
    await submit.click();
    const basket = page.getByRole('dialog', { name: 'Your basket' });
    await basket.waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'basket-title', 'the focus goes along');
    const line = basket.locator('.lines li');
    assert.match(await line.innerText(), /Cat portrait, 50 × 70\s+Black frame, sage ground\s+Quantity 2/);
    assert.match(await basket.innerText(), /Total\s+€138/);
    await line.locator('summary').click();
    const sent = await line.locator('dl').innerText();
    for (const text of [value, 'properties[_cutout]', 'properties[Pet]', 'Cat', 'sage', '50x70', 'black']) assert.ok(sent.includes(text), `${text} in ${sent}`);
    await assertAccessible(page, 'the basket');
    await page.screenshot({ path: new URL(`screenshots/portrait-basket-${colorScheme}.png`, import.meta.url).pathname });

    await page.keyboard.press('Escape');
    await basket.waitFor({ state: 'hidden' });
    assert.match(await page.locator('#bag').innerText(), /\b2\b/);
    await page.locator('#bag').click();
    await basket.getByRole('button', { name: /^Remove/ }).click();
    assert.match(await basket.innerText(), /Nothing in it yet/);
    await assertAccessible(page, 'the empty basket');
    assertQuiet(page);
  });
}

test('an order while the photo is on its way is told to wait, not asked for a photo', options, async (t) => {
  const { page, front } = await visit(t, PAGES.portrait);
  await page.locator('warm-cutout .choose').waitFor();
  // The form is sent in the very moment in which the server says that it takes the photo.
  await page.evaluate(async () => {
    const { connect } = await import('/widget.js');
    connect().addEventListener('upload', () => document.querySelector('#buy').requestSubmit(), { once: true });
  });
  const said = page.evaluate(() => new Promise((resolve) => {
    new MutationObserver(([{ target }]) => resolve(target.textContent)).observe(document.querySelector('#missing'), { childList: true });
  }));
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  assert.match(await said, /still being cut out/);
  await assertCutout(page);
  assert.equal(await page.getByRole('alert').innerText(), '');
  assert.ok((await field(page)).startsWith(front.origin));
  assertQuiet(page);
});

test('a cutout that is taken back leaves the frame, and the form', options, async (t) => {
  const { page } = await visit(t, PAGES.portrait);
  await page.locator('warm-cutout .choose').waitFor();
  await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await page.locator('#print.own').waitFor();
  assert.match(await page.locator('#print').getAttribute('src'), /^blob:/);
  await page.locator('#buy').evaluate((form) => form.reset());
  await page.locator('#print:not(.own)').waitFor();
  assert.match(await page.locator('#print').getAttribute('src'), /art\/cat\.svg/);
  assert.equal(await field(page), null);
  assertQuiet(page);
});

test('the frame gets the subject alone, cut off where the photo cut it off', options, async (t) => {
  const { page } = await visit(t, PAGES.portrait);
  const trim = (x, y, w, h) => page.evaluate(async ([x, y, w, h]) => {
    const { trimmed } = await import('/trim.js');
    const canvas = new OffscreenCanvas(600, 400);
    canvas.getContext('2d').fillRect(x, y, w, h);
    const { blob, cut } = await trimmed(await canvas.convertToBlob());
    const { width, height } = await createImageBitmap(blob);
    return { width, height, cut };
  }, [x, y, w, h]);
  const near = (got, wanted) => Math.abs(got - wanted) <= 6;
  for (const [box, cut] of [[[150, 100, 300, 200], []], [[0, 200, 300, 200], ['left', 'bottom']], [[300, 0, 300, 100], ['top', 'right']]]) {
    const got = await trim(...box);
    assert.ok(near(got.width, box[2]) && near(got.height, box[3]), JSON.stringify(got));
    assert.deepEqual(got.cut, cut);
  }
  assert.deepEqual(await trim(0, 0, 0, 0), { width: 600, height: 400, cut: [] }, 'nothing at all stays as it is');
  assertQuiet(page);
});

// The upload page.

for (const colorScheme of SCHEMES) {
  test(`a cutout and its times, and a file that is none, can be read by everybody, ${colorScheme}`, options, async (t) => {
    const { page } = await visit(t, PAGES.cutout, { colorScheme });
    await page.locator('warm-cutout .choose').waitFor();
    await page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
    await assertCutout(page);
    const shares = await page.locator('#facts div').evaluateAll((rows) => rows.map((row) => Number(row.style.getPropertyValue('--share'))));
    assert.ok(shares.every((share) => share >= 0 && share <= 1) && shares.some((share) => share > 0), `${shares}`);
    await assertAccessible(page, 'with a cutout');
    await shot(page, `cutout-done-${colorScheme}`);

    await page.locator('warm-cutout input[type=file]').setInputFiles({ name: 'notes.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('only words') });
    await phase(page, 'failed');
    assert.deepEqual(await page.locator('#facts dd').allInnerTexts(), Array(7).fill('–'), 'figures of another photo are gone');
    await assertAccessible(page, 'with a problem');
    assertQuiet(page);
  });
}

// The developers' page.

const rows = (page) => page.locator('#events li:not([hidden])').evaluateAll((items) => items.map((item) => ({
  type: item.dataset.type,
  kind: item.querySelector('.kind').textContent,
  at: item.querySelector('.at').textContent,
  since: item.querySelector('.since').textContent,
  event: JSON.parse(item.querySelector('.json').textContent),
})));
const token = (page) => page.evaluate(async () => (await import('/widget.js')).connect().state.session.token);
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const permissions = ['clipboard-read', 'clipboard-write'];

test('each event of the wire is shown as it arrives, with its times, and can be copied', options, async (t) => {
  const { page } = await visit(t, PAGES.developers, { permissions });
  assert.match(await page.locator('.nothing').innerText(), /Nothing yet/);
  assert.equal(await page.getByRole('log').getAttribute('aria-live'), 'off', 'it is read when somebody wants to');

  // Not by the pointer: what moves within half a second of that is taken for its doing.
  await page.getByRole('button', { name: 'Warm up' }).evaluate((button) => button.click());
  await page.locator('#events [data-type=ready]').waitFor();
  assert.equal(await page.locator('#transport').innerText(), 'WebSocket');
  assert.equal(await page.locator('#phase').innerText(), 'ready');
  assert.match(await page.locator('#opened').innerText(), /^\d+ ms$/);
  assert.equal(await page.getByRole('status').innerText(), 'ready');

  await page.getByRole('button', { name: 'A tabby cat' }).click();
  await page.locator('#result').waitFor({ state: 'visible' });
  await page.locator('#events li:last-child', { hasText: 'succeeded' }).waitFor();
  const all = await rows(page);
  assert.deepEqual([...new Set(all.map(({ type }) => type))], ['session', 'stage', 'ready', 'upload', 'job', 'cutout'].filter((type) => all.some((row) => row.type === type)));
  for (const { type, kind, at, since, event } of all) {
    assert.equal(kind, type);
    assert.equal(event.type, type);
    assert.ok(Number.isInteger(event.at_ms), 'the server’s own time is there');
    assert.match(at, /^\d\d:\d\d:\d\d\.\d{3}$/);
    assert.match(since, /^\+\d+ ms$/);
  }
  assert.equal(all[0].since, '+0 ms', 'the session’s own event opens the channel');
  const since = all.map((row) => Number.parseInt(row.since, 10));
  assert.deepEqual(since, since.toSorted((a, b) => a - b));

  const secret = await token(page);
  assert.ok(secret.length > 16);
  assert.equal(all[0].event.token, '(hidden)');
  assert.ok(!(await page.content()).includes(secret), 'the token is nowhere on the page');
  const lasting = all.find(({ type }) => type === 'cutout').event.lasting_url;
  assert.match(lasting, /signature=\(hidden\)$/, 'what opens the cutout is not shown either');

  await page.getByRole('button', { name: 'Copy all' }).click();
  await page.locator('#copy[data-done]').waitFor();
  const text = await clipboard(page);
  const lines = text.trimEnd().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ event }) => event), all.map(({ event }) => event));
  assert.ok(lines.every(({ received_at, open_ms }) => Date.parse(received_at) > 0 && Number.isInteger(open_ms)));
  assert.ok(!text.includes(secret), 'nor in what is copied');
  assert.deepEqual(await page.evaluate(() => window.shifts), [], 'what comes moves nothing');
  assertQuiet(page);
});

test('the list is filtered by type, held still, cleared, and bounded', options, async (t) => {
  const { page } = await visit(t, PAGES.developers);
  const say = (type, n = 1) => page.evaluate(async ([type, n]) => {
    const { connect } = await import('/widget.js');
    for (let i = 0; i < n; i++) connect().dispatchEvent(new CustomEvent(type, { detail: { type, at_ms: i } }));
  }, [type, n]);
  const types = async () => (await rows(page)).map(({ type }) => type);
  const group = page.getByRole('group', { name: 'Show only' });

  await say('stage', 2);
  await say('job');
  await group.getByRole('button', { name: 'job' }).click();
  assert.deepEqual(await types(), ['job']);
  assert.equal(await group.getByRole('button', { name: 'job' }).getAttribute('aria-pressed'), 'true');
  await say('stage');
  await say('job');
  assert.deepEqual(await types(), ['job', 'job'], 'what comes is filtered too');
  await group.getByRole('button', { name: 'stage' }).click();
  assert.deepEqual(await types(), ['stage', 'stage', 'job', 'stage', 'job']);
  await group.getByRole('button', { name: 'stage' }).click();
  await group.getByRole('button', { name: 'job' }).click();
  assert.equal((await types()).length, 5, 'without a choice everything is shown');
  assert.match(await group.getByRole('button', { name: 'stage' }).innerText(), /3$/);

  await page.getByRole('button', { name: 'Pause' }).click();
  await say('ping', 7);
  assert.equal((await types()).length, 5);
  assert.equal(await page.locator('#held').innerText(), 'Paused, 7 more');
  await page.getByRole('button', { name: 'Pause' }).click();
  assert.equal((await types()).length, 12, 'nothing of the pause is lost');

  await page.getByRole('button', { name: 'Clear' }).click();
  assert.deepEqual(await types(), []);
  await say('ping', 510);
  const kept = await rows(page);
  assert.deepEqual([kept.length, kept[0].event.at_ms, kept.at(-1).event.at_ms], [500, 10, 509]);
  assert.equal(await group.getByRole('button', { name: 'ping' }).innerText(), 'ping\n500');
  const { top, room } = await page.locator('#scroll').evaluate((box) => ({ top: Math.ceil(box.scrollTop + box.clientHeight), room: box.scrollHeight }));
  assert.ok(top >= room - 1, 'the newest is in sight');
  await page.locator('#scroll').evaluate((box) => (box.scrollTop = 100));
  await say('ping');
  assert.ok((await page.locator('#scroll').evaluate((box) => box.scrollTop)) < 200, 'who scrolled up is left alone');
  assertQuiet(page);
});

test('the code names this server, and is copied as it stands', options, async (t) => {
  const { front, page } = await visit(t, PAGES.developers, { permissions });
  for (const name of await page.locator('[data-copy]').evaluateAll((buttons) => buttons.map(({ dataset }) => dataset.copy))) {
    const button = page.locator(`[data-copy=${name}]`);
    await button.click();
    await page.locator(`[data-copy=${name}][data-done]`).waitFor();
    const text = await clipboard(page);
    assert.equal(text, await page.locator(`#${name}`).textContent());
    if (name !== 'hear') assert.ok(text.includes(front.origin), `${name}: ${text}`);
    assert.ok(!text.includes('cut.example'), name);
  }
  assertQuiet(page);
});

test('a keyboard warms, sends, cancels and hangs up, and the session goes on', options, async (t) => {
  const { page } = await visit(t, PAGES.developers);
  const press = async (name) => {
    await page.getByRole('button', { name, exact: true }).focus();
    await page.keyboard.press('Enter');
  };
  const reached = new Set();
  for (let tabs = 0; tabs < 60; tabs++) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent || document.activeElement.ariaLabel));
  }
  for (const id of ['warm', 'cancel', 'close', 'pause', 'clear', 'copy', 'scroll']) assert.ok(reached.has(id), `${id} is reached by the tab key`);

  await press('Cancel');
  assert.equal(await page.getByRole('status').innerText(), 'Nothing to cancel');
  await press('Warm up');
  await page.locator('[data-phase=ready]').waitFor();
  await press('A raccoon');
  await page.locator('#events [data-type=upload]').first().waitFor();
  await press('Cancel');
  await page.waitForFunction(() => /cancel|here/i.test(document.querySelector('#said').textContent));
  await press('Hang up');
  await page.locator('[data-phase=idle]').waitFor();
  assert.equal(await page.locator('#transport').innerText(), 'none');
  await press('Warm up');
  await page.locator('#resumed', { hasText: 'resumed' }).waitFor();
  await page.locator('[data-phase=ready]').waitFor();
  assertQuiet(page);
});

for (const colorScheme of SCHEMES) {
  test(`every type of event can be read by everybody, ${colorScheme}`, options, async (t) => {
    const { page } = await visit(t, PAGES.developers, { colorScheme });
    await page.evaluate(async () => {
      const { connect } = await import('/widget.js');
      for (const { dataset } of document.querySelectorAll('#kinds button')) {
        connect().dispatchEvent(new CustomEvent(dataset.type, { detail: { type: dataset.type, at_ms: 1, text: 'and', none: null } }));
      }
    });
    await assertAccessible(page, 'with events');
    for (const button of await page.locator('#kinds button').all()) await button.click();
    await page.getByRole('button', { name: 'Pause' }).click();
    await assertAccessible(page, 'filtered and paused');
    await shot(page, `developers-events-${colorScheme}`);
    assertQuiet(page);
  });
}
