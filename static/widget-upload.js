// One photo on its way: its bytes up, over the socket or over HTTP, and its result back. An upload
// outlives the channel that it began on: the next one continues where the last one broke.

import { pause, refusal } from './widget-transport.js';

/** Small enough that a cancel or progress comes in between, and under the wire's frame limit. */
const CHUNK = 256 * 1024;

/** What may wait in the browser's own buffer, unseen by anybody's progress. */
const BUFFERED = 1024 * 1024;

/** A photo lighter than this has no more pixels than the server takes; a heavier one is looked at. */
const LIGHT = 2_000_000;

/** Tries of one HTTP request that may succeed later. */
const TRIES = 4;

/** A problem that only the browser knows of; the interface has the words for it. */
export const own = (code, retryable = false) => ({ type: 'problem', code, message: '', retryable });

/** An upload and the job that it becomes. */
export class Upload extends EventTarget {
  /** Set by the server; a cancel before it says so by the upload's own id. */
  job = null;
  accepted = null;
  /** All bytes are there. */
  received = false;
  ended = false;
  problem = null;
  cutout = null;

  id;
  file;
  options;
  resolve;
  reject;
  #deliver;
  #fit;
  #prepared;

  constructor(id, file, { deliver, fit = true, ...options }) {
    super();
    Object.assign(this, { id, file, options });
    this.#deliver = deliver;
    this.#fit = fit;
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => {}); // who doesn't wait for it isn't told twice
  }

  /** Makes the photo one that the server takes, where the browser can; `onFit` hears of the change. */
  prepare(limits, onFit) {
    const { size, type } = this.file;
    const taken = (!type || limits.accepts.includes(type)) && size <= limits.max_upload_bytes && size <= LIGHT;
    const bring = () => import('./widget-fit.js').catch(() => {
      this.#prepared = null;
      throw own('upload_incomplete', true);
    });
    this.#prepared ??= !taken && this.#fit && bring().then(async ({ fit }) => {
      const fitted = await fit(this.file, limits);
      if (!fitted) return;
      const { file, ...how } = fitted;
      this.file = file;
      onFit({ upload: this.id, ...how, bytes: file.size });
    });
    return this.#prepared;
  }

  /** Takes what the wire says of it. */
  take(event) {
    if (event.type === 'upload') {
      if (event.status === 'accepted') this.accepted = event;
      if (event.status === 'rejected') this.fail(this.problem ?? own('canceled'));
    }
    if (event.type === 'problem') {
      this.problem = event;
      if (!this.received && !this.job) this.fail(event);
    }
    if (event.type === 'cutout') this.cutout = event;
    if (event.job) this.job = event.job;
    if (this.job) this.received = true;
    if (event.type === 'job') {
      if (event.status === 'failed') this.fail(this.problem ?? own('job_failed', true));
      if (event.status === 'canceled') this.fail(own('canceled'));
    }
    this.dispatchEvent(new Event('change'));
  }

  /** Ends without a result. */
  fail(why) {
    this.ended = true;
    this.problem = why;
    this.reject(why);
    this.dispatchEvent(new Event('change'));
  }

  /** Ends with it. */
  finish(blob) {
    this.ended = true;
    this.resolve({ blob, cutout: this.cutout });
  }

  /** Begins again, in another session. */
  restart() {
    Object.assign(this, { job: null, accepted: null, received: false, problem: null, cutout: null });
  }

  async #until(holds, signal) {
    while (!holds()) {
      signal.throwIfAborted();
      await new Promise((resolve, reject) => {
        this.addEventListener('change', resolve, { once: true });
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    }
  }

  /** Sends it on a socket; returns when all bytes are there, or it ended. */
  async overSocket(link, signal) {
    const { id: upload, file, options } = this;
    this.accepted = null;
    const say = { type: 'upload', upload, bytes: file.size, mime: file.type, name: file.name, options, deliver: this.#deliver };
    link.socket.send(JSON.stringify(say));
    // An older answer may come first, replayed: it tells of bytes that were there before the break.
    const fresh = () => this.accepted && this.accepted.at_ms >= link.since;
    await this.#until(() => this.received || this.ended || fresh(), signal);
    for (let at = this.accepted?.received_bytes ?? 0; at < file.size && !this.received && !this.ended; ) {
      const chunk = await file.slice(at, at + CHUNK).arrayBuffer();
      while (link.socket.bufferedAmount > BUFFERED) await pause(20, signal);
      signal.throwIfAborted();
      if (this.ended) return;
      link.socket.send(chunk);
      at += chunk.byteLength;
    }
    await this.#until(() => this.received || this.ended, signal);
  }

  /** Sends it as one request; `onProgress` hears of the bytes that have left. */
  async overHttp(link, signal, onProgress) {
    const url = link.url(`/v1/sessions/${link.session.session}/uploads`, { upload: this.id, ...this.options }, false);
    for (let tries = 1; ; tries++) {
      const answer = await post(url, this.file, link.headers(), signal, onProgress, this);
      if (this.ended) return;
      if (answer?.ok) {
        const { job } = await answer.json();
        return this.take({ type: 'upload', status: 'received', upload: this.id, job });
      }
      const end = answer && (await refusal(answer));
      if (end?.kind === 'expired') throw end;
      const retryable = end ? end.problem?.retryable : true;
      if (!retryable || tries === TRIES) {
        return this.fail(end?.problem ?? own('upload_incomplete', true));
      }
      await pause(end?.waitMs ?? 500 * 2 ** tries, signal);
    }
  }
}

/** XMLHttpRequest, since `fetch` tells nothing of what has left; answers a `Response`, or null. */
function post(url, file, headers, signal, onProgress, upload) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.setRequestHeader('Content-Type', file.type || 'application/octet-stream');
    xhr.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    const stop = () => xhr.abort();
    const onChange = () => upload.ended && stop();
    signal.addEventListener('abort', stop, { once: true });
    upload.addEventListener('change', onChange);
    xhr.onloadend = () => {
      signal.removeEventListener('abort', stop);
      upload.removeEventListener('change', onChange);
      const retry = xhr.status && xhr.getResponseHeader('Retry-After');
      const headers = retry ? { 'Retry-After': retry } : {};
      resolve(xhr.status ? new Response(xhr.response, { status: xhr.status, headers }) : null);
    };
    xhr.send(file);
  });
}

/** The bytes behind an event's `url`. */
export async function bytes(link, { url }) {
  for (let tries = 1; ; tries++) {
    const response = await fetch(link.absolute(url), { headers: link.headers() }).catch(() => null);
    if (response?.ok) return response.blob();
    const end = response && (await refusal(response));
    if (end?.problem?.retryable === false || tries === TRIES) {
      throw end?.problem ?? own('internal', true);
    }
    await pause(400 * 2 ** tries);
  }
}
