import { attemptState, isEndedRun, isEndedStep, isLiveAttempt, runState, runStates, stepState, stepStates } from '@cairn/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advance, type RunBrief, type StepBrief, type Transition } from './index.ts';

const step = (name: string, change: Partial<StepBrief> = {}): StepBrief => ({
  id: `id-${name}`,
  name,
  state: 'blocked',
  needs: [],
  attempts: [],
  artifact: { state: 'none', elsewhere: false },
  shards: null,
  finalizing: false,
  failures: {},
  ...change,
});
const building = { state: 'building', elsewhere: false } as const;
const ready = { state: 'ready', elsewhere: false } as const;

describe('advance', () => {
  it('makes a step ready when all steps that it needs are done', () => {
    const run: RunBrief = {
      state: 'running',
      steps: [
        step('a', { state: 'reused', artifact: ready }),
        step('b', { state: 'active', artifact: building, attempts: [{ id: '1', state: 'running' }] }),
        step('c', { needs: ['a'] }),
        step('d', { needs: ['a', 'b'] }),
      ],
    };
    expect(advance(run)).toEqual([{ type: 'step', stepId: 'id-c', from: 'blocked', to: 'ready', cause: null }]);
  });

  it('looks up the result of a ready step first', () => {
    expect(advance({ state: 'queued', steps: [step('a', { state: 'ready' })] })).toEqual([{ type: 'claim', stepId: 'id-a' }]);
  });

  it('waits for a result that another run is building', () => {
    expect(advance({ state: 'running', steps: [step('a', { state: 'ready', artifact: { state: 'building', elsewhere: true } })] })).toEqual(
      [],
    );
  });

  it('reuses a result that is ready', () => {
    expect(advance({ state: 'running', steps: [step('a', { state: 'ready', artifact: ready })] })).toMatchObject([{ to: 'reused' }]);
  });

  it('retries a step when its attempt was lost and the budget allows', () => {
    const lost = step('a', {
      state: 'active',
      artifact: building,
      attempts: [{ id: '1', state: 'lost' }],
      failures: { infrastructure: 1 },
    });
    expect(advance({ state: 'running', steps: [lost] })).toMatchObject([{ from: 'active', to: 'ready' }]);
  });

  it('fails a step whose cause has no retry budget, and cancels the steps that wait', () => {
    const failed = step('a', { state: 'active', artifact: building, attempts: [{ id: '1', state: 'failed' }], failures: { data: 1 } });
    expect(advance({ state: 'running', steps: [failed, step('b', { needs: ['a'] })] })).toMatchObject([
      { stepId: 'id-a', to: 'failed', cause: 'data' },
    ]);
    expect(advance({ state: 'running', steps: [{ ...failed, state: 'failed' }, step('b', { needs: ['a'] })] })).toMatchObject([
      { stepId: 'id-b', to: 'cancelled' },
    ]);
  });

  it('lets steps that run in parallel with a failed one end before the run fails', () => {
    const steps = [
      step('a', { state: 'failed' }),
      step('b', { state: 'active', artifact: building, attempts: [{ id: '1', state: 'running' }] }),
    ];
    expect(advance({ state: 'running', steps })).toEqual([]);
    expect(
      advance({ state: 'running', steps: [step('a', { state: 'failed' }), step('b', { state: 'succeeded', artifact: ready })] }),
    ).toMatchObject([{ type: 'run', to: 'failed' }]);
  });

  it('stops the rest of a fleet when the step has failed for good', () => {
    const fleet = step('a', {
      state: 'active',
      artifact: building,
      shards: { total: 8, committed: 8 },
      failures: { data: 1 },
      attempts: [
        { id: '1', state: 'succeeded' },
        { id: '2', state: 'running' },
      ],
    });
    expect(advance({ state: 'running', steps: [fleet] })).toMatchObject([{ type: 'stop', attemptId: '2', cause: 'step_failed' }]);
  });

  it('asks for finalizing once when the step is complete, and waits for it', () => {
    const single = step('a', { state: 'active', artifact: building, attempts: [{ id: '1', state: 'succeeded' }] });
    const fleet = step('a', {
      state: 'active',
      artifact: building,
      shards: { total: 8, committed: 8 },
      // Its last worker has not ended yet.
      attempts: [{ id: '1', state: 'running' }],
    });
    for (const whole of [single, fleet]) {
      expect(advance({ state: 'running', steps: [whole] })).toEqual([{ type: 'finalize', stepId: 'id-a' }]);
      expect(advance({ state: 'running', steps: [{ ...whole, finalizing: true }] })).toEqual([]);
      expect(advance({ state: 'running', steps: [{ ...whole, finalizing: true, artifact: ready }] })).toMatchObject([{ to: 'succeeded' }]);
    }
  });

  it('starts no worker while a failed finalizing attempt can be retried, and fails the step when it cannot', () => {
    const whole = step('a', {
      state: 'active',
      artifact: building,
      shards: { total: 8, committed: 8 },
      finalizing: true,
      attempts: [{ id: '1', state: 'failed' }],
    });
    expect(advance({ state: 'running', steps: [{ ...whole, failures: { infrastructure: 5 } }] })).toEqual([]);
    expect(advance({ state: 'running', steps: [{ ...whole, failures: { infrastructure: 6 } }] })).toMatchObject([{ to: 'failed' }]);
  });

  it('stops a finalizing attempt when its run is cancelled', () => {
    const whole = step('a', {
      state: 'active',
      artifact: building,
      shards: { total: 8, committed: 8 },
      finalizing: true,
      attempts: [{ id: '1', state: 'running' }],
    });
    expect(advance({ state: 'cancelling', steps: [whole] })).toMatchObject([{ type: 'stop', attemptId: '1' }]);
  });

  it('starts another worker when a fleet ended with uncommitted shards', () => {
    const fleet = step('a', {
      state: 'active',
      artifact: building,
      shards: { total: 8, committed: 5 },
      attempts: [{ id: '1', state: 'succeeded' }],
    });
    expect(advance({ state: 'running', steps: [fleet] })).toMatchObject([{ from: 'active', to: 'ready' }]);
  });

  it('cancels live attempts first, then the steps, then the run', () => {
    const active = step('a', { state: 'active', artifact: building, attempts: [{ id: '1', state: 'running' }] });
    expect(advance({ state: 'cancelling', steps: [active, step('b')] })).toMatchObject([
      { type: 'stop', attemptId: '1', cause: 'cancelled' },
      { stepId: 'id-b', to: 'cancelled' },
    ]);
    const stopped = { ...active, attempts: [{ id: '1', state: 'preempted' as const }] };
    expect(advance({ state: 'cancelling', steps: [stopped] })).toMatchObject([{ stepId: 'id-a', to: 'cancelled' }]);
    expect(advance({ state: 'cancelling', steps: [step('a', { state: 'cancelled' })] })).toMatchObject([{ type: 'run', to: 'cancelled' }]);
  });
});

// Properties that hold for any view ------------------------------------------------------------------------------------

const anyStep = (index: number): fc.Arbitrary<StepBrief> =>
  fc.record({
    id: fc.constant(`id-${index}`),
    name: fc.constant(String(index)),
    state: fc.constantFrom(...stepState.options),
    needs: index === 0 ? fc.constant<string[]>([]) : fc.subarray(Array.from({ length: index }, (_, i) => String(i))),
    attempts: fc.array(fc.record({ id: fc.uuid(), state: fc.constantFrom(...attemptState.options) }), { maxLength: 3 }),
    artifact: fc.constantFrom({ state: 'none' as const, elsewhere: false }, building, ready, {
      state: 'building' as const,
      elsewhere: true,
    }),
    shards: fc.option(fc.record({ total: fc.constant(4), committed: fc.integer({ min: 0, max: 4 }) })),
    finalizing: fc.boolean(),
    failures: fc.constantFrom({}, { infrastructure: 1 }, { infrastructure: 9 }, { user: 1 }),
  });
const anyRun: fc.Arbitrary<RunBrief> = fc.record({
  state: fc.constantFrom(...runState.options),
  steps: fc.tuple(anyStep(0), anyStep(1), anyStep(2), anyStep(3)),
});

/** Applies a transition as the engine would; a claim finds no result and reserves one. */
function applyTo(run: RunBrief, transition: Transition): RunBrief {
  const change = (stepId: string, patch: (item: StepBrief) => Partial<StepBrief>): RunBrief => ({
    ...run,
    steps: run.steps.map((item) => (item.id === stepId ? { ...item, ...patch(item) } : item)),
  });
  switch (transition.type) {
    case 'run':
      return { ...run, state: transition.to };
    case 'step':
      return change(transition.stepId, () => ({
        state: transition.to,
        ...(transition.to === 'failed' || transition.to === 'cancelled' ? { artifact: { state: 'none', elsewhere: false } } : {}),
      }));
    case 'claim':
      return change(transition.stepId, () => ({ artifact: building }));
    case 'finalize':
      return change(transition.stepId, () => ({ finalizing: true }));
    case 'stop':
      return {
        ...run,
        steps: run.steps.map((item) => ({
          ...item,
          attempts: item.attempts.map((attempt) =>
            attempt.id === transition.attemptId
              ? { ...attempt, state: attempt.state === 'created' ? ('cancelled' as const) : ('stopping' as const) }
              : attempt,
          ),
        })),
      };
  }
}

function settle(run: RunBrief): RunBrief {
  let view = run;
  for (let round = 0; round < 50; round += 1) {
    const transitions = advance(view);
    if (transitions.length === 0) return view;
    for (const transition of transitions) view = applyTo(view, transition);
  }
  throw new Error('advance does not settle');
}

describe('advance, for any view', () => {
  it('allows only transitions of the tables, each from the state the view has', () => {
    fc.assert(
      fc.property(anyRun, (run) => {
        for (const transition of advance(run)) {
          if (transition.type === 'run') {
            expect(transition.from).toBe(run.state);
            expect(runStates[transition.from].next).toContain(transition.to);
          }
          if (transition.type === 'step') {
            expect(transition.from).toBe(run.steps.find((item) => item.id === transition.stepId)?.state);
            expect(stepStates[transition.from].next).toContain(transition.to);
          }
        }
      }),
    );
  });

  it('settles', () => {
    fc.assert(
      fc.property(anyRun, (run) => {
        expect(advance(settle(run))).toEqual([]);
      }),
    );
  });

  it('does not change an ended or held run', () => {
    fc.assert(
      fc.property(anyRun, (run) => {
        if (isEndedRun(run.state) || run.state === 'held') expect(advance(run)).toEqual([]);
      }),
    );
  });

  it('never ends a run while one of its steps can continue', () => {
    fc.assert(
      fc.property(anyRun, (run) => {
        const end = settle(run);
        if (isEndedRun(end.state) && !isEndedRun(run.state)) expect(end.steps.every((item) => isEndedStep(item.state))).toBe(true);
      }),
    );
  });

  it('always ends a run when its attempts end, in any order', () => {
    const graph: RunBrief = {
      state: 'queued',
      steps: [
        step('0'),
        step('1', { needs: ['0'] }),
        step('2', { needs: ['1'], shards: { total: 3, committed: 0 } }),
        step('3', { needs: ['1', '2'] }),
      ],
    };
    const ends = fc.array(fc.constantFrom('succeeded', 'failed', 'lost', 'preempted', 'user'), { minLength: 60, maxLength: 60 });
    fc.assert(
      fc.property(ends, (script) => {
        let run = settle(graph);
        let made = 0;
        for (const end of script) {
          if (isEndedRun(run.state)) break;
          const open = run.steps.find((item) => item.state === 'ready' || item.state === 'active');
          expect(open, 'a live run has something to do').toBeDefined();
          if (!open) return;
          made += 1;
          const started = { ...open, attempts: [...open.attempts, { id: `att-${made}`, state: 'running' as const }] };
          run = settle({ ...run, steps: run.steps.map((item) => (item.id === open.id ? started : item)) });
          const state = end === 'user' ? ('failed' as const) : (end as 'succeeded');
          const cause = end === 'user' ? 'user' : end === 'preempted' ? 'preemption' : 'infrastructure';
          run = settle({
            ...run,
            steps: run.steps.map((item) =>
              item.id === open.id
                ? {
                    ...item,
                    attempts: item.attempts.map((attempt) => (attempt.id === `att-${made}` ? { ...attempt, state } : attempt)),
                    failures: end === 'succeeded' ? item.failures : { ...item.failures, [cause]: (item.failures[cause] ?? 0) + 1 },
                    shards: item.shards && end === 'succeeded' ? { total: item.shards.total, committed: item.shards.total } : item.shards,
                  }
                : item,
            ),
          });
          // Finalizing makes the result ready.
          run = settle({
            ...run,
            steps: run.steps.map((item) =>
              item.id === open.id && item.state === 'active' && end === 'succeeded' ? { ...item, artifact: ready } : item,
            ),
          });
        }
        const unfinished = run.steps.filter((item) => item.attempts.some((attempt) => isLiveAttempt(attempt.state)));
        expect(unfinished).toEqual([]);
      }),
    );
  });
});
