// The product page, as a shop's own script would be: it knows the widget by its events, its field in the
// form and its connection alone.

import { add } from './basket.js';
import { $ } from './pages.js';
import { trimmed } from './trim.js';
import { connect } from './widget.js';

/** More at once is a job for the printer's own office. */
const MOST = 20;

const TIPS = {
  Cat: 'Cats look best from their own height, with the window beside them.',
  Dog: 'A dog that has just run smiles. Kneel, call, and press at once.',
  Rabbit: 'Wait for both ears: they tell more than the eyes.',
  Other: 'Feathers, shell or scales: come close, and keep the light soft.',
};

const form = $('#buy');
const gallery = $('.gallery');
const scene = $('.scene');
const photo = $('#photo');
const widget = $('warm-cutout');

// Each view's button shows the scene itself, small.
const views = [...document.querySelectorAll('.views button')];
for (const button of views) {
  const copy = scene.cloneNode(true);
  copy.dataset.view = button.dataset.view;
  copy.ariaHidden = 'true';
  $('#print', copy).removeAttribute('id');
  $('.mini', button).append(copy);
  button.addEventListener('click', () => show(button.dataset.view));
}
const prints = gallery.querySelectorAll('.print img');

function show(view) {
  scene.dataset.view = view;
  for (const button of views) button.ariaPressed = String(button.dataset.view === view);
}

// The shopper's own cutout goes into the frame, and out of it when it is cleared.
let picture = null;
let address = null;
function hang(blob, cut = []) {
  if (address) URL.revokeObjectURL(address);
  picture = blob;
  address = blob && URL.createObjectURL(blob);
  gallery.toggleAttribute('data-own', Boolean(blob));
  for (const print of prints) {
    print.className = blob ? `own ${cut.map((side) => `cut-${side}`).join(' ')}` : '';
  }
  portray();
}
function portray() {
  const pet = checked('properties[Pet]');
  const art = pet?.dataset.art ?? 'art/cat.svg';
  for (const print of prints) print.src = address ?? art;
  const drawn = art.match(/\w+(?=\.)/)[0];
  $('#print').alt = address ? 'The portrait, with your own photo' : `The portrait: a drawn ${drawn}, until your own is here`;
}
let latest = 0;
widget.addEventListener('warmcut:cutout', async ({ detail }) => {
  const turn = ++latest;
  sending = null;
  miss('');
  picture = detail.blob; // what goes into the basket until it is trimmed
  const { blob, cut } = await trimmed(detail.blob);
  if (turn !== latest) return; // another photo came meanwhile, or none
  hang(blob, cut);
  show('room');
});
widget.addEventListener('warmcut:clear', () => {
  latest += 1;
  hang(null);
});

// Whether a photo is on its way, so that nobody is asked for what they have given.
let sending = null;
connect().addEventListener('upload', ({ detail }) => {
  sending = detail.status === 'rejected' ? null : detail.upload;
  if (sending) miss('');
});
connect().addEventListener('job', ({ detail }) => {
  if (detail.upload === sending && /succeeded|failed|canceled/.test(detail.status)) sending = null;
});
connect().addEventListener('problem', ({ detail }) => {
  if (detail.upload === sending) sending = null;
});
widget.addEventListener('warmcut:problem', () => (sending = null));

const checked = (name) => form.querySelector(`[name="${name}"]:checked`);
const labelled = (input) => input.closest('label').innerText.trim().split('\n')[0];
const quantity = $('#quantity');

/** What stands beside the choices follows them. */
function settle() {
  const price = Number(checked('size').dataset.price);
  const many = Math.min(MOST, Math.max(1, Number.parseInt(quantity.value, 10) || 1));
  quantity.value = many;
  $('#each').value = `€${price}`;
  $('#total').textContent = `€${price * many}`;
  $('#tone-name').textContent = labelled(checked('tone'));
  Object.assign(gallery.dataset, { tone: checked('tone').value, frame: checked('frame').value, size: checked('size').value });
  const pet = checked('properties[Pet]');
  if (pet) $('#tip').textContent = TIPS[pet.value];
  portray();
  return { price, many };
}
form.addEventListener('change', ({ target }) => {
  settle();
  if (target.name === 'size' && scene.dataset.view === 'close') show('sizes');
});
for (const button of document.querySelectorAll('[data-step]')) {
  button.addEventListener('click', () => {
    quantity.value = (Number.parseInt(quantity.value, 10) || 1) + Number(button.dataset.step);
    settle();
  });
}

function miss(text) {
  $('#missing').textContent = text;
  photo.toggleAttribute('data-missing', Boolean(text));
}

/** Brings the shopper to the widget's own button. */
async function ask() {
  await widget.load().catch(() => {});
  const button = [...(widget.shadowRoot?.querySelectorAll('button') ?? [])].find((each) => each.checkVisibility());
  button?.focus();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const { price, many } = settle();
  const data = new FormData(form);
  if (!data.get('properties[_cutout]')) {
    miss(sending ? 'Your portrait is still being cut out. It takes a moment.' : 'Add a photo first: the portrait needs a face.');
    return ask();
  }
  const [size, frame, tone] = ['size', 'frame', 'tone'].map((name) => labelled(checked(name)));
  add({
    title: `${{ Cat: 'Cat', Dog: 'Dog', Rabbit: 'Rabbit' }[data.get('properties[Pet]')] ?? 'Pet'} portrait, ${size}`,
    details: `${frame} frame, ${tone.toLowerCase()} ground`,
    price,
    quantity: many,
    picture,
    look: { frame: data.get('frame'), tone: data.get('tone') },
    entries: data,
  });
});

// A browser that comes back to the page may have kept the choices.
settle();
