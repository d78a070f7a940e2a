import { expect, test } from 'vitest';
import { casesOf, type Wanted } from './cases.ts';
import { victims } from './transitions.ts';

const none: Wanted = {
  seed: 1,
  counts: { postgres: 0, redis: 0, 'redis and s3': 0 },
  perRun: 5,
  all: false,
  only: undefined,
  strike: '',
  scenarios: 'none',
};
const titles = (wanted: Partial<Wanted>) => casesOf({ ...none, ...wanted }).map(({ title }) => title);

test('programs that are struck once more are struck in one run, each at its own transition', () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const [title = '', ...others] = titles({ seed, strike: victims.join(',') });
    expect(others).toEqual([]);
    const faults = title.split(', ').map((fault) => fault.split(' at '));
    expect(faults.map(([victim]) => victim).sort()).toEqual([...victims].sort());
    expect(new Set(faults.map(([, transition]) => transition)).size).toBe(victims.length);
  }
  expect(() => titles({ strike: 'api,browser' })).toThrow('no program browser');
});

test('scenarios are selected by parts of their names, and an unknown part is refused', () => {
  expect(titles({ scenarios: 'Redis is emptied; zombie' })).toHaveLength(2);
  expect(titles({ scenarios: '' }).length).toBeGreaterThan(4);
  expect(titles({ scenarios: '', only: 'api at search:running' })).toEqual([]);
  expect(() => titles({ scenarios: 'zombie; meteor' })).toThrow('"meteor"');
});
