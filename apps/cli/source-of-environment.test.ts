import { expect, test } from 'vitest';
import { sourceOf } from './source-of-environment.ts';

const sha = 'a'.repeat(40);
const github = {
  ...{ GITHUB_ACTIONS: 'true', GITHUB_SERVER_URL: 'https://github.example.com', GITHUB_REPOSITORY: 'team/landmarks', GITHUB_SHA: sha },
  ...{ GITHUB_REF_NAME: '7/merge', GITHUB_REF: 'refs/pull/7/merge' },
};
const gitlab = {
  ...{ GITLAB_CI: 'true', CI_PROJECT_PATH: 'team/group/landmarks', CI_PROJECT_URL: 'https://gitlab.example.com/team/group/landmarks' },
  ...{ CI_COMMIT_SHA: sha, CI_COMMIT_REF_NAME: 'v1.0' },
};
const head = 'b'.repeat(40);

test('a job of GitHub Actions names the head of its pull request, or the pushed commit', () => {
  const pull = { number: 7, html_url: 'https://github.example.com/team/landmarks/pull/7', head: { sha: head, ref: 'wider' } };
  expect(sourceOf(github, { action: 'opened', pull_request: pull })).toEqual({
    ...{ provider: 'github', repository: 'team/landmarks', commit: head, ref: 'wider', pullRequest: 7 },
    url: 'https://github.example.com/team/landmarks/pull/7',
  });
  expect(sourceOf({ ...github, GITHUB_REF_NAME: 'main' }, { after: sha })).toEqual({
    ...{ provider: 'github', repository: 'team/landmarks', commit: sha, ref: 'main', pullRequest: null },
    url: `https://github.example.com/team/landmarks/commit/${sha}`,
  });
});

test('a job of GitLab names the source of its merge request, or the commit of the branch or tag', () => {
  expect(sourceOf(gitlab, null)).toEqual({
    ...{ provider: 'gitlab', repository: 'team/group/landmarks', commit: sha, ref: 'v1.0', pullRequest: null },
    url: `https://gitlab.example.com/team/group/landmarks/-/commit/${sha}`,
  });
  const merging = { CI_MERGE_REQUEST_IID: '3', CI_MERGE_REQUEST_SOURCE_BRANCH_NAME: 'wider', CI_MERGE_REQUEST_SOURCE_BRANCH_SHA: head };
  expect(sourceOf({ ...gitlab, ...merging }, null)).toMatchObject({
    ...{ commit: head, ref: 'wider', pullRequest: 3 },
    url: 'https://gitlab.example.com/team/group/landmarks/-/merge_requests/3',
  });
});

test('what is not a commit or a link is left out, without a failure', () => {
  expect(sourceOf({}, null)).toBeNull();
  expect(sourceOf({ GITHUB_ACTIONS: 'true' }, null)).toBeNull();
  expect(sourceOf({ ...github, GITHUB_SHA: 'main' }, null)).toBeNull();
  expect(sourceOf({ ...github, GITHUB_SERVER_URL: 'javascript:alert(1)' }, null)).toMatchObject({ commit: sha, url: null });
});
