// What axe-core finds wrong for people who don't see, or don't point, or see little contrast.

import assert from 'node:assert/strict';
import axe from 'axe-core';

/** Nothing violates a rule of axe's, on the page as it is now, shadow roots included. */
export async function assertAccessible(page, when = page.url()) {
  // Evaluated from outside, so that no policy of the page has a say in it.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    // A colour that fades in has too little contrast on its way.
    const roots = [document];
    for (const root of roots) for (const { shadowRoot } of root.querySelectorAll('*')) if (shadowRoot) roots.push(shadowRoot);
    const moving = roots.flatMap((root) => root.getAnimations()).filter(({ effect }) => effect.getComputedTiming().endTime < Infinity);
    await Promise.allSettled(moving.map(({ finished }) => finished));
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map(({ target, failureSummary }) => `  ${target.flat().join(' » ')}: ${failureSummary}`).join('\n')}`);
  });
  assert.deepEqual(found, [], `axe finds nothing wrong: ${when}\n${found.join('\n')}`);
}
