// The interface inside <warm-cutout>: choose, watch, see. It shows what the connection tells and
// decides nothing about it. On its element it dispatches, bubbling and composed:
//
//   warmcut:stage    a stage of the warm-up moved       detail: the wire's `stage`
//   warmcut:ready    cutouts run now                    detail: the wire's `ready`
//   warmcut:cutout   the shopper's cutout is here       detail: the wire's `cutout`, and `blob`, `file`
//   warmcut:ground   it is looked at on another ground  detail: `colour`, or null for none
//   warmcut:clear    it is gone again, by the shopper or for another photo
//   warmcut:problem  something went wrong               detail: the wire's `problem`

import { Photo } from './widget-photo.js';
import { Bar, current, rounded, warming, working } from './widget-progress.js';
import { LIST, Steps } from './widget-steps.js';
import { Words } from './widget-strings.js';

/** Often enough for a clock that shows tenths, rare enough to cost nothing. */
const TICK_MS = 100;

/** A wait that lasts so long may be spent elsewhere. */
const LONG_MS = 5000;

const OPTIONS = ['format', 'channels', 'bg-color', 'crop', 'size', 'edges', 'model', 'quality'];
const ACCEPTS = ['image/jpeg', 'image/png', 'image/webp'];

/** The parts of the bar: what the model's start weighs beside the photo's own way. */
const SHARE = { warm: 0.7, upload: 0.15, work: 0.15 };

const TEMPLATE = `
<div class="box" part="box" tabindex="-1">
  <div class="media" part="media">
    <div class="empty">
      <svg class="art" viewBox="0 0 64 64" aria-hidden="true"><rect x="9" y="13" width="46" height="38" rx="7"/><path d="m10 46 13-12 9 8 11-12 12 12"/></svg>
      <p class="title" data-say="title"></p>
      <p class="row"><button type="button" class="choose main" part="button" data-say="choose"></button><button type="button" class="camera" part="button" data-say="camera"></button></p>
      <p class="hint"><span class="drop" data-say="drop"></span><span class="limits"></span></p>
    </div>
    <div class="trouble" hidden>
      <svg class="art" viewBox="0 0 64 64" aria-hidden="true"><circle cx="32" cy="32" r="22"/><path d="M32 20v15M32 43v.5"/></svg>
      <p class="title" data-say="failed"></p>
      <p class="why"></p>
      <p class="row"><button type="button" class="retry main" part="button" data-say="retry"></button><button type="button" class="another" part="button" data-say="another"></button></p>
    </div>
    <img class="photo" part="photo" hidden>
    <img class="result" part="result" hidden>
    <button type="button" class="cancel" part="cancel" hidden><svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 4 8 8m0-8-8 8"/></svg></button>
    <button type="button" class="notify" part="button notify" data-say="notify" hidden></button>
  </div>
  <div class="foot" part="foot">
    <ol class="steps" part="steps">${LIST}</ol>
    <div class="bar" part="bar" role="progressbar" aria-labelledby="label" aria-valuemin="0" aria-valuemax="100"><i part="fill"></i></div>
    <p class="line"><b class="label" id="label"></b> <span class="aside"></span></p>
    <p class="rest"></p>
    <p class="row ends"><a class="download main" part="button download" data-say="download"></a><button type="button" class="another" part="button" data-say="another"></button></p>
  </div>
  <p class="sr" role="status"></p>
  <input type="file" hidden>
</div>`;

let sheet;
async function styles() {
  const answer = await fetch(new URL('widget.css', import.meta.url));
  if (!answer.ok) throw new Error(`widget.css: ${answer.status}`);
  return new CSSStyleSheet().replace(await answer.text());
}

/** A shop's own words. Ours are better than none where a template filled in something else. */
function given({ dataset }) {
  try {
    return JSON.parse(dataset.strings || '{}');
  } catch {
    return null;
  }
}

/** Fills an element with the interface; `field` is the element's place in its form. */
export async function mount(host, connection, field) {
  sheet ??= styles().catch((error) => {
    sheet = null; // the next one that is seen tries again
    throw error;
  });
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open', delegatesFocus: true });
  root.adoptedStyleSheets = [await sheet];
  root.innerHTML = TEMPLATE;
  return new View(host, root, connection, field);
}

/** The server speaks in clauses; a shopper reads sentences. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/[^.!?…]$/u, '$&.');

class View {
  #host;
  #root;
  #connection;
  #field;
  #words;
  #steps;
  #bar = new Bar();
  #ticker = 0;
  #since = 0; // when the wait began
  #photo = null;
  #outcome = null; // the tools around a result, and what brings them
  #problem = null; // of the run
  #notify = null;
  #run = null; // that the bar shows
  #said = '';
  #shown = 0; // of the bar
  #outside = null; // ends what it listens to there
  #gone = false;
  #urls = { photo: null, result: null };

  constructor(host, root, connection, field) {
    this.#host = host;
    this.#root = root;
    this.#connection = connection;
    this.#field = field;
    this.#words = new Words(given(host), host.strings);
    this.#steps = new Steps(this.#$('.steps'), this.#words);
    this.#label();
    this.#listen();
    this.#fill();
    this.#paint();
  }

  #$(selector) {
    return this.#root.querySelector(selector);
  }

  #say(name, values) {
    return this.#words.say(name, values);
  }

  /** What stays the same for as long as the view lives. */
  #label() {
    for (const node of this.#root.querySelectorAll('[data-say]')) node.textContent = this.#say(node.dataset.say);
    this.#$('.cancel').ariaLabel = this.#say('cancel');
    this.#$('.photo').alt = this.#say('photo');
    this.#$('.result').alt = this.#say('result');
    this.#$('[type=file]').ariaLabel = this.#say('choose');
  }

  #listen() {
    const input = this.#$('[type=file]');
    const pick = () => {
      input.removeAttribute('capture');
      input.click();
    };
    for (const button of this.#root.querySelectorAll('.choose, .another')) button.addEventListener('click', pick);
    this.#on('.camera', 'click', () => {
      input.setAttribute('capture', 'environment');
      input.click();
    });
    this.#on('.cancel', 'click', () => this.clear());
    this.#on('.retry', 'click', () => this.#retry());
    this.#on('.notify', 'click', () => this.#ask().catch(() => {}));
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
    this.enter();
  }

  /** Listens outside of the element, for as long as it is in the page or its photo on its way. */
  enter() {
    this.#gone = false;
    if (this.#outside?.signal.aborted === false) return;
    this.#outside = new AbortController();
    const { signal } = this.#outside;
    const mine = (event) => event.upload && event.upload === this.#photo?.task?.upload;
    const hear = {
      stage: (event) => this.#tell('stage', event),
      ready: (event) => {
        if (!this.#photo) this.#announce('notify_ready');
        this.#tell('ready', event);
      },
      fit: (event) => mine(event) && (this.#photo.fitted = event),
      upload: (event) => mine(event) && this.#photo.uploading(event, this.#connection.now()),
      job: (event) => mine(event) && this.#photo.working(event, this.#connection.now()),
      result: (event) => mine(event) && this.#show(event),
      problem: (event) => {
        if (event.upload || event.job) return; // its task says so
        this.#problem = event;
        this.#tell('problem', event);
      },
    };
    for (const type of ['state', 'session', ...Object.keys(hear)]) {
      this.#connection.addEventListener(type, ({ detail }) => {
        hear[type]?.(detail);
        this.#paint();
      }, { signal });
    }
    this.#paint();
  }

  leave() {
    this.#gone = true;
    if (this.#photo?.task) return;
    this.#outside.abort();
    clearInterval(this.#ticker);
    this.#ticker = 0;
  }

  #on(selector, type, listener) {
    this.#$(selector).addEventListener(type, listener);
  }

  #tell(name, detail) {
    this.#host.dispatchEvent(new CustomEvent(`warmcut:${name}`, { detail, bubbles: true, composed: true }));
  }

  /** The element's value in its form; a required one is missed there. */
  #fill(value = null, state) {
    this.#host.value = value;
    this.#field.setFormValue(value);
    this.#host.keep(state);
    this.#judge();
  }

  /** A form waits for a photo that is on its way, and misses one that is required. */
  #judge() {
    const customError = Boolean(this.#photo?.task);
    const valueMissing = !customError && this.#host.hasAttribute('required') && !this.#host.value;
    const why = customError ? 'busy' : valueMissing ? 'required' : '';
    this.#field.setValidity({ customError, valueMissing }, this.#say(why), this.#$(customError ? '.box' : '.choose'));
  }

  /** Takes a photo, and sends it at once: the server keeps it until the model is there. */
  choose(file) {
    if (!file.name) file = new File([file], 'photo', { type: file.type }); // a mere Blob
    this.clear();
    this.#photo = new Photo(file);
    this.#urls.photo = URL.createObjectURL(file);
    this.#$('.photo').src = this.#urls.photo;
    const told = file.size === 0 ? 'bad_request' : file.type && !/^image\//.test(file.type) ? 'unsupported_media_type' : null;
    if (told) this.#fail({ code: told });
    else this.#start();
    this.#paint();
  }

  #start() {
    // A bar that shows the model's start goes on from where it stands.
    if (this.#connection.state.run?.status === 'warming') this.#bar.rebase();
    else this.#bar.reset();
    const photo = this.#photo;
    const task = this.#connection.upload(photo.file, this.#options());
    this.#begin(task);
    task.done.catch((problem) => {
      if (this.#photo !== photo || photo.task !== task) return;
      this.#fail(problem);
      this.#paint();
    });
  }

  #begin(task) {
    this.#photo.begin(task, this.#connection.now());
    this.#outcome ??= import('./widget-result.js').then(
      ({ Outcome }) => new Outcome(this.#root, this.#words, this.#host),
      () => (this.#outcome = null), // a cutout is worth seeing without its tools
    );
  }

  /** Shows a cutout that the page had before it was left. */
  async restore(state) {
    const { name, ...event } = JSON.parse(state);
    const answer = await fetch(new URL(event.lasting_url, this.#connection.server));
    const blob = await answer.blob();
    if (!answer.ok || this.#photo) return;
    this.#photo = new Photo(new File([blob], name));
    this.#begin({ cancel() {} });
    this.#show({ kind: 'cutout', blob, event });
  }

  #fail({ message = '', ...problem }) {
    const { name, type, size } = this.#photo.file;
    const limit = this.#connection.state.session?.limits.max_upload_bytes;
    let why = size === 0 ? 'empty' : (problem.code ?? 'internal');
    if (why === 'unsupported_media_type' && /hei[cf]$/i.test(type || name)) why = 'heic';
    // A shop's own words first; then the server's, which know more; then ours.
    if (!message || this.#words.given(`problem_${why}`)) message = this.#say(`problem_${why}`, { name: name.replace(/^(.{24}).{9,}(.{8})$/, '$1…$2'), size: this.#words.megabytes(size), limit: limit && this.#words.megabytes(limit) });
    const whole = { type: 'problem', code: 'internal', retryable: !problem.code, ...problem, message: message || this.#say('problem') };
    this.#photo.fail(whole, this.#connection.now());
    this.#announce('failed');
    this.#tell('problem', whole);
  }

  #options() {
    const options = {};
    for (const name of OPTIONS) {
      const value = this.#host.getAttribute(name);
      if (value || (value === '' && name === 'crop')) options[name.replace('-', '_')] = value || 'true';
    }
    return options;
  }

  #retry() {
    this.#problem = null;
    if (this.#photo) this.#start();
    else this.#connection.warm('manual').catch(() => {});
    this.#paint();
  }

  /** Back to the beginning; what goes on is stopped. */
  clear() {
    const photo = this.#photo;
    this.#photo = null;
    for (const name of ['photo', 'result']) {
      if (this.#urls[name]) URL.revokeObjectURL(this.#urls[name]);
      this.#urls[name] = null;
      this.#$(`.${name}`).removeAttribute('src');
    }
    this.#$('.result').classList.remove('in');
    this.#outcome?.then((tools) => !this.#photo?.result && tools?.hide());
    this.#bar.reset();
    this.#fill();
    if (photo?.result) this.#tell('clear');
    photo?.task?.cancel();
    this.#paint();
  }

  async #show({ kind, blob, event }) {
    const photo = this.#photo;
    const url = URL.createObjectURL(blob);
    const image = this.#$('.result');
    if (this.#urls.result) URL.revokeObjectURL(this.#urls.result);
    this.#urls.result = url;
    image.src = url;
    await image.decode().catch(() => {});
    if (this.#urls.result !== url) return; // cleared, or replaced by a better one
    image.classList.add('in');
    if (kind === 'cutout') {
      photo.succeed(event, this.#connection.now());
      this.#outcome?.then((tools) => this.#urls.result === url && tools?.show(blob, url, event, photo.file.name));
      this.#fill(new URL(event.lasting_url, this.#connection.server).href, JSON.stringify({ ...event, name: photo.file.name, timings_ms: null }));
      this.#announce('done');
      this.#tell('cutout', { ...event, blob, file: photo.file });
    }
    this.#paint();
  }

  /** A shopper asks to be told; only then the browser asks them. */
  async #ask() {
    const { notifier } = await import('./widget-notify.js');
    this.#notify = await notifier(this.#$('.notify'), this.#connection, this.#words);
  }

  #announce(name) {
    this.#notify?.(this.#say(name));
  }

  /** One word for what the shopper sees. */
  #phase() {
    const { phase, run } = this.#connection.state;
    return this.#photo?.phase(run) ?? (phase === 'refused' ? 'failed' : phase);
  }

  #paint() {
    const phase = this.#phase();
    const photo = this.#photo;
    const { state } = this.#connection;
    const now = this.#connection.now();
    const cold = state.run?.status !== 'ready';
    const resting = ['idle', 'done', 'failed'].includes(phase);
    const busy = !resting && phase !== 'ready';
    const focused = this.#root.activeElement;
    const hide = (selector, hidden) => (this.#$(selector).hidden = hidden);

    this.#$('.box').dataset.phase = phase;
    this.#judge();
    this.#state(phase, Boolean(photo?.task));
    hide('.empty', Boolean(photo) || phase === 'failed');
    hide('.trouble', phase !== 'failed');
    hide('.photo', !photo || phase === 'failed');
    hide('.result', !this.#urls.result || phase === 'failed');
    hide('.cancel', !photo?.task);
    hide('.ends', phase !== 'done');
    const page = this.#host.getAttribute('layout') === 'page';
    hide('.bar', resting);
    hide('.steps', resting && !page);
    // In two places, since a text that moved would be a layout shift.
    hide('.line', resting);
    hide('.rest', !resting);

    const { limits } = state.session ?? {};
    const size = limits && this.#words.megabytes(limits.max_upload_bytes);
    this.#put('.limits', this.#say(size ? 'limits_size' : 'limits', { size }));
    this.#$('[type=file]').accept = (limits?.accepts ?? ACCEPTS).join();

    if (phase === 'failed') {
      const problem = photo?.problem ?? state.problem ?? this.#problem;
      const detail = current(state.run)?.detail;
      const barred = state.phase === 'refused' && this.#say('problem_unauthorized');
      this.#$('.why').textContent = sentence(barred || problem?.message || detail || this.#say('problem'));
      hide('.retry', Boolean(photo) && !problem?.retryable);
      hide('.trouble .another', !photo);
    }

    // Another run is other work, and says that it starts over.
    if (state.run?.again && state.run.run !== this.#run) this.#bar.reset();
    this.#run = state.run?.run;
    const warm = warming(state.run, now);
    const work = working(photo?.job, now);
    const fraction = this.#fraction(phase, cold, warm, work);
    this.#line(phase, resting, state, cold ? warm : work, cold, page ? fraction : null);
    this.#list(state.run, now);

    this.#since = busy ? this.#since || now : 0;
    const long = cold && busy && (now - this.#since > LONG_MS || warm.eta > LONG_MS);
    hide('.notify', !(long && window.isSecureContext && window.Notification));

    // A button that went away under the keyboard leaves the focus on the next one that is there.
    if (focused && !focused.checkVisibility()) {
      const visible = [...this.#root.querySelectorAll('button, a')].find((next) => next.checkVisibility());
      visible?.focus({ preventScroll: true });
    }

    if (this.#gone && !photo?.task) return this.leave();
    if (busy && !this.#ticker) this.#ticker = setInterval(() => this.#paint(), TICK_MS);
    if (!busy) {
      clearInterval(this.#ticker);
      this.#ticker = 0;
    }
  }

  /** What a shop's own style sheet and scripts may ask for: `warm-cutout:state(busy)`. */
  #state(phase, busy) {
    const { states } = this.#field;
    if (!states || (states.has(phase) && states.has('busy') === busy)) return;
    try {
      states.clear();
      states.add(phase);
      if (busy) states.add('busy');
    } catch {
      // Before they were standardised, states had to begin with dashes.
    }
  }

  #fraction(phase, cold, warm, work) {
    const task = this.#photo?.task;
    const parts = [];
    if (cold || !task) parts.push([SHARE.warm, warm.fraction]);
    if (task) parts.push([SHARE.upload, this.#photo.share], [SHARE.work, cold ? 0 : (work.fraction ?? 0)]);
    let fraction = phase === 'connecting' ? null : this.#bar.at(parts);
    if (task && fraction !== null) fraction = Math.min(0.99, fraction); // full is what can be seen
    const bar = this.#$('.bar');
    bar.toggleAttribute('data-unknown', fraction === null);
    if (fraction === null) bar.removeAttribute('aria-valuenow');
    else bar.ariaValueNow = String(Math.floor(fraction * 100));
    // Only what grows is seen to move: what starts over would be seen to fall.
    bar.firstChild.style.transition = fraction > this.#shown ? '' : 'none';
    bar.firstChild.style.transform = `scaleX(${(this.#shown = fraction ?? 0)})`;
    return fraction;
  }

  #line(phase, resting, state, { eta, late }, cold, fraction) {
    const { result, job, fitted } = this.#photo ?? {};
    const away = !resting && !state.transport;
    const lost = away && state.session;
    let name = phase;
    if (phase === 'uploading' && cold) name = 'uploading_cold';
    if (phase === 'warming' && state.run?.again) name = 'again';
    if (this.#urls.result && !result && phase !== 'failed') name = 'preview';
    if (lost) name = 'reconnecting';
    else if (away && state.failures) name = state.problem?.code === 'rate_limited' ? 'crowded' : 'unreachable';
    // "After 0.0 s", of one that was made before, would sound broken.
    if (result?.timings_ms?.total >= 50) name = 'done_in';
    if (result?.degraded) name = 'degraded';
    const label = this.#say(name, {
      position: job?.position ?? '',
      time: result?.timings_ms && this.#words.time(result.timings_ms.total),
    });
    const smaller = fitted?.smaller && phase === 'done' && this.#say('fit', { size: `${fitted.width} × ${fitted.height}` });
    if (resting) this.#put('.rest', [phase === 'failed' ? this.#$('.limits').textContent : label, smaller].filter(Boolean).join(', '));
    else this.#put('.label', label);

    const waits = phase !== 'ready' && phase !== 'connecting' && !lost;
    let left = '';
    if (late) left = this.#say('late');
    else if (eta !== null) left = eta < 4000 ? this.#say('soon') : this.#say('eta', { seconds: rounded(eta) });
    const reached = fraction === null ? '' : this.#words.percent(fraction);
    this.#put('.aside', waits ? [reached, left].filter(Boolean).join(' · ') : '');

    // Only what changed the situation is read aloud, not every tick of a clock.
    const stage = phase === 'warming' || phase === 'starting' ? current(state.run)?.stage : null;
    const said = phase === 'failed' ? this.#$('.why').textContent : [label, stage && this.#say(stage)].filter(Boolean).join('. ');
    if (said !== this.#said && phase !== 'idle') this.#put('[role=status]', (this.#said = said));
  }

  #list(run, now) {
    const { steps = {}, share, job } = this.#photo ?? {};
    const own = steps.upload && (run?.status === 'ready' || this.#host.getAttribute('layout') === 'page');
    this.#$('.steps').dataset.of = own ? 'photo' : 'model';
    if (steps.upload) steps.upload.note = this.#words.percent(share);
    if (steps.cutout && job?.step) steps.cutout.note = this.#say(job.step);
    this.#steps.show(run, steps, now);
  }

  #put(selector, text) {
    const node = this.#$(selector);
    if (node.textContent !== text) node.textContent = text;
  }
}
