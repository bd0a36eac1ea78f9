// The upload page: the server's own account of the last cutout.

import { $ } from './pages.js';

const widget = $('warm-cutout');
const cells = document.querySelectorAll('#facts [data-time]');
const seconds = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(2)} s`);

widget.addEventListener('warmcut:cutout', ({ detail }) => {
  const { timings_ms: times, width, height, bytes, model, cached } = detail;
  for (const cell of cells) {
    const ms = times[cell.dataset.time];
    cell.textContent = seconds(ms);
    cell.parentElement.style.setProperty('--share', Math.min(1, ms / Math.max(1, times.total)));
  }
  const size = `${width} × ${height} pixels, ${Math.ceil(bytes / 1000)} kB`;
  $('#what').textContent = `${size}, by ${model}${cached ? ', from the cache' : ''}.`;
});

// A photo that gave none has no figures, and those of the one before would pass for its own.
for (const type of ['warmcut:problem', 'warmcut:clear']) {
  widget.addEventListener(type, () => {
    for (const cell of cells) {
      cell.textContent = '–';
      cell.parentElement.style.removeProperty('--share');
    }
    $('#what').textContent = '';
  });
}
