// warmcut's loader. One tag makes a page ready for cutouts:
//
//   <script type="module" src="https://cut.example/widget.js" data-key="pk_…"></script>
//   <warm-cutout></warm-cutout>
//
// It watches for the first sign that a shopper will upload a photo, opens the session's channel
// then, so that the model warms while the shopper still looks for the photo, and brings the rest
// (`widget-channel.js`, `widget-ui.js`) only when it is needed.

const tag = [...document.scripts].find((script) => script.src === import.meta.url);

/** What warms without `data-warm-on`: everything but the mere view of a page, since a GPU costs. */
const TRIGGERS = 'hover focus touch viewport selector upload';

/** Below these a pointer only passes by: instant.page's dwell, and quicklink's for a mere selector. */
const DWELL_MS = { hover: 65, selector: 200 };

/** A phone has no hover: half of the element is seen, and scrolling has stopped for so long. */
const REST_MS = 500;

/** Who looks at a page for so long didn't land on it by mistake. */
const VIEW_MS = 2500;

/** Where a visitor's draw for the holdout is kept, so that it is the same at the next visit. */
const DRAW = 'warmcut holdout';

const HOT = 'warm-cutout, [data-warm-upload]';
const SELECTOR = '[data-warm-selector]';

const IDLE = Object.freeze({ phase: 'idle', transport: null, run: null, session: null, problem: null, failures: 0 });

/**
 * One visit's line to the server. Dispatches a `CustomEvent` for each event of the wire, named by
 * its type with the object as `detail`; `state` when the phase changes; `result` when the bytes
 * of a preview or cutout are here.
 */
class Connection extends EventTarget {
  /** Whether the channel stays open while its tab is hidden, because somebody waits to be told. */
  stay = false;

  #options;
  #channel;
  #loading;

  constructor(options) {
    super();
    this.#options = options;
  }

  /** `{phase: idle|connecting|warming|ready|failed|refused, transport, run, session, problem, failures}`. */
  get state() {
    return this.#channel?.state ?? IDLE;
  }

  /** Where it goes to; what the wire names by its path is there. */
  get server() {
    return this.#options.server;
  }

  /** The server's clock now, as well as it can be told. */
  now() {
    return this.#channel?.now() ?? Date.now();
  }

  /** Opens the channel, which starts a warm-up where none is warm. Harmless when repeated. */
  async warm(trigger = 'manual') {
    (await this.#load()).warm(trigger);
  }

  /** Sends a photo; `done` gives `{blob, cutout}`, or rejects with a problem. */
  upload(file, options = {}) {
    const upload = `u_${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
    const lost = () => Promise.reject({ type: 'problem', code: 'upload_incomplete', message: '', retryable: true });
    const done = this.#load().then((channel) => channel.upload(upload, file, options), lost);
    done.catch(() => {}); // who doesn't wait for it isn't told twice
    return { upload, done, cancel: () => this.cancel(upload) };
  }

  /** Stops a job or an upload, by its id. */
  async cancel(id) {
    (await this.#load()).cancel(id);
  }

  /** Whether what the visit was like may go to the sinks of `data-analytics`. */
  consent(given) {
    this.#options.consent = given;
    this.dispatchEvent(new Event('consent'));
  }

  /** Hangs up. The session lives on for a while, and `warm` finds it again. */
  close() {
    this.#channel?.close();
  }

  #load() {
    this.#loading ??= import('./widget-channel.js').then(
      ({ Channel }) => (this.#channel = new Channel(this, this.#options)),
      (error) => {
        this.#loading = null; // offline, perhaps: the next intent tries again
        throw error;
      },
    );
    return this.#loading;
  }
}

const connections = new Map();

/** The connection to a server with a key; asked twice, the same one. */
export function connect({ server = new URL(import.meta.url).origin, key = tag?.dataset.key } = {}) {
  const name = `${server} ${key ?? ''}`;
  if (!connections.has(name)) connections.set(name, new Connection({ server, key, holdout, settings: tag?.dataset ?? {} }));
  return connections.get(name);
}

const enabled = new Set((tag?.dataset.warmOn ?? TRIGGERS).split(/\s+/));

/**
 * A share of the visitors, `data-holdout` in percent, is not warmed for before they ask for it: beside
 * them a shop sees what warming is worth.
 */
export const holdout = (() => {
  const share = Number(tag?.dataset.holdout ?? 0);
  if (!(share > 0)) return false;
  try {
    const draw = localStorage.getItem(DRAW) ?? String(Math.random() * 100);
    localStorage.setItem(DRAW, draw);
    return Number(draw) < share;
  } catch {
    return false; // who can't be remembered can't be counted either
  }
})();

let lowBattery = () => false;
navigator.getBattery?.().then((b) => (lowBattery = () => !b.charging && b.level <= 0.2), () => {});

/** An explicit click always warms; whatever is less stays quiet where bytes or power are short. */
function intend(trigger) {
  if (!enabled.has(trigger) || window.Shopify?.designMode || document.prerendering) return;
  const { saveData, effectiveType } = navigator.connection ?? {};
  if (trigger !== 'upload' && (holdout || saveData || /2g/.test(effectiveType) || lowBattery())) return;
  connect().warm(trigger).catch(() => {});
}

// Listening on the document covers elements that come later, such as a theme's section reload.
let over = null;
let dwell = 0;
// Only what a pointer goes out to tells that it left the window, and only what it is over that it came.
for (const [type, there] of [['pointerover', 'target'], ['pointerout', 'relatedTarget']]) {
  document.addEventListener(type, (/** @type {any} */ event) => {
    const hot = event[there]?.closest?.(`${HOT}, ${SELECTOR}`) ?? null;
    if (hot === over || event.pointerType === 'touch') return;
    over = hot;
    clearTimeout(dwell);
    const trigger = hot?.matches(HOT) ? 'hover' : 'selector';
    if (hot) dwell = setTimeout(intend, DWELL_MS[trigger], trigger);
  });
}
for (const [type, trigger, where = HOT] of [
  ['focusin', 'focus'], ['touchstart', 'touch'], ['click', 'upload'], ['dragenter', 'upload'], ['change', 'selector', SELECTOR],
]) {
  document.addEventListener(type, (/** @type {any} */ { target, dataTransfer }) => {
    const bringsFile = !dataTransfer || dataTransfer.types.includes('Files');
    if (bringsFile && target.closest?.(where)) intend(trigger);
  }, { passive: true, capture: true });
}

// A picture that is pasted is for the widget with the focus, or else for the one in view; a text keeps its own.
document.addEventListener('paste', (event) => {
  const [file] = event.clipboardData?.files ?? [];
  const path = event.composedPath();
  const target = /** @type {HTMLElement} */ (path[0]);
  const writes = target.isContentEditable || target.matches?.('input, textarea');
  if (event.defaultPrevented || writes || !file?.type.startsWith('image/')) return;
  const all = /** @type {WarmCutout[]} */ ([...document.querySelectorAll('warm-cutout')]);
  const widget = all.find((one) => path.includes(one)) ?? all.find((one) => {
    const { top, bottom } = one.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  if (!widget) return;
  event.preventDefault();
  widget.upload(file).catch(() => {});
});

// The interface is brought where it is about to be seen.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) /** @type {WarmCutout} */ (target).load().catch(() => {});
  }
}, { rootMargin: '200px' });

let resting = 0;
let viewing = 0;
const isSeen = () => document.visibilityState === 'visible';
function rest() {
  clearTimeout(resting);
  if (isSeen() && matchMedia('(hover: none) and (pointer: coarse)').matches) resting = setTimeout(look, REST_MS);
}
function look() {
  const half = new IntersectionObserver((entries) => {
    half.disconnect();
    if (entries.some(({ intersectionRatio }) => intersectionRatio >= 0.5)) intend('viewport');
  });
  for (const hot of document.querySelectorAll(HOT)) half.observe(hot);
}
document.addEventListener('scroll', rest, { passive: true, capture: true });

/** A page is viewed from when it is shown: one in the background isn't, nor one that is prerendered. */
function view() {
  rest();
  clearTimeout(viewing);
  if (isSeen()) viewing = setTimeout(intend, VIEW_MS, 'page_view');
}
for (const type of ['visibilitychange', 'prerenderingchange']) document.addEventListener(type, view);
view();

/** Themes that shrink the rem, to count in tens, give their texts a size from elsewhere: the widget's is that of the text around. */
function size(host) {
  if (getComputedStyle(host).getPropertyValue('--warmcut-unit')) return;
  const px = (element) => parseFloat(getComputedStyle(element).fontSize);
  const around = px(host);
  host.style.fontSize = 'medium'; // what a rem is where nobody changed it
  const shrunk = px(document.documentElement) < px(host);
  host.style.fontSize = '';
  if (shrunk) host.style.setProperty('--warmcut-unit', `${around}px`);
}

/**
 * `<warm-cutout>`: the place of the interface, which `widget-ui.js` fills. With a `name` it is a field of
 * its form, whose value is the cutout's lasting address.
 */
class WarmCutout extends HTMLElement {
  static formAssociated = true;

  /** What its form sends; null without a cutout. */
  value = null;

  #view;
  #known = false;
  #field = this.attachInternals();

  connectedCallback() {
    this.#view?.then((view) => this.isConnected && view.enter(), () => {});
    // A form must know that the photo is missing, even where nobody has seen it yet.
    if (this.hasAttribute('required')) this.load().catch(() => {});
    if (!this.#known) this.#restore();
    this.#known = true;
    near.observe(this);
    rest();
  }

  disconnectedCallback() {
    near.unobserve(this);
    this.#view?.then((view) => this.isConnected || view.leave(), () => {});
  }

  /** Keeps what `#restore` shows; nothing forgets it. */
  keep(state) {
    try {
      if (state) sessionStorage.setItem(this.#place(), state);
      else sessionStorage.removeItem(this.#place());
    } catch {
      // Storage may be switched off; then a cutout goes with its page.
    }
  }

  #place() {
    return `warmcut cutout ${location.pathname} ${[...document.querySelectorAll('warm-cutout')].indexOf(this)}`;
  }

  /** A page that is loaded again, or gone back to, shows the cutout that it had; one that is come to anew doesn't. */
  #restore() {
    const [visit] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'));
    if (!/^(reload|back)/.test(visit?.type)) return this.keep();
    try {
      const state = sessionStorage.getItem(this.#place());
      if (state) this.load().then((view) => view.restore(state)).catch(() => {});
    } catch {
      // As above.
    }
  }

  async formResetCallback() {
    (await this.#view)?.clear();
  }

  /** Brings the interface and gives its view. */
  load() {
    this.#view ??= import('./widget-ui.js').then(({ mount }) => {
      if (!this.shadowRoot) size(this);
      return mount(this, connect(), this.#field);
    }).catch((error) => {
      this.#view = null;
      // Offline, perhaps; where it is seen it comes as soon as that is over.
      addEventListener('online', () => near.observe(this), { once: true });
      near.unobserve(this);
      throw error;
    });
    return this.#view;
  }

  /** Cuts out a photo, as if the shopper had chosen it. */
  async upload(file) {
    (await this.load()).choose(file);
  }
}

if (!customElements.get('warm-cutout')) customElements.define('warm-cutout', WarmCutout);
