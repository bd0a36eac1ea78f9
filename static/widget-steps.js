// The steps of a warm-up and of a photo, each with its state and the time that it took.

import { STAGES, elapsed } from './widget-progress.js';

export const STEPS = [...STAGES, 'upload', 'queue', 'cutout'];

/** What there is of the list before anything happened. */
export const LIST = STEPS.map((step) => `<li data-step="${step}"><span></span><small class="sr"></small><time></time></li>`).join('');

/** Shows a run's stages, and the `own` steps of a photo: `{status, from, to, note}` by name. */
export class Steps {
  #items;
  #words;

  constructor(list, words) {
    this.#items = [...list.children];
    this.#words = words;
    for (const item of this.#items) item.firstChild.textContent = words.say(item.dataset.step);
  }

  show(run, own, now) {
    for (const item of this.#items) {
      const { step } = item.dataset;
      const stage = run?.stages[step];
      let status = 'todo';
      let text = '';
      let note = '';
      if (stage) {
        status = { done: 'done', failed: 'failed' }[stage.status] ?? 'now';
        text = this.#words.time(elapsed(stage, now));
        note = [stage.retried && this.#words.say('retrying'), stage.progress && this.#words.percent(stage.progress)].find(Boolean);
      } else if (own[step]) {
        const { from, to } = own[step];
        ({ status, note } = own[step]);
        text = this.#words.time(Math.max(0, (to ?? now) - from));
      }
      if (status === 'now' && note) text = `${note} · ${text}`;
      if (item.dataset.status !== status) {
        item.dataset.status = status;
        item.children[1].textContent = `, ${this.#words.say(`step_${status}`)} `;
      }
      if (item.lastChild.textContent !== text) item.lastChild.textContent = text;
    }
  }
}
