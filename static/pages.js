// What the demo pages do around the widget, as a shop's own script would: by its events alone.

const $ = (selector) => document.querySelector(selector);
const widget = $('warm-cutout');

for (const button of document.querySelectorAll('[data-sample]')) {
  button.addEventListener('click', async () => {
    const path = button.dataset.sample;
    const photo = await (await fetch(path)).blob();
    widget.upload(new File([photo], path.split('/').pop(), { type: photo.type }));
    widget.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  });
}

// The product page: the cutout goes into the frame on the wall.
const form = $('#buy');
if (form) {
  const scene = $('.scene');
  const print = $('#print');
  let shown = null;
  widget.addEventListener('warmcut:cutout', async ({ detail }) => {
    const { blob, whole } = await trimmed(detail.blob);
    if (shown) URL.revokeObjectURL(shown);
    print.src = shown = URL.createObjectURL(blob);
    print.alt = 'The portrait, with your own photo';
    print.classList.add('own');
    print.classList.toggle('whole', whole);
    show('room');
  });

  /** The subject alone, and whether the photo showed it whole, down to its feet. */
  async function trimmed(blob) {
    const image = await createImageBitmap(blob);
    const { width, height } = image;
    // The box of what can be seen is found on a small copy.
    const scale = Math.min(1, 256 / Math.max(width, height));
    const small = new OffscreenCanvas(Math.ceil(width * scale), Math.ceil(height * scale));
    const pen = small.getContext('2d', { willReadFrequently: true });
    pen.drawImage(image, 0, 0, small.width, small.height);
    const { data } = pen.getImageData(0, 0, small.width, small.height);
    let [left, top, right, bottom] = [small.width, small.height, -1, -1];
    for (let y = 0; y < small.height; y++) {
      for (let x = 0; x < small.width; x++) {
        if (data[(y * small.width + x) * 4 + 3] < 64) continue;
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
      }
    }
    if (right < 0) return { blob, whole: true };
    const [w, h] = [(right - left + 1) / scale, (bottom - top + 1) / scale];
    const canvas = new OffscreenCanvas(Math.round(w), Math.round(h));
    canvas.getContext('2d').drawImage(image, left / scale, top / scale, w, h, 0, 0, canvas.width, canvas.height);
    return { blob: await canvas.convertToBlob(), whole: bottom < small.height - 2 };
  }

  const views = document.querySelectorAll('.views button');
  function show(view) {
    scene.dataset.view = view;
    for (const button of views) button.ariaPressed = String(button.dataset.view === view);
  }
  for (const button of views) button.addEventListener('click', () => show(button.dataset.view));

  const quantity = $('#quantity');
  function price() {
    const each = Number(form.elements.size.value && form.querySelector('[name=size]:checked').dataset.price);
    const count = Math.min(20, Math.max(1, Number.parseInt(quantity.value, 10) || 1));
    $('#price').value = `€${each * count}`;
    return count;
  }
  form.addEventListener('change', () => {
    $('.print').dataset.tone = form.elements.tone.value;
    $('.frame').dataset.frame = form.elements.frame.value;
    $('#tone-name').value = form.querySelector('[name=tone]:checked').dataset.label;
    quantity.value = price();
  });
  for (const button of document.querySelectorAll('[data-step]')) {
    button.addEventListener('click', () => {
      quantity.value = (Number.parseInt(quantity.value, 10) || 1) + Number(button.dataset.step);
      quantity.value = price();
    });
  }
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    $('.added').textContent = shown
      ? 'In a real shop it would be in your basket now, with your cutout.'
      : 'Add your photo first: the portrait needs a face.';
  });
}

// The upload page: the server's own account of the last cutout.
const facts = $('#facts');
if (facts) {
  const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(2)} s`);
  widget.addEventListener('warmcut:cutout', ({ detail }) => {
    for (const cell of facts.querySelectorAll('[data-time]')) {
      cell.textContent = seconds(detail.timings_ms[cell.dataset.time]);
    }
    const size = `${detail.width} × ${detail.height} pixels, ${Math.ceil(detail.bytes / 1000)} kB`;
    $('#what').textContent = `${size}, by ${detail.model}${detail.cached ? ', from the cache' : ''}.`;
  });
  // The last photo has no figures, and those of the one before would pass for its own.
  widget.addEventListener('warmcut:problem', () => {
    for (const cell of facts.querySelectorAll('[data-time]')) cell.textContent = '–';
    $('#what').textContent = '';
  });
}
