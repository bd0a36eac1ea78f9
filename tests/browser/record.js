// What the real server says to a visit, as it goes over the wire: `node tests/browser/record.js` writes it to
// `recorded.js`, from which scripted.js plays. contract.test.js holds the server to it.

import { readFileSync, rmSync, mkdtempSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { startServer } from './server.js';

const PHOTO = new URL('../../static/samples/cat.jpg', import.meta.url);

/** From so many measured runs on, the server estimates. */
const MEASURED = 5;

/** A visit over a socket: what was said so far, and a wait for the next that matches. */
class Visit {
  said = [];
  #socket;
  #heard = () => {};

  constructor(origin) {
    const open = Math.random().toString(36).slice(2).padEnd(43, '0');
    this.#socket = new WebSocket(`${origin.replace('http', 'ws')}/v1/socket?trigger=hover&open=${open}`, ['warmcut.v1']);
    this.#socket.on('message', (data, binary) => {
      if (!binary) this.said.push(JSON.parse(String(data)));
      this.#heard();
    });
  }

  /** What is said up to the first that matches, and no more of it later. */
  async until(matches) {
    for (;;) {
      const at = this.said.findIndex(matches);
      if (at >= 0) return this.said.splice(0, at + 1);
      await new Promise((resolve) => (this.#heard = resolve));
    }
  }

  /** A photo on its way in, and all that is said of it. */
  async upload(upload, bytes) {
    this.#socket.send(JSON.stringify({ type: 'upload', upload, bytes: bytes.length, mime: 'image/jpeg' }));
    const begun = await this.until(({ type }) => type === 'upload');
    for (let at = 0; at < bytes.length; at += 65_536) this.#socket.send(bytes.subarray(at, at + 65_536));
    const isEnd = ({ type, status }) => (type === 'job' && /succeeded|failed/.test(status)) || status === 'rejected';
    return [...begun, ...(await this.until(isEnd))];
  }

  async close() {
    this.#socket.close();
    await once(this.#socket, 'close');
  }
}

/** The scenes of a visit: `t` is a test, or anything with its `after`. */
export async function record(t) {
  const folder = mkdtempSync(path.join(tmpdir(), 'warmcut-record-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const ready = ({ type }) => type === 'ready';
  const scenes = {};
  for (let run = 0; run <= MEASURED; run++) {
    const server = await startServer(t, '--warm', 'intent', '--state-dir', folder);
    const visit = new Visit(server.origin);
    const warmed = await visit.until(ready);
    if (run === 0) {
      scenes.warming = warmed;
      scenes.photo = await visit.upload('u_photo', readFileSync(PHOTO));
      scenes.broken = await visit.upload('u_broken', Buffer.concat([readFileSync(PHOTO).subarray(0, 2000), Buffer.alloc(1000)]));
      scenes.refused = await visit.upload('u_refused', Buffer.from('these are only words'));
    }
    if (run === MEASURED) scenes.estimated = warmed;
    await visit.close();
    await server.kill('SIGTERM'); // what it measured is kept
  }
  return scenes;
}

/** Without what differs from one visit to the next: ids, secrets, the hour. */
function plain(scenes) {
  const names = new Map();
  const named = (_, value) => {
    if (typeof value !== 'string') return value;
    return value.replaceAll(/\b([srjc])_[a-z2-7]{10,}/g, (id, kind) => {
      if (!names.has(id)) names.set(id, `${kind}_${names.size + 1}`);
      return names.get(id);
    }).replaceAll(/(?<=signature=|^s_\d+\.)\w+/g, 'secret').replaceAll(/\b(\d+\.\d+)\.[a-z2-7]{8}$/g, '$1.epoch').replaceAll(/expires=\d+/g, 'expires=1700086400000');
  };
  for (const events of Object.values(scenes)) {
    const first = events[0].at_ms;
    for (const event of events) event.at_ms += 1_700_000_000_000 - first;
  }
  return JSON.stringify(scenes, named, 2);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const ends = [];
  const scenes = await record({ after: (end) => ends.unshift(end) });
  const text = `// Written by record.js from a real server: not by hand.\n\nexport const recorded = /** @type {const} */ (${plain(scenes)});\n`;
  writeFileSync(new URL('recorded.js', import.meta.url), text);
  for (const end of ends) await end();
}
