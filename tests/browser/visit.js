// A visit to a page of the scripted server, whose clock stands still unless a test lets time pass.

import { openPage } from './browser.js';
import { event, startScript } from './scripted.js';

const START = Date.parse('2026-01-01T12:00:00Z');

/** What is left, as the wire tells it. */
export const eta = (p50, p90) => ({ p50, p90 });

/**
 * A page and the server behind it. `warm()` opens its channel, `say(type, like, more, bytes)` says a recorded
 * event as of now and waits until the page has heard it, `pass(ms)` lets time pass.
 */
export async function visit(t, { path = '/upload.html', pages, ...context } = {}) {
  const script = await startScript(t, { pages });
  const page = await openPage(t, context);
  await page.clock.install({ time: START });
  await page.goto(script.origin + path);
  await page.locator('warm-cutout .choose').waitFor({ state: 'attached' });
  let now = START + 60_000;
  await page.clock.pauseAt(now);
  let channel = null;
  return {
    page,
    channel: () => channel,
    async warm() {
      await page.evaluate(() => import('/widget.js').then(({ connect }) => connect().warm('hover')));
      channel = await script.opened();
      await this.say('session');
    },
    async pass(ms) {
      await page.clock.runFor(ms);
      now += ms;
    },
    async say(type, like, more, bytes) {
      const heard = page.evaluate((type) => import('/widget.js').then(({ connect }) =>
        new Promise((resolve) => connect().addEventListener(type, () => resolve(), { once: true }))), type);
      await page.evaluate(() => 0); // the listener is there
      channel.say(event(type, like, { at_ms: now, ...more }), bytes);
      await heard;
    },
  };
}
