// The events of a connection as a list to read: bounded, filtered by type, held still while paused.

import { colour } from './code.js';

/** As many as anybody scrolls through; the oldest go. */
export const MOST = 500;

/** What opens a door is left out: the session's token, and the signatures of addresses. */
export const redacted = (event) => JSON.parse(JSON.stringify(event), (name, value) => {
  if (name === 'token') return '(hidden)';
  return typeof value === 'string' ? value.replace(/\b(signature|token)=[^&#]+/g, '$1=(hidden)') : value;
});

/** JSON with room to break its lines. */
const spaced = (event) => JSON.stringify(event, null, 1).replace(/\n */g, ' ');

const clock = (at) => {
  const two = (n, digits = 2) => String(n).padStart(digits, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
};

/** `scroll` holds `list`; `onChange` hears when there is more or less of anything. */
export class EventLog {
  #scroll;
  #list;
  #onChange;
  #entries = [];
  #only = new Set();
  #held = -1; // how many came since the pause, or -1 without one

  /** How many of each type are kept. */
  counts = new Map();

  constructor(scroll, list, onChange) {
    this.#scroll = scroll;
    this.#list = list;
    this.#onChange = onChange;
  }

  get size() {
    return this.#entries.length;
  }

  get held() {
    return this.#held;
  }

  /** Takes an event that came now, so many milliseconds after its channel was opened. */
  take(event, sinceMs) {
    const entry = { at: new Date(), sinceMs, type: event.type, event: redacted(event) };
    this.#entries.push(entry);
    this.#tally(entry, 1);
    const gone = this.#entries.length > MOST ? this.#entries.shift() : null;
    if (gone) this.#tally(gone, -1);
    if (this.#held >= 0) this.#held += 1;
    else this.#append(entry);
    this.#onChange();
  }

  /** Shows these types alone; all of them without any. */
  only(types) {
    this.#only = new Set(types);
    const follows = this.#isAtEnd();
    for (const item of this.#list.children) item.hidden = !this.#shows(item.dataset.type);
    if (follows) this.#toEnd();
    this.#onChange();
  }

  /** Holds the list still, or lets it go on with what came meanwhile. */
  pause(still) {
    this.#held = still ? 0 : -1;
    if (!still) {
      this.#list.replaceChildren();
      for (const entry of this.#entries) this.#append(entry);
    }
    this.#onChange();
  }

  clear() {
    this.#entries = [];
    this.counts.clear();
    this.#list.replaceChildren();
    if (this.#held > 0) this.#held = 0;
    this.#onChange();
  }

  /** All that is kept, filtered or not, a JSON object on each line. */
  lines() {
    const line = ({ at, sinceMs, event }) => JSON.stringify({ received_at: at.toISOString(), open_ms: sinceMs, event });
    return this.#entries.map((entry) => `${line(entry)}\n`).join('');
  }

  #shows(type) {
    return this.#only.size === 0 || this.#only.has(type);
  }

  #isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    return scrollTop + clientHeight > scrollHeight - 8;
  }

  #toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #tally({ type }, n) {
    this.counts.set(type, (this.counts.get(type) ?? 0) + n);
  }

  #append({ at, sinceMs, type, event }) {
    const follows = this.#isAtEnd(); // who scrolled up reads
    const item = document.createElement('li');
    item.dataset.type = type;
    item.hidden = !this.#shows(type);
    const part = (tag, className, text) => {
      const element = Object.assign(document.createElement(tag), { className, textContent: text });
      item.append(element);
      return element;
    };
    part('b', 'kind', type);
    part('time', 'at', clock(at)).dateTime = at.toISOString();
    part('span', 'since', sinceMs === null ? '–' : `+${sinceMs} ms`);
    colour(part('code', 'json', ''), spaced(event));
    this.#list.append(item);
    while (this.#list.childElementCount > MOST) this.#list.firstChild.remove();
    if (follows) this.#toEnd();
  }
}
