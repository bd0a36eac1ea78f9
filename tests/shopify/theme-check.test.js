// Shopify's own linter over the extension, as `shopify app deploy` runs it.

import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { before, test } from 'node:test';
import { EXTENSION } from './extension.js';

/**
 * Its checks, which would otherwise ask the network for a newer description of Liquid: with nothing in its
 * cache and nowhere to load from, it takes the one that it was published with.
 */
let run;
before(async () => {
  const cache = mkdtempSync(path.join(tmpdir(), 'warmcut-theme-check-'));
  process.on('exit', () => rmSync(cache, { recursive: true, force: true }));
  process.env.XDG_CACHE_HOME = cache;
  process.env.SHOPIFY_TLD_ROOT = path.join(cache, 'nowhere');
  const { default: { themeCheckRun } } = await import('@shopify/theme-check-node');
  run = async (folder) => {
    const { theme, offenses } = await themeCheckRun(folder);
    const told = offenses.map(({ check, uri, start, message }) => `${path.basename(uri)}:${start.line + 1} ${check}: ${message}`);
    return { files: theme.map(({ uri }) => path.basename(uri)).sort(), told };
  };
});

test('Theme Check finds nothing to say, not even a suggestion', async () => {
  const { files, told } = await run(EXTENSION);
  assert.deepEqual(told, []);
  for (const file of ['cutout.liquid', 'loader.liquid', 'warmcut-strings.liquid', 'ar.json']) assert.ok(files.includes(file), `${file} was read`);
});

test('it would say something: of Liquid, of locales, of what an app block may not hold', async (t) => {
  const copy = mkdtempSync(path.join(tmpdir(), 'warmcut-extension-'));
  t.after(() => rmSync(copy, { recursive: true }));
  cpSync(EXTENSION, copy, { recursive: true });
  appendFileSync(path.join(copy, 'blocks/cutout.liquid'), "{{ 'nowhere' | t }}{{ 1 | unheard_of }}{% section 'header' %}");
  const { told } = await run(copy);
  for (const check of ['TranslationKeyExists', 'UnknownFilter', 'AppBlockValidTags']) {
    assert.ok(told.some((line) => line.includes(` ${check}: `)), `${check}: ${told.join('\n')}`);
  }
});
