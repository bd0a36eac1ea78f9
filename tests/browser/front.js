// A proxy before the server: it serves files of another version where a test wants one, and takes the network
// away.

import http from 'node:http';
import net from 'node:net';
import { serve } from './server.js';

/** `files` are bodies by path, or what gives them now or later; `down()` and `up()` are the network's. */
export async function startFront(t, { port: far }) {
  const files = new Map();
  const asked = [];
  const open = new Set();
  let isDown = false;

  const server = http.createServer((request, response) => {
    asked.push(request.url);
    const own = files.get(request.url);
    const path = request.url;
    const { 'if-none-match': _, ...headers } = request.headers;
    const options = { host: '127.0.0.1', port: far, path, method: request.method, headers: own ? headers : request.headers };
    const up = http.request(options, (answer) => {
      const out = { ...answer.headers };
      if (!own) {
        response.writeHead(answer.statusCode, out);
        return answer.pipe(response);
      }
      answer.resume();
      for (const name of ['etag', 'content-length', 'content-encoding', 'transfer-encoding']) delete out[name];
      const body = typeof own === 'function' ? own() : own;
      Promise.resolve(body).then((body) => response.writeHead(200, out).end(body));
    });
    up.on('error', () => response.destroy());
    request.pipe(up);
  });
  server.on('upgrade', ({ method, url, httpVersion, rawHeaders }, near, head) => {
    const lines = rawHeaders.flatMap((name, at) => (at % 2 ? [] : [`${name}: ${rawHeaders[at + 1]}`]));
    const there = net.connect(far, '127.0.0.1', () => there.write(`${method} ${url} HTTP/${httpVersion}\r\n${lines.join('\r\n')}\r\n\r\n`));
    if (head.length) there.write(head);
    for (const [one, other] of [[near, there], [there, near]]) {
      one.on('error', () => {});
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  server.on('connection', (socket) => {
    if (isDown) return socket.destroy();
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  });
  const down = () => {
    isDown = true;
    for (const socket of open) socket.destroy();
  };
  t.after(down); // sockets that were upgraded too
  return { origin: await serve(t, server), files, asked, down, up: () => (isDown = false) };
}
