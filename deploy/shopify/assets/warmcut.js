// Brings each block's cutout into its product's form, and holds "Add to cart" back until it is there.
//
// A hidden input, although `<warm-cutout>` is a field of its form by itself: a theme puts the block beside
// the form, and not every theme and wallet button reads a form with FormData; an input is read by all. The
// element then gives up its name, which it has for where this script didn't load.
// Nothing is set up for a block: listening on the window covers what the theme editor, a quick view or
// a change of product puts in later.
{
  const BLOCK = '[data-warmcut]';
  const FORM = 'form[action*="/cart/add"]';
  const BUTTON = '[type="submit"], button:not([type]), [name="add"], .shopify-payment-button, shopify-accelerated-checkout';

  const field = (block) => block.querySelector('warm-cutout');

  /** Whether a photo is on its way; browsers from before the middle of 2024 can't be asked. */
  const busy = (cutout) => CSS.supports('selector(:state(busy))') && cutout.matches(':state(busy)');

  const product = (form) => form.querySelector('[name="product-id"]')?.value;

  /**
   * The forms that put the block's product into the cart: all that say so, as Shopify's own tag makes them,
   * even in another section; and the nearest with a button, unless it names another product.
   */
  function forms(block) {
    const own = block.dataset.product; // none where a page has no product
    const all = new Set([...document.querySelectorAll(FORM)].filter((form) => product(form) === own));
    for (let around = block.parentElement; around; around = around.parentElement) {
      const inside = [around, ...around.querySelectorAll(FORM)].filter((form) => form.matches(FORM));
      const near = inside.find((form) => (!own || [undefined, own].includes(product(form))) && form.querySelector(BUTTON));
      if (near) return all.add(near);
    }
    return all;
  }

  function put(form, block, value) {
    const { warmcut, name } = block.dataset;
    let input = form.querySelector(`input[data-warmcut-of="${warmcut}"]`);
    if (!input) {
      input = Object.assign(document.createElement('input'), { type: 'hidden' });
      input.dataset.warmcutOf = warmcut;
      form.append(input);
    }
    return Object.assign(input, { name, value });
  }

  /** Makes all forms say what the blocks have, whatever was replaced since. */
  function sync() {
    const kept = new Set();
    for (const block of document.querySelectorAll(BLOCK)) {
      const cutout = field(block);
      cutout.removeAttribute('name'); // a form around it would send it twice
      if (cutout.value) for (const form of forms(block)) kept.add(put(form, block, cutout.value));
    }
    for (const input of document.querySelectorAll('[data-warmcut-of]')) if (!kept.has(input)) input.remove();
  }

  /** What the shopper has to do first. */
  function wanting(block) {
    const cutout = field(block);
    if (busy(cutout)) return block.dataset.busy;
    return (!cutout.value && block.dataset.required) || '';
  }

  function say(block, text) {
    const why = block.querySelector('[role="alert"]');
    if (why.textContent !== text) why.textContent = text;
    if (text) why.focus();
  }

  // Before the theme's own listeners: many of them send the form by themselves, without the browser's checks.
  function guard(event) {
    const button = event.type === 'click' && event.target.closest?.(BUTTON);
    const form = button ? (button.form ?? button.closest('form')) : event.target;
    if (!form?.matches?.(FORM)) return;
    sync();
    for (const block of document.querySelectorAll(BLOCK)) {
      const text = forms(block).has(form) ? wanting(block) : '';
      say(block, text);
      if (!text) continue;
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
  }
  addEventListener('click', guard, true);
  addEventListener('submit', guard, true);

  for (const type of ['warmcut:cutout', 'warmcut:clear']) {
    addEventListener(type, ({ target }) => {
      const block = target.closest?.(BLOCK);
      if (block) say(block, '');
      sync();
    });
  }
}
