// A bare EventSource, with nothing of ours around it, whose connection is cut.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { PHOTO, TIMEOUT_MS, launch, openPage, quit } from './browser.js';
import { startProxy, startServer } from './server.js';

before(launch);
after(quit);

/** The whole log of a session, up to the end of its first job, as a fresh reader sees it. */
async function log(origin, token) {
  const ids = [];
  const response = await fetch(`${origin}/v1/events`, { headers: { Authorization: `Bearer ${token}` } });
  let text = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) {
      const id = /^id: ?(.*)$/m.exec(event)?.[1];
      if (id) ids.push(id);
      if (/"status":"succeeded"/.test(event)) return ids; // leaving the loop ends the stream
    }
  }
  throw new Error('the log ended before its job did');
}

test('an EventSource that is cut goes on in its session, without loss or repeat', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const server = await startServer(t, '--warm', 'intent');
  const wire = await startProxy(t, server.port);
  const page = await openPage(t, { server });
  await page.goto(`${wire.origin}/favicon.svg`); // a page of the origin on which no script runs

  await page.evaluate(() => {
    const nonce = crypto.randomUUID() + crypto.randomUUID();
    const seen = { sessions: [], ids: [], ends: 0, opens: 0 };
    const source = new EventSource(`/v1/events?open=${nonce}&trigger=manual`);
    source.onopen = () => seen.opens++;
    for (const type of ['session', 'stage', 'ready', 'upload', 'job', 'preview', 'cutout', 'problem', 'reset']) {
      source.addEventListener(type, ({ data, lastEventId }) => {
        const event = JSON.parse(data);
        if (event.id) seen.ids.push(event.id);
        if (event.id && event.id !== lastEventId) seen.mismatch = [event.id, lastEventId];
        if (type === 'session') seen.sessions.push(event);
        seen[type] = (seen[type] ?? 0) + 1;
        if (event.status === 'succeeded' || event.status === 'failed') seen.ends++;
      });
    }
    window.seen = seen;
  });
  const until = (test, arg) => page.waitForFunction(test, arg, { timeout: TIMEOUT_MS, polling: 5 });

  await until(() => window.seen.stage > 0);
  wire.cut(); // while the model warms
  await until(() => window.seen.sessions.length === 2);
  await until(() => window.seen.ready > 0);

  const { session, token } = (await page.evaluate(() => window.seen.sessions))[0];
  const posted = await fetch(`${server.origin}/v1/sessions/${session}/uploads?upload=u_cut`, {
    method: 'POST',
    headers: { 'Authorization': `Bearer ${token}`, 'Content-Type': 'image/jpeg' },
    body: readFileSync(PHOTO),
  });
  assert.equal(posted.status, 202, await posted.text());
  wire.cut(); // while the job runs
  await until(() => window.seen.ends > 0);

  const seen = await page.evaluate(() => window.seen);
  assert.equal(new Set(seen.sessions.map(({ session }) => session)).size, 1, 'it is one session');
  assert.deepEqual(seen.sessions.slice(1).map(({ resumed }) => resumed), seen.sessions.slice(1).map(() => true));
  assert.equal(seen.reset, undefined, 'nothing was too old to replay');
  assert.equal(seen.mismatch, undefined, 'the id in the data is the id on the wire');
  assert.equal(seen.cutout, 1);
  assert.equal(seen.problem, undefined);
  assert.deepEqual(seen.ids, await log(server.origin, token), 'what it saw across the cuts is the whole log, once, in order');
});
