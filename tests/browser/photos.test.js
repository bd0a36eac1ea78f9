// Photos as shoppers have them: too large, lying on their side, of a kind that only their phone knows.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit } from './browser.js';
import { startServer } from './server.js';

const options = { timeout: 2 * TIMEOUT_MS };

before(launch);
after(quit);

/** A JPEG or PNG drawn by the page itself: a dark disc on white, `width` by `height`, with noise that makes it heavy. */
async function drawn(page, { width, height, noise = 0, type = 'image/jpeg' }) {
  const bytes = await page.evaluate(async ({ width, height, noise, type }) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#fff';
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = '#732';
    pen.beginPath();
    pen.ellipse(width / 2, height / 2, width / 4, height / 4, 0, 0, 7);
    pen.fill();
    if (noise) {
      const pixels = pen.getImageData(0, 0, width, height * noise);
      const words = new Uint32Array(pixels.data.buffer);
      for (let i = 0, seed = 1; i < words.length; i++) words[i] = (seed = (seed * 1664525 + 1013904223) | 0) | 0xff000000;
      pen.putImageData(pixels, 0, 0);
    }
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
    window.drawn = new File([blob], 'drawn', { type });
    return blob.size;
  }, { width, height, noise, type });
  return { bytes, choose: (name) => page.locator('warm-cutout').evaluate((host, name) => host.upload(new File([window.drawn], name, { type: window.drawn.type })), name) };
}

/** Our product page, which notes how photos are fitted and how large their cutouts are. */
async function visit(t, ...args) {
  const server = await startServer(t, ...args);
  const page = await openPage(t, { server });
  await page.goto(server.origin);
  await page.locator('warm-cutout .choose').waitFor();
  await page.evaluate(async () => {
    const { connect } = await import('/widget.js');
    window.fits = [];
    window.cutouts = [];
    connect().addEventListener('fit', ({ detail }) => window.fits.push(detail));
    document.addEventListener('warmcut:cutout', ({ detail }) => window.cutouts.push([detail.width, detail.height]));
  });
  return page;
}

test('a photo above the server’s bytes is made smaller, and the shopper is told', options, async (t) => {
  const page = await visit(t, '--max-upload-bytes', '300000');
  const { bytes, choose } = await drawn(page, { width: 2400, height: 1800, noise: 0.2, type: 'image/png' });
  assert.ok(bytes > 300_000, `${bytes}`);
  await choose('large.png');
  await phase(page, 'done');
  const [fit] = await page.evaluate(() => window.fits);
  assert.ok(fit.bytes <= 300_000, `within the limit: ${JSON.stringify(fit)}`);
  assert.equal(Math.round((fit.width / fit.height) * 100), 133, 'its shape is kept');
  assert.deepEqual(await page.evaluate(() => window.cutouts), [[fit.width, fit.height]]);
  assert.match(await page.locator('warm-cutout .rest').innerText(), new RegExp(`made smaller, ${fit.width} × ${fit.height}`));
  assertQuiet(page);
});

test('a photo above the server’s pixels is made smaller, upright', options, async (t) => {
  const page = await visit(t, '--max-pixels', '3000000');
  const { choose } = await drawn(page, { width: 3000, height: 2000, noise: 0.5 });
  // As a phone held upright writes it: pixels that lie on their side, and a note that says so.
  await page.evaluate(async () => {
    const jpeg = new Uint8Array(await window.drawn.arrayBuffer());
    const exif = [0xff, 0xe1, 0, 34, 69, 120, 105, 102, 0, 0, 77, 77, 0, 42, 0, 0, 0, 8, 0, 1, 1, 18, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0];
    window.drawn = new File([jpeg.slice(0, 2), new Uint8Array(exif), jpeg.slice(2)], 'drawn', { type: 'image/jpeg' });
  });
  await choose('upright.jpg');
  await phase(page, 'done');
  const [fit] = await page.evaluate(() => window.fits);
  assert.ok(fit.width * fit.height <= 3_000_000 && fit.width * fit.height > 2_900_000, JSON.stringify(fit));
  assert.ok(fit.height > fit.width, 'it stands upright');
  assert.deepEqual(await page.evaluate(() => window.cutouts), [[fit.width, fit.height]], 'and is not turned twice');
  assertQuiet(page);
});

test('a photo within the limits is sent as it is', options, async (t) => {
  const page = await visit(t);
  const { bytes, choose } = await drawn(page, { width: 2400, height: 1800, noise: 0.5 });
  assert.ok(bytes > 2_000_000, `heavy enough to be looked at: ${bytes}`);
  await choose('large.jpg');
  await phase(page, 'done');
  assert.deepEqual(await page.evaluate(() => [window.fits, window.cutouts]), [[], [[2400, 1800]]]);
  assertQuiet(page);
});

test('a kind that the browser knows and the server doesn’t is sent as a JPEG; one that neither knows gets help', options, async (t) => {
  const page = await visit(t);
  const input = page.locator('warm-cutout input[type=file]');
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300"><rect width="400" height="300" fill="#fff"/><ellipse cx="200" cy="150" rx="90" ry="70" fill="#732"/></svg>';
  await input.setInputFiles({ name: 'drawing.svg', mimeType: 'image/svg+xml', buffer: Buffer.from(svg) });
  await assertCutout(page);
  assert.deepEqual(await page.evaluate(() => [window.fits[0].width, window.fits[0].smaller]), [400, false]);
  assert.doesNotMatch(await page.locator('warm-cutout .rest').innerText(), /smaller/, 'it is as large as it was');

  await input.setInputFiles({ name: 'IMG_1.HEIC', mimeType: 'image/heic', buffer: Buffer.from('....ftypheic') });
  await phase(page, 'failed');
  assert.match(await page.locator('warm-cutout .why').innerText(), /“IMG_1\.HEIC”.*iPhones.*HEIC.*Choose a JPEG, PNG or WebP/);
  const long = `${'W'.repeat(200)}.HEIC`;
  await input.setInputFiles({ name: long, mimeType: 'image/heic', buffer: Buffer.from('....ftypheic') });
  await page.locator('warm-cutout .why').filter({ hasText: /“W{24}…WWW\.HEIC”/ }).waitFor(); // with room for the rest
  await input.setInputFiles({ name: 'list.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF') });
  assert.match(await page.locator('warm-cutout .why').innerText(), /“list\.pdf” is not a photo we can read/);
  await input.setInputFiles({ name: 'nothing.jpg', mimeType: 'image/jpeg', buffer: Buffer.alloc(0) });
  assert.match(await page.locator('warm-cutout .why').innerText(), /“nothing\.jpg” is empty/);
  assertQuiet(page);
});
