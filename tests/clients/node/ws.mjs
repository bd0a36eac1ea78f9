// npm `ws`: the whole job over a WebSocket, then a resume with the token.

import assert from 'node:assert/strict';
import { photoBytes, checkJob, checkPng, checkRun, origin, patience } from './common.mjs';
import WebSocket from 'ws';

const FRAME = 64 << 10; // the contract's bound on a result's frame
const url = `${origin.replace('http', 'ws')}/v1/socket`;

/** Opens a socket and gives its messages one by one. */
async function open(query, ...protocols) {
  const socket = new WebSocket(`${url}?${new URLSearchParams(query)}`, ['warmcut.v1', ...protocols]);
  const queue = [];
  let wake = () => {};
  const push = (item) => (queue.push(item), wake());
  socket.on('message', (data, isBinary) => push(isBinary ? data : JSON.parse(data)));
  socket.on('close', (code) => push(new Error(`the socket closed with ${code}`)));
  socket.on('error', push);
  const next = async () => {
    while (!queue.length) await new Promise((resolve) => (wake = resolve));
    const item = queue.shift();
    if (item instanceof Error) throw item;
    return item.type === 'ping' ? next() : item;
  };
  const session = await next();
  assert.equal(session.type, 'session');
  assert.equal(socket.protocol, 'warmcut.v1');
  return { socket, session, next, left: queue };
}

patience();
const photo = photoBytes();
const first = await open({ trigger: 'manual' });
const log = [];
let data = Buffer.alloc(0);
first.socket.send(JSON.stringify({ type: 'upload', upload: 'u_ws', bytes: photo.length, mime: 'image/jpeg' }));
for (;;) {
  const event = await first.next();
  assert.ok(!Buffer.isBuffer(event), 'bytes came that no event announced');
  log.push(event);
  if (event.type === 'upload' && event.status === 'accepted') {
    for (let at = event.received_bytes; at < photo.length; at += FRAME) first.socket.send(photo.subarray(at, at + FRAME));
  }
  if (event.type === 'cutout') {
    assert.equal(event.delivery, 'inline');
    while (data.length < event.bytes) {
      const frame = await first.next();
      assert.ok(Buffer.isBuffer(frame), `between the bytes of a result came ${JSON.stringify(frame)}`);
      assert.ok(frame.length <= FRAME, `a frame of ${frame.length} bytes`);
      data = Buffer.concat([data, frame]);
    }
  }
  if (event.type === 'job' && ['succeeded', 'failed', 'canceled'].includes(event.status)) break;
}
first.socket.terminate();
checkRun(log);
checkPng(data, checkJob(log, 'u_ws'));

const { token, session } = first.session;
const second = await open({ last_event_id: log[2].id }, `bearer.${token}`);
assert.equal(second.session.session, session);
assert.equal(second.session.resumed, true);
const rest = [];
while (rest.length < log.length - 3) rest.push(await second.next());
assert.deepEqual(rest.map(({ id }) => id), log.slice(3).map(({ id }) => id), 'the rest of the log, once, in order');
await new Promise((resolve) => setTimeout(resolve, 300));
assert.deepEqual(second.left, [], 'and nothing behind it');
second.socket.close();
process.exit(0);
