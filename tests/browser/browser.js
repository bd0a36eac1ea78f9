// A browser, pages that note everything that goes wrong on them, and a look at a result's pixels.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** Where pictures go. */
export const SCREENSHOTS = fileURLToPath(new URL('screenshots/', import.meta.url));
mkdirSync(SCREENSHOTS, { recursive: true });

/** A photo whose subject stands in the middle and leaves the corners free. */
export const PHOTO = fileURLToPath(new URL('../../static/samples/cat.jpg', import.meta.url));

/** The same photo, made large by comments that a decoder skips. */
export function largePhoto(bytes) {
  const photo = readFileSync(PHOTO);
  const comment = Buffer.alloc(2 + 65_535, 'x');
  comment.set([0xff, 0xfe, 0xff, 0xff]);
  const comments = Array(Math.ceil(bytes / comment.length)).fill(comment);
  return { name: 'cat.jpg', mimeType: 'image/jpeg', buffer: Buffer.concat([photo.subarray(0, 2), ...comments, photo.subarray(2)]) };
}

/** A cold debug build takes its time; a test that hangs shall end all the same. */
export const TIMEOUT_MS = 60_000;

const SWITCHES = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

let browser;

/** The one browser of a test file. */
export async function launch({ ignoreDefaultArgs } = {}) {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: SWITCHES, ignoreDefaultArgs });
}

export const quit = () => browser?.close();

/** A page in a context of its own. `wrong` collects errors, policy violations and layout shifts. */
export async function openPage(t, { server, init, ...context } = {}) {
  const visit = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...context });
  const page = await visit.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  page.wrong = [];
  page.on('console', (message) => message.type() === 'error' && page.wrong.push(`${message.text()} (${message.location().url})`));
  page.on('pageerror', (error) => page.wrong.push(String(error.stack ?? error)));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.violatedDirective, event.blockedURI));
    window.shifted = 0;
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const { hadRecentInput, value, sources } of list.getEntries()) {
        if (hadRecentInput) continue;
        window.shifted += value;
        const name = (node) => `${node?.nodeName} ${node?.className ?? ''} ${node?.textContent?.trim().slice(0, 40)}`;
        window.shifts.push(...sources.map(({ node, previousRect, currentRect }) => `${name(node)}: ${JSON.stringify(previousRect)} to ${JSON.stringify(currentRect)}`));
      }
    }).observe({ type: 'layout-shift', buffered: true });
  });
  if (init) await page.addInitScript(init);
  t.after(async () => {
    if (!t.passed && t.passed !== undefined) console.error(`${t.name}: the page said ${JSON.stringify(page.wrong)}; the server said\n${server?.log()}`);
    await visit.close();
  });
  return page;
}

export const shot = (page, name) => page.screenshot({ path: `${SCREENSHOTS}${name}.png`, fullPage: true });

/**
 * Runs in the page before anything else but what blocks a way: notes each try to open a channel. Playwright
 * hears of a socket only when it shakes hands.
 */
export function noteChannels() {
  window.channels = [];
  const note = (way, address) => {
    const { searchParams } = new URL(address);
    window.channels.push({ way, trigger: searchParams.get('trigger'), resumes: searchParams.has('last_event_id') });
  };
  window.WebSocket = new Proxy(WebSocket, {
    construct(Socket, given) {
      note('socket', given[0]);
      return new Socket(...given);
    },
  });
  const { fetch } = window;
  window.fetch = (address, how) => {
    const { pathname } = new URL(address, location);
    if (pathname === '/v1/events') note('events', address);
    if (pathname === '/v1/sessions') note('poll', address);
    return fetch(address, how);
  };
}

/** What the page's tries to open a channel were like, one by one. */
export const tries = (page, what) => page.evaluate((what) => window.channels.map((one) => one[what]), what);

/** Stops a page's clock, from its first script on: then `page.clock.runFor` alone moves it. */
export async function stopClock(page) {
  const start = Date.now();
  await page.clock.install({ time: start });
  await page.clock.pauseAt(start + 1000);
}

/** Shows the page to itself as another tab's neighbour does. */
export const show = (page, state) =>
  page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);

/** Waits until the widget shows a phase, and says what it shows instead when it doesn't. */
export async function phase(page, ...names) {
  const box = page.locator(names.map((name) => `warm-cutout .box[data-phase="${name}"]`).join());
  await box.waitFor({ state: 'attached' }).catch(async (error) => {
    const shown = await page.locator('warm-cutout .box').evaluate((box) => `${box.dataset.phase}: ${box.innerText}`).catch(String);
    await shot(page, `wrong-${names[0]}`);
    throw new Error(`the widget should be ${names.join(' or ')}, but it is ${shown}\npage: ${page.wrong.join('\n')}\n${error}`);
  });
}

/** How the page's channel goes. */
export const transport = (page, widget = '/widget.js') =>
  page.evaluate(async (widget) => (await import(widget)).connect().state.transport, widget);

/** The result is a real cutout: seen by the shopper, clear at the corners, opaque in the middle. */
export async function assertCutout(page) {
  await phase(page, 'done');
  const image = page.locator('warm-cutout img[part="result"]');
  await image.waitFor({ state: 'visible' });
  const look = await image.evaluate(async (image) => {
    await image.decode();
    await Promise.all(image.getAnimations().map((animation) => animation.finished));
    const { naturalWidth: width, naturalHeight: height } = image;
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0);
    const { data } = pen.getImageData(0, 0, width, height);
    const alpha = (x, y) => data[(Math.floor(y * (height - 1)) * width + Math.floor(x * (width - 1))) * 4 + 3];
    let opaque = 0;
    for (let at = 3; at < data.length; at += 4) opaque += data[at] > 127;
    return {
      width, height,
      opacity: getComputedStyle(image).opacity,
      corners: [alpha(0, 0), alpha(1, 0), alpha(0, 1), alpha(1, 1)],
      middle: alpha(0.5, 0.5),
      share: opaque / (width * height),
    };
  });
  const seen = JSON.stringify(look);
  assert.equal(look.opacity, '1', `the result has faded in: ${seen}`);
  assert.ok(look.corners.filter((alpha) => alpha < 16).length >= 2, `the background is gone at the corners: ${seen}`);
  assert.ok(look.middle > 240, `the subject is there in the middle: ${seen}`);
  assert.ok(look.share > 0.05 && look.share < 0.9, `a subject fills some of the photo, not all of it: ${seen}`);
  return look;
}

/** Nothing was logged as an error, but for what a test does on purpose. */
export function assertQuiet(page, expected = /^$/) {
  assert.deepEqual(page.wrong.filter((line) => !expected.test(line)), [], 'errors on the page');
}

/** Runs in the page before anything else: a network that lets no WebSocket through. */
export function blockWebSocket() {
  window.WebSocket = class extends EventTarget {
    constructor() {
      super();
      queueMicrotask(() => this.onclose?.({ code: 1006 }));
    }

    send() {
      throw new DOMException('not open', 'InvalidStateError');
    }

    close() {}
  };
}

/** The same for one that lets no stream of events through. */
function blockEvents() {
  const { fetch } = window;
  window.fetch = (url, ...more) => (/\/v1\/events\b/.test(url) ? Promise.reject(new TypeError('blocked')) : fetch(url, ...more));
}

/** The ways to the server, each with what blocks the better ones. */
export const WAYS = {
  socket: undefined,
  events: blockWebSocket,
  poll: { content: `(${blockWebSocket})();(${blockEvents})()` },
};
