// npm `eventsource`: the whole job over SSE and HTTP. What reconnects by itself goes on in its session.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { photoBytes, checkJob, checkPng, checkRun, origin, patience } from './common.mjs';
import { EventSource } from 'eventsource';

const TYPES = ['session', 'stage', 'ready', 'upload', 'job', 'preview', 'cutout', 'problem', 'reset', 'drain'];

patience();
const sessions = [];
const log = [];
let wake = () => {};
let cut; // ends the connection under the EventSource, which then comes back by itself

const url = `${origin}/v1/events?trigger=manual&open=${randomBytes(16).toString('hex')}`;
const source = new EventSource(url, {
  fetch: (input, init) => {
    const connection = new AbortController();
    cut = () => connection.abort(new Error('the wire was cut'));
    return fetch(input, { ...init, signal: AbortSignal.any([connection.signal, ...(init.signal ? [init.signal] : [])]) });
  },
});
for (const type of TYPES) {
  source.addEventListener(type, ({ data, lastEventId }) => {
    const event = JSON.parse(data);
    assert.equal(event.type, type);
    if (type === 'session') {
      sessions.push(event);
    } else {
      assert.equal(event.id, lastEventId);
      log.push(event);
    }
    wake();
  });
}
const until = async (test) => {
  while (!test()) await new Promise((resolve) => (wake = resolve));
};

await until(() => log.length >= 2);
cut();
await until(() => sessions.length === 2);
assert.equal(sessions[0].session, sessions[1].session, 'it goes on in its session');
assert.deepEqual(sessions.map(({ resumed }) => resumed), [false, true]);
await until(() => log.some(({ type }) => type === 'ready'));
checkRun(log);

const { session, token } = sessions[0];
const headers = { Authorization: `Bearer ${token}` };
const form = new FormData();
form.append('format', 'png');
form.append('image_file', new Blob([photoBytes()], { type: 'image/jpeg' }), 'cat.jpg');
const posted = await fetch(`${origin}/v1/sessions/${session}/uploads?upload=u_es`, { method: 'POST', headers, body: form });
assert.equal(posted.status, 202, await posted.clone().text());
await until(() => log.some(({ type, status }) => type === 'job' && ['succeeded', 'failed', 'canceled'].includes(status)));
source.close();

const cutout = checkJob(log, 'u_es');
assert.equal(cutout.job, (await posted.json()).job);
assert.equal(cutout.delivery, 'url');
const got = await fetch(new URL(cutout.url, origin), { headers });
assert.equal(got.status, 200);
checkPng(Buffer.from(await got.arrayBuffer()), cutout);
process.exit(0);
