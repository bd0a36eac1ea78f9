// The basket: what would be ordered, and what the form sends with it.

import { $ } from './pages.js';

/** A line for each portrait; more than this is no gift but a gallery. */
const LINES = 20;

const dialog = $('#basket');
const list = $('.lines', dialog);
let lines = []; // {item, url, price, quantity}

/** Puts a portrait in: a title, its details, what it costs, its picture, and the form's own entries. */
export function add({ title, details, price, quantity, picture, look, entries }) {
  const item = $('#line').content.firstElementChild.cloneNode(true);
  const url = URL.createObjectURL(picture);
  $('img', item).src = url;
  Object.assign($('.thumb', item).dataset, look);
  $('.what b', item).textContent = title;
  $('.what p', item).textContent = quantity > 1 ? `${details}\nQuantity ${quantity}` : details;
  $('.cost', item).textContent = `€${price * quantity}`;
  for (const [name, value] of entries) {
    const [pair, term, text] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
    term.textContent = name;
    text.textContent = value;
    pair.append(term, text);
    $('dl', item).append(pair);
  }
  const line = { item, url, price, quantity };
  const button = $('.remove', item);
  button.ariaLabel = `Remove ${title}`;
  button.addEventListener('click', () => {
    drop(line);
    $('#basket-title').focus();
  });
  list.prepend(item);
  lines.push(line);
  if (lines.length > LINES) drop(lines[0]);
  count();
  open();
}

function drop(line) {
  URL.revokeObjectURL(line.url);
  line.item.remove();
  lines = lines.filter((other) => other !== line);
  count();
}

function count() {
  $('#count').textContent = lines.reduce((all, { quantity }) => all + quantity, 0);
  $('#sum').textContent = `€${lines.reduce((all, { price, quantity }) => all + price * quantity, 0)}`;
  $('.empty', dialog).hidden = lines.length > 0;
  $('.sum', dialog).hidden = lines.length === 0;
}

function open() {
  if (!dialog.open) dialog.showModal();
}

$('#bag').addEventListener('click', open);
for (const button of dialog.querySelectorAll('.leave')) button.addEventListener('click', () => dialog.close());
// A click beside the drawer falls on its backdrop, which is the dialog itself.
dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());
