// Keeps the pages and the widget's files, so that a page opens when the network is gone.
//
// The network comes first, always. Addresses carry no version and modules of two versions must not meet, so
// files are never kept one by one: a set is every file that the pages name, fetched twice, kept as a whole
// only when nothing changed in between, and named by its content. And a page is of one source. One that
// opened over the network gets nothing from here, and one that opened from a set gets everything from that
// set, also when the network is back, for as long as it is open.
//
// Nothing of a session comes here: what the server makes is let through untouched.

/** The pages; whatever else belongs to a set, they and their files name. */
const PAGES = ['/', '/upload.html', '/developers.html'];

/** A set has some forty files and half a megabyte. One beyond these bounds is none of ours. */
const MOST = { files: 100, bytes: 4_000_000 };

/** So long a set is taken for today's; asking again costs a request for each file, mostly answered by 304. */
const FRESH_MS = 3_600_000;

/** Which set is in use and who holds to which: addresses that no server answers, in a cache of their own. */
const STATE = 'warmcut state';
const SET = 'warmcut set ';
const CURRENT = '/sw.js?current';
const HOLDS = '/sw.js?page=';

/** What a file names: in a page by attributes, in a module by imports, in a style sheet by addresses. */
const NAMED = {
  html: /\b(?:src|href|data-sample|data-send|data-art)="([^"#?:]+)"/g,
  javascript: /(?:\bfrom|\bimport\(?|\bnew URL\()\s*'([^'#?:]+)'(?=;|\)|, import\.meta\.url)/g,
  css: /\burl\(['"]?([^'"#?:)]+)/g,
};

const sw = self;

sw.addEventListener('install', (event) => {
  // One that is broken is replaced at once, whatever else goes wrong: nothing is fetched to get here.
  sw.skipWaiting();
  // Where a browser can be told so, a session's requests don't even wake this worker.
  event.addRoutes?.({ condition: { urlPattern: '/v1/*' }, source: 'network' }).catch(() => {});
});

sw.addEventListener('activate', (event) => {
  event.waitUntil(Promise.all([inTurn(tidy), sw.registration.navigationPreload?.enable()]));
});

// Our pages ask for it once they have what they need themselves.
sw.addEventListener('message', (event) => {
  if (event.data !== 'keep') return;
  const done = inTurn(renew).catch(() => {}); // the next page asks again
  event.waitUntil(done.then(async () => event.ports[0]?.postMessage((await current())?.name ?? null)));
});

sw.addEventListener('fetch', (event) => {
  const { request } = event;
  if (!isOurs(request)) return;
  event.respondWith(request.mode === 'navigate' ? page(event) : file(event));
});

// Whoever asked to be told gets back to where they asked.
sw.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(show(event.notification.data?.url));
});

/** A page or a file of ours, asked for as everybody may. */
function isOurs({ method, url, headers }) {
  const { origin, pathname } = new URL(url);
  return method === 'GET' && origin === sw.location.origin && !headers.has('Authorization') && !headers.has('Range')
    && !pathname.startsWith('/v1/') && /^\/$|^\/[\w/.-]+\.(html|js|css|svg|jpg|png|webp|md|ts)$/.test(pathname);
}

async function page(event) {
  try {
    return (await event.preloadResponse) ?? (await fetch(event.request));
  } catch (error) {
    const set = await current();
    const kept = set && (await caches.match(event.request, { cacheName: set.name, ignoreSearch: true, ignoreVary: true }));
    if (!kept) throw error;
    await hold(event.resultingClientId, set.name);
    return kept;
  }
}

async function file(event) {
  const cacheName = (await holds()).get(event.clientId);
  const kept = cacheName && (await caches.match(event.request, { cacheName, ignoreVary: true }));
  return kept || fetch(event.request);
}

let held = null;

/** The set of each page that opened from one. Written down, since this worker ends and begins again. */
function holds() {
  held ??= (async () => {
    const state = await caches.open(STATE);
    const pages = new Map();
    for (const request of await state.keys()) {
      const [, id] = request.url.split(HOLDS);
      if (id) pages.set(id, await (await state.match(request)).text());
    }
    return pages;
  })();
  return held;
}

async function hold(id, name) {
  (await holds()).set(id, name);
  await (await caches.open(STATE)).put(HOLDS + id, new Response(name));
}

/** `{name, at}` of the set that pages open from. */
async function current() {
  return (await (await caches.open(STATE)).match(CURRENT))?.json();
}

/** One at a time, of this worker and of the one that it replaces: a set in the making is nobody's yet. */
const inTurn = (task) => sw.navigator.locks.request(STATE, task);

/** Brings today's set, unless the last one is. */
async function renew() {
  const set = await current();
  const age = Date.now() - (set?.at ?? -Infinity);
  if (age >= 0 && age < FRESH_MS && (await caches.has(set.name))) return;
  const files = await crawl();
  const name = SET + (await digest(files));
  // A server that changed meanwhile gave some files of one version and some of the next.
  if (name !== SET + (await digest(await crawl()))) return;
  if (!(await caches.has(name))) {
    const cache = await caches.open(name);
    try {
      await Promise.all([...files].map(([path, { response }]) => cache.put(path, response)));
    } catch (error) {
      await caches.delete(name); // a part of a set is none
      throw error;
    }
  }
  await (await caches.open(STATE)).put(CURRENT, Response.json({ name, at: Date.now() }));
  await tidy();
}

/** Every file of the pages by its path: `{bytes, response}`. */
async function crawl() {
  const files = new Map();
  let bytes = 0;
  for (let asked = PAGES, seen = new Set(PAGES); asked.length; ) {
    const found = await Promise.all(asked.map(get));
    asked = [];
    for (const { path, response, body, names } of found.filter(Boolean)) {
      files.set(path, { body, response });
      bytes += body.byteLength;
      for (const name of names) {
        if (seen.has(name)) continue;
        seen.add(name);
        asked.push(name);
      }
    }
    if (seen.size > MOST.files || bytes > MOST.bytes) throw new RangeError('more than the pages ever need');
  }
  return files;
}

async function get(path) {
  const response = await fetch(path, { cache: 'no-cache', credentials: 'omit' });
  if (response.status === 404 && !PAGES.includes(path)) return null; // what isn't there need not be kept
  if (response.status !== 200) throw new TypeError(`${path} answers ${response.status}`);
  const body = await response.clone().arrayBuffer();
  const [, pattern] = Object.entries(NAMED).find(([type]) => response.headers.get('Content-Type')?.includes(type)) ?? [];
  const text = pattern ? new TextDecoder().decode(body) : '';
  const names = pattern ? [...text.matchAll(pattern)].map(([, name]) => new URL(name, response.url)) : [];
  return { path, response, body, names: names.map(({ pathname }) => pathname).filter((name) => isOurs(new Request(name))) };
}

/** Of every path and body, whatever the order in which they came. */
async function digest(files) {
  const parts = [];
  for (const path of [...files.keys()].sort()) parts.push(`${path} ${await hash(files.get(path).body)}`);
  return (await hash(new TextEncoder().encode(parts.join('\n')))).slice(0, 16);
}

async function hash(bytes) {
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Forgets pages that are closed, and sets that nobody holds to any more. */
async function tidy() {
  const [state, pages, set] = [await caches.open(STATE), await holds(), await current()];
  for (const id of pages.keys()) {
    if (await sw.clients.get(id)) continue;
    pages.delete(id);
    await state.delete(HOLDS + id);
  }
  const used = new Set([STATE, set?.name, ...pages.values()]);
  for (const name of await caches.keys()) if (name.startsWith('warmcut ') && !used.has(name)) await caches.delete(name);
}

/** The tab at that address comes forward, or opens again. */
async function show(address) {
  const url = new URL(address ?? '/', sw.location.origin);
  if (url.origin !== sw.location.origin) return;
  const tabs = await sw.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const asked = tabs.find((tab) => tab.url === url.href) ?? tabs.find((tab) => new URL(tab.url).pathname === url.pathname);
  await (asked ? asked.focus() : sw.clients.openWindow(url.href));
}
