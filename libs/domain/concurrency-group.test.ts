import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decideGroup, type GroupRun } from './index.ts';

const run = (place: number, phase: GroupRun['phase'], onNewer: GroupRun['onNewer'] = 'queue'): GroupRun => ({
  ...{ id: `id-${place}`, name: `run-${place}`, place, phase, onNewer },
});

it('starts the newest run that waits, once no other works or stops, and supersedes the older ones', () => {
  const by = { id: 'id-3', name: 'run-3' };
  expect(decideGroup([run(3, 'waiting'), run(2, 'waiting')])).toEqual([
    { type: 'supersede', runId: 'id-2', by },
    { type: 'start', runId: 'id-3' },
  ]);
  expect(decideGroup([run(1, 'working'), run(3, 'waiting')])).toEqual([]);
  expect(decideGroup([run(1, 'working', 'cancel'), run(3, 'waiting')])).toEqual([{ type: 'supersede', runId: 'id-1', by }]);
  expect(decideGroup([run(1, 'stopping', 'cancel'), run(3, 'waiting')])).toEqual([]);
  expect(decideGroup([run(1, 'working', 'cancel')])).toEqual([]);
});

it('supersedes a run that waits by a newer one that works: it was held while that one came', () => {
  const by = { id: 'id-3', name: 'run-3' };
  for (const onNewer of ['queue', 'cancel'] as const)
    expect(decideGroup([run(3, 'working', onNewer), run(2, 'waiting')])).toEqual([{ type: 'supersede', runId: 'id-2', by }]);
  // One that is being cancelled leaves its place.
  expect(decideGroup([run(3, 'stopping'), run(2, 'waiting')])).toEqual([]);
  expect(decideGroup([run(2, 'waiting')])).toEqual([{ type: 'start', runId: 'id-2' }]);
});

it('ends with at most one run that works and one that waits, the newest, in any order of events', () => {
  const event = fc.oneof(
    fc.record({ type: fc.constant('enter' as const), onNewer: fc.constantFrom('queue' as const, 'cancel' as const) }),
    fc.record({ type: fc.constantFrom('end' as const, 'decide' as const) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      let runs: GroupRun[] = [];
      let places = 0;
      const decide = () => {
        for (let actions = decideGroup(runs); actions.length > 0; actions = decideGroup(runs)) {
          for (const action of actions) {
            const phase = runs.find(({ id }) => id === action.runId)?.phase;
            if (action.type === 'start') expect(runs.filter((one) => one.phase !== 'waiting')).toEqual([]);
            runs = runs.flatMap((one) => {
              if (one.id !== action.runId) return [one];
              if (action.type === 'start') return [{ ...one, phase: 'working' as const }];
              // A run that only waits has nothing to stop.
              return phase === 'waiting' ? [] : [{ ...one, phase: 'stopping' as const }];
            });
          }
        }
      };
      for (const one of events) {
        if (one.type === 'enter') {
          places += 1;
          runs = [...runs, run(places, 'waiting', one.onNewer)];
        } else if (one.type === 'end') runs = runs.filter(({ phase }) => phase === 'waiting');
        decide();
        const waiting = runs.filter(({ phase }) => phase === 'waiting');
        expect(runs.length - waiting.length).toBeLessThanOrEqual(1);
        expect(waiting.length).toBeLessThanOrEqual(1);
        if (runs.length > 0) expect(runs.some(({ place }) => place === places)).toBe(true);
      }
    }),
  );
});
