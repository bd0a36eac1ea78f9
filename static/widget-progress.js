// How far the work is, told honestly: from measured times only, never backwards, and never full
// before it is done. Pure functions, so that a test can hold them to that.

/** A run's stages in the order of their dependencies. */
export const STAGES = ['container', 'model_load', 'gpu_ready'];

/** How much of the bar a stage has where the server doesn't say what the others usually take. */
const SHARE = { container: 0.2, model_load: 0.5, gpu_ready: 0.3 };

/** A step that isn't done never fills more of its part. */
const CAP = 0.95;

/** Fast at first, then ever slower: honest about a step that may take longer than it usually does. */
const within = (elapsed, usual) => Math.min(CAP, 1 - Math.exp(-elapsed / Math.max(usual, 1)));

const isOver = ({ status }) => status === 'done' || status === 'failed';

/** Since a stage began, in ms: frozen when it is over, else by the server's clock. */
export function elapsed(stage, now) {
  return isOver(stage) ? stage.elapsed_ms : stage.elapsed_ms + Math.max(0, now - stage.at_ms);
}

/** The stage that is under way, or the last one. */
export function current(run) {
  const known = STAGES.map((name) => run?.stages[name]).filter(Boolean);
  return known.find((stage) => !isOver(stage)) ?? known.at(-1) ?? null;
}

/**
 * A warm-up as `{fraction, eta, late}`: `fraction` 0..1, or null while there is nothing measured
 * to tell it from; `eta` in ms until ready, or null; `late` when it takes longer than usual.
 */
export function warming(run, now) {
  if (run?.status === 'ready') return { fraction: 1, eta: 0, late: false };
  const stage = current(run);
  if (!stage?.usual) return { fraction: null, eta: null, late: false };
  const index = STAGES.indexOf(stage.stage);
  const passed = STAGES.slice(0, index).map((name) => run.stages[name]).filter(Boolean);
  const spent = elapsed(stage, now);
  const part = stage.status === 'done' ? 1 : Math.min(CAP, Math.max(stage.progress ?? 0, within(spent, stage.usual)));

  const since = now - stage.at_ms;
  const whole = stage.run_eta_ms ?? (index === STAGES.length - 1 ? stage.eta_ms : null);
  const late = stage.eta_ms ? since > stage.eta_ms.p90 : stage.status !== 'done';
  const eta = whole && !late ? Math.max(0, whole.p50 - since) : null;

  let [before, here, after] = [0, SHARE[stage.stage], 0];
  if (stage.run_eta_ms && stage.eta_ms) {
    before = passed.reduce((sum, { elapsed_ms }) => sum + elapsed_ms, 0);
    here = stage.usual;
    after = Math.max(0, stage.run_eta_ms.p50 - stage.eta_ms.p50);
  } else {
    STAGES.forEach((name, i) => {
      if (i < index) before += SHARE[name];
      if (i > index) after += SHARE[name];
    });
  }
  return { fraction: Math.min(0.99, (before + here * part) / (before + here + after)), eta, late };
}

/** The same for a job, where the photo is there and the model is. */
export function working(job, now) {
  if (!job) return { fraction: null, eta: null, late: false };
  if (job.status === 'succeeded') return { fraction: 1, eta: 0, late: false };
  const since = Math.max(0, now - job.at_ms);
  const late = Boolean(job.eta_ms) && since > job.eta_ms.p90;
  const eta = job.eta_ms && !late ? Math.max(0, job.eta_ms.p50 - since) : null;
  if (job.status !== 'processing') return { fraction: 0, eta, late };
  const guess = job.eta_ms ? within(since, job.eta_ms.p50) : 0;
  return { fraction: Math.min(CAP, Math.max(job.progress ?? 0, guess)), eta, late };
}

/** One bar over steps that know different things: it holds the highest that was reached. */
export class Bar {
  #base = 0;
  #top = 0;

  /** Another piece of work goes on from where the bar stands. */
  rebase() {
    this.#base = this.#top;
  }

  reset() {
    this.#base = this.#top = 0;
  }

  /** `parts` as `[share, fraction]`; a part with fraction null makes the whole unknown. */
  at(parts) {
    let [sum, all] = [0, 0];
    for (const [share, fraction] of parts) {
      if (fraction === null) return null;
      sum += share * fraction;
      all += share;
    }
    this.#top = Math.max(this.#top, this.#base + (1 - this.#base) * (sum / all));
    return this.#top;
  }
}

/** A time that is left, to the nearest 5 s: more would claim to know more. */
export const rounded = (ms) => Math.max(5, Math.round(ms / 5000) * 5);
