import { createLogger } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { createOutage } from './consumer.ts';

test('an outage is logged once when it begins and once when it ends, with its duration', () => {
  const lines: { msg: string; outageMs?: number; failures?: number }[] = [];
  let now = 0;
  const log = createLogger({ name: 'queue', destination: { write: (line) => lines.push(JSON.parse(line)) } });
  const outage = createOutage(log, 'localhost:6379', () => now);
  outage.recovered();
  expect(lines).toEqual([]);
  const error = new Error('ECONNREFUSED');
  outage.failed(error);
  outage.failed(error);
  outage.failed(new Error('ECONNREFUSED'));
  expect(outage.failures()).toBe(2);
  expect(outage.knows(error)).toBe(true);
  expect(outage.knows(new Error('a bug'))).toBe(false);
  const late = outage.mark();
  outage.failed(new Error('ECONNRESET'));
  outage.recovered(late);
  outage.recovered(outage.mark());
  expect(lines).toHaveLength(1);
  now = 1500;
  outage.recovered(outage.mark());
  outage.recovered();
  expect(lines).toMatchObject([
    { msg: 'the queue is not responding; retrying' },
    { msg: 'the queue is responding again', outageMs: 1500, failures: 3 },
  ]);
});
