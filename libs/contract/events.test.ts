import { expect, test } from 'vitest';
import { runEvent, stepOfEvent } from './events.ts';
import { agreedProtocol, oldestProtocol, protocol } from './internal.ts';

const event = (type: string, data: object) =>
  runEvent.parse({ runId: `run_${'0'.repeat(26)}`, seq: 1, at: '2026-11-30T00:00:00Z', type, message: 'for people', data });

test.each([
  ['run', { state: 'queued' }],
  ['step', { step: '384', artifactId: 'art_1' }],
  ['attempt', { attemptId: 'att_1', state: 'stopping' }],
  ['attempt', { step: '384', checkpointId: 'ckp_1', at: 40 }],
  ['note', { step: '384', level: 'warning' }],
  ['note', { step: 'extract_index', imageId: 'a', path: 'index/a/b/c/a.jpg' }],
  ['note', { model: 'landmarks', version: 3 }],
  ['note', {}],
] as const)('a %s event that version 0.1 wrote is read unchanged: %j', (type, data) => {
  expect(event(type, data).data).toEqual(data);
});

test('keys that a later version adds are ignored, and data of another type is rejected', () => {
  expect(event('checkpoint', { step: '384', at: 40, epoch: 2.5, rank: 3 }).data).toEqual({ step: '384', at: 40, epoch: 2.5 });
  expect(() => event('checkpoint', { state: 'queued' })).toThrow(/epoch/);
});

test('an event names its step', () => {
  expect(stepOfEvent(event('step', { step: '384', state: 'active', cause: null }))).toBe('384');
  expect(stepOfEvent(event('run', { state: 'running', cause: null }))).toBeNull();
});

test('the older of the two protocols is used, and none when the other side is older than the previous one', () => {
  expect([5, 4, 3, 2, 1].map((theirs) => agreedProtocol(theirs, 4))).toEqual([4, 4, 3, null, null]);
  expect([2, 1, 0].map((theirs) => agreedProtocol(theirs, 1))).toEqual([1, 1, null]);
});

test('our protocol defaults to that of this release', () => {
  expect(agreedProtocol(protocol + 1)).toBe(protocol);
  expect(agreedProtocol(oldestProtocol)).toBe(oldestProtocol);
});
