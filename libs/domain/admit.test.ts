import type { PoolRoom } from '@cairn/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admit, type PoolCapacity, type RunningAttempt, type WaitingStep } from './index.ts';

let counter = 0;
const waits = (change: Partial<WaitingStep> = {}): WaitingStep => {
  counter += 1;
  return {
    stepId: `s${counter}`,
    runId: 'r',
    runName: 'mini',
    name: `step-${counter}`,
    isFleet: false,
    owner: 'ada',
    priority: 0,
    readyAt: counter,
    notBefore: null,
    pool: 'gpu',
    slots: 8,
    live: 0,
    wanted: 1,
    openShards: null,
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
    leasedShards: 0,
    ...change,
  };
};
const slotsOnly = { attemptSlots: null, room: null };
const pools = [
  { name: 'gpus', slots: 16, ...slotsOnly },
  { name: 'tasks', slots: 2, ...slotsOnly },
];
const nodes = ['node a: 3 of 8 GPUs free', 'node b: cordoned'];
/** Pods of 8 GPUs on nodes that are known. */
const pods = (room: Partial<PoolRoom> = {}, slots = 32): PoolCapacity[] => [
  { name: 'gpus', slots, attemptSlots: 8, room: { fits: 0, leaving: 0, sentences: nodes, nodes: [], ...room } },
];

describe('admit', () => {
  it('starts the larger priority first, then the owner with fewer busy slots, then the older step', () => {
    const old = waits();
    const young = waits();
    const urgent = waits({ priority: 5 });
    expect(admit([young, old, urgent], [], pools, 0).launch.map((item) => item.stepId)).toEqual([urgent.stepId, old.stepId]);
    const rich = waits({ owner: 'bob' });
    const poor = waits({ owner: 'eve' });
    expect(admit([rich, poor], [runs()], pools, 0).launch.map((item) => item.stepId)).toEqual([poor.stepId]);
  });

  it('names the steps that hold the slots, and the step that a step waits behind', () => {
    const head = waits({ slots: 16 });
    const behind = waits({ slots: 16 });
    const holder = runs();
    const { launch, reasons } = admit([head, behind], [holder], pools, 0);
    expect(launch).toEqual([]);
    expect(reasons.get(head.stepId)).toEqual({
      code: 'capacity',
      sentence: 'needs 16 slots of pool gpus, where 8 of 16 are free; extract_index of other holds the rest',
      attemptIds: [holder.attemptId],
    });
    expect(reasons.get(behind.stepId)).toEqual({
      code: 'behind',
      sentence: `waiting behind ${head.name} of mini, which needs 16 of the 16 slots of pool gpus`,
      stepId: head.stepId,
    });
  });

  it('backfills behind the head only with what can run in parallel with it', () => {
    const head = waits({ slots: 12 });
    const small = waits({ slots: 4 });
    const large = waits({ slots: 8 });
    const { launch } = admit([head, large, small], [runs({ slots: 8 })], pools, 0);
    expect(launch.map((item) => item.stepId)).toEqual([small.stepId]);
  });

  it('counts the other steps that wait between the head and a step', () => {
    const [head, between, last] = [waits({ slots: 16 }), waits({ slots: 16 }), waits({ slots: 16 })];
    const steps = [head, between, last];
    expect(admit(steps, [runs()], pools, 0).reasons.get(last.stepId)?.sentence).toBe(
      `waiting behind ${head.name} of mini, which needs 16 of the 16 slots of pool gpus, and behind 1 more`,
    );
  });

  describe('shrinks a fleet for a training step', () => {
    const fleet = [
      runs({ isFleet: true, leasedShards: 8, startedAt: 3 }),
      runs({ isFleet: true, leasedShards: 2, startedAt: 1 }),
      runs({ isFleet: true, leasedShards: 2, startedAt: 2 }),
    ] as const;
    const slots24 = [{ name: 'gpus', slots: 24, ...slotsOnly }];
    const shrunk = (attempts: readonly RunningAttempt[], capacity: PoolCapacity[] = slots24, slots = 8) =>
      admit([waits({ slots })], attempts, capacity, 0).shrink.map((item) => item.attemptId);

    it('the least busy attempt first, the youngest on a tie', () => {
      expect(shrunk(fleet)).toEqual([fleet[2].attemptId]);
      expect(shrunk(fleet, slots24, 16)).toEqual([fleet[2].attemptId, fleet[1].attemptId]);
    });

    it('no further than needed: attempts that are stopping count', () => {
      expect(shrunk([{ ...fleet[0], stopping: true }, fleet[1], fleet[2]])).toEqual([]);
    });

    it('when no node has room although slots are free, and not again while an ended pod leaves its node', () => {
      expect(shrunk(fleet, pods())).toEqual([fleet[2].attemptId]);
      expect(shrunk(fleet, pods({ leaving: 1 }))).toEqual([]);
      expect(shrunk(fleet, pods({ fits: 1 }))).toEqual([]);
    });

    it('never when it would not help: too small a fleet, another extraction', () => {
      expect(shrunk([fleet[0], runs(), runs()], slots24, 16)).toEqual([]);
      expect(admit([waits({ isFleet: true })], fleet, slots24, 0).shrink).toEqual([]);
    });
  });

  it('grows a fleet into the remaining slots, after every step has a first attempt', () => {
    const fleet = waits({ isFleet: true, slots: 4, wanted: 6 });
    const train = waits({ slots: 8 });
    const { launch, reasons } = admit([fleet, train], [], pools, 0);
    expect(launch).toEqual([
      { stepId: train.stepId, pool: 'gpus', slots: 8, attempts: 1 },
      { stepId: fleet.stepId, pool: 'gpus', slots: 4, attempts: 2 },
    ]);
    expect(reasons.size).toBe(0);
  });

  it('holds a step back until its backoff has passed', () => {
    const step = waits({ notBefore: 5_000 });
    expect(admit([step], [], pools, 1_000).reasons.get(step.stepId)?.sentence).toBe('retrying in 4 s after a failed attempt');
    expect(admit([step], [], pools, 5_000).launch).toHaveLength(1);
  });

  it('says when no pool is large enough', () => {
    const step = waits({ slots: 32 });
    expect(admit([step], [], pools, 0).reasons.get(step.stepId)?.sentence).toBe(
      'needs 32 slots at once, but the largest pool gives an attempt only 16',
    );
    const ranks16 = waits({ slots: 16 });
    expect(admit([ranks16], [], pods({ fits: 4 }), 0).reasons.get(ranks16.stepId)?.sentence).toBe(
      'needs 16 slots at once, but the largest pool gives an attempt only 8',
    );
  });

  it('distinguishes a controller that has not reported its pools yet from pools of which none fits the step', () => {
    const step = waits();
    expect(admit([step], [], [], 0).reasons.get(step.stepId)).toEqual({
      code: 'launching',
      sentence: 'the controller has not reported its pools yet',
    });
    const tasks = pools.filter((pool) => pool.name === 'tasks');
    expect(admit([step], [], tasks, 0).reasons.get(step.stepId)).toEqual({
      code: 'capacity',
      sentence: 'no pool is configured for this kind of step',
    });
  });

  describe('in a pool of pods', () => {
    it('gives an attempt all slots of its pod, even when its step asks for one', () => {
      const step = waits({ slots: 1 });
      expect(admit([step], [], pods({ fits: 1 }), 0).launch).toEqual([{ stepId: step.stepId, pool: 'gpus', slots: 8, attempts: 1 }]);
    });

    it('starts no more than the nodes can hold now, and says what each node lacks and what runs there', () => {
      const [first, second] = [waits(), waits()];
      const { launch, reasons } = admit([first, second], [runs()], pods({ fits: 1 }), 0);
      expect(launch.map((item) => item.stepId)).toEqual([first.stepId]);
      expect(reasons.get(second.stepId)).toMatchObject({
        code: 'capacity',
        sentence: 'no machine of pool gpus can hold it now: node a: 3 of 8 GPUs free; node b: cordoned; extract_index of other runs there',
      });
    });

    it('names the step that is ahead for the same nodes', () => {
      const [head, next] = [waits(), waits()];
      expect(admit([head, next], [], pods(), 0).reasons.get(next.stepId)?.sentence).toBe(
        `waiting behind ${head.name} of mini, which needs room in pool gpus (node a: 3 of 8 GPUs free; node b: cordoned)`,
      );
    });

    it('names only a few of many nodes', () => {
      const step = waits();
      const sentences = Array.from({ length: 9 }, (_, index) => `node ${index}: full`);
      expect(admit([step], [], pods({ sentences }), 0).reasons.get(step.stepId)?.sentence).toBe(
        'no machine of pool gpus can hold it now: node 0: full; node 1: full; node 2: full; node 3: full; and 5 more',
      );
    });

    it('takes the next pool when the nodes of the first are full', () => {
      const step = waits();
      const both = [...pods(), { name: 'local', slots: 8, ...slotsOnly }];
      expect(admit([step], [], both, 0).launch).toMatchObject([{ pool: 'local' }]);
    });

    it('starts no more pods of a fleet than there are shards for their GPUs', () => {
      const fleet = waits({ isFleet: true, slots: 1, wanted: 9, openShards: 9 });
      expect(admit([fleet], [], pods({ fits: 4 }), 0).launch).toMatchObject([{ attempts: 2 }]);
      const growing = { ...fleet, live: 2, wanted: 4 };
      const mine = [runs({ stepId: fleet.stepId, isFleet: true }), runs({ stepId: fleet.stepId, isFleet: true })];
      expect(admit([growing], mine, pods({ fits: 2 }), 0).launch).toEqual([]);
    });
  });

  const anyWaiting = fc.array(
    fc.record({
      isFleet: fc.boolean(),
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
        const steps = waiting.map((item) => waits({ ...item, wanted: item.isFleet ? item.wanted : 1 }));
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

  it('never starts more pods than the nodes can hold', () => {
    fc.assert(
      fc.property(anyWaiting, fc.integer({ min: 0, max: 3 }), (waiting, fits) => {
        const steps = waiting.map((item) => waits({ ...item, wanted: item.isFleet ? item.wanted : 1 }));
        const { launch, reasons } = admit(steps, [], pods({ fits }), 0);
        expect(launch.reduce((sum, item) => sum + item.attempts, 0)).toBeLessThanOrEqual(fits);
        for (const step of steps) expect(launch.some((item) => item.stepId === step.stepId) !== reasons.has(step.stepId)).toBe(true);
      }),
    );
  });
});
