// Starts what the tests talk to: the server itself, shops of other origins, and a wire that can be cut.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A debug build on a busy machine listens later than this only when it never will. */
const LISTENING_MS = 20_000;

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

async function listen(server, port = 0) {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

/** Listens until the test ends; gives the origin. */
export async function serve(t, server, port) {
  const origin = `http://127.0.0.1:${await listen(server, port)}`;
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return origin;
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = net.createServer();
  const port = await listen(server);
  server.close();
  return port;
}

/**
 * The binary from `WARMCUT_BIN`, listening; killed when the test ends. `kill` does it at once, with nothing
 * said, as when a machine is taken away; `start` brings another to the same port.
 */
export async function startServer(t, ...args) {
  const bin = process.env.WARMCUT_BIN;
  if (!bin) throw new Error('WARMCUT_BIN must name the warmcut binary, such as target/release/warmcut');
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  let child = null;
  let log = '';

  const kill = async (signal = 'SIGKILL') => {
    if (!child) return;
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
  };
  const start = async () => {
    child = spawn(bin, ['serve', '--listen', `127.0.0.1:${port}`, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    const started = child;
    running.add(started);
    started.stderr.on('data', (data) => (log = (log + data).slice(-20_000)));
    started.on('error', (error) => (log += error));
    started.on('close', () => {
      running.delete(started);
      child = null;
    });
    for (const deadline = Date.now() + LISTENING_MS; ; await sleep(25)) {
      const health = await fetch(`${origin}/health`).catch(() => null);
      if (health?.ok) return;
      if (!child || Date.now() > deadline) throw new Error(`${bin} doesn't answer at ${origin}/health; it said:\n${log}`);
    }
  };
  t.after(() => kill());
  await start();
  return { origin, port, log: () => log, kill, start };
}

/**
 * A shop: one page at an origin of its own and its style sheet, with the widget of the server at `host`, under
 * a policy as a careful shop would send it. An address's query may replace the widget's `tag`, `body` and `key`.
 */
export async function startShop(t, host, { port, tag = '', body = '<warm-cutout></warm-cutout>', style = '' } = {}) {
  const html = (query) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>
    <meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
    ${style && '<link rel="stylesheet" href="/shop.css">'}<main><h1>A shop</h1>${query.get('body') ?? body}</main>
    <script type="module" src="${host}/widget.js" data-key="${query.get('key') ?? 'pk_demo'}" ${query.get('tag') ?? tag}></script>`;
  const policy = `default-src 'none'; script-src ${host}; connect-src ${host} ${host.replace('http', 'ws')}; img-src blob:; `
    + `style-src ${style ? "'self'" : "'none'"}; form-action 'self'`;
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://shop');
    if (pathname === '/shop.css') return response.writeHead(200, { 'Content-Type': 'text/css' }).end(style);
    if (pathname !== '/') return response.writeHead(pathname === '/favicon.ico' ? 204 : 404).end();
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy });
    response.end(html(searchParams));
  });
  return serve(t, server, port);
}

/**
 * A server with keys, a shop that is on the list, and one that is not. `wired`, they reach the server through
 * a proxy.
 */
export async function street(t, { args = [], wired = false, ...page } = {}) {
  const ours = await freePort();
  const folder = mkdtempSync(path.join(tmpdir(), 'warmcut-keys-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keys = path.join(folder, 'keys.json');
  const shop = { name: 'demo', publishable: 'pk_demo', secret: 'sk_demo_secret', origins: [`http://127.0.0.1:${ours}`] };
  writeFileSync(keys, JSON.stringify({ shops: [shop] }));
  const server = await startServer(t, '--keys', keys, ...args);
  const wire = wired ? await startProxy(t, server.port) : null;
  const host = wire?.origin ?? server.origin;
  return { server, wire, host, shop: await startShop(t, host, { port: ours, ...page }), stranger: await startShop(t, host, page) };
}

/**
 * A proxy before a port. All of its connections can be cut at once, and `stopAt` holds what comes next on the
 * first connection that has carried so many bytes `up`, or `before` or `after` a text comes down: `reached`
 * tells when, `go` lets it on. `sent` counts the bytes that it has passed up, each piece of them after a `lag`.
 */
export async function startProxy(t, target) {
  const open = new Set();
  const wire = { sent: 0, lag: 0 };
  let stop = null;

  /** Where in `bytes` to hold, or -1; `carried` is what the connection had before. */
  const holdAt = (way, bytes, carried) => {
    if (!stop) return -1;
    if (way === 'up') return carried.sent + bytes.length > stop.up ? Math.max(0, stop.up - carried.sent) : -1;
    const sight = stop.after ?? stop.before;
    if (!sight) return -1;
    const begun = carried.tail.slice(-sight.length + 1); // it may come in two pieces
    const text = begun + bytes.toString('latin1');
    const seen = text.indexOf(sight);
    if (seen < 0) return -1;
    if (stop.before) return Math.max(0, seen - begun.length);
    // An event is passed whole: the next one is another frame, or comes after an empty line.
    const end = text.slice(seen).search(/\x81|(?<=\n\n)/);
    return end < 0 ? bytes.length : seen + end - begun.length;
  };
  const carry = async (way, from, to) => {
    const carried = { sent: 0, tail: '' };
    const pass = (bytes) => {
      carried.sent += bytes.length;
      carried.tail = (carried.tail + bytes.toString('latin1')).slice(-100);
      if (way === 'up') wire.sent += bytes.length;
      return to.write(bytes) || once(to, 'drain');
    };
    for await (const bytes of from) {
      if (way === 'up' && wire.lag) await sleep(wire.lag);
      const at = holdAt(way, bytes, carried);
      if (at < 0) {
        await pass(bytes);
        continue;
      }
      const { reach, gone } = stop;
      stop = null;
      await pass(bytes.subarray(0, at));
      reach();
      await gone;
      await pass(bytes.subarray(at));
    }
    to.end();
  };

  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    for (const [way, one, other] of [['up', near, far], ['down', far, near]]) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      carry(way, one, other).catch(() => {}); // it was cut
    }
  });
  const port = await listen(server);
  const cut = () => open.forEach((socket) => socket.destroy());
  t.after(() => {
    cut();
    server.close();
  });
  const stopAt = (sight) => {
    stop = { ...sight };
    stop.reached = new Promise((resolve) => (stop.reach = resolve));
    stop.gone = new Promise((resolve) => (stop.go = resolve));
    return stop;
  };
  return Object.assign(wire, { origin: `http://127.0.0.1:${port}`, cut, stopAt });
}
