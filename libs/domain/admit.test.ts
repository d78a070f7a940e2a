import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admit, type RunningAttempt, type WaitingStep } from './index.ts';

let counter = 0;
const waits = (change: Partial<WaitingStep> = {}): WaitingStep => {
  counter += 1;
  return {
    stepId: `s${counter}`,
    runId: 'r',
    runName: 'mini',
    name: `step-${counter}`,
    kind: 'train',
    owner: 'ada',
    priority: 0,
    readyAt: counter,
    notBefore: null,
    pool: 'gpu',
    slots: 8,
    live: 0,
    wanted: 1,
    ...change,
  };
};
const runs = (change: Partial<RunningAttempt> = {}): RunningAttempt => {
  counter += 1;
  return {
    attemptId: `a${counter}`,
    stepId: `x${counter}`,
    label: 'extract_index of other',
    pool: 'gpus',
    slots: 8,
    owner: 'bob',
    isFleet: false,
    stopping: false,
    startedAt: counter,
    ...change,
  };
};
const pools = [
  { name: 'gpus', slots: 16 },
  { name: 'tasks', slots: 2 },
];

describe('admit', () => {
  it('starts the larger priority first, then the owner who holds less, then the older', () => {
    const old = waits();
    const young = waits();
    const urgent = waits({ priority: 5 });
    expect(admit([young, old, urgent], [], pools, 0).launch.map((item) => item.stepId)).toEqual([urgent.stepId, old.stepId]);
    const rich = waits({ owner: 'bob' });
    const poor = waits({ owner: 'eve' });
    expect(admit([rich, poor], [runs()], pools, 0).launch.map((item) => item.stepId)).toEqual([poor.stepId]);
  });

  it('says who holds the slots, and behind whom a step waits', () => {
    const head = waits({ slots: 16 });
    const behind = waits({ slots: 16 });
    const { launch, reasons } = admit([head, behind], [runs()], pools, 0);
    expect(launch).toEqual([]);
    expect(reasons.get(head.stepId)?.sentence).toBe(
      'it needs 16 slots of pool gpus, where 8 of 16 are free; extract_index of other holds the rest',
    );
    expect(reasons.get(behind.stepId)).toEqual({
      code: 'behind',
      sentence: `it waits behind ${head.name} of mini, which needs 16 of the 16 slots of pool gpus`,
    });
  });

  it('fills a gap behind the head only with what could run beside it', () => {
    const head = waits({ slots: 12 });
    const small = waits({ slots: 4, kind: 'export' });
    const large = waits({ slots: 8, kind: 'export' });
    const { launch } = admit([head, large, small], [runs({ slots: 8 })], pools, 0);
    expect(launch.map((item) => item.stepId)).toEqual([small.stepId]);
  });

  it('makes a fleet shrink for a training step, the youngest attempt first', () => {
    const fleet = [runs({ isFleet: true, startedAt: 1 }), runs({ isFleet: true, startedAt: 2 })];
    const { shrink } = admit([waits({ slots: 8 })], fleet, pools, 0);
    expect(shrink.map((item) => item.attemptId)).toEqual([fleet[1]?.attemptId]);
    expect(admit([waits({ slots: 8 })], [fleet[0], { ...fleet[1], stopping: true }] as RunningAttempt[], pools, 0).shrink).toEqual([]);
  });

  it('grows a fleet into what is left, after everybody has a first attempt', () => {
    const fleet = waits({ kind: 'extract', slots: 4, wanted: 6 });
    const train = waits({ slots: 8 });
    const { launch, reasons } = admit([fleet, train], [], pools, 0);
    expect(launch).toEqual([
      { stepId: train.stepId, pool: 'gpus', attempts: 1 },
      { stepId: fleet.stepId, pool: 'gpus', attempts: 2 },
    ]);
    expect(reasons.size).toBe(0);
  });

  it('keeps a step back until its delay is over', () => {
    const step = waits({ notBefore: 5_000 });
    expect(admit([step], [], pools, 1_000).reasons.get(step.stepId)?.sentence).toBe('it is tried again in 4 s after a failed attempt');
    expect(admit([step], [], pools, 5_000).launch).toHaveLength(1);
  });

  it('says when no pool is large enough', () => {
    const step = waits({ slots: 32 });
    expect(admit([step], [], pools, 0).reasons.get(step.stepId)?.sentence).toBe('it needs 32 slots at once, and the largest pool has 16');
  });

  const anyWaiting = fc.array(
    fc.record({
      kind: fc.constantFrom('train' as const, 'extract' as const, 'export' as const),
      slots: fc.constantFrom(1, 4, 8, 16),
      priority: fc.integer({ min: 0, max: 2 }),
      owner: fc.constantFrom('a', 'b'),
      wanted: fc.integer({ min: 1, max: 4 }),
    }),
    { maxLength: 12 },
  );
  const anyRunning = fc.array(fc.record({ slots: fc.constantFrom(1, 4), isFleet: fc.boolean() }), { maxLength: 4 });

  it('never gives more slots than a pool has, and gives every step a launch or a reason', () => {
    fc.assert(
      fc.property(anyWaiting, anyRunning, (waiting, running) => {
        const steps = waiting.map((item) => waits({ ...item, wanted: item.kind === 'extract' ? item.wanted : 1 }));
        const attempts = running.map((item) => runs(item));
        const { launch, reasons } = admit(steps, attempts, pools, 0);
        const given = launch.reduce(
          (sum, item) => sum + item.attempts * (steps.find((step) => step.stepId === item.stepId)?.slots ?? 0),
          0,
        );
        expect(given + attempts.reduce((sum, attempt) => sum + attempt.slots, 0)).toBeLessThanOrEqual(16);
        for (const step of steps) expect(launch.some((item) => item.stepId === step.stepId) !== reasons.has(step.stepId)).toBe(true);
        for (const item of launch)
          expect(item.attempts).toBeLessThanOrEqual(steps.find((step) => step.stepId === item.stepId)?.wanted ?? 0);
      }),
    );
  });
});
