// What Shopify refuses or the theme editor trips over, and Theme Check doesn't look at in an extension.
// https://shopify.dev/docs/apps/build/online-store/theme-app-extensions/configuration

import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import updater from '@shopify/theme-check-docs-updater';
import check from '@shopify/theme-check-node';
import { EXTENSION, at, list, locale, read, schema } from './extension.js';

const KB = 1024;
const BLOCKS = list('blocks').map((file) => path.basename(file, '.liquid'));
const LOCALES = list('locales');
const STOREFRONT = LOCALES.filter((file) => !file.includes('.schema.')).map((file) => file.split('.')[0]);
const EDITOR = LOCALES.filter((file) => file.includes('.schema.')).map((file) => file.split('.')[0]);

/** What the command line takes, folder by folder; it refuses any other folder that has files in it. */
const FILES = {
  assets: /\.(jpe?g|json|js|css|png|svg|wasm)$/,
  blocks: /\.liquid$/,
  locales: /^[a-z]{2}(-[A-Z]{2})?(\.default)?(\.schema)?\.json$/,
  snippets: /\.liquid$/,
};

const bytes = (folder) => list(folder).reduce((sum, file) => sum + Buffer.byteLength(read(`${folder}/${file}`)), 0);
const liquid = [...list('blocks').map((file) => `blocks/${file}`), ...list('snippets').map((file) => `snippets/${file}`)];

/** A file's Liquid without its schema. */
const markup = (file) => read(file).replace(/{% schema %}.*{% endschema %}/s, '');

/** Dotted keys of all texts. */
const keys = (value, prefix = '') => Object.entries(value).flatMap(([name, inner]) =>
  typeof inner === 'string' ? [prefix + name] : keys(inner, `${prefix}${name}.`));

test('folders and files are those that are taken', () => {
  for (const name of list('.').filter((name) => lstatSync(path.join(EXTENSION, name)).isDirectory())) {
    assert.ok(name in FILES, `folder ${name}`);
    for (const file of list(name)) assert.match(file, FILES[name], `in ${name}`);
  }
  assert.match(read('shopify.extension.toml'), /^name = ".+"$/m);
  assert.match(read('shopify.extension.toml'), /^type = "theme"$/m);
});

test('it is small enough to be taken', () => {
  assert.ok(Object.keys(FILES).reduce((sum, folder) => sum + bytes(folder), 0) < 10 * KB * KB, 'all of it');
  assert.ok(bytes('blocks') + bytes('snippets') < 100 * KB, 'Liquid');
  assert.ok(BLOCKS.length <= 30, 'blocks');
  assert.ok(LOCALES.length <= 100, 'locales');
  for (const file of LOCALES) assert.ok(Buffer.byteLength(read(`locales/${file}`)) < 15 * KB, file);
  for (const [file, limit] of [['warmcut.js', 10 * KB], ['warmcut-consent.js', 10 * KB], ['warmcut.css', 100 * KB]]) {
    assert.ok(gzipSync(read(`assets/${file}`)).length < limit, file);
  }
});

test('JSON is strict JSON, and English the default of both kinds', () => {
  for (const file of LOCALES) assert.doesNotThrow(() => JSON.parse(read(`locales/${file}`)), file);
  for (const block of BLOCKS) assert.doesNotThrow(() => schema(block), block);
  assert.deepEqual(LOCALES.filter((file) => file.includes('.default.')), ['en.default.json', 'en.default.schema.json']);
  assert.ok(['de', 'ar'].every((language) => STOREFRONT.includes(language)));
});

for (const block of BLOCKS) {
  const given = schema(block);
  const inputs = given.settings.filter(({ id }) => id);

  test(`${block}: the schema says what an extension may say`, () => {
    const known = ['name', 'target', 'javascript', 'stylesheet', 'enabled_on', 'disabled_on', 'class', 'tag', 'settings', 'default', 'available_if'];
    assert.deepEqual(Object.keys(given).filter((key) => !known.includes(key)), []);
    assert.ok(['section', 'head', 'body', 'compliance_head'].includes(given.target), given.target);
    assert.ok(!(given.enabled_on && given.disabled_on), 'one of them at most');
    for (const asset of [given.javascript, given.stylesheet]) assert.ok(!asset || list('assets').includes(asset), asset);
    for (const language of EDITOR) {
      const name = at(locale(language, '.schema'), given.name.replace('t:', ''));
      assert.ok(name.length <= 25, `${language}: ${name}`);
      assert.doesNotMatch(name, /warmcut/i, 'the editor shows the app’s name below');
    }
  });

  test(`${block}: the settings are settings`, async () => {
    const { ThemeLiquidDocsManager } = updater;
    // Shopify describes them for themes alone, so without what only app blocks have.
    const plain = given.settings.map(({ autofill, ...setting }) => setting);
    const schemas = (await describe(ThemeLiquidDocsManager)).map((one) => ({ ...one, fileMatch: one.uri.endsWith('/settings.json') ? ['**/*'] : [] }));
    const told = await new check.JSONValidator(schemas).validate('file:///settings', JSON.stringify(plain));
    assert.deepEqual(told, []);
    assert.deepEqual([...new Set(inputs.map(({ id }) => id))], inputs.map(({ id }) => id), 'ids are unique');
    for (const { id, type, default: value, min, max, step = 1, options, unit = '' } of inputs) {
      assert.notEqual(value, '', `${id}: an empty default is refused`);
      if (type === 'select') assert.ok(options.some((option) => option.value === value), `${id}: ${value} is an option`);
      if (type !== 'range') continue;
      assert.ok((max - min) / step <= 100, `${id}: at most 101 stops`);
      assert.ok(value >= min && value <= max && Number.isInteger((value - min) / step), `${id}: the default is a stop`);
      assert.ok(unit.length <= 3, `${id}: ${unit}`);
    }
    // Reported by others: more of a kind, and the extension doesn't deploy.
    for (const type of ['header', 'paragraph']) assert.ok(given.settings.filter((setting) => setting.type === type).length <= 6, type);
  });

  test(`${block}: every setting is used, and what is used is a setting`, () => {
    const text = markup(`blocks/${block}.liquid`);
    const listed = [...text.matchAll(/assign \w+ = '([\w,]+)' \| split: ','/g)].flatMap(([, ids]) => ids.split(','));
    const used = [...text.matchAll(/block\.settings\.(\w+)/g)].map(([, id]) => id).concat(listed);
    assert.deepEqual([...new Set(used)].sort(), inputs.map(({ id }) => id).sort());
  });
}

/** As published with the linter; nothing is loaded from a network. */
async function describe(Manager) {
  const manager = new Manager();
  manager.setup = async () => {};
  return manager.schemas('theme');
}

test('every key that is used is translated, in every language and kind', () => {
  const shown = liquid.flatMap((file) => [...markup(file).matchAll(/'([\w.]+)' \| t\b/g)].map(([, key]) => key));
  assert.ok(shown.length > 5);
  for (const language of STOREFRONT) for (const key of shown) assert.equal(typeof at(locale(language), key), 'string', `${language}: ${key}`);
  const edited = BLOCKS.flatMap((block) => [...read(`blocks/${block}.liquid`).matchAll(/"t:([\w.]+)"/g)].map(([, key]) => key));
  assert.ok(edited.length > 20);
  for (const language of EDITOR) for (const key of edited) assert.equal(typeof at(locale(language, '.schema'), key), 'string', `${language}: ${key}`);

  // And nothing is translated that nobody uses.
  const ours = (all) => [...new Set(all)].filter((key) => !key.startsWith('widget.')).sort();
  assert.deepEqual(ours(keys(locale('en'))), ours(shown));
  assert.deepEqual(keys(locale('en', '.schema')).sort(), [...new Set(edited)].sort());
});

test('languages have the same keys, and the same places in them', () => {
  const places = (text) => (text.match(/{\w+}/g) ?? []).sort();
  for (const [languages, kind] of [[STOREFRONT, ''], [EDITOR, '.schema']]) {
    const english = locale('en', kind);
    for (const language of languages) {
      const theirs = locale(language, kind);
      assert.deepEqual(keys(theirs), keys(english), language);
      for (const key of keys(english)) assert.deepEqual(places(at(theirs, key)), places(at(english, key)), `${language}: ${key}`);
    }
  }
});
