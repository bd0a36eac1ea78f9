// A visit to a shop whose server is scripted and whose clock stands still unless a test lets time pass.

import { openPage } from './browser.js';
import { event, startScript } from './scripted.js';
import { startShop } from './server.js';

const START = Date.parse('2026-01-01T12:00:00Z');

/** What is left, as the wire tells it. */
export const eta = (p50, p90) => ({ p50, p90 });

/**
 * A page of another origin than the server's, under a strict policy. `warm()` opens its channel,
 * `say(type, like, more, bytes)` says a recorded event as of now and waits until the page has heard it,
 * `pass(ms)` lets time pass.
 */
export async function visit(t, { body = '<warm-cutout layout="page"></warm-cutout>', style = 'body { margin: 16px }', ...context } = {}) {
  const script = await startScript(t);
  const host = script.origin;
  const shop = await startShop(t, host, { body, style });
  const page = await openPage(t, context);
  await page.clock.install({ time: START });
  await page.goto(shop);
  await page.locator('warm-cutout .choose').waitFor({ state: 'attached' });
  let now = START + 60_000;
  await page.clock.pauseAt(now);
  let channel = null;
  /** Begins to wait for an event of the connection: what it gives resolves with it. */
  const next = async (type) => {
    const heard = page.evaluate(([widget, type]) => import(widget).then(({ connect }) =>
      new Promise((resolve) => connect().addEventListener(type, () => resolve(), { once: true }))), [`${host}/widget.js`, type]);
    await page.evaluate(() => 0); // the listener is there
    return { heard };
  };
  return {
    page,
    next,
    channel: () => channel,
    async warm() {
      await page.evaluate((widget) => import(widget).then(({ connect }) => connect().warm('hover')), `${host}/widget.js`);
      channel = await script.opened();
      await this.say('session');
    },
    async pass(ms) {
      await page.clock.runFor(ms);
      now += ms;
    },
    async say(type, like, more, bytes) {
      const { heard } = await next(type);
      channel.say(event(type, like, { at_ms: now, ...more }), bytes);
      await heard;
    },
  };
}
