// What the Node clients share: where the server is, a photo, and what must hold of events and results.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

export const origin = (process.argv[2] ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
export const photoBytes = () => readFileSync(new URL('../../data/cat.jpg', import.meta.url));
const STAGES = ['container', 'model_load', 'gpu_ready'];

/** A test that hangs ends all the same. */
export function patience(ms = 120_000) {
  setTimeout(() => {
    console.error(`nothing came for too long; given up after ${ms} ms`);
    process.exit(1);
  }, ms).unref();
}

const isSorted = (list) => list.every((value, at) => at === 0 || list[at - 1] <= value);

/** The stages of one run in their order, with durations that add up, and `ready` behind them. */
export function checkRun(log) {
  assert.equal(new Set(log.map(({ id }) => id)).size, log.length, 'each id is there once');
  assert.ok(isSorted(log.map(({ at_ms }) => at_ms)), 'at_ms never goes backwards');
  const of = (status) => log.filter((event) => event.type === 'stage' && event.status === status);
  assert.deepEqual(of('started').map(({ stage }) => stage), STAGES);
  assert.deepEqual(of('done').map(({ stage }) => stage), STAGES);
  of('done').forEach((done, at) => assert.equal(done.at_ms - of('started')[at].at_ms, done.elapsed_ms, done.stage));
  const ready = log.find(({ type }) => type === 'ready');
  assert.equal(ready.at_ms - of('started')[0].at_ms, ready.total_ms);
  assert.ok(log.indexOf(ready) > log.indexOf(of('done').at(-1)), 'ready comes after the last stage');
}

/** An upload's events and its job's, in the contract's order; gives the cutout. */
export function checkJob(log, upload) {
  const uploads = log.filter((event) => event.type === 'upload' && event.upload === upload);
  assert.equal(uploads[0].status, 'accepted');
  assert.equal(uploads.at(-1).status, 'received');
  const { job } = uploads.at(-1);
  const ofJob = log.filter((event) => event.job === job && event.type !== 'upload');
  assert.deepEqual(ofJob.filter(({ type }) => type === 'problem'), []);
  assert.equal(ofJob.at(-2).type, 'cutout', 'the cutout,');
  assert.equal(ofJob.at(-1).status, 'succeeded', 'then succeeded, then nothing');
  return ofJob.at(-2);
}

/** A PNG with an alpha channel, of the announced size; its pixels are looked at by the Python clients. */
export function checkPng(data, cutout) {
  assert.equal(data.length, cutout.bytes);
  assert.equal(cutout.mime, 'image/png');
  assert.equal(data.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n');
  assert.deepEqual([data.readUInt32BE(16), data.readUInt32BE(20)], [cutout.width, cutout.height]);
  assert.equal(data[25], 6, 'RGBA');
}
