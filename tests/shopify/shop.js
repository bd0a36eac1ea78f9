// A shop whose product page is built as Dawn and its kin build theirs: app blocks beside the product form, a
// form for instalments before it, other products' forms in the same section, and a script that sends the form.

import http from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, serve, startServer } from '../browser/server.js';
import { list, read, render } from './extension.js';

/** The product of the page, and one that is recommended on it. */
export const PRODUCT = 8001;
const OTHER = 8002;

/** What Shopify's own form tag writes into a product's form. */
const form = (product, id, inside) => `<form method="post" action="/cart/add" id="${id}" accept-charset="UTF-8">
  <input type="hidden" name="form_type" value="product"><input type="hidden" name="id" value="${product}1">
  ${inside}
  <input type="hidden" name="product-id" value="${product}"><input type="hidden" name="section-id" value="main"></form>`;

const button = '<button type="submit" name="add">Add to cart</button>';

/** Three ways in which themes build a product's section. */
const THEMES = {
  // The block beside the form; a custom element sends FormData.
  beside: (block) => `${form(PRODUCT, 'product-form-installment', '')}${block}
    <product-form>${form(PRODUCT, 'product-form-main', `<input type="number" name="quantity" value="1">${button}`)}</product-form>
    <div class="complementary">${form(OTHER, 'quick-add', '<button type="submit">Choose</button>')}</div>`,
  // The block inside the form, which the browser sends by itself.
  inside: (block) => form(PRODUCT, 'everything', `${block}${button}`),
  // A form that was written by hand: it names no product and has no id, and a script reads its inputs.
  byhand: (block) => `<search-box><form action="/search"><input name="q"></form></search-box>${block}
    <form action="/en/cart/add" class="js-inputs"><input type="hidden" name="id" value="80011">
    <button name="add" type="button">Add to cart</button></form>`,
};

/** The theme's own script: it stops the browser's way and sends what it reads. */
const SCRIPT = `
  const send = (body) => fetch('/cart/add', { method: 'POST', body }).then(() => document.body.setAttribute('data-added', ''));
  customElements.define('product-form', class extends HTMLElement {
    connectedCallback() {
      const form = this.querySelector('form');
      form.noValidate = true;
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        send(new URLSearchParams(new FormData(form)));
      });
    }
  });
  addEventListener('DOMContentLoaded', () => {
    const form = document.querySelector('.js-inputs');
    form?.querySelector('[name=add]').addEventListener('click', () => {
      send(new URLSearchParams([...form.querySelectorAll('input')].map(({ name, value }) => [name, value])));
    });
  });`;

/** A section as Shopify sends it, again when the theme editor asks for it. */
export function section({ theme = 'beside', block = {} } = {}) {
  const app = `<div id="shopify-block-AbC1" class="shopify-block shopify-app-block">${render('cutout', block)}</div>`;
  return `<div class="product"><h1>Print of your pet</h1><div class="product__info">${THEMES[theme](app)}</div></div>`;
}

/** A rem of a tenth, and what a text has of them: Dawn's way. */
const TENS = { root: '62.5%', text: '1.6rem' };

function page({ origin, theme, block = {}, loader, designMode, size: { root, text } = TENS }) {
  const scope = { request: { page_type: 'product', design_mode: designMode }, language: block.language };
  const embed = loader === false ? '' : render('loader', { ...scope, settings: { server: origin, key: 'pk_demo', ...loader } });
  return `<!doctype html><html lang="${block.language ?? 'en'}"><head><meta charset="utf-8"><title>Print of your pet</title>
    <meta name="viewport" content="width=device-width">
    <style>html { font-size: ${root} } body { font-size: ${text}; font-family: sans-serif; max-width: 60rem; margin: 2rem auto }</style>
    <link rel="stylesheet" href="/cdn/warmcut.css"><script src="/cdn/warmcut.js" async></script><script src="/cdn/theme.js" defer></script>
    ${designMode ? '<script src="/cdn/editor.js"></script>' : ''}${embed}</head>
    <body><main><section id="shopify-section-main" class="shopify-section">${section({ theme, block: { ...scope, ...block } })}</section></main>
    <footer>${form(PRODUCT, 'sticky', '<button type="submit">Add</button>')}</footer></body></html>`;
}

/**
 * A shop with a server for its cutouts. `added` is what came to its cart, each as a list of pairs. The policy
 * is what a shop that has one must allow, and no more.
 */
export async function openShop(t, { designMode = false, ...options } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'warmcut-shop-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const keys = path.join(folder, 'keys.json');
  writeFileSync(keys, JSON.stringify({ shops: [{ name: 'demo', publishable: 'pk_demo', secret: 'sk_demo_secret', origins: [url] }] }));
  const server = await startServer(t, '--keys', keys);
  const { origin } = server;

  const added = [];
  const files = Object.fromEntries(list('assets').map((file) => [`/cdn/${file}`, read(`assets/${file}`)]));
  files['/cdn/theme.js'] = SCRIPT;
  files['/cdn/editor.js'] = 'window.Shopify = { designMode: true };';
  const policy = `default-src 'none'; script-src 'self' ${origin}; connect-src 'self' ${origin} ${origin.replace('http', 'ws')};
    img-src blob:; style-src 'self' 'unsafe-inline'; form-action 'self'`.replace(/\s+/g, ' ');
  const shop = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, url);
    if (pathname.endsWith('/cart/add')) {
      let body = '';
      for await (const chunk of request) body += chunk;
      added.push([...new URLSearchParams(body)]);
      return response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>Cart</title><body data-added>');
    }
    const type = { css: 'text/css', js: 'text/javascript' }[pathname.split('.')[1]];
    if (type && files[pathname]) return response.writeHead(200, { 'Content-Type': type }).end(files[pathname]);
    if (pathname !== '/') return response.writeHead(204).end();
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': policy })
      .end(page({ origin, designMode, ...options }));
  });
  await serve(t, shop, port);
  return { url, server, added };
}
