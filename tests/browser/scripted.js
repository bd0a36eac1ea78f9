// A server whose every word is a test's own: the widget's files, and a socket on which a test says recorded
// events at the times that it wants. What it says has the real server's shapes; see contract.test.js.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';
import { recorded } from './recorded.js';
import { serve } from './server.js';

const STATIC = process.env.WARMCUT_STATIC ?? fileURLToPath(new URL('../../static', import.meta.url));
const MIME = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.jpg': 'image/jpeg' };

const all = Object.values(recorded).flat();

/** The recorded event that is so, with other values. */
export function event(type, like = {}, more = {}) {
  const found = all.find((one) => one.type === type && Object.entries(like).every(([name, value]) => one[name] === value));
  if (!found) throw new Error(`no ${type} like ${JSON.stringify(like)} was recorded`);
  return { ...structuredClone(found), ...like, ...more };
}

/** A photo's cutout, as the recorded events deliver it: a PNG. */
export const cutout = (photo) => execFileSync(process.env.WARMCUT_BIN, ['cutout', photo, '-'], { maxBuffer: 10_000_000, stdio: ['ignore', 'pipe', 'ignore'] });

/** One open socket of a page. */
class Channel {
  said = 0;
  /** The upload that was asked for last, and its bytes so far. */
  upload = null;
  received = 0;
  #socket;

  constructor(socket, url) {
    this.#socket = socket;
    this.url = url;
    socket.on('message', (data, binary) => {
      if (binary) this.received += data.length;
      else {
        const message = JSON.parse(String(data));
        if (message.type === 'upload') this.upload = message;
      }
      socket.emit('heard');
    });
  }

  /** Says an event, with an id of its own where it belongs to the log, and the bytes that follow it. */
  say(event, bytes) {
    const inLog = 'id' in event;
    this.said += 1;
    this.#socket.send(JSON.stringify({ at_ms: Date.now(), ...event, ...(inLog && { id: `said-${this.said}` }) }));
    if (bytes) this.#socket.send(bytes);
  }

  /** Waits until the page has asked to upload. */
  async asked() {
    while (!this.upload) await once(this.#socket, 'heard');
    return this.upload;
  }

  /** Waits until so many bytes of the photo are here. */
  async has(bytes) {
    while (this.received < bytes) await once(this.#socket, 'heard');
  }

  close(code) {
    this.#socket.close(code);
  }
}

/** Serves until the test ends; `opened()` gives the next channel that a page opens. */
export async function startScript(t) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://script');
    const file = pathname === '/' ? '/index.html' : pathname;
    const body = await readFile(path.join(STATIC, path.normalize(file))).catch(() => null);
    if (body === null) return response.writeHead(404).end();
    const type = MIME[path.extname(file)] ?? 'text/plain';
    response.writeHead(200, { 'Content-Type': `${type}; charset=utf-8`, 'Access-Control-Allow-Origin': '*' }).end(body);
  });
  const sockets = new WebSocketServer({ server, handleProtocols: () => 'warmcut.v1' });
  const waiting = [];
  const ready = [];
  sockets.on('connection', (socket, request) => {
    const channel = new Channel(socket, request.url);
    const next = waiting.shift();
    if (next) next(channel);
    else ready.push(channel);
  });
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate();
  });
  return {
    origin: await serve(t, server),
    opened: () => ready.shift() ?? new Promise((resolve) => waiting.push(resolve)),
  };
}
