import { anEvent } from '@cairn/client/testing';
import { describe, expect, it } from 'vitest';
import { allFaults, nameOf, packFaults, sampleFaults, transitionOf, transitions, victims } from './transitions.ts';

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
