import { posix } from 'node:path';
import {
  githubPullRequest as githubPullSchema,
  githubPush as githubPushSchema,
  gitlabMergeRequest as gitlabMergeSchema,
  gitlabPush as gitlabPushSchema,
  standardDelivery as standardSchema,
  triggerFilter,
} from '@cairn/contract';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { decideDelivery, groupName, isAllowedBy, matchesGlob, subjectOf } from './decide-delivery.ts';
import { type DeliveredCommit, historyOf, newerDelivery } from './newer-delivery.ts';
import { type HookEvent, readDelivery } from './read-delivery.ts';

const commit = 'c'.repeat(40);
const push: HookEvent = {
  event: 'push',
  action: null,
  branch: 'main',
  tag: null,
  source: { provider: 'github', repository: 'example/landmarks', commit, ref: 'main', pullRequest: null, url: null },
  labels: [],
  addedLabels: [],
  paths: ['recipes/landmark.yaml', 'README.md'],
  isFork: false,
  happenedAt: null,
  before: null,
};
const pull: HookEvent = {
  ...push,
  event: 'pull_request',
  action: 'synchronize',
  source: { ...push.source, ref: 'topic', pullRequest: 7 },
  labels: ['retrain'],
  paths: null,
};

describe('patterns', () => {
  test('agree with those of Node', () => {
    const part = fc.stringMatching(/^[ab]{1,4}$/);
    const mark = fc.oneof(
      fc.constant('**'),
      fc.stringMatching(/^[ab*?]{1,4}$/).filter((text) => !text.includes('**')),
    );
    const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const pattern = fc
      .array(mark, { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join('/'))
      // Node wants at least one name for a `**` at the end.
      .filter((text) => !text.endsWith('**'));
    fc.assert(
      fc.property(path, pattern, (given, rule) => {
        expect(matchesGlob(given, rule), `${given} by ${rule}`).toBe(posix.matchesGlob(given, rule));
      }),
      { numRuns: 500 },
    );
  });

  test('take names with dots and letters of any script, and long names in little time', () => {
    expect(matchesGlob('.github/workflows/a.yml', '**')).toBe(true);
    expect(matchesGlob('release/café', 'release/caf?')).toBe(true);
    expect(matchesGlob('a'.repeat(20_000), `${'*a'.repeat(60)}b`)).toBe(false);
  });

  test('are taken in order, exceptions with an exclamation mark', () => {
    expect(isAllowedBy([], 'main')).toBe(true);
    expect(isAllowedBy(['release/**', '!release/**/alpha'], 'release/2/alpha')).toBe(false);
    expect(isAllowedBy(['release/**', '!release/**/alpha'], 'release/2')).toBe(true);
    expect(isAllowedBy(['!docs/**'], 'src/a')).toBe(true);
  });
});

describe('decisions', () => {
  const decide = (filter: z.input<typeof triggerFilter>, event: HookEvent) => {
    const { verdict, reason } = decideDelivery(triggerFilter.parse(filter), event);
    return `${verdict}: ${reason}`;
  };
  const pulls = { events: ['pull_request'] };
  const rows: [string, z.input<typeof triggerFilter>, HookEvent, string][] = [
    ['a push', {}, push, 'start: push to main'],
    ['an event that is not listed', {}, pull, 'ignore: the trigger takes push, not pull_request'],
    ['a branch that is not listed', { branches: ['release/*'] }, push, 'ignore: the branch main is not one of release/*'],
    ['a changed file', { paths: ['recipes/**'] }, push, 'start: push to main'],
    ['no changed file', { paths: ['src/**'] }, push, 'ignore: none of its 2 changed files is one of src/**'],
    [
      'files that are not listed',
      { paths: ['src/**'] },
      { ...push, paths: null },
      'start: push to main; the delivery does not list every changed file, so no path is excluded',
    ],
    [
      'more names and patterns than can be compared in little time',
      { paths: Array.from({ length: 50 }, () => `${'*a'.repeat(99)}b`) },
      { ...push, paths: Array.from({ length: 1_000 }, () => 'a'.repeat(500)) },
      'start: push to main; its changed files are too many to be compared, so no path is excluded',
    ],
    ['a tag', { events: ['tag'], tags: ['v*'] }, { ...push, event: 'tag', branch: null, tag: 'v1' }, 'start: tag v1'],
    [
      'another tag',
      { events: ['tag'], tags: ['v*'] },
      { ...push, event: 'tag', branch: null, tag: 'x' },
      'ignore: the tag x is not one of v*',
    ],
    ['a pull request', pulls, pull, 'start: pull request 7 has new commits'],
    ['one into another branch', { ...pulls, branches: ['release/*'] }, pull, 'ignore: the branch main is not one of release/*'],
    ['one with a label', { ...pulls, labels: ['retrain', 'gpu'] }, pull, 'start: pull request 7 has new commits'],
    ['one without', { ...pulls, labels: ['gpu'] }, pull, 'ignore: pull request 7 has none of the labels gpu'],
    [
      'the label added',
      { ...pulls, labels: ['retrain'] },
      { ...pull, action: 'labeled', addedLabels: ['retrain'] },
      'start: pull request 7 got a label',
    ],
    [
      'another label added',
      { ...pulls, labels: ['retrain'] },
      { ...pull, action: 'labeled', addedLabels: ['docs'] },
      'ignore: the label docs was added, which is not one of retrain',
    ],
    [
      'a label that nobody waits for',
      pulls,
      { ...pull, action: 'labeled', addedLabels: ['docs'] },
      'ignore: the label docs was added, and the trigger waits for none',
    ],
    [
      'a fork',
      pulls,
      { ...pull, isFork: true },
      'hold: pull request 7 has new commits; it is from a fork, so it waits until a person releases it',
    ],
    ['a fork with nothing to do', {}, { ...pull, isFork: true }, 'ignore: the trigger takes push, not pull_request'],
  ];
  test.each(rows)('%s', (_, filter, event, expected) => expect(decide(filter, event)).toBe(expected));
});

test('groups are names, and differ where their subjects do', () => {
  const template = '{trigger}-{subject}';
  const onBranch = (branch: string) => groupName(template, 'landmark', { ...push, branch });
  expect(onBranch('main')).toBe('landmark-main');
  expect(groupName(template, 'landmark', pull)).toBe('landmark-pr-7');
  expect(onBranch('a/b')).toMatch(/^landmark-a-b-[0-9a-f]{8}$/);
  expect(onBranch('a-b')).toBe('landmark-a-b');
  expect(onBranch('ä'.repeat(200))).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/);
  expect(new Set([onBranch('x'.repeat(100)), onBranch('x'.repeat(101))]).size).toBe(2);
});

describe('deliveries', () => {
  const files = { added: ['a'], modified: ['b'], removed: [] };
  const githubPush = {
    ref: 'refs/heads/topic/ä',
    before: '0'.repeat(40),
    after: commit,
    repository: { full_name: 'example/landmarks' },
    head_commit: { id: commit, url: `https://github.com/example/landmarks/commit/${commit}` },
    commits: [files, { ...files, added: ['b', 'c'] }],
  };
  const githubPull = {
    action: 'opened',
    number: 7,
    repository: { id: 1, full_name: 'example/landmarks' },
    pull_request: {
      html_url: 'https://github.com/example/landmarks/pull/7',
      head: { sha: commit, ref: 'topic', repo: { id: 1, full_name: 'example/landmarks' } },
      base: { ref: 'main' },
      labels: [{ name: 'retrain' }],
    },
  };
  const gitlabPush = {
    ref: 'refs/heads/main',
    before: 'b'.repeat(40),
    after: commit,
    checkout_sha: commit,
    project: { path_with_namespace: 'group/landmarks', web_url: 'https://gitlab.example.com/group/landmarks' },
    commits: [files],
    total_commits_count: 1,
  };
  const merge = {
    project: { path_with_namespace: 'group/landmarks' },
    object_attributes: {
      ...{ iid: 7, action: 'update', oldrev: 'b'.repeat(40), source_branch: 'topic', target_branch: 'main', last_commit: { id: commit } },
      ...{ source_project_id: 1, target_project_id: 1, url: 'https://gitlab.example.com/group/landmarks/-/merge_requests/7' },
    },
    labels: [{ title: 'retrain' }],
  };
  const read = (...args: Parameters<typeof readDelivery>) => {
    const result = readDelivery(...args);
    if (!('event' in result)) return Object.values(result)[0];
    const { event, branch, tag, paths, isFork, source } = result.event;
    return [
      subjectOf(result.event),
      event,
      branch ?? tag,
      paths?.join(' ') ?? null,
      isFork,
      source.repository,
      source.ref,
      source.url !== null,
    ];
  };
  const changed = <T extends object>(value: T, change: object): object => ({ ...value, ...change });
  const changedMerge = (change: object) => changed(merge, { object_attributes: { ...merge.object_attributes, ...change } });
  const changedPull = (change: object) => changed(githubPull, { pull_request: { ...githubPull.pull_request, ...change } });

  test('of GitHub', () => {
    expect(read('github', 'ping', {})).toContain('which works');
    expect(read('github', 'push', githubPush)).toEqual([
      'push to topic/ä',
      'push',
      'topic/ä',
      'a b c',
      false,
      'example/landmarks',
      'topic/ä',
      true,
    ]);
    expect(read('github', 'push', changed(githubPush, { commits: [] }))?.[3]).toBeNull();
    expect(read('github', 'push', changed(githubPush, { ref: 'refs/tags/v1' }))?.[0]).toBe('tag v1');
    expect(read('github', 'push', changed(githubPush, { deleted: true }))).toBe('topic/ä was deleted');
    expect(read('github', 'push', changed(githubPush, { ref: 'refs/pull/7/head' }))).toContain('neither a branch nor a tag');
    expect(read('github', 'push', [])).toContain('the body');
    expect(read('github', 'pull_request', githubPull)).toEqual([
      'pull request 7 was opened',
      'pull_request',
      'main',
      null,
      false,
      'example/landmarks',
      'topic',
      true,
    ]);
    expect(read('github', 'pull_request', changed(githubPull, { action: 'closed' }))).toBe(
      'pull request 7 was closed, which starts nothing',
    );
    const fork = { sha: commit, ref: 'main', repo: { id: 2, full_name: 'someone/landmarks' } };
    expect(read('github', 'pull_request', changedPull({ head: fork }))?.[4]).toBe(true);
    expect(read('github', 'pull_request', changedPull({ head: { ...fork, repo: null } }))?.[4]).toBe(true);
    expect(read('github', 'pull_request', changedPull({ html_url: 'javascript:alert(1)' }))?.[7]).toBe(false);
    expect(read('github', 'issues', {})).toBe('events of the kind "issues" start nothing');
    const many = Array.from({ length: 1_001 }, (_, index) => `file-${index}`);
    expect(read('github', 'push', changed(githubPush, { commits: [{ added: many }] }))?.[3]).toBeNull();
  });

  test('of GitLab', () => {
    expect(read('gitlab', 'Push Hook', gitlabPush)).toEqual([
      'push to main',
      'push',
      'main',
      'a b',
      false,
      'group/landmarks',
      'main',
      true,
    ]);
    expect(read('gitlab', 'Push Hook', changed(gitlabPush, { total_commits_count: 21 }))?.[3]).toBeNull();
    expect(read('gitlab', 'Push Hook', changed(gitlabPush, { after: '0'.repeat(40), checkout_sha: null }))).toBe('main was deleted');
    expect(read('gitlab', 'Tag Push Hook', changed(gitlabPush, { ref: 'refs/tags/v1' }))?.[0]).toBe('tag v1');
    expect(read('gitlab', 'Merge Request Hook', merge)?.[0]).toBe('pull request 7 has new commits');
    expect(read('gitlab', 'Merge Request Hook', changedMerge({ action: 'open' }))?.[0]).toBe('pull request 7 was opened');
    expect(read('gitlab', 'Merge Request Hook', changedMerge({ source_project_id: 2 }))?.[4]).toBe(true);
    const edited = changedMerge({ oldrev: undefined });
    expect(read('gitlab', 'Merge Request Hook', edited)).toContain('without new commits or labels');
    const labelled = changed(edited, { changes: { labels: { previous: [], current: [{ title: 'gpu' }] } } });
    expect(read('gitlab', 'Merge Request Hook', labelled)?.[0]).toBe('pull request 7 got a label');
  });

  test('of other programs', () => {
    const sent = { event: 'nightly', repository: 'r', commit, ref: 'main' };
    expect(read('standard', null, sent)).toEqual(['nightly of main', 'nightly', 'main', null, false, 'r', 'main', false]);
    expect(read('standard', null, { ...sent, event: 'push', ref: 'refs/heads/x', paths: ['a'] })).toEqual([
      'push to x',
      'push',
      'x',
      'a',
      false,
      'r',
      'x',
      false,
    ]);
    expect(read('standard', null, { ...sent, event: 'pull_request' })).toContain('pullRequest is missing');
    expect(read('standard', null, { ...sent, event: 'pull_request', pullRequest: 3, target: 'main', ref: 't', fork: true })).toEqual([
      'pull request 3 has new commits',
      'pull_request',
      'main',
      null,
      true,
      'r',
      't',
      false,
    ]);
    expect(read('standard', null, { ...sent, commit: 'main' })).toContain('commit: ');
    expect(read('standard', null, { ...sent, ref: '' })).toBe('ref: expected the name of a branch or tag');
  });

  test('say when they happened and which commit was before, in the words of each sender', () => {
    const order = (...args: Parameters<typeof readDelivery>) => {
      const result = readDelivery(...args);
      if (!('event' in result)) return result;
      const { happenedAt, before } = result.event;
      return [happenedAt?.toISOString() ?? null, before?.[0] ?? null, historyOf(result.event)];
    };
    const atGithub = 'example/landmarks branch topic/ä';
    expect(order('github', 'push', githubPush)).toEqual([null, null, atGithub]);
    const pushed = { before: 'b'.repeat(40), repository: { ...githubPush.repository, pushed_at: 1_796_000_000 } };
    expect(order('github', 'push', changed(githubPush, pushed))).toEqual(['2026-11-30T00:53:20.000Z', 'b', atGithub]);
    const synchronized = { ...changedPull({ updated_at: '2026-01-02T03:04:05Z' }), before: 'b'.repeat(40) };
    expect(order('github', 'pull_request', synchronized)).toEqual(['2026-01-02T03:04:05.000Z', 'b', 'example/landmarks pull request 7']);
    expect(order('gitlab', 'Push Hook', gitlabPush)).toEqual([null, 'b', 'group/landmarks branch main']);
    // Older versions of GitLab write times in this form.
    expect(order('gitlab', 'Merge Request Hook', changedMerge({ updated_at: '2026-01-02 03:04:05 UTC' }))).toEqual([
      '2026-01-02T03:04:05.000Z',
      'b',
      'group/landmarks pull request 7',
    ]);
    for (const updated_at of ['yesterday', { at: 1 }, -1e300, null])
      expect(order('gitlab', 'Merge Request Hook', changedMerge({ updated_at }))).toMatchObject([null, 'b', {}]);
    const sent = { event: 'tag', repository: 'r', commit, ref: 'v1' };
    expect(order('standard', null, { ...sent, at: '2026-01-02T04:04:05+01:00' })).toEqual(['2026-01-02T03:04:05.000Z', null, 'r tag v1']);
    expect(order('standard', null, { ...sent, at: 'noon' })).toMatchObject({ unreadable: expect.stringContaining('at: ') });
    const { commit: _, ...without } = sent;
    expect(order('standard', null, without)).toEqual({ unreadable: 'commit: missing, expected a string' });
    expect(order('standard', null, { ...sent, ref: 5 })).toEqual({ unreadable: 'ref: expected a string, not a number' });
  });

  test.each([
    ['commits', githubPushSchema, changed(githubPush, { commits: Array(3_000).fill(1) })],
    ['names of files', githubPushSchema, changed(githubPush, { commits: [{ added: Array(3_000).fill(1) }] })],
    ['labels', githubPullSchema, changedPull({ labels: Array(3_000).fill(1) })],
    ['commits of GitLab', gitlabPushSchema, changed(gitlabPush, { commits: Array(3_000).fill(1) })],
    ['labels of GitLab', gitlabMergeSchema, changed(merge, { labels: Array(3_000).fill(1) })],
    ['labels of others', standardSchema, { event: 'x', repository: 'r', commit, ref: 'main', labels: Array(3_000).fill(1) }],
    ['names of others', standardSchema, { event: 'x', repository: 'r', commit, ref: 'main', paths: Array(3_000).fill(1) }],
  ])('with any number of wrong %s have one error: a body has room for millions', (_, schema, body) => {
    expect(schema.safeParse(body).error?.issues).toHaveLength(1);
  });
});

describe('the newest delivery of a branch', () => {
  const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
  /** Pushes of c1 on c0, of c2 on c1 and so on. */
  const history = (length: number, timeOf: (step: number) => Date | null): DeliveredCommit[] =>
    Array.from({ length }, (_, step) => ({
      ...{ id: `d${step + 1}`, before: `c${step}`, commit: `c${step + 1}`, happenedAt: timeOf(step), starts: true },
    }));
  /** Receives deliveries one after the other; the ids of those that start a run. */
  const started = (arrivals: readonly DeliveredCommit[]): string[] => {
    const received: DeliveredCommit[] = [];
    for (const delivery of arrivals)
      received.push({ ...delivery, starts: delivery.starts && newerDelivery(delivery, [...received, delivery]) === null });
    return received.filter(({ starts }) => starts).map(({ id }) => id);
  };

  test('is the last one to start a run, in whatever order they arrive, where the sender gives times', () => {
    const shuffled = fc
      .integer({ min: 1, max: 8 })
      .chain((length) => fc.shuffledSubarray(history(length, at), { minLength: length, maxLength: length }));
    fc.assert(
      fc.property(shuffled, (arrivals) => {
        const runs = started(arrivals).map((id) => Number(id.slice(1)));
        expect(runs.at(-1)).toBe(arrivals.length);
        // Each starts only if it is newer than all before it.
        expect(runs).toEqual(runs.toSorted((a, b) => a - b));
      }),
    );
  });

  test('is known from the commits before where there are no times, also over one that started nothing', () => {
    const [first, second, third] = history(3, () => null) as [DeliveredCommit, DeliveredCommit, DeliveredCommit];
    expect(started([first, second, third])).toEqual(['d1', 'd2', 'd3']);
    expect(started([second, first])).toEqual(['d2']);
    expect(started([second, third, first])).toEqual(['d2', 'd3']);
    expect(started([{ ...second, starts: false }, third, first])).toEqual(['d3']);
    // What came after it started nothing: its commit is not lost.
    expect(started([{ ...second, starts: false }, first])).toEqual(['d1']);
  });

  test('is the later arrival where nothing tells, and where a branch was set back and pushed again', () => {
    const push = (id: string, before: string, commit: string, happenedAt: Date | null = null) => ({
      id,
      before,
      commit,
      happenedAt,
      starts: true,
    });
    expect(started([push('d1', 'a', 'b'), push('d2', 'x', 'y')])).toEqual(['d1', 'd2']);
    expect(started([push('d1', 'a', 'b'), push('d2', 'b', 'a'), push('d3', 'a', 'b')])).toEqual(['d1', 'd2', 'd3']);
    // Within one second the commits before tell, and a push of the same commit does not stand in its own way.
    expect(started([push('d2', 'b', 'c', at(1)), push('d1', 'a', 'b', at(1))])).toEqual(['d2']);
    expect(started([push('d1', 'a', 'a'), push('d2', 'a', 'a')])).toEqual(['d1', 'd2']);
  });
});
