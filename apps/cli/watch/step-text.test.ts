import { anEvent } from '@cairn/client/testing';
import { expect, test } from 'vitest';
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
