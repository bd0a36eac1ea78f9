// What a shopper does with a cutout: compares it with the photo, sees it on another ground, takes it along.

/** Grounds beside none, where the element has no `grounds` of its own, and the strings that name them. */
const GROUNDS = { '#ffffff': 'ground_light', '#23211d': 'ground_dark' };

const COMPARE = '<input type="range" class="compare" part="compare" min="0" max="100" value="0">';

const GROUND = '<input type="radio" name="ground" part="ground">';

const COPY = `<button type="button" class="copy" part="button copy"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6 6h7v8H6zM3 10V2h7"/><path d="m3 8 4 4 7-8"/></svg></button>`;

/** The tools around a result, in the interface's shadow root. */
export class Outcome {
  #root;
  #words;
  #host;
  #now = null; // {blob, url, mime}
  #made = null; // the download on a ground, once it is drawn

  constructor(root, words, host) {
    this.#root = root;
    this.#words = words;
    this.#host = host;
    this.#$('.result').insertAdjacentHTML('afterend', COMPARE);
    const colours = (host.getAttribute('grounds')?.split(/\s+/) ?? Object.keys(GROUNDS)).filter((colour) => CSS.supports('color', colour));
    const choices = `${GROUND.repeat(colours.length + 1)}<input type="color" part="ground" value="#b4c4ac">`;
    this.#$('.ends').insertAdjacentHTML('beforebegin', `<div class="grounds" role="radiogroup" part="grounds">${choices}</div>`);
    this.#$('.download').insertAdjacentHTML('afterend', COPY);
    this.#label(colours);
    this.#listen();
    this.hide();
  }

  #$(selector) {
    return this.#root.querySelector(selector);
  }

  #label(colours) {
    const say = (name) => this.#words.say(name);
    this.#$('.compare').ariaLabel = say('compare');
    this.#$('.grounds').ariaLabel = say('ground');
    this.#$('.copy').ariaLabel = this.#$('.copy').title = say('copy');
    this.#$('[type=color]').ariaLabel = say('ground_colour');
    for (const [i, radio] of [...this.#root.querySelectorAll('[name=ground]')].entries()) {
      radio.value = i ? colours[i - 1] : '';
      radio.ariaLabel = radio.value ? say(GROUNDS[radio.value]) || radio.value : say('ground_none');
      radio.style.setProperty('--_ground', radio.value);
    }
  }

  #listen() {
    this.#$('.compare').addEventListener('input', ({ target }) => this.#part(target.value));
    this.#$('.grounds').addEventListener('input', ({ target }) => this.#lay(target.value, target));
    this.#$('.download').addEventListener('click', (event) => this.#download(event));
    this.#$('.copy').addEventListener('click', () => this.#copy());
  }

  /** Offers the tools that fit a result. */
  show(blob, url, { mime, width, height }, name) {
    this.#now = { blob, url, mime };
    const ending = mime.split('/')[1].replace('jpeg', 'jpg');
    this.#$('.download').download = `${name.replace(/\.\w+$/, '') || 'photo'}-cutout.${ending}`;
    const photo = this.#$('.photo');
    // A cropped one doesn't lie over its photo, and some photos no browser shows.
    const same = Math.abs(width / height - photo.naturalWidth / photo.naturalHeight) < 0.01;
    this.#$('.compare').hidden = !same;
    this.#$('.grounds').hidden = mime === 'image/jpeg' || this.#host.hasAttribute('bg-color') || this.#host.getAttribute('channels') === 'alpha';
    this.#$('.copy').hidden = !window.ClipboardItem || !navigator.clipboard?.write;
    this.#reset();
  }

  hide() {
    this.#now = null;
    for (const name of ['.compare', '.grounds', '.copy']) this.#$(name).hidden = true;
    this.#reset();
  }

  #reset() {
    this.#$('.compare').value = '0';
    this.#part(0);
    this.#$('[name=ground]').checked = true;
    this.#lay('', null);
  }

  #part(percent) {
    this.#$('.result').style.setProperty('--_part', `${percent}%`);
  }

  #lay(colour, from) {
    const own = this.#$('[type=color]');
    own.toggleAttribute('data-checked', from === own);
    if (from === own) for (const radio of this.#root.querySelectorAll('[name=ground]')) radio.checked = false;
    const result = this.#$('.result');
    result.toggleAttribute('data-ground', Boolean(colour));
    result.style.setProperty('--_ground', colour);
    this.#$('.copy').removeAttribute('data-done');
    if (this.#made) URL.revokeObjectURL(this.#made);
    this.#made = null;
    if (this.#now) this.#$('.download').href = this.#now.url;
    const event = new CustomEvent('warmcut:ground', { detail: { colour: colour || null }, bubbles: true, composed: true });
    if (from) this.#host.dispatchEvent(event);
  }

  get #colour() {
    return this.#$('.result').style.getPropertyValue('--_ground');
  }

  /** The result as it is seen, drawn anew where it must be; as it came where that can't be. */
  async #picture(mime) {
    const { blob } = this.#now;
    if (!this.#colour && blob.type === mime) return blob;
    const image = this.#$('.result');
    const canvas = Object.assign(document.createElement('canvas'), { width: image.naturalWidth, height: image.naturalHeight });
    const pen = canvas.getContext('2d');
    if (this.#colour) {
      pen.fillStyle = this.#colour;
      pen.fillRect(0, 0, canvas.width, canvas.height);
    }
    pen.drawImage(image, 0, 0);
    return new Promise((resolve) => canvas.toBlob((drawn) => resolve(drawn ?? blob), mime, 0.92));
  }

  /** Encoding a large picture takes a moment, which only who wants it on a ground waits for. */
  async #download(event) {
    if (!this.#colour || this.#made) return;
    event.preventDefault();
    this.#made = URL.createObjectURL(await this.#picture(this.#now.mime));
    const link = this.#$('.download');
    link.href = this.#made;
    link.click();
  }

  async #copy() {
    let said = 'copied';
    try {
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': this.#picture('image/png') })]);
      this.#$('.copy').toggleAttribute('data-done', true);
    } catch {
      said = 'uncopied';
    }
    for (const place of ['.rest', '[role=status]']) this.#$(place).textContent = this.#words.say(said);
  }
}
