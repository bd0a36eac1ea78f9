// The extension's files, as the tests read them, and its Liquid, rendered as Shopify would.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Liquid } from 'liquidjs';

export const EXTENSION = fileURLToPath(new URL('../../deploy/shopify/', import.meta.url));

export const read = (file) => readFileSync(path.join(EXTENSION, file), 'utf8');

/** Names of a folder's files. */
export const list = (folder) => readdirSync(path.join(EXTENSION, folder)).sort();

/** A block's schema. */
export const schema = (block) => JSON.parse(read(`blocks/${block}.liquid`).match(/{% schema %}(.*){% endschema %}/s)[1]);

/** A locale file: `locale('de')`, `locale('de', '.schema')`. English is the default. */
export const locale = (name, kind = '') => JSON.parse(read(`locales/${name}${name === 'en' ? '.default' : ''}${kind}.json`));

/** What stands under a dotted key. */
export const at = (translations, key) => key.split('.').reduce((value, part) => value?.[part], translations);

/** What a colour setting holds: a drop that prints itself and knows its parts. */
export class Colour {
  constructor(css, alpha = 1) {
    Object.assign(this, { css, alpha });
  }

  toString() {
    return this.css;
  }
}

/** Liquid with what Shopify has and `liquidjs` lacks, as far as the extension uses it. */
function engine(language) {
  const words = existsSync(path.join(EXTENSION, `locales/${language}.json`)) ? locale(language) : locale('en');
  const liquid = new Liquid({ root: path.join(EXTENSION, 'snippets'), extname: '.liquid', strictFilters: true });
  liquid.registerFilter('t', (key) => {
    const text = at(words, key);
    if (typeof text !== 'string') throw new Error(`no translation: ${language}.${key}`);
    return text;
  });
  liquid.registerFilter('color_to_hex', String);
  liquid.registerFilter('asset_url', (file) => `/cdn/${file}`);
  for (const name of ['schema', 'doc']) {
    liquid.registerTag(name, {
      parse(token, rest) {
        const end = rest.findIndex(({ name: next }) => next === `end${name}`);
        rest.splice(0, end + 1);
      },
      render() {},
    });
  }
  return liquid;
}

/** A block as a shop renders it: the schema's defaults, with the merchant's settings over them. */
export function render(block, { settings = {}, language = 'en', ...scope } = {}) {
  const defaults = Object.fromEntries(schema(block).settings.filter(({ id }) => id).map(({ id, default: value }) => [id, value]));
  return engine(language).parseAndRenderSync(read(`blocks/${block}.liquid`), {
    block: { id: 'AbC1', settings: { ...defaults, ...settings }, shopify_attributes: 'data-shopify-editor-block="{}"' },
    product: { id: 8001 },
    request: { page_type: 'product', design_mode: false },
    ...scope,
  });
}
