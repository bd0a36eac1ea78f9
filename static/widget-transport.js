// The three ways to the server: WebSocket, Server-Sent Events read with `fetch` (so that refusals
// show their status), and polling. Each is a function that carries a session's events to a link
// until the channel ends, and tells how it ended:
//
//   { kind: 'lost' | 'expired' | 'refused' | 'limited', problem, waitMs }
//
// They know the wire, and nothing of what the events mean.

/** A `ping` comes every 15 s; after three of them missed the peer is gone. */
const SILENCE_MS = 45_000;

/** A socket or stream that shows nothing by then is held back by something in between. */
const FIRST_BYTE_MS = { socket: 10_000, events: 10_000, poll: 60_000 };

const ending = (kind, problem = null, waitMs = null) => ({ kind, problem, waitMs });

/** How a refused or failed HTTP response ends a channel. */
export async function refusal(response) {
  const problem = await response.json().catch(() => null);
  const seconds = Number(response.headers.get('Retry-After') ?? NaN);
  const waitMs = Number.isFinite(seconds) ? seconds * 1000 : null;
  const { status } = response;
  if (status === 401 || status === 404) return ending('expired', problem);
  if (status === 429) return ending('limited', problem, waitMs);
  return ending(status >= 500 ? 'lost' : 'refused', problem, waitMs);
}

/** How a close code does. */
function closing(code, problem, opened) {
  if (code === 4401) return ending('expired', problem);
  if (code === 4403 || (code === 1008 && !opened)) return ending('refused', problem);
  if (code === 4429) return ending('limited', problem, (problem?.retry_after_s ?? 5) * 1000);
  // 1013: we read too slowly. What we missed is replayed, so come back at once.
  return ending('lost', problem, code === 1013 ? 0 : null);
}

/** Restarts with every sign of life; calls `gone` when there was none for too long. */
function watchdog(first, gone) {
  let timer = setTimeout(gone, first);
  return {
    alive() {
      clearTimeout(timer);
      timer = setTimeout(gone, SILENCE_MS);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Over a WebSocket. Photos go up, and results come down, on the same one. */
export function socket(link, signal) {
  return new Promise((resolve) => {
    const protocols = ['warmcut.v1'];
    if (link.token) protocols.push(`bearer.${link.token}`);
    let ws;
    try {
      ws = new WebSocket(link.url('/v1/socket', { last_event_id: link.lastId }).replace(/^http/, 'ws'), protocols);
    } catch {
      return resolve(ending('lost'));
    }
    ws.binaryType = 'arraybuffer';
    const end = (how) => {
      dog.stop();
      signal.removeEventListener('abort', hangUp);
      ws.onmessage = ws.onclose = null;
      ws.close();
      resolve(how);
    };
    const hangUp = () => end(ending('lost'));
    const dog = watchdog(FIRST_BYTE_MS.socket, hangUp);
    signal.addEventListener('abort', hangUp);

    let opened = false;
    let problem = null;
    let inline = null; // the result whose bytes are coming
    ws.onmessage = ({ data }) => {
      dog.alive();
      if (typeof data !== 'string') {
        if (!inline) return;
        inline.parts.push(data);
        inline.left -= data.byteLength;
        if (inline.left <= 0) {
          link.onBytes(inline.event, new Blob(inline.parts, { type: inline.event.mime }));
          inline = null;
        }
        return;
      }
      const event = JSON.parse(data);
      if (event.delivery === 'inline') inline = { event, left: event.bytes, parts: [] };
      if (event.type === 'problem') problem = event;
      if (event.type === 'session') {
        opened = true;
        link.socket = ws;
      }
      link.onEvent(event);
    };
    ws.onclose = ({ code }) => end(closing(code, problem, opened));
  });
}

/** Over Server-Sent Events. */
export async function events(link, signal) {
  const local = new AbortController();
  const hangUp = () => local.abort();
  const dog = watchdog(FIRST_BYTE_MS.events, hangUp);
  signal.addEventListener('abort', hangUp);
  try {
    const headers = { ...link.headers(), ...(link.lastId && { 'Last-Event-ID': link.lastId }) };
    const response = await fetch(link.url('/v1/events'), { headers, signal: local.signal, cache: 'no-store' });
    if (!response.ok) return await refusal(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const feed = parser((data) => link.onEvent(JSON.parse(data)));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return ending('lost');
      feed(value);
      if (link.opened) dog.alive(); // a comment alone doesn't prove that events get through
    }
  } catch {
    return ending('lost');
  } finally {
    dog.stop();
    signal.removeEventListener('abort', hangUp);
    local.abort();
  }
}

/** Gives the data of each event in a stream's text. Type and id stand in the data as well. */
export function parser(onData) {
  let rest = '';
  let data = [];
  return (text) => {
    // A CR at the end may be half of a CRLF: it waits for what follows.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
      if (line === '' && data.length) {
        onData(data.join('\n'));
        data = [];
      }
    }
  };
}

/** By asking again and again. Snapshots become the events that they tell of. */
export async function poll(link, signal) {
  const known = new Map();
  const ask = async (method, path) => {
    const limit = AbortSignal.timeout(FIRST_BYTE_MS.poll);
    const response = await fetch(path, { method, headers: link.headers(), signal: AbortSignal.any([signal, limit]), cache: 'no-store' });
    if (!response.ok) throw await refusal(response);
    return response.json();
  };
  try {
    // Also where the session is known: it says that the shopper is back.
    const session = await ask('POST', link.url('/v1/sessions'));
    link.onEvent({ ...session, type: 'session' });
    for (;;) {
      const snapshot = await ask('GET', link.url(`/v1/sessions/${session.session}`, {}, false));
      for (const event of told(snapshot, known)) link.onEvent(event);
      const hurried = new Promise((hurry) => (link.hurry = hurry));
      await Promise.race([pause(snapshot.poll_after_ms ?? 1000, signal), hurried]);
    }
  } catch (error) {
    return error.kind ? error : ending('lost');
  }
}

/** The events that a snapshot tells of and earlier ones didn't; `known` keeps what was told. */
export function* told({ run, jobs = [] }, known) {
  const isNews = (name, /** @type {any} */ value = true) => {
    const news = known.get(name) !== value;
    known.set(name, value);
    return news;
  };
  for (const stage of run?.stages ?? []) if (isNews(`stage ${stage.id}`)) yield { type: 'stage', ...stage };
  if (run?.status === 'ready' && isNews(`ready ${run.run}`)) {
    yield { type: 'ready', run: run.run, total_ms: run.elapsed_ms, cold: null, model: null, device: null };
  }
  for (const { preview, cutout, problem, ...job } of jobs) {
    for (const [type, part] of Object.entries({ preview, cutout, problem })) {
      if (part && isNews(`${type} ${job.job}`)) yield { job: job.job, ...part, type, delivery: 'url' };
    }
    if (isNews(`job ${job.job}`, JSON.stringify(job))) yield { step: null, progress: null, ...job, type: 'job' };
  }
}

/** Waits; a signal ends it with an error. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  });
}
