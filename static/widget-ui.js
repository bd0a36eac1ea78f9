// The interface inside <warm-cutout>: choose, watch, see. It shows what the connection tells and
// decides nothing about it. On its element it dispatches, bubbling and composed:
//
//   warmcut:stage    a stage of the warm-up moved       detail: the wire's `stage`
//   warmcut:ready    cutouts run now                    detail: the wire's `ready`
//   warmcut:cutout   the shopper's cutout is here       detail: the wire's `cutout`, and `blob`, `file`
//   warmcut:clear    it is gone again, by the shopper or for another photo
//   warmcut:problem  something went wrong               detail: the wire's `problem`

import { STAGES, Bar, current, elapsed, rounded, warming, working } from './widget-progress.js';
import { STRINGS, fill } from './widget-strings.js';

/** Often enough for a clock that shows tenths, rare enough to cost nothing. */
const TICK_MS = 100;

const STEPS = [...STAGES, 'upload', 'queue', 'cutout'];
const OPTIONS = { format: 'format', channels: 'channels', 'bg-color': 'bg_color', crop: 'crop', size: 'size', model: 'model' };
const ACCEPTS = ['image/jpeg', 'image/png', 'image/webp'];

/** The parts of the bar: what the model's start weighs beside the photo's own way. */
const SHARE = { warm: 0.7, upload: 0.15, work: 0.15 };

const TEMPLATE = `
<div class="box" part="box">
  <div class="media" part="media">
    <div class="empty">
      <svg class="art" viewBox="0 0 64 64" aria-hidden="true"><rect x="9" y="13" width="46" height="38" rx="7"/><circle cx="22" cy="26" r="4.5"/><path d="m10 46 13-12 9 8 11-12 12 12"/></svg>
      <p class="title"></p>
      <button type="button" class="choose main" part="button"></button>
      <p class="hint"><span class="drop"></span><span class="limits"></span></p>
    </div>
    <div class="trouble" hidden>
      <svg class="art" viewBox="0 0 64 64" aria-hidden="true"><circle cx="32" cy="32" r="22"/><path d="M32 20v15M32 43v.5"/></svg>
      <p class="title"></p>
      <p class="why"></p>
      <p class="row"><button type="button" class="retry main" part="button"></button><button type="button" class="another" part="button"></button></p>
    </div>
    <img class="photo" part="photo" hidden>
    <img class="result" part="result" hidden>
    <button type="button" class="cancel" part="cancel" hidden><svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 4 8 8m0-8-8 8"/></svg></button>
  </div>
  <div class="foot" part="foot">
    <p class="line"><b class="label" id="label"></b> <span class="aside"></span></p>
    <div class="bar" part="bar" role="progressbar" aria-labelledby="label" aria-valuemin="0" aria-valuemax="100"><i part="fill"></i></div>
    <ol class="steps" part="steps">${STEPS.map((step) => `<li data-step="${step}"><span></span><small class="sr"></small><time></time></li>`).join('')}</ol>
    <p class="row ends"><a class="download main" part="button download"></a><button type="button" class="another" part="button"></button></p>
  </div>
  <p class="sr" role="status"></p>
  <input type="file" hidden>
</div>`;

let sheet;
async function styles() {
  const text = await (await fetch(new URL('widget.css', import.meta.url))).text();
  return new CSSStyleSheet().replace(text);
}

/** Fills an element with the interface. */
export async function mount(host, connection) {
  sheet ??= styles();
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  root.adoptedStyleSheets = [await sheet];
  root.innerHTML = TEMPLATE;
  return new View(host, root, connection);
}

/** The server speaks in clauses; a shopper reads sentences. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/[^.!?…]$/u, '$&.');

class View {
  #host;
  #root;
  #connection;
  #strings;
  #bar = new Bar();
  #ticker = 0;
  #file = null;
  #task = null;
  #result = null;
  #problem = null;
  #steps = {}; // upload, queue, cutout: {status, from, to, text}
  #job = null;
  #sent = null;
  #run = null;
  #said = '';
  #urls = { photo: null, result: null };

  constructor(host, root, connection) {
    this.#host = host;
    this.#root = root;
    this.#connection = connection;
    const given = JSON.parse(host.dataset.strings ?? '{}');
    this.#strings = { ...STRINGS, ...given, ...host.strings };
    this.#label();
    this.#listen();
    this.#paint();
  }

  #$(selector) {
    return this.#root.querySelector(selector);
  }

  #say(name, values = {}) {
    return fill(this.#strings[name] ?? '', values);
  }

  /** What stays the same for as long as the view lives. */
  #label() {
    const words = { '.empty .title': 'title', '.choose': 'choose', '.drop': 'drop', '.trouble .title': 'failed', '.retry': 'retry', '.download': 'download' };
    for (const [selector, name] of Object.entries(words)) this.#$(selector).textContent = this.#say(name);
    for (const button of this.#root.querySelectorAll('.another')) button.textContent = this.#say('another');
    for (const step of this.#root.querySelectorAll('[data-step]')) step.firstChild.textContent = this.#say(step.dataset.step);
    this.#$('.cancel').ariaLabel = this.#say('cancel');
    this.#$('.photo').alt = this.#say('photo');
    this.#$('.result').alt = this.#say('result');
    this.#$('input').ariaLabel = this.#say('choose');
  }

  #listen() {
    const input = this.#$('input');
    const pick = () => input.click();
    this.#on('.choose', 'click', pick);
    for (const button of this.#root.querySelectorAll('.another')) button.addEventListener('click', pick);
    this.#on('.cancel', 'click', () => this.clear());
    this.#on('.retry', 'click', () => this.#retry());
    this.#on('.photo', 'error', ({ target }) => (target.hidden = true));
    input.addEventListener('change', () => {
      if (input.files[0]) this.choose(input.files[0]);
      input.value = ''; // the same photo may be chosen again
    });

    const box = this.#$('.box');
    const drag = (event) => {
      const over = event.type === 'dragover' || event.type === 'dragenter';
      if (over && !event.dataTransfer.types.includes('Files')) return;
      event.preventDefault();
      box.toggleAttribute('data-drop', over);
      if (event.type === 'drop' && event.dataTransfer.files[0]) this.choose(event.dataTransfer.files[0]);
    };
    for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) box.addEventListener(type, drag);

    // A picture pasted into the page is meant for the widget, but not one pasted into a text.
    document.addEventListener('paste', (event) => {
      const [file] = event.clipboardData?.files ?? [];
      const [target] = event.composedPath();
      const writes = target.isContentEditable || target.matches?.('input, textarea');
      if (!file || writes || event.defaultPrevented || !this.#host.isConnected) return;
      event.preventDefault();
      this.choose(file);
    });

    const hear = {
      state: () => {},
      session: () => {},
      stage: (event) => this.#tell('stage', event),
      ready: (event) => this.#tell('ready', event),
      upload: (event) => this.#uploading(event),
      job: (event) => this.#working(event),
      result: (event) => this.#show(event),
      problem: (event) => {
        if (event.upload || event.job) return; // its task says so
        this.#run = event;
        this.#tell('problem', event);
      },
    };
    for (const [type, take] of Object.entries(hear)) {
      this.#connection.addEventListener(type, ({ detail }) => {
        take(detail);
        this.#paint();
      });
    }
  }

  #on(selector, type, listener) {
    this.#$(selector).addEventListener(type, listener);
  }

  #tell(name, detail) {
    this.#host.dispatchEvent(new CustomEvent(`warmcut:${name}`, { detail, bubbles: true, composed: true }));
  }

  /** Takes a photo, and sends it at once: the server keeps it until the model is there. */
  choose(file) {
    this.clear();
    this.#file = file;
    this.#urls.photo = URL.createObjectURL(file);
    this.#$('.photo').src = this.#urls.photo;
    this.#problem = this.#judge(file);
    if (this.#problem) this.#tell('problem', this.#problem);
    else this.#start();
    this.#paint();
  }

  /** What can be told without asking the server. */
  #judge({ name, type, size }) {
    const { accepts = ACCEPTS, max_upload_bytes: limit = Infinity } = this.#connection.state.session?.limits ?? {};
    const why = (code, text, values) => ({ type: 'problem', code, retryable: false, message: this.#say(text, values) });
    if (size === 0) return why('bad_request', 'problem_empty', { name });
    if (type && !accepts.includes(type)) return why('unsupported_media_type', 'problem_wrong_type', { name });
    if (size > limit) return why('upload_too_large', 'problem_too_large', { size: megabytes(size), limit: megabytes(limit) });
    return null;
  }

  #start() {
    // A bar that shows the model's start goes on from where it stands.
    if (this.#connection.state.run?.status === 'warming') this.#bar.rebase();
    else this.#bar.reset();
    const task = this.#connection.upload(this.#file, this.#options());
    this.#task = task;
    this.#steps = { upload: { status: 'now', from: this.#connection.now() } };
    task.done.catch((problem) => {
      if (this.#task !== task) return;
      this.#task = null;
      this.#problem = { type: 'problem', code: 'internal', retryable: true, message: '', ...problem };
      this.#problem.message ||= this.#say(`problem_${this.#problem.code}`) || this.#say('problem');
      const step = Object.values(this.#steps).find(({ status }) => status === 'now');
      if (step) Object.assign(step, { status: 'failed', to: this.#connection.now() });
      this.#tell('problem', this.#problem);
      this.#paint();
    });
  }

  #options() {
    const options = {};
    for (const [attribute, name] of Object.entries(OPTIONS)) {
      const value = this.#host.getAttribute(attribute);
      if (value !== null) options[name] = value || 'true';
    }
    return options;
  }

  #retry() {
    this.#problem = null;
    if (this.#file) this.#start();
    else this.#connection.warm('manual').catch(() => {});
    this.#paint();
  }

  /** Back to the beginning; what goes on is stopped. */
  clear() {
    const task = this.#task;
    if (this.#result) this.#tell('clear');
    this.#task = this.#file = this.#result = this.#problem = this.#job = this.#sent = null;
    this.#steps = {};
    for (const name of ['photo', 'result']) {
      if (this.#urls[name]) URL.revokeObjectURL(this.#urls[name]);
      this.#urls[name] = null;
      this.#$(`.${name}`).removeAttribute('src');
    }
    this.#$('.result').classList.remove('in');
    this.#bar.reset();
    task?.cancel();
    this.#paint();
  }

  #uploading(event) {
    if (event.upload !== this.#task?.upload) return;
    this.#sent = event;
    if (event.status === 'received') Object.assign(this.#steps.upload, { status: 'done', to: event.at_ms ?? this.#connection.now() });
  }

  #working(event) {
    if (event.upload !== this.#task?.upload) return;
    const at = event.at_ms ?? this.#connection.now();
    const { upload, queue, cutout } = this.#steps;
    // What is estimated counts from when it was estimated; polls repeat it without a time.
    this.#job = { ...event, at_ms: at };
    if (upload.status === 'now') Object.assign(upload, { status: 'done', to: at });
    const begin = () => ({ status: 'now', from: at });
    const end = (step, from) => ({ from, ...step, status: 'done', to: at });
    if (event.status === 'queued') this.#steps.queue ??= begin();
    if (event.status === 'processing') {
      if (queue?.status !== 'done') this.#steps.queue = end(queue, at);
      this.#steps.cutout ??= begin();
    }
    if (event.status === 'succeeded') {
      this.#steps.queue ??= end(null, at);
      this.#steps.cutout = end(cutout, at);
    }
  }

  async #show({ kind, upload, blob, event }) {
    if (upload !== this.#task?.upload) return;
    const url = URL.createObjectURL(blob);
    const image = this.#$('.result');
    if (this.#urls.result) URL.revokeObjectURL(this.#urls.result);
    this.#urls.result = url;
    image.src = url;
    await image.decode().catch(() => {});
    if (this.#urls.result !== url) return; // cleared, or replaced by a better one
    image.classList.add('in');
    if (kind === 'cutout') {
      this.#result = event;
      // The job's end is told after its cutout, and nobody listens for it any more.
      this.#working({ ...this.#job, upload, status: 'succeeded', at_ms: event.at_ms });
      this.#task = null;
      const link = this.#$('.download');
      link.href = url;
      link.download = `${this.#file.name.replace(/\.\w+$/, '') || 'photo'}-cutout.${event.mime.split('/')[1].replace('jpeg', 'jpg')}`;
      this.#tell('cutout', { ...event, blob, file: this.#file });
    }
    this.#paint();
  }

  /** One word for what the shopper sees. */
  #phase() {
    const { phase, run } = this.#connection.state;
    if (this.#result) return 'done';
    if (this.#problem) return 'failed';
    if (!this.#task) return phase === 'refused' ? 'failed' : phase;
    if (this.#steps.upload.status !== 'done') return 'uploading';
    if (this.#job?.status === 'queued') return 'queued';
    if (this.#steps.cutout) return 'processing'; // until its bytes are here
    return run?.status === 'ready' ? 'waiting' : 'starting';
  }

  #paint() {
    const phase = this.#phase();
    const { state } = this.#connection;
    const now = this.#connection.now();
    const cold = state.run?.status !== 'ready';
    const busy = !['idle', 'ready', 'done', 'failed'].includes(phase);
    const focused = this.#root.activeElement;

    this.#$('.box').dataset.phase = phase;
    this.#$('.empty').hidden = Boolean(this.#file) || phase === 'failed';
    this.#$('.trouble').hidden = phase !== 'failed';
    this.#$('.photo').hidden = !this.#file || phase === 'failed';
    this.#$('.result').hidden = !this.#urls.result || phase === 'failed';
    this.#$('.cancel').hidden = !this.#task;
    this.#$('.ends').hidden = phase !== 'done';
    const page = this.#host.getAttribute('layout') === 'page';
    this.#$('.bar').hidden = ['idle', 'done', 'failed'].includes(phase);
    this.#$('.steps').hidden = !page && (phase === 'idle' || phase === 'done' || !(state.run || this.#task));

    const { limits } = state.session ?? {};
    const size = limits && megabytes(limits.max_upload_bytes);
    this.#put('.limits', this.#say(size ? 'limits_size' : 'limits', { size }));
    this.#$('input').accept = (limits?.accepts ?? ACCEPTS).join();

    if (phase === 'failed') {
      const problem = this.#problem ?? state.problem ?? this.#run;
      const detail = current(state.run)?.detail;
      this.#$('.why').textContent = sentence(problem?.message || detail || this.#say('problem'));
      this.#$('.retry').hidden = Boolean(this.#file) && !problem?.retryable;
      this.#$('.trouble .another').hidden = !this.#file;
    }

    const warm = warming(state.run, now);
    const work = working(this.#job, now);
    const share = this.#sent?.total_bytes ? this.#sent.received_bytes / this.#sent.total_bytes : 0;
    const sent = this.#steps.upload?.status === 'done' ? 1 : Math.min(0.99, share);
    const fraction = this.#fraction(phase, cold, warm, work, sent);
    this.#line(phase, state, cold ? warm : work, cold, page ? fraction : null);
    this.#list(phase, state.run, now, sent);

    // A button that went away under the keyboard leaves the focus on the next one that is there.
    if (focused && !focused.checkVisibility()) {
      const visible = [...this.#root.querySelectorAll('button, a')].find((next) => next.checkVisibility());
      visible?.focus({ preventScroll: true });
    }

    if (busy && !this.#ticker) this.#ticker = setInterval(() => this.#paint(), TICK_MS);
    if (!busy) {
      clearInterval(this.#ticker);
      this.#ticker = 0;
    }
  }

  #fraction(phase, cold, warm, work, sent) {
    const parts = [];
    if (cold || !this.#task) parts.push([SHARE.warm, warm.fraction]);
    if (this.#task) parts.push([SHARE.upload, sent], [SHARE.work, cold ? 0 : (work.fraction ?? 0)]);
    let fraction = phase === 'connecting' ? null : this.#bar.at(parts);
    if (this.#task && fraction !== null) fraction = Math.min(0.99, fraction); // full is what can be seen
    const bar = this.#$('.bar');
    bar.toggleAttribute('data-unknown', fraction === null);
    if (fraction === null) bar.removeAttribute('aria-valuenow');
    else bar.ariaValueNow = String(Math.floor(fraction * 100));
    bar.firstChild.style.transform = `scaleX(${fraction ?? 0})`;
    return fraction;
  }

  #line(phase, state, { eta, late }, cold, fraction) {
    const lost = !state.transport && state.session && !['idle', 'done', 'failed'].includes(phase);
    let name = phase;
    if (phase === 'uploading' && cold) name = 'uploading_cold';
    if (phase === 'warming' && state.run?.again) name = 'again';
    if (lost) name = 'reconnecting';
    else if (state.failures && !state.transport) name = 'unreachable';
    // "After 0.0 s", of one that was made before, would sound broken.
    if (phase === 'done') name = this.#result.timings_ms?.total >= 50 ? 'done_in' : 'done';
    const label = this.#say(name, {
      position: this.#job?.position ?? '',
      time: this.#result?.timings_ms && this.#time(this.#result.timings_ms.total),
    });
    this.#put('.label', phase !== 'failed' ? label : this.#$('.steps').hidden ? this.#$('.limits').textContent : '');

    const waits = !['idle', 'ready', 'done', 'failed', 'connecting'].includes(phase) && !lost;
    let left = '';
    if (late) left = this.#say('late');
    else if (eta !== null) left = eta < 4000 ? this.#say('soon') : this.#say('eta', { seconds: rounded(eta) });
    const reached = fraction === null ? '' : this.#percent(fraction);
    this.#put('.aside', waits ? [reached, left].filter(Boolean).join(' · ') : '');

    // Only what changed the situation is read aloud, not every tick of a clock.
    const stage = phase === 'warming' || phase === 'starting' ? current(state.run)?.stage : null;
    const said = phase === 'failed' ? this.#$('.why').textContent : [label, stage && this.#say(stage)].filter(Boolean).join('. ');
    if (said !== this.#said && phase !== 'idle') this.#put('[role=status]', (this.#said = said));
  }

  #list(phase, run, now, sent) {
    const own = Boolean(this.#task || this.#steps.upload) && (run?.status === 'ready' || this.#host.getAttribute('layout') === 'page');
    this.#$('.steps').dataset.of = own ? 'photo' : 'model';
    for (const item of this.#root.querySelectorAll('[data-step]')) {
      const { step } = item.dataset;
      const stage = run?.stages[step];
      let status = 'todo';
      let text = '';
      if (stage) {
        status = { done: 'done', failed: 'failed' }[stage.status] ?? 'now';
        text = this.#time(elapsed(stage, now));
        if (status === 'now' && stage.progress) text = `${this.#percent(stage.progress)} · ${text}`;
        if (status === 'now' && stage.retried) text = `${this.#say('retrying')} · ${text}`;
      } else if (this.#steps[step]) {
        const { from, to } = this.#steps[step];
        status = this.#steps[step].status;
        text = this.#time(Math.max(0, (to ?? now) - from));
        if (status === 'now' && step === 'upload') text = `${this.#percent(sent)} · ${text}`;
        if (status === 'now' && step === 'cutout' && this.#job?.step) text = `${this.#say(this.#job.step)} · ${text}`;
      }
      if (item.dataset.status !== status) {
        item.dataset.status = status;
        item.children[1].textContent = `, ${this.#say(`step_${status}`)} `;
      }
      if (item.lastChild.textContent !== text) item.lastChild.textContent = text;
    }
  }

  #put(selector, text) {
    const node = this.#$(selector);
    if (node.textContent !== text) node.textContent = text;
  }

  #percent(fraction) {
    return this.#say('percent', { n: Math.floor(fraction * 100) });
  }

  #time(ms) {
    const seconds = ms / 1000;
    if (seconds >= 60) return this.#say('minutes', { m: Math.floor(seconds / 60), n: Math.floor(seconds % 60) });
    const digits = seconds < 10 ? 1 : 0;
    return this.#say('seconds', { n: seconds.toLocaleString(document.documentElement.lang || 'en', { minimumFractionDigits: digits, maximumFractionDigits: digits }) });
  }
}

/** As file managers count them. */
const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString(document.documentElement.lang || 'en', { maximumFractionDigits: 1 })}\u00a0MB`;
