// What the widget reckons, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bar, rounded, warming, working } from '../../static/widget-progress.js';
import { parser, told } from '../../static/widget-transport.js';

const stage = (stage, status, more) => ({ stage, status, at_ms: 0, elapsed_ms: 0, progress: null, eta_ms: null, run_eta_ms: null, usual: null, ...more });
const run = (...stages) => ({ status: 'warming', stages: Object.fromEntries(stages.map((one) => [one.stage, one])) });

test('without measured runs nothing is claimed', () => {
  const cold = run(stage('container', 'done', { elapsed_ms: 900 }), stage('model_load', 'progress', { progress: 0.4 }));
  assert.deepEqual(warming(cold, 5000), { fraction: null, eta: null, late: false });
});

test('a warm-up nears its end and never claims it before it is ready', () => {
  const eta_ms = { p50: 10_000, p90: 20_000 };
  const warm = run(stage('container', 'done', { elapsed_ms: 1000 }), stage('model_load', 'started', { eta_ms, usual: 10_000, run_eta_ms: { p50: 15_000, p90: 30_000 } }));
  let last = 0;
  for (let now = 0; now < 200_000; now += 100) {
    const { fraction, eta, late } = warming(warm, now);
    assert.ok(fraction >= last && fraction < 1, `${fraction} at ${now} ms, after ${last}`);
    assert.equal(late, now > 20_000);
    if (late) assert.equal(eta, null, 'an estimate that was wrong is withdrawn');
    last = fraction;
  }
  assert.equal(warming({ ...warm, status: 'ready' }, 0).fraction, 1);
});

test('what a stage has measured of itself counts before what it usually takes', () => {
  const eta_ms = { p50: 10_000, p90: 20_000 };
  const at = (progress) => warming(run(stage('gpu_ready', 'progress', { eta_ms, usual: 10_000, progress })), 100).fraction;
  assert.ok(at(0.8) > at(null));
});

test('a job in line has not begun, and one at work is never full', () => {
  assert.deepEqual(working({ status: 'queued', at_ms: 0, eta_ms: null }, 9000), { fraction: 0, eta: null, late: false });
  const { fraction, eta } = working({ status: 'processing', at_ms: 0, progress: 0.25, eta_ms: { p50: 1000, p90: 2000 } }, 900);
  assert.ok(fraction > 0.25 && fraction < 0.96);
  assert.equal(eta, 100);
});

test('the bar never falls, whatever its parts do', () => {
  const bar = new Bar();
  assert.equal(bar.at([[1, 0.5]]), 0.5);
  assert.equal(bar.at([[1, 0.2]]), 0.5);
  assert.equal(bar.at([[1, null]]), null, 'unknown is unknown');
  bar.rebase();
  assert.equal(bar.at([[1, 0], [1, 0]]), 0.5, 'more work goes on from here');
  assert.equal(bar.at([[1, 1], [1, 0]]), 0.75);
  bar.reset();
  assert.equal(bar.at([[1, 0.1]]), 0.1);
});

test('times that are left are rounded to what can be known', () => {
  assert.deepEqual([1, 7400, 7600, 41_000].map(rounded), [5, 5, 10, 40]);
});

test('a stream is read however it is cut', () => {
  const text = ':\r\nretry: 500\r\n\r\nevent: stage\nid: 1\ndata: {"a":1}\n\ndata:{"b":\rdata: 2}\r\r: x\n\nevent: ping\ndata: {}\n\n';
  for (let size = 1; size < text.length; size++) {
    const read = [];
    const feed = parser((data) => read.push(JSON.parse(data)));
    for (let at = 0; at < text.length; at += size) feed(text.slice(at, at + size));
    assert.deepEqual(read, [{ a: 1 }, { b: 2 }, {}], `in pieces of ${size}`);
  }
});

test('snapshots tell each thing once, a cutout before its success', () => {
  const known = new Map();
  const job = { job: 'j', upload: 'u', status: 'processing', position: null, eta_ms: null, preview: null, cutout: null, problem: null };
  const snapshot = { run: { run: 'r', status: 'warming', elapsed_ms: 5, stages: [{ id: '1', stage: 'container', status: 'done' }] }, jobs: [job] };
  const types = () => [...told(snapshot, known)].map(({ type, status }) => [type, status].filter(Boolean).join(' '));
  assert.deepEqual(types(), ['stage done', 'job processing']);
  assert.deepEqual(types(), []);
  snapshot.run.status = 'ready';
  snapshot.jobs = [{ ...job, status: 'succeeded', cutout: { url: '/c' } }];
  assert.deepEqual(types(), ['ready', 'cutout', 'job succeeded']);
  assert.deepEqual(types(), []);
});
