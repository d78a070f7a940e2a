import { anEvent } from '@cairn/client/testing';
import { describe, expect, it, test } from 'vitest';
import { casesOf, type Wanted } from './cases.ts';
import { allFaults, nameOf, packFaults, sampleFaults, transitionOf, transitions, victims } from './transitions.ts';

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

describe('a sample of faults', () => {
  it('is the same for the same seed, and spread over the programs', () => {
    expect(sampleFaults(7, 20)).toEqual(sampleFaults(7, 20));
    expect(sampleFaults(7, 20)).not.toEqual(sampleFaults(8, 20));
    expect(new Set(sampleFaults(7, 12).map((fault) => fault.victim))).toEqual(new Set(victims));
  });

  it('names each pair once', () => {
    const names = sampleFaults(3, 30).map(nameOf);
    expect(new Set(names).size).toBe(30);
    expect(new Set(allFaults.map(nameOf)).size).toBe(allFaults.length);
  });

  it('is cut into runs that reach their faults in order', () => {
    const packs = packFaults(sampleFaults(1, 12), 5);
    expect(packs.map((pack) => pack.length)).toEqual([4, 4, 4]);
    const place = (fault: { step: string; moment: string }) =>
      transitions.findIndex((item) => item.step === fault.step && item.moment === fault.moment);
    for (const pack of packs) expect(pack.map(place)).toEqual(pack.map(place).sort((a, b) => a - b));
  });
});

describe('the history', () => {
  it('gives the transitions', () => {
    const event = (type: 'step' | 'attempt' | 'checkpoint', data: object) => anEvent(1, { type, data: { step: '384', ...data } });
    expect(transitionOf(event('attempt', { state: 'succeeded' }))).toEqual({ step: '384', moment: 'ended' });
    expect(transitionOf(event('step', { state: 'succeeded' }))).toEqual({ step: '384', moment: 'succeeded' });
    expect(transitionOf(event('checkpoint', { at: 3, epoch: 1 }))).toEqual({ step: '384', moment: 'checkpoint' });
    expect(transitionOf(event('attempt', { state: 'lost' }))).toBeNull();
  });
});
