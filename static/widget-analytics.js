// What a visit was like: told to the page at once, as events that bubble, and with consent to the
// sinks that the shop chose. No name, no address, no id: triggers, durations, yes and no.
//
//   warmcut:warming_started    {trigger}                       the visit's first channel opened
//   warmcut:warming_completed  {duration_ms, cold}             since then, by the server's clock
//   warmcut:upload_started     {was_warmed}                    was the model ready when the photo came?
//   warmcut:cutout_completed   {duration_ms, cached}           from the photo's choice to its cutout
//   warmcut:warming_abandoned  {trigger, duration_ms, ready}   the shopper left without a photo
//
// Each carries `holdout` as well, without which a shop couldn't tell its two groups apart.

/** What waits for consent, or for the next beacon; the server takes no more at once. */
const MOST = 32;

/** Events of one moment go in one beacon. */
const GATHER_MS = 5000;

/** Who comes back to a tab after hours waited for no model. */
const LONGEST_MS = 3_600_000;

/** A page that goes away so soon after a link of the shop was followed went there. */
const MOVING_MS = 30_000;

const whole = (ms) => Math.min(LONGEST_MS, Math.max(0, Math.round(ms)));

const SINKS = {
  beacon: (events, { server, key }) => {
    const url = new URL('/v1/analytics', server);
    if (key) url.searchParams.set('key', key);
    // A string goes as text/plain, which needs no preflight.
    navigator.sendBeacon?.(url, JSON.stringify({ events: events.map(({ event, detail }) => ({ event, ...detail })) }));
  },
  dataLayer: (events) => {
    window.dataLayer ??= [];
    for (const { event, detail } of events) window.dataLayer.push({ event: `warmcut_${event}`, ...detail });
  },
  shopify: (events) => {
    for (const { event, detail } of events) window.Shopify?.analytics?.publish?.(`warmcut_${event}`, detail);
  },
};

/** The account of one visit, over all of its pages. */
export class Analytics {
  #connection;
  #options;
  #told; // {trigger, at, ready, uploaded, left}
  #save;
  #waiting = [];
  #timer = 0;
  #movedAt = -Infinity;

  /** `told` is what earlier pages of the visit told; `save` keeps it for the next one. */
  constructor(connection, options, told, save) {
    this.#connection = connection;
    this.#options = options;
    this.#told = told ?? {};
    this.#save = save;
    connection.addEventListener('consent', () => this.#flush());
    document.addEventListener('visitorConsentCollected', () => this.#flush()); // Shopify's banner was answered
    document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' && this.#flush());
    addEventListener('pagehide', () => {
      this.#left();
      this.#flush();
    });
    // A shopper who goes to the shop's next page hasn't left it. Browsers that can't tell count one too many.
    window.navigation?.addEventListener('navigate', ({ destination, hashChange }) => {
      const inside = new URL(destination.url).origin === location.origin && !hashChange;
      this.#movedAt = inside ? performance.now() : -Infinity;
    });
  }

  opened(trigger, at) {
    if (this.#told.at) return;
    this.#keep({ trigger, at });
    this.#tell('warming_started', { trigger });
  }

  ready(at) {
    if (this.#told.ready) return;
    this.#keep({ ready: true });
    const duration_ms = whole(at - this.#told.at);
    this.#tell('warming_completed', { duration_ms, cold: at > this.#told.at });
  }

  /** A photo was chosen; what it gives back is called when its cutout is there. */
  uploading(was_warmed) {
    this.#keep({ uploaded: true });
    this.#tell('upload_started', { was_warmed });
    const began = performance.now();
    return (cached) => this.#tell('cutout_completed', { duration_ms: whole(performance.now() - began), cached });
  }

  #left() {
    const { trigger, at, ready = false, uploaded, left } = this.#told;
    if (!at || uploaded || left || performance.now() - this.#movedAt < MOVING_MS) return;
    this.#keep({ left: true });
    this.#tell('warming_abandoned', { trigger, duration_ms: whole(this.#connection.now() - at), ready });
  }

  #keep(more) {
    Object.assign(this.#told, more);
    this.#save(this.#told);
  }

  #tell(event, detail) {
    detail.holdout = this.#options.holdout;
    const from = document.querySelector('warm-cutout') ?? document;
    from.dispatchEvent(new CustomEvent(`warmcut:${event}`, { detail, bubbles: true, composed: true }));
    this.#waiting.push({ event, detail });
    if (this.#waiting.length > MOST) this.#waiting.shift();
    this.#timer ||= setTimeout(() => this.#flush(), GATHER_MS);
  }

  /** True or false once somebody decided: the page itself, or else Shopify's banner. */
  #consent() {
    const { consent, settings } = this.#options;
    const said = consent ?? { granted: true, denied: false }[settings.consent];
    if (said !== undefined) return said;
    const shopify = window.Shopify?.customerPrivacy;
    if (!shopify) return null;
    if (shopify.analyticsProcessingAllowed()) return true;
    // Not asked yet, by Shopify's own banner or by another that uses its answer.
    const open = shopify.shouldShowBanner?.() || shopify.currentVisitorConsent?.().analytics === '';
    return open ? null : false;
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const consent = this.#consent();
    if (consent === null || !this.#waiting.length) return;
    const events = this.#waiting.splice(0);
    if (!consent) return;
    for (const sink of (this.#options.settings.analytics ?? 'beacon').split(/\s+/)) SINKS[sink]?.(events, this.#options);
  }
}
