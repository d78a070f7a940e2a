import { expect, test } from 'vitest';
import { attemptLabel, generationLabel } from '../attempt-labels.ts';
import type { AttemptView } from './attempt-view.ts';
import type { Pod } from './cluster-objects.ts';
import { withoutPromised } from './promised-places.ts';
import { aJob, aPod } from './testing/objects.ts';

const free = { fits: 3, sentences: ['node a: 8 of 8 GPUs free'] };
const podOf = (attemptId: string, phase: string): Pod => {
  const pod = aPod({ phase });
  return { ...pod, metadata: { ...pod.metadata, labels: { [attemptLabel]: attemptId, [generationLabel]: '1' } } };
};
const viewOf = (attemptId: string, pods: Pod[] = []): AttemptView => ({ attemptId, generation: 1, job: aJob(), pods });
const of = (live: string[], views: AttemptView[], placed: Pod[]) => withoutPromised(free, { live: new Set(live), views, placed });

test('an attempt that has no Job yet, and a pod that has no node yet, take the next places', () => {
  expect(of(['made'], [], []).fits).toBe(2);
  expect(of(['made', 'waits'], [viewOf('waits', [podOf('waits', 'Pending')])], [])).toEqual({
    fits: 1,
    leaving: 0,
    sentences: ['the next 2 places are taken by what was just started', 'node a: 8 of 8 GPUs free'],
  });
});

test('a pod on its node takes no further place', () => {
  const pod = podOf('runs', 'Running');
  expect(of(['runs'], [viewOf('runs', [pod])], [pod])).toEqual({ ...free, leaving: 0 });
});

test('a pod that has ended takes none, also while its attempt is not yet recorded as over', () => {
  expect(of(['ended'], [viewOf('ended', [podOf('ended', 'Failed')])], []).fits).toBe(3);
});

test('a pod whose attempt is over is leaving its node', () => {
  const pod = podOf('over', 'Running');
  expect(of([], [viewOf('over', [pod])], [pod])).toMatchObject({ fits: 3, leaving: 1 });
});

test('more promised places than there are leave none', () => {
  expect(of(['a', 'b', 'c', 'd'], [], []).fits).toBe(0);
});
