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

/** A port that nobody listens on. */
export async function freePort() {
  const server = net.createServer();
  const port = await listen(server);
  server.close();
  return port;
}

/** The binary from `WARMCUT_BIN`, listening; killed when the test ends. */
export async function startServer(t, ...args) {
  const bin = process.env.WARMCUT_BIN;
  if (!bin) throw new Error('WARMCUT_BIN must name the warmcut binary, such as target/release/warmcut');
  const port = await freePort();
  const child = spawn(bin, ['serve', '--listen', `127.0.0.1:${port}`, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  let log = '';
  child.stderr.on('data', (data) => (log = (log + data).slice(-20_000)));
  child.on('error', (error) => (log += error));
  let over = false;
  child.on('close', () => (over = true));
  const stop = async (signal = 'SIGKILL') => {
    running.delete(child);
    if (over) return;
    child.kill(signal);
    await once(child, 'close');
  };
  t.after(() => stop());

  const origin = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + LISTENING_MS; ; await sleep(25)) {
    const health = await fetch(`${origin}/health`).catch(() => null);
    if (health?.ok) return { origin, port, log: () => log, stop };
    if (over || Date.now() > deadline) throw new Error(`${bin} doesn't answer at ${origin}/health; it said:\n${log}`);
  }
}

/** A shop: one page at an origin of its own and its style sheet, under a policy as a careful shop would send it. */
export async function startShop(t, port, html, policy, style = '') {
  const server = http.createServer((request, response) => {
    if (request.url === '/shop.css') return response.writeHead(200, { 'Content-Type': 'text/css' }).end(style);
    if (request.url !== '/') return response.writeHead(request.url === '/favicon.ico' ? 204 : 404).end();
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy }).end(html);
  });
  await listen(server, port);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${port}`;
}

/** A server with keys, a shop that is on the list, and one that is not; each with a widget on its page. */
export async function street(t, { tag = '', body = '<warm-cutout></warm-cutout>', style, args = [] } = {}) {
  const [ours, theirs] = [await freePort(), await freePort()];
  const folder = mkdtempSync(path.join(tmpdir(), 'warmcut-keys-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keys = path.join(folder, 'keys.json');
  const shop = { name: 'demo', publishable: 'pk_demo', secret: 'sk_demo_secret', origins: [`http://127.0.0.1:${ours}`] };
  writeFileSync(keys, JSON.stringify({ shops: [shop] }));
  const server = await startServer(t, '--keys', keys, ...args);
  const host = server.origin;
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><title>A shop</title>${style ? '<link rel="stylesheet" href="/shop.css">' : ''}
    <h1>A shop</h1>${body}
    <script type="module" src="${host}/widget.js" data-key="pk_demo" ${tag}></script>`;
  const policy = `default-src 'none'; script-src ${host}; connect-src ${host} ${host.replace('http', 'ws')}; img-src blob:; style-src ${style ? "'self'" : "'none'"}`;
  return { server, shop: await startShop(t, ours, html, policy, style), stranger: await startShop(t, theirs, html, policy, style) };
}

/** A proxy before a port whose connections can all be cut at once. */
export async function startProxy(t, target) {
  const open = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  const port = await listen(server);
  const cut = () => open.forEach((socket) => socket.destroy());
  t.after(() => {
    cut();
    server.close();
  });
  return { origin: `http://127.0.0.1:${port}`, cut };
}
