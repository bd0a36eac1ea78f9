// Shoppers' intents, on a shop's page whose clock stands still, and the channels that they open.

import { noteChannels, openPage, stopClock, tries } from './browser.js';
import { street } from './server.js';

export const PHONE = { hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } };
const SELECTOR = '<select data-warm-selector><option>Cat<option>Dog</select>';
export const BODY = `${SELECTOR}<p><warm-cutout></warm-cutout>`;
export const FAR = `${SELECTOR}${'<br>'.repeat(200)}<warm-cutout></warm-cutout>${'<br>'.repeat(200)}`;
export const ALL = 'data-warm-on="page_view hover focus touch viewport selector upload"';

/** A shop whose pages `visit` opens, with the channels that they open. */
export async function shops(t) {
  const { server, shop } = await street(t);
  return async (t, { tag = '', body = BODY, ...context } = {}) => {
    const page = await openPage(t, { server, ...context });
    await page.addInitScript(noteChannels);
    await stopClock(page);
    await page.goto(`${shop}/?${new URLSearchParams({ tag, body })}`);
    const widget = `${server.origin}/widget.js`;
    await page.evaluate((widget) => import(widget), widget);
    await page.evaluate(() => document.querySelector('warm-cutout')?.load()); // it comes when it is about to be seen
    /** The triggers of the channels that were opened, once all that was begun has come so far. */
    const triggers = async () => {
      // An observer tells at the next frame; whoever wants the channel's module by then has it before us.
      await page.evaluate(() => new Promise((seen) => new IntersectionObserver(seen).observe(document.body)));
      await page.evaluate((module) => import(module), `${server.origin}/widget-channel.js`);
      return tries(page, 'trigger');
    };
    return { page, triggers, widget };
  };
}

/** A finger that comes down, and doesn't go on to click. */
export async function touch(page) {
  const { x, y, width, height } = await page.locator('warm-cutout').boundingBox();
  const line = await page.context().newCDPSession(page);
  await line.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [{ x: x + width / 2, y: y + height / 2 }] });
  await line.send('Input.dispatchTouchEvent', { type: 'touchCancel', touchPoints: [] });
}

/** Scrolls so that a part of the widget's height is below the screen's lower edge. */
export const scroll = (page, below) => page.evaluate((below) => new Promise((scrolled) => {
  const { bottom, height } = document.querySelector('warm-cutout').getBoundingClientRect();
  document.addEventListener('scroll', scrolled, { once: true });
  scrollBy({ top: bottom - height * below - innerHeight, behavior: 'instant' });
}), below);

/** Makes the widget's surroundings scroll by themselves, and shows it there. */
export const scrollWithin = (page) => page.evaluate(() => new Promise((scrolled) => {
  const widget = document.querySelector('warm-cutout');
  const around = widget.parentElement;
  Object.assign(around.style, { height: '600px', overflow: 'auto' });
  around.addEventListener('scroll', scrolled, { once: true });
  around.scrollTop += widget.getBoundingClientRect().top - around.getBoundingClientRect().top;
}));

export const drag = async (page, kind) => {
  const dataTransfer = await page.evaluateHandle((kind) => {
    const dragged = new DataTransfer();
    if (kind === 'file') dragged.items.add(new File(['x'], 'cat.jpg'));
    else dragged.setData('text/plain', 'a word');
    return dragged;
  }, kind);
  await page.locator('warm-cutout .box').dispatchEvent('dragenter', { dataTransfer });
};

export const INTENTS = {
  hover: (page) => page.locator('warm-cutout').hover(),
  focus: (page) => page.locator('warm-cutout button:visible').first().focus(),
  touch,
  change: (page) => page.locator('select').selectOption('Dog'),
  selector: (page) => page.locator('select').hover(),
  click: (page) => page.locator('warm-cutout button:visible').first().click(),
};

/** Everything that is less than a click. */
export async function passive(page) {
  await INTENTS.hover(page);
  await page.clock.runFor(1000);
  await INTENTS.selector(page);
  await page.clock.runFor(1000);
  for (const name of ['focus', 'touch', 'change']) await INTENTS[name](page);
  await page.clock.runFor(5000);
}

