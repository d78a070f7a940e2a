import { readFile } from 'node:fs/promises';
import { type RunSource, runSource } from '@cairn/contract';
import { z } from 'zod';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The commit for which a job of GitHub Actions or GitLab CI runs; null elsewhere, and where the variables do not describe a commit.
 *
 * @param event the contents of the file that GITHUB_EVENT_PATH names: in a pull request GITHUB_SHA is a merge commit that nobody sees, and
 *   only the event has the commit at its head
 */
export function sourceOf(env: Environment, event: unknown): RunSource | null {
  if (env.GITHUB_ACTIONS === 'true') return valid(githubSource(env, event));
  if (env.GITLAB_CI === 'true') return valid(gitlabSource(env));
  return null;
}

/** The same for this process's environment, with the event of a job in GitHub Actions. */
export async function readSource(env: Environment): Promise<RunSource | null> {
  const path = env.GITHUB_ACTIONS === 'true' ? env.GITHUB_EVENT_PATH : undefined;
  return sourceOf(env, path === undefined ? null : await readJson(path));
}

const pullRequestEvent = z.object({
  pull_request: z.object({ number: z.number(), html_url: z.string(), head: z.object({ sha: z.string(), ref: z.string() }) }),
});

// https://docs.github.com/en/actions/reference/workflows-and-actions/variables
function githubSource(env: Environment, event: unknown): Candidate {
  const repository = env.GITHUB_REPOSITORY;
  const common = { provider: 'github', repository } as const;
  const pull = pullRequestEvent.safeParse(event).data?.pull_request;
  if (pull) return { ...common, commit: pull.head.sha, ref: pull.head.ref, pullRequest: pull.number, url: pull.html_url };
  const commit = env.GITHUB_SHA;
  return { ...common, commit, ref: env.GITHUB_REF_NAME, pullRequest: null, url: `${env.GITHUB_SERVER_URL}/${repository}/commit/${commit}` };
}

// https://docs.gitlab.com/ci/variables/predefined_variables/
function gitlabSource(env: Environment): Candidate {
  const iid = env.CI_MERGE_REQUEST_IID;
  const isMergeRequest = iid !== undefined && iid !== '';
  // The commit of a pipeline for merged results is one that nobody sees; only there the second variable is set.
  const commit = env.CI_MERGE_REQUEST_SOURCE_BRANCH_SHA || env.CI_COMMIT_SHA;
  return {
    ...{ provider: 'gitlab', repository: env.CI_PROJECT_PATH, commit },
    ref: isMergeRequest ? env.CI_MERGE_REQUEST_SOURCE_BRANCH_NAME : env.CI_COMMIT_REF_NAME,
    pullRequest: isMergeRequest ? Number(iid) : null,
    url: `${env.CI_PROJECT_URL}/-/${isMergeRequest ? `merge_requests/${iid}` : `commit/${commit}`}`,
  };
}

type Candidate = Record<keyof RunSource, unknown>;

/** A link that is not one is left out; without a commit there is no source. A job must not fail because of them. */
function valid(candidate: Candidate): RunSource | null {
  return runSource.safeParse(candidate).data ?? runSource.safeParse({ ...candidate, url: null }).data ?? null;
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    // The variables alone describe a push, and a pull request less well.
    return null;
  }
}
