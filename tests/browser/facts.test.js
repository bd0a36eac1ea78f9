// What the widget costs a shop's page before anybody wants a cutout: requests, bytes, time of the main thread,
// and moved layout. The figures are printed; only what doesn't depend on the machine is asserted.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TIMEOUT_MS, assertQuiet, launch, openPage, phase, quit } from './browser.js';
import { street } from './server.js';

before(launch);
after(quit);

/** A page with the widget, and what loading it cost; `far` puts the element below what is seen. */
async function cost(t, { far }) {
  const style = `warm-cutout { display: block; min-height: 26rem; ${far ? 'margin-top: 300vh' : ''} }`; // as the README says
  const { server, shop } = await street(t, { body: '<warm-cutout></warm-cutout><p>What follows.</p>', style });
  const page = await openPage(t, { server });
  const devtools = await page.context().newCDPSession(page);
  const requests = new Map();
  devtools.on('Network.responseReceived', ({ requestId, response }) => {
    if (response.url.startsWith(server.origin)) requests.set(requestId, { name: new URL(response.url).pathname.slice(1), bytes: 0 });
  });
  devtools.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    if (requests.has(requestId)) requests.get(requestId).bytes = encodedDataLength;
  });
  await devtools.send('Network.enable');
  await devtools.send('Profiler.enable');
  await devtools.send('Profiler.setSamplingInterval', { interval: 100 });
  await devtools.send('Profiler.start');
  await page.goto(shop, { waitUntil: 'networkidle' });
  if (!far) await page.locator('warm-cutout .choose').waitFor();
  const { profile } = await devtools.send('Profiler.stop');
  const ofFile = (file) => new Set(profile.nodes.filter(({ callFrame }) => callFrame.url.endsWith(file)).map(({ id }) => id));
  const spent = (file) => {
    const ids = ofFile(file);
    return profile.samples.reduce((sum, id, i) => sum + (ids.has(id) ? profile.timeDeltas[i] : 0), 0) / 1000;
  };
  const loaded = [...requests.values()];
  const bytes = loaded.reduce((sum, one) => sum + one.bytes, 0);
  const names = loaded.map(({ name }) => name).sort();
  const long = await page.evaluate(() => performance.getEntriesByType('longtask').length);
  console.log(`${far ? 'element not near' : 'element in view'}, before intent: ${names.length} requests, ${bytes} bytes with headers; main thread: ` +
    `widget.js ${spent('/widget.js').toFixed(1)} ms, widget-*.js ${['ui', 'photo', 'progress', 'steps', 'strings'].reduce((sum, name) => sum + spent(`/widget-${name}.js`), 0).toFixed(1)} ms, long tasks ${long}`);
  return { page, names, bytes };
}

const INTERFACE = ['widget-photo.js', 'widget-progress.js', 'widget-steps.js', 'widget-strings.js', 'widget-ui.js', 'widget.css'];

test('before anybody wants a cutout the page pays little, and nothing moves', { timeout: 2 * TIMEOUT_MS }, async (t) => {
  const far = await cost(t, { far: true });
  assert.deepEqual(far.names, ['widget.js'], 'one request, and no channel');
  assert.ok(far.bytes < 4096, `${far.bytes} bytes, headers and all`);
  assertQuiet(far.page);

  const near = await cost(t, { far: false });
  assert.deepEqual(near.names, [...INTERFACE, 'widget.js'].sort(), 'the interface, and no channel');
  assert.ok(near.bytes < 20_000, `${near.bytes} bytes, headers and all`);
  await near.page.locator('warm-cutout').hover();
  await phase(near.page, 'ready');
  assert.deepEqual(await near.page.evaluate(() => [window.shifted, window.shifts]), [0, []], 'not even when it warms');
  assertQuiet(near.page);
});
