import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TrainerEvent } from '@cairn/contract';
import { expect, onTestFinished, test } from 'vitest';
import { eventFile } from './run-program.ts';

function open() {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-events-'));
  const path = join(folder, 'events.ndjson');
  const events: TrainerEvent[] = [];
  const strange: string[] = [];
  const file = eventFile({ path, onEvent: (event) => events.push(event), onInvalidLine: (line) => strange.push(line) });
  onTestFinished(() => {
    file.close();
    rmSync(folder, { recursive: true });
  });
  return { path, file, events, strange };
}

const line = (step: number) => `${JSON.stringify({ event: 'preempted', time: 1, step })}\n`;

test('a file that does not exist yet has no events', () => {
  const { file, events, path } = open();
  file.read();
  expect(events).toEqual([]);
  appendFileSync(path, line(1));
  file.read();
  expect(events).toEqual([{ event: 'preempted', time: 1, step: 1 }]);
});

test('a line being written is read once it is complete, and no line twice', () => {
  const { file, events, path } = open();
  const text = `${line(1)}${JSON.stringify({ event: 'failed', time: 1, code: 'internal', message: 'späť' })}\n`;
  const bytes = Buffer.from(text);
  for (const byte of bytes) {
    appendFileSync(path, Buffer.from([byte]));
    file.read();
  }
  expect(events.map((event) => event.event)).toEqual(['preempted', 'failed']);
  expect(events[1]).toMatchObject({ message: 'späť' });
});

test('a line that is not an event is reported and skipped', () => {
  const { file, events, strange, path } = open();
  appendFileSync(path, `Traceback\n{"event":"of the future","time":1}\n\n${line(2)}`);
  file.read();
  expect(strange).toEqual(['Traceback', '{"event":"of the future","time":1}']);
  expect(events).toHaveLength(1);
});

test('many lines at once are all read', () => {
  const { file, events, path } = open();
  appendFileSync(path, Array.from({ length: 5000 }, (_, step) => line(step)).join(''));
  file.read();
  expect(events).toHaveLength(5000);
});
