// Every state that a shopper can see, light and dark: nothing in it bars anybody (axe-core), nothing around it
// moves, and its picture is taken. `WARMCUT_PICTURES=docs/widget` keeps the sheets of pictures for the README.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { assertAccessible } from './axe.js';
import { PHOTO, SCREENSHOTS, TIMEOUT_MS, assertCutout, assertQuiet, launch, openPage, phase, quit } from './browser.js';
import { cutout } from './scripted.js';
import { eta, visit } from './visit.js';

const options = { timeout: 4 * TIMEOUT_MS };

before(launch);
after(quit);

/** As a shop embeds it, with what comes after it. */
const SHOP = {
  body: '<warm-cutout></warm-cutout><p>What follows.</p>',
  style: 'body{margin:0;padding:16px;font:1rem/1.5 system-ui,sans-serif}h1{font-size:1rem;margin:0 0 16px}main{width:360px}warm-cutout{display:block;min-height:26rem}',
};

let drawn;

const usual = { eta_ms: eta(22_000, 30_000), run_eta_ms: eta(32_000, 58_000) };

/** Chooses a photo and brings it to the server. */
async function sent(shop) {
  await shop.page.locator('warm-cutout input[type=file]').setInputFiles(PHOTO);
  await shop.pass(100);
  const { upload, bytes } = await shop.channel().asked();
  await shop.say('upload', { status: 'accepted' }, { upload, total_bytes: bytes });
  await shop.channel().has(bytes);
  return { upload, total_bytes: bytes, received_bytes: bytes };
}

async function warmed(shop) {
  await shop.warm();
  for (const [stage, elapsed_ms] of [['container', 8200], ['model_load', 21_300], ['gpu_ready', 4100]]) {
    await shop.say('stage', { stage, status: 'done' }, { elapsed_ms });
  }
  await shop.say('ready');
}

async function finished(shop) {
  await warmed(shop);
  const all = await sent(shop);
  await shop.say('upload', { status: 'received' }, all);
  const png = (drawn ??= cutout(PHOTO));
  await shop.say('job', { status: 'processing', step: 'infer' }, { upload: all.upload });
  await shop.say('cutout', {}, { bytes: png.length }, png);
  await shop.page.clock.resume(); // for what fades in
  await assertCutout(shop.page);
  await shop.page.locator('warm-cutout .compare').waitFor();
}

/** Each state by its name, and how a visit comes to it. */
const STATES = {
  async 'before intent'() {},
  async 'waking up, nothing measured yet'(shop) {
    await shop.warm();
    await shop.say('stage', { stage: 'container', status: 'done' }, { elapsed_ms: 2400 });
    await shop.say('stage', { stage: 'model_load', status: 'started' });
    await shop.pass(4700);
  },
  async 'waking up, with an estimate'(shop) {
    await shop.warm();
    await shop.say('stage', { stage: 'container', status: 'done' }, { elapsed_ms: 8200, run_eta_ms: usual.run_eta_ms });
    await shop.say('stage', { stage: 'model_load', status: 'progress' }, { ...usual, progress: 0.31 });
    await shop.pass(6000);
  },
  async 'longer than usual'(shop) {
    await STATES['waking up, with an estimate'](shop);
    await shop.pass(26_000);
  },
  async 'photo chosen while it wakes'(shop) {
    await STATES['waking up, with an estimate'](shop);
    const all = await sent(shop);
    await shop.say('upload', { status: 'received' }, all);
    await shop.say('job', { status: 'processing' }, { upload: all.upload, status: 'starting', step: null, progress: null });
    await shop.pass(5000);
  },
  async ready(shop) {
    await warmed(shop);
  },
  async 'on its way'(shop) {
    await warmed(shop);
    const all = await sent(shop);
    await shop.say('upload', { status: 'accepted' }, { ...all, status: 'progress', received_bytes: Math.round(all.total_bytes * 0.6) });
    await shop.pass(900);
  },
  async 'in line'(shop) {
    await warmed(shop);
    const all = await sent(shop);
    await shop.say('upload', { status: 'received' }, all);
    await shop.say('job', { status: 'processing' }, { upload: all.upload, status: 'queued', position: 3, step: null, progress: null, eta_ms: eta(14_000, 20_000) });
    await shop.pass(1200);
  },
  async 'cutting out'(shop) {
    await warmed(shop);
    const all = await sent(shop);
    await shop.say('upload', { status: 'received' }, all);
    await shop.say('job', { status: 'processing', step: 'infer' }, { upload: all.upload, progress: 0.4 });
    await shop.pass(1500);
  },
  async 'the cutout'(shop) {
    await finished(shop);
  },
  async 'compared with its photo'(shop) {
    await finished(shop);
    await shop.page.locator('warm-cutout .compare').fill('48');
  },
  async 'on another ground'(shop) {
    await finished(shop);
    await shop.page.locator('warm-cutout [type=color]').fill('#d59f83');
  },
  async 'a photo that is broken'(shop) {
    await warmed(shop);
    const all = await sent(shop);
    await shop.say('problem', { code: 'corrupt_image' }, { upload: all.upload });
    await phase(shop.page, 'failed');
  },
  async 'the machine failed'(shop) {
    await shop.warm();
    await shop.say('stage', { stage: 'model_load', status: 'done' }, { status: 'failed', elapsed_ms: 9000, detail: 'the model could not be loaded: its file is cut off' });
    await phase(shop.page, 'failed');
  },
  async 'connection lost'(shop) {
    await STATES['waking up, with an estimate'](shop);
    const lost = await shop.next('state');
    shop.channel().close(1012);
    await lost.heard;
    await shop.pass(100);
  },
};

for (const colorScheme of ['light', 'dark']) {
  test(`each state is open to everybody, in the ${colorScheme}`, options, async (t) => {
    const pictures = [];
    for (const [name, come] of Object.entries(STATES)) {
      const shop = await visit(t, { ...SHOP, colorScheme, viewport: { width: 392, height: 560 }, deviceScaleFactor: 1.5 });
      await come(shop);
      pictures.push({ name, png: await shop.page.locator('warm-cutout').screenshot() });
      await shop.page.clock.resume(); // axe waits for times of its own
      await assertAccessible(shop.page, `${name}, ${colorScheme}`);
      assert.deepEqual(await shop.page.evaluate(() => window.shifts), [], `nothing has moved: ${name}`);
      assertQuiet(shop.page);
      await shop.page.context().close();
    }
    await sheet(t, pictures, colorScheme);
  });
}

/** All pictures on one sheet, each over its name. */
async function sheet(t, pictures, colorScheme) {
  const page = await openPage(t, { colorScheme, viewport: { width: 1180, height: 400 } });
  const figures = pictures.map(({ name, png }) => `<figure><img src="data:image/png;base64,${png.toString('base64')}"><figcaption>${name}</figcaption></figure>`);
  await page.setContent(`<meta name="color-scheme" content="light dark"><style>
    body{margin:20px;display:grid;grid-template-columns:repeat(5,1fr);gap:20px;font:14px system-ui,sans-serif;background:light-dark(#faf8f3,#181715)}
    figure{margin:0}img{width:100%;display:block}figcaption{margin-top:6px;text-align:center;color:light-dark(#6a655c,#aaa498)}</style>${figures.join('')}`);
  const folder = process.env.WARMCUT_PICTURES ?? SCREENSHOTS;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, `widget-${colorScheme}.png`), await page.screenshot({ fullPage: true }));
}
