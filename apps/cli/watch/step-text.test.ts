import { anAttempt, anEvent } from '@cairn/client/testing';
import { expect, test } from 'vitest';
import { createStyle } from '../output/style.ts';
import { attemptTable, firstLine } from './run-changes.ts';
import { notesOf } from './step-text.ts';

const note = (seq: number, message: string, data: object) => anEvent(seq, { type: 'note', message, data });

test('the newest note of each step counts, in the current or an earlier format; notes about single images do not', () => {
  const events = [
    note(1, '384: Training on 2 x cpu', { step: '384', level: 'info', said: 'Training on 2 x cpu' }),
    note(2, '384: Waiting for the storage', { step: '384', level: 'warning', said: 'Waiting for the storage' }),
    note(3, '384: image a cannot be read', { step: '384', imageId: 'a' }),
    anEvent(4, { type: 'step', message: '384 is active', data: { step: '384' } }),
    note(5, 'index: Shard 1 was released', { step: 'extract_index', level: 'warning' }),
  ];
  expect(Object.fromEntries(notesOf(events))).toEqual({
    '384': { seq: 2, level: 'warning', message: 'Waiting for the storage' },
    extract_index: { seq: 5, level: 'warning', message: 'index: Shard 1 was released' },
  });
});

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 2, 3, 4, 5) + seconds * 1000).toISOString();
const options = { style: createStyle(false), now: new Date(at(300)) };

test('each attempt shows why it ended, its finding, the checkpoint it resumed from, and where it ran', () => {
  const lost = anAttempt({
    step: '384',
    state: 'lost',
    failure: { cause: 'infrastructure', code: 'node_lost', message: 'its node was lost:\nmore' },
    reachedStep: 44,
    place: 'node a, pod x',
    endedAt: at(130),
  });
  const silent = anAttempt({
    step: '384',
    ordinal: 2,
    startedAt: at(200),
    resumedFrom: { step: 40, epoch: 2.5 },
    finding: { code: 'node_silent', message: 'its node does not answer', since: at(250) },
    contact: 'silent',
    lastContactAt: at(240),
    place: 'node b, pod y',
  });
  expect(attemptTable([lost, silent], options)).toEqual([
    '',
    'attempt   state           time   what happened',
    '384/1     lost      2 min 10 s   infrastructure: its node was lost; node a, pod x',
    '384/2     running   1 min 40 s   its node does not answer; silent for 1 min 00 s; resumed from the checkpoint of step 40, epoch 2.50; 4 steps of 384/1 lost; node b, pod y',
  ]);
});

test.each([
  ['its node was lost:\nmore', 'its node was lost'],
  ['It ended with exit code 1 without a reason. Its last words:\nbad record', 'It ended with exit code 1 without a reason'],
  ['It ended: code 1', 'It ended: code 1'],
])('what introduces further lines is left out of the first: %j', (message, first) => {
  expect(firstLine(message)).toBe(first);
});

test('without attempts there is no table', () => {
  expect(attemptTable([], options)).toEqual([]);
});
