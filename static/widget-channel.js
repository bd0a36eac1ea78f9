// A session's channel: opens it by the best way that works, keeps it open, resumes it where it
// broke, folds its events into the state of the visit, and carries uploads over it.

import { Analytics } from './widget-analytics.js';
import * as transports from './widget-transport.js';
import { Upload, bytes, own } from './widget-upload.js';

/** From the best to the one that always works. */
const WAYS = ['socket', 'events', 'poll'];

/** A way that has worked before is tried so often again before the next one. */
const PATIENCE = 3;

const BACKOFF_MS = { first: 500, most: 15_000 };

/** A session that is gone is replaced by a fresh one; gone again so soon, something else is wrong. */
const AFRESH_MS = 10_000;

/** A tab that was hidden for so long holds no channel, unless a photo is on its way. */
const GRACE_MS = 20_000;

/** Ids of events that were seen; the server's log for a session is shorter than this. */
const REMEMBERED = 2000;

/** 256 random bits. */
// Not crypto.randomUUID, which a page on plain http doesn't have.
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(32)), (n) => n.toString(16).padStart(2, '0')).join('');

/** The channel of a connection, on which it dispatches what happens. */
export class Channel {
  #out;
  #server;
  #key;
  #place;
  #visit; // {nonce, session, way, proved, told}: what a second page of the visit goes on with
  #analytics;
  #trigger = 'manual';
  #wanted = false;
  #away = false;
  #running = false;
  #ending = new AbortController();
  /** @type {(done?: any) => void} */
  #wake = () => {};
  #link = null;
  #seen = new Set();
  #lastId = null;
  #forgotAt = -Infinity;
  #ahead = -Infinity; // of our clock, the server's
  #uploads = new Map();
  #pumping = false;

  state = { phase: 'idle', transport: null, run: null, session: null, problem: null, failures: 0 };

  constructor(out, options) {
    const { server, key } = options;
    this.#out = out;
    this.#server = server;
    this.#key = key;
    this.#place = `warmcut ${server} ${key ?? ''}`;
    this.#visit = remembered(this.#place) ?? {};
    this.#analytics = new Analytics(out, options, this.#visit.told, (told) => this.#remember({ told }));
    // An open socket keeps a page out of the back/forward cache.
    addEventListener('pagehide', () => this.#leave());
    addEventListener('pageshow', ({ persisted }) => persisted && this.#return());
    let grace = 0;
    document.addEventListener('visibilitychange', () => {
      clearTimeout(grace);
      if (document.visibilityState === 'visible') return this.#return();
      const rest = () => {
        const busy = [...this.#uploads.values()].some(({ ended }) => !ended);
        if (busy || out.stay) grace = setTimeout(rest, GRACE_MS);
        else this.#leave();
      };
      grace = setTimeout(rest, GRACE_MS);
    });
    addEventListener('online', () => this.#wake());
  }

  /** Hangs up for as long as nobody looks; the session lives on. */
  #leave() {
    this.#away = true;
    this.#ending.abort();
  }

  #return() {
    this.#away = false;
    this.#wake();
    this.#keep();
  }

  now() {
    return Date.now() + (Number.isFinite(this.#ahead) ? this.#ahead : 0);
  }

  warm(trigger) {
    const explicit = trigger === 'upload' || trigger === 'manual';
    if (this.state.phase === 'refused' && !explicit) return;
    if (this.state.phase === 'failed' && trigger === 'manual') {
      // What opens a channel is an intent, and tries the run again; what resumes one is none.
      this.#lastId = null;
      this.#set({ phase: 'connecting' });
      this.#ending.abort();
    }
    if (!this.#wanted || explicit) this.#trigger = trigger;
    this.#wanted = true;
    if (explicit) this.#wake();
    this.#keep();
  }

  upload(id, file, options) {
    const upload = new Upload(id, file, options);
    this.#uploads.set(id, upload);
    const completed = this.#analytics.uploading(this.state.run?.status === 'ready');
    upload.done.then(({ cutout }) => completed(cutout.cached), () => {});
    this.warm('upload');
    this.#pump();
    return upload.done;
  }

  cancel(id) {
    const upload = this.#uploads.get(id) ?? this.#ofJob(id);
    const job = upload ? upload.job : id;
    const link = this.#link;
    if (link?.socket) link.socket.send(JSON.stringify({ type: 'cancel', ...(job ? { job } : { upload: id }) }));
    else if (link && job) {
      const url = link.url(`/v1/sessions/${link.session.session}/jobs/${job}`, {}, false);
      fetch(url, { method: 'DELETE', headers: link.headers(), keepalive: true }).catch(() => {});
    }
    if (!upload?.ended) upload?.fail(own('canceled'));
  }

  close() {
    this.#wanted = false;
    this.#ending.abort();
    this.#set({ phase: 'idle', transport: null });
  }

  /** Keeps a channel open for as long as somebody wants one. */
  async #keep() {
    if (this.#running || this.#away) return;
    this.#running = true;
    let failures = 0;
    while (this.#wanted && !this.#away) {
      const way = this.#visit.way ?? WAYS[0];
      if (this.state.phase === 'idle' || this.state.phase === 'refused') this.#set({ phase: 'connecting', problem: null });
      this.#ending = new AbortController();
      const link = new Link(this.#server, this.#key, this.#trigger, this.#visit, this.#lastId);
      link.onEvent = (event) => this.#hear(link, way, event);
      link.onBytes = (event, blob) => this.#deliver(event, blob);
      const end = await transports[way](link, this.#ending.signal);
      this.#ending.abort(); // what still goes on over this link
      this.#link = null;
      if (!this.#wanted || this.#away) break;

      if (link.opened) failures = 0;
      if (end.kind === 'expired' && this.#visit.session && performance.now() - this.#forgotAt > AFRESH_MS) {
        this.#forget();
        continue;
      }
      if (end.kind === 'expired' || end.kind === 'refused') {
        this.#refuse(end.problem);
        break;
      }
      failures += 1;
      if (!link.opened && end.kind === 'lost' && !end.problem && (!this.#visit.proved || failures >= PATIENCE)) {
        const next = (WAYS.indexOf(way) + 1) % WAYS.length;
        this.#remember({ way: WAYS[next], proved: false });
        if (next) continue;
      }
      this.#set({ transport: null, failures, problem: end.problem });
      await this.#rest(end.waitMs ?? link.drainMs, link.opened ? 0 : failures);
    }
    this.#running = false;
  }

  /** Waits before the next try: as long as the server asks, or with jitter, ever longer unless woken. */
  #rest(asked, failures) {
    const most = Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** failures);
    const ms = (asked ?? 0) + Math.random() * most;
    return new Promise((resolve) => {
      if (!asked) this.#wake = resolve;
      setTimeout(resolve, ms);
    });
  }

  #refuse(problem) {
    problem ??= own('unauthorized');
    this.#wanted = false;
    this.#set({ phase: 'refused', transport: null, problem });
    console.error(`warmcut: ${problem.message || problem.code}`); // for the shop; a shopper can't mend it
    for (const upload of this.#uploads.values()) if (!upload.ended) upload.fail(problem);
    this.#say('problem', { type: 'problem', ...problem });
  }

  /** The session is gone; the next one gets what it still owes. */
  #forget() {
    this.#forgotAt = performance.now();
    const { way, proved, told } = this.#visit;
    this.#visit = { way, proved, told };
    this.#remember({});
    this.#lastId = null;
    this.#seen.clear();
    for (const upload of this.#uploads.values()) {
      if (upload.ended) continue;
      upload.restart();
      this.#sent(upload, 0, upload.file.size);
    }
  }

  #remember(more) {
    Object.assign(this.#visit, more);
    try {
      sessionStorage.setItem(this.#place, JSON.stringify(this.#visit));
    } catch {
      // Storage may be switched off; then a visit ends with its page.
    }
  }

  #hear(link, way, event) {
    if (event.id) {
      if (this.#seen.has(event.id)) return;
      this.#seen.add(event.id);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
      this.#lastId = event.id;
    }
    // A problem of the channel alone ends it, and how it ended says what follows.
    if (event.type === 'problem' && !event.id) return;
    // No event happens after it is heard: the one that took the shortest way tells the clocks apart.
    if (event.at_ms) this.#ahead = Math.max(this.#ahead, event.at_ms - Date.now());
    if (event.type === 'session') this.#open(link, way, event);
    if (event.type === 'reset') this.#seen.clear();
    if (event.type === 'drain') link.drainMs = event.reconnect_in_ms;
    this.#fold(event);
    const upload = this.#uploads.get(event.upload) ?? this.#ofJob(event.job);
    if (upload && !upload.ended) upload.take(event);
    this.#say(event.type, event);
    const result = event.type === 'preview' || event.type === 'cutout';
    if (result && upload && !upload.ended && event.delivery !== 'inline') this.#fetch(upload, event);
  }

  #open(link, way, event) {
    link.opened = true;
    link.session = event;
    link.since = event.at_ms ?? this.now();
    this.#link = link;
    this.#remember({ session: event, way, proved: true });
    this.#analytics.opened(this.#trigger, link.since);
    this.#set({ session: event, transport: way, phase: this.state.run?.status ?? 'warming', failures: 0, problem: null });
    // A result whose bytes were cut off with the last channel has its address.
    for (const upload of this.#uploads.values()) if (upload.cutout && !upload.ended) this.#fetch(upload, upload.cutout);
    this.#pump();
  }

  /** Stages into the run that they belong to; another run starts over. */
  #fold({ type, ...event }) {
    if (type !== 'stage' && type !== 'ready') return;
    let { run } = this.state;
    if (run?.run !== event.run) run = { run: event.run, status: 'warming', stages: {}, again: run?.status === 'warming' };
    if (type === 'ready') {
      run = { ...run, status: 'ready', ready: event };
      this.#analytics.ready(event.at_ms ?? run.stages.gpu_ready?.at_ms ?? this.now());
    } else {
      const last = run.stages[event.stage];
      // The time that this usually takes, kept when the estimate is withdrawn.
      const usual = event.eta_ms ? event.elapsed_ms + event.eta_ms.p50 : (last?.usual ?? null);
      const retried = (last?.retried ?? 0) + (event.status === 'retrying');
      run = { ...run, stages: { ...run.stages, [event.stage]: { ...event, usual, retried } } };
      if (event.status === 'failed') run.status = 'failed';
      else if (run.status === 'failed') run.status = 'warming';
    }
    this.#set({ run, phase: run.status });
  }

  async #fetch(upload, event) {
    const link = this.#link;
    try {
      this.#deliver(event, await bytes(link, event));
    } catch (problem) {
      // Where the channel has changed meanwhile, the next one asks for what it still owes.
      if (upload.cutout === event && this.#link === link) upload.fail(problem.code ? problem : own('internal', true));
    }
  }

  #deliver(event, blob) {
    const upload = this.#ofJob(event.job);
    if (!upload || upload.ended) return;
    if (event.type === 'cutout') upload.finish(blob);
    this.#say('result', { kind: event.type, upload: upload.id, job: event.job, blob, event });
  }

  /** Sends what there is to send, one photo at a time. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    let link;
    while ((link = this.#link)) {
      const upload = [...this.#uploads.values()].find(({ received, ended }) => !received && !ended);
      if (!upload) break;
      const { signal } = this.#ending;
      try {
        await upload.prepare(link.session.limits, (fitted) => this.#say('fit', fitted));
        signal.throwIfAborted();
        if (link.socket) await upload.overSocket(link, signal);
        else await upload.overHttp(link, signal, (done, all) => this.#sent(upload, done, all));
        link.hurry(); // there is a job to ask for
      } catch (error) {
        if (error?.kind === 'expired') {
          this.#forget();
          this.#ending.abort();
        }
        if (error?.kind === 'expired' || signal.aborted) break;
        upload.fail(error.code ? error : own('unreadable_file'));
      }
    }
    this.#pumping = false;
    // A channel that opened meanwhile found the pump busy.
    if (this.#link && this.#link !== link) this.#pump();
  }

  #ofJob(id) {
    return id && [...this.#uploads.values()].find(({ job }) => job === id);
  }

  #sent(upload, received_bytes, total_bytes) {
    const progress = { type: 'upload', upload: upload.id, job: null, status: 'progress', received_bytes, total_bytes, at_ms: this.now() };
    if (!upload.ended) this.#say('upload', progress);
  }

  #set(change) {
    const before = this.state;
    this.state = { ...before, ...change };
    if (['phase', 'transport', 'failures'].some((name) => this.state[name] !== before[name])) this.#say('state', this.state);
  }

  #say(type, detail) {
    this.#out.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What a transport needs to open a channel, and what it leads to. */
class Link {
  server;
  key;
  trigger;
  nonce;
  session;
  lastId;
  onEvent;
  onBytes;
  opened = false;
  socket = null;
  drainMs = null;
  since = 0;
  hurry = () => {}; // where it asks now and then, at once

  constructor(server, key, trigger, visit, lastId) {
    visit.nonce ??= random();
    Object.assign(this, { server, key, trigger, nonce: visit.nonce, session: visit.session, lastId });
  }

  get token() {
    return this.session?.token;
  }

  headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  absolute(path) {
    return new URL(path, this.server).href;
  }

  /** An address on the server; what opens a channel says who and why. */
  url(path, query = {}, opening = true) {
    const url = new URL(path, this.server);
    const who = opening ? { key: this.key, trigger: this.trigger, open: this.nonce } : {};
    for (const [name, value] of Object.entries({ ...who, ...query })) if (value != null) url.searchParams.set(name, value);
    return url.href;
  }
}

function remembered(place) {
  try {
    return JSON.parse(sessionStorage.getItem(place));
  } catch {
    return null;
  }
}
