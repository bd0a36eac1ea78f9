// What a shop's page pays for the widget, as the server sends it: less than its peers ask for.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { startServer } from './server.js';

/** Bytes of a body as they go over the wire to a browser that takes gzip. */
function sent(url) {
  return new Promise((resolve, reject) => {
    http.get(url, { headers: { 'Accept-Encoding': 'gzip' } }, (response) => {
      let bytes = 0;
      response.on('data', (data) => (bytes += data.length));
      response.on('end', () => resolve(response.headers['content-encoding'] === 'gzip' ? bytes : NaN));
    }).on('error', reject);
  });
}

test('the widget stays within its sizes, gzipped', async (t) => {
  const { origin } = await startServer(t);
  for (const [limit, when, ...files] of [
    [4, 'with the page', 'widget.js'],
    [10, 'where the element is about to be seen', 'widget-ui.js', 'widget-photo.js', 'widget-progress.js', 'widget-steps.js', 'widget-strings.js'],
    [3, 'with it', 'widget.css'],
    [10, 'at the first intent', 'widget-channel.js', 'widget-transport.js', 'widget-upload.js', 'widget-analytics.js'],
    [2, 'with the first photo', 'widget-result.js'],
    [1.25, 'for a photo that is large or that only the browser reads', 'widget-fit.js'],
    [0.5, 'for who asks to be told', 'widget-notify.js'],
  ]) {
    const sizes = await Promise.all(files.map((file) => sent(`${origin}/${file}`)));
    const sum = sizes.reduce((a, b) => a + b);
    const line = `${(sum / 1024).toFixed(2)} of ${limit} KB ${when}: ${files.map((file, i) => `${file} ${sizes[i]}`).join(', ')}`;
    console.log(line);
    assert.ok(sum <= limit * 1024, line);
  }
});
