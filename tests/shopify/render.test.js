// What the blocks' Liquid gives, beside what the widget takes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { STRINGS } from '../../static/widget-strings.js';
import { Colour, locale, read, render } from './extension.js';

const widget = (file) => readFileSync(new URL(`../../static/${file}`, import.meta.url), 'utf8');
const unescape = (text) => text.replace(/&(lt|gt|quot|#39|#34|amp);/g, (_, name) => ({ lt: '<', gt: '>', quot: '"', '#34': '"', '#39': "'", amp: '&' })[name]);

/** The attributes of the first such element. */
function attributes(html, tag) {
  const [, inside] = html.match(new RegExp(`<${tag}\\s([^>]*)>`)) ?? [];
  if (inside === undefined) return null;
  return Object.fromEntries([...inside.matchAll(/([\w-]+)(?:="([^"]*)")?/g)].map(([, name, value = '']) => [name, unescape(value)]));
}

const strings = (scope) => JSON.parse(attributes(render('cutout', scope), 'warm-cutout')['data-strings']);

test('English says what the widget says', () => {
  assert.deepEqual(locale('en').widget, STRINGS, 'a changed string of the widget changes here, and in the other languages');
});

for (const language of ['en', 'de', 'ar']) {
  test(`${language}: the widget gets all of its words, and no others`, () => {
    const given = strings({ language });
    assert.deepEqual(given, locale(language).widget);
    assert.deepEqual(Object.keys(given).filter((name) => !(name in STRINGS)), [], 'names that the widget doesn’t know');
    assert.deepEqual(Object.keys(STRINGS).filter((name) => !(name in given)), [], 'names that would stay English');
  });
}

test('a language that the extension lacks gets English, and says so', () => {
  assert.deepEqual(strings({ language: 'fr' }), STRINGS);
  for (const [language, tag] of [['ar', /lang="ar"\s+dir="rtl"/], ['de', /lang="de"\s+dir="ltr"/], ['fr', /lang="en"\s+dir="ltr"/]]) {
    assert.match(render('cutout', { language }), tag, language);
  }
});

test('the shop’s own words arrive whole, whatever is in them', () => {
  const title = `Rex & "Bella" <b>'s</b> </warm-cutout> {{ product }} \\ \u2028!`;
  const given = strings({ settings: { title, choose: 'Go', idle: ' ' } });
  assert.equal(given.title, title);
  assert.equal(given.choose, 'Go');
  assert.equal(given.idle, STRINGS.idle, 'a blank is none');
  assert.equal(given.drop, STRINGS.drop);
});

test('only what is set becomes an option of the cutout', () => {
  const plain = attributes(render('cutout'), 'warm-cutout');
  assert.deepEqual([plain.name, plain.format, plain.crop, plain['bg-color']], ['properties[_cutout]', 'png', undefined, undefined]);
  const set = attributes(render('cutout', { settings: { format: 'jpg', crop: true, bg_color: new Colour('#ffcc00'), property: ' My [photo] ' } }), 'warm-cutout');
  assert.deepEqual([set.name, set.format, set.crop, set['bg-color']], ['properties[My photo]', 'jpg', 'true', 'ffcc00']);
  assert.equal(attributes(render('cutout', { settings: { bg_color: new Colour('rgba(0,0,0,0)', 0) } }), 'warm-cutout')['bg-color'], undefined);
  assert.equal(attributes(render('cutout', { settings: { property: '' } }), 'warm-cutout').name, 'properties[_cutout]');
  assert.deepEqual([false, true].map((required) => 'required' in attributes(render('cutout', { settings: { required } }), 'warm-cutout')), [false, true]);
  assert.equal(plain.grounds, undefined, 'the widget’s own');
  const grounds = { ground_1: new Colour('#ffcc00'), ground_2: new Colour('rgba(0,0,0,0)', 0), ground_4: new Colour('#102030') };
  assert.equal(attributes(render('cutout', { settings: grounds }), 'warm-cutout').grounds, '#ffcc00 #102030');
  assert.match(widget('widget-result.js'), /getAttribute\('grounds'\)/);
  for (const name of ['format', 'crop', 'bg-color']) assert.match(widget('widget-ui.js'), new RegExp(`OPTIONS = \\[.*'${name}'`), `the widget knows ${name}`);
});

test('colours and sizes are properties that the widget has', () => {
  const { style } = attributes(render('cutout', { settings: { on_accent: new Colour('#010203'), line: new Colour('rgb(1 2 3)'), height: 500, radius: 3 } }), 'warm-cutout');
  assert.match(style, /--warmcut-on-accent: #010203;/);
  assert.match(style, /--warmcut-line: rgb\(1 2 3\);/);
  assert.match(style, /--warmcut-radius: 3px;/);
  assert.match(style, /--warmcut-height: calc\(31\.25 \* var\(--warmcut-text-size\)\);/, '500 px where a text has 16');
  assert.doesNotMatch(style, /--warmcut-accent/, 'unset stays the widget’s own');
  const [, listed] = read('blocks/cutout.liquid').match(/assign colours = '([^']*)'/);
  const names = [...listed.split(','), 'height', 'radius', 'unit'].map((name) => `--warmcut-${name.replaceAll('_', '-')}`);
  for (const name of names) assert.ok(widget('widget.css').includes(`var(${name},`), name);
});

test('the block follows its section’s product, not the page’s', () => {
  assert.match(render('cutout'), /data-product="8001"/);
  assert.match(render('cutout', { settings: { product: { id: 7 } } }), /data-product="7"/);
});

test('the script comes from the shop’s server, with what was set', () => {
  const script = (settings, scope) => attributes(render('loader', { settings: { server: 'https://cut.example', key: 'pk_1', ...settings }, ...scope }), 'script');
  assert.deepEqual(script(), {
    type: 'module',
    src: 'https://cut.example/widget.js',
    'data-key': 'pk_1',
    'data-warm-on': 'hover focus touch viewport selector upload',
    'data-analytics': 'shopify',
    'data-consent': 'shopify',
  });
  const all = script({ warm_on: 'upload', holdout: 10, beacon: true, data_layer: true, consent: false });
  assert.deepEqual([all['data-warm-on'], all['data-holdout'], all['data-analytics'], all['data-consent']], ['upload', '10', 'beacon dataLayer shopify', 'granted']);
  assert.equal(script({ shopify_events: false })['data-analytics'], '', 'without it, the widget would send beacons');
});

test('Shopify is asked for its consent only where there is something to report', () => {
  const asks = (settings) => render('loader', { settings: { server: 'cut.example', ...settings } }).includes('/cdn/warmcut-consent.js');
  assert.deepEqual([asks(), asks({ consent: false }), asks({ shopify_events: false })], [true, false, false]);
});

test('a server is understood however a merchant writes it', () => {
  const src = (server) => attributes(render('loader', { settings: { server } }), 'script')?.src;
  for (const server of ['cut.example', ' cut.example/ ', 'https://cut.example', 'https://cut.example/', 'https://cut.example/widget.js']) {
    assert.equal(src(server), 'https://cut.example/widget.js', server);
  }
  assert.equal(src('http://127.0.0.1:8080'), 'http://127.0.0.1:8080/widget.js', 'a developer’s own');
  assert.equal(src('https://"><i>'), 'https://"><i>/widget.js', 'escaped');
  for (const nothing of ['', '  ', undefined]) assert.equal(src(nothing), undefined);
});

test('the script is on the chosen pages alone', () => {
  const on = (pages, page_type) => Boolean(attributes(render('loader', { settings: { server: 'cut.example', pages }, request: { page_type } }), 'script'));
  assert.deepEqual(['product', 'index', 'collection', 'cart'].map((type) => on('product', type)), [true, false, false, false]);
  assert.deepEqual(['product', 'index', 'page', 'collection'].map((type) => on('product index page', type)), [true, true, true, false]);
  assert.ok(on('all', 'collection'));
});

test('the triggers on offer are triggers', () => {
  const [, loader] = widget('widget.js').match(/const TRIGGERS = '([^']*)'/);
  const known = [...loader.split(' '), 'page_view'];
  const offered = [...read('blocks/loader.liquid').matchAll(/"value": "([\w ]*upload)"/g)].map(([, value]) => value);
  assert.equal(offered.length, 3);
  for (const value of offered) assert.deepEqual(value.split(' ').filter((trigger) => !known.includes(trigger)), [], value);
});
