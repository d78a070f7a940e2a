import { z } from 'zod';
import { isRepositoryPath } from './origin.ts';
import { reportedText } from './text.ts';

// What code hosts and other programs deliver to a trigger: only what is read, because they add fields at any time. Texts are cleaned and
// cut, never rejected: a person of the code host may have written them.

/** The largest body of a delivery: GitHub sends at most 25 MB. */
export const maxHookBytes = 25 * 1024 * 1024;

const commitId = z.string().regex(/^[0-9a-f]{7,64}$/);
const ref = reportedText(300).refine((text) => text !== '', 'expected the name of a branch or tag');
const repositoryName = reportedText(300).refine(isRepositoryPath, 'expected a path such as owner/name');
const pageAddress = z.string().max(2_000).nullish();
/** A list whose items are counted before they are checked: a schema reports an error of each, and a body has room for millions. */
const listOf = <T extends z.ZodType>(item: T, most: number) => z.array(z.unknown()).max(most).pipe(z.array(item));
const isText = (value: unknown): boolean => typeof value === 'string';
const fileList = z.custom<string[]>((value) => Array.isArray(value) && value.every(isText), 'expected names of files').nullish();
/** Files that a commit changed. */
const changedFiles = z.object({ added: fileList, modified: fileList, removed: fileList });
/** Of a push: GitHub sends no more. */
export const maxCommits = 2_048;
const maxLabels = 1_000;
/** A time as code hosts write it: a text, or seconds since 1970. Anything else is as if it were not there. */
const senderTime = z
  .union([z.string().max(100), z.number()])
  .nullish()
  .catch(null);
const number = z.number().int().min(1).max(2_147_483_647);

/** https://docs.github.com/en/webhooks/webhook-events-and-payloads#push */
export const githubPush = z.object({
  ref,
  before: commitId,
  after: commitId,
  deleted: z.boolean().default(false),
  repository: z.object({ full_name: repositoryName, pushed_at: senderTime }),
  head_commit: z.object({ id: commitId, url: pageAddress }).nullish(),
  commits: listOf(changedFiles, maxCommits).default([]),
});

const githubRepository = z.object({ id: z.number(), full_name: repositoryName });

/** https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request */
export const githubPullRequest = z.object({
  action: reportedText(100),
  number,
  /** With `synchronize`: the commit before. */
  before: commitId.nullish().catch(null),
  repository: githubRepository,
  /** With `labeled`: the label that was added. */
  label: z.object({ name: reportedText(100) }).nullish(),
  pull_request: z.object({
    html_url: pageAddress,
    updated_at: senderTime,
    /** `repo` is null where the fork was deleted. */
    head: z.object({ sha: commitId, ref, repo: githubRepository.nullable() }),
    base: z.object({ ref }),
    labels: listOf(z.object({ name: reportedText(100) }), maxLabels).default([]),
  }),
});

/** https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events, and tag push events. */
export const gitlabPush = z.object({
  ref,
  before: commitId,
  after: commitId,
  /** The commit, also where `after` is an annotated tag; null when the branch or tag was deleted. */
  checkout_sha: commitId.nullish(),
  project: z.object({ path_with_namespace: repositoryName, web_url: pageAddress }),
  /** The newest 20 at most. */
  commits: listOf(changedFiles, maxCommits).default([]),
  total_commits_count: z.number().int().default(0),
});

const gitlabLabels = listOf(z.object({ title: reportedText(100) }), maxLabels);

/** https://docs.gitlab.com/user/project/integrations/webhook_events/#merge-request-events */
export const gitlabMergeRequest = z.object({
  project: z.object({ path_with_namespace: repositoryName }),
  object_attributes: z.object({
    iid: number,
    action: reportedText(100).nullish(),
    /** With `update`: the commit before, if new ones were pushed. */
    oldrev: z.string().nullish(),
    updated_at: senderTime,
    source_branch: ref,
    target_branch: ref,
    source_project_id: z.number().nullable(),
    target_project_id: z.number(),
    last_commit: z.object({ id: commitId }),
    url: pageAddress,
  }),
  labels: gitlabLabels.default([]),
  changes: z.object({ labels: z.object({ previous: gitlabLabels, current: gitlabLabels }).optional() }).default({}),
});

/** What any other program sends, in a request signed by Standard Webhooks. */
export const standardDelivery = z.object({
  /** `push`, `tag`, `pull_request`, or a name of its own, which the trigger's filter lists. */
  event: z.string().regex(/^[a-z][a-z0-9_.-]{0,62}$/, 'use lower case letters, digits, dot, dash and underscore, first a letter'),
  repository: repositoryName,
  commit: commitId,
  /** The branch or tag; for a pull request, the branch that it would merge. */
  ref,
  /** For a pull request: its number, the branch that it would be merged into, and whether it comes from another repository. */
  pullRequest: number.nullish(),
  target: ref.nullish(),
  fork: z.boolean().default(false),
  labels: listOf(reportedText(100), maxLabels).default([]),
  /** The changed files; left out where they are not known. */
  paths: fileList,
  url: pageAddress,
  /** When it happened: an older one that arrives late starts no run. */
  at: z.iso.datetime({ offset: true }).nullish(),
});
