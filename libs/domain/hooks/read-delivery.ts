import {
  faultText,
  firstOf,
  githubPullRequest,
  githubPush,
  gitlabMergeRequest,
  gitlabPush,
  type HookProvider,
  maxCommits,
  type RunSource,
  runSource,
  standardDelivery,
} from '@cairn/contract';

/** A delivery in the terms of Cairn, from any sender. */
export type HookEvent = {
  /** `push`, `tag`, `pull_request`, or an event of the sender's own. */
  event: string;
  /** What happened to a pull request: only these can start something. */
  action: 'opened' | 'synchronize' | 'reopened' | 'labeled' | null;
  /** The branch of a push, or that a pull request would be merged into; null for a tag. */
  branch: string | null;
  tag: string | null;
  source: RunSource;
  /** Labels of a pull request, and the ones that were just added. */
  labels: string[];
  addedLabels: string[];
  /** Changed files; null where the delivery does not list all of them. */
  paths: string[] | null;
  /** A pull request from another repository, whose author may be anyone. */
  isFork: boolean;
  /** When it happened, and which commit was there before; null where the sender does not say. */
  happenedAt: Date | null;
  before: string | null;
};

/** `ignored`: understood, but nothing that could ever start a run. `unreadable`: not what this provider sends. */
export type ReadDelivery = { event: HookEvent } | { ignored: string } | { unreadable: string };

/** Translates a delivery. `name` is the provider's name of the event, from a header; the body of `standard` has it. */
export function readDelivery(provider: HookProvider, name: string | null, body: unknown): ReadDelivery {
  return readers[provider](name ?? '', body);
}

const readers: Record<HookProvider, (name: string, body: unknown) => ReadDelivery> = {
  github: readGithub,
  gitlab: readGitlab,
  standard: readStandard,
};

function readGithub(name: string, body: unknown): ReadDelivery {
  if (name === 'ping') return { ignored: 'the code host tried the webhook, which works' };
  if (name === 'push') {
    return parsed(githubPush.safeParse(body), (push) => {
      const place = placeOf(push.ref);
      if (place === null) return { ignored: `${push.ref} is neither a branch nor a tag` };
      if (push.deleted) return { ignored: `${place.name} was deleted` };
      return pushed('github', place, {
        repository: push.repository.full_name,
        // Of an annotated tag, `after` is the tag.
        commit: push.head_commit?.id ?? push.after,
        url: push.head_commit?.url,
        commits: push.commits,
        isComplete: push.commits.length < maxCommits,
        happenedAt: timeOf(push.repository.pushed_at),
        before: push.before,
      });
    });
  }
  if (name === 'pull_request') {
    return parsed(githubPullRequest.safeParse(body), ({ action, number, before, repository, label, pull_request: pull }) => {
      const known = startingActions.find((other) => other === action);
      if (known === undefined) return { ignored: `pull request ${number} was ${action}, which starts nothing` };
      return pullRequest('github', {
        action: known,
        number,
        repository: repository.full_name,
        commit: pull.head.sha,
        ref: pull.head.ref,
        branch: pull.base.ref,
        url: pull.html_url,
        labels: pull.labels.map((other) => other.name),
        addedLabels: label ? [label.name] : [],
        isFork: pull.head.repo?.id !== repository.id,
        happenedAt: timeOf(pull.updated_at),
        before: before ?? null,
      });
    });
  }
  return { ignored: `events of the kind "${firstOf(name, 100)}" start nothing` };
}

const startingActions = ['opened', 'synchronize', 'reopened', 'labeled'] as const;

function readGitlab(name: string, body: unknown): ReadDelivery {
  if (name === 'Push Hook' || name === 'Tag Push Hook') {
    return parsed(gitlabPush.safeParse(body), (push) => {
      const place = placeOf(push.ref);
      if (place === null) return { ignored: `${push.ref} is neither a branch nor a tag` };
      if (/^0+$/.test(push.after)) return { ignored: `${place.name} was deleted` };
      const commit = push.checkout_sha ?? push.after;
      return pushed('gitlab', place, {
        repository: push.project.path_with_namespace,
        commit,
        url: push.project.web_url && `${push.project.web_url}/-/commit/${commit}`,
        commits: push.commits,
        isComplete: push.total_commits_count <= push.commits.length,
        happenedAt: null,
        before: push.before,
      });
    });
  }
  if (name === 'Merge Request Hook') {
    return parsed(gitlabMergeRequest.safeParse(body), ({ project, object_attributes: merge, labels, changes }) => {
      const had = changes.labels?.previous.map(({ title }) => title) ?? [];
      const addedLabels = changes.labels?.current.map(({ title }) => title).filter((title) => !had.includes(title)) ?? [];
      const action = gitlabAction(merge.action ?? '', merge.oldrev ?? null, addedLabels);
      if (action === null)
        return { ignored: `merge request ${merge.iid}: "${merge.action ?? ''}" without new commits or labels starts nothing` };
      return pullRequest('gitlab', {
        action,
        number: merge.iid,
        repository: project.path_with_namespace,
        commit: merge.last_commit.id,
        ref: merge.source_branch,
        branch: merge.target_branch,
        url: merge.url,
        labels: labels.map(({ title }) => title),
        addedLabels,
        isFork: merge.source_project_id !== merge.target_project_id,
        happenedAt: timeOf(merge.updated_at),
        before: merge.oldrev ?? null,
      });
    });
  }
  return { ignored: `events of the kind "${firstOf(name, 100)}" start nothing` };
}

function gitlabAction(action: string, oldrev: string | null, addedLabels: string[]): HookEvent['action'] {
  if (action === 'open') return 'opened';
  if (action === 'reopen') return 'reopened';
  if (action !== 'update') return null;
  if (oldrev !== null) return 'synchronize';
  return addedLabels.length > 0 ? 'labeled' : null;
}

function readStandard(_name: string, body: unknown): ReadDelivery {
  return parsed(standardDelivery.safeParse(body), (sent) => {
    const { event, repository, commit, labels, fork } = sent;
    const ref = placeOf(sent.ref)?.name ?? sent.ref;
    const number = sent.pullRequest ?? null;
    if (event === 'pull_request' && number === null) return { unreadable: 'pullRequest is missing, the number of the pull request' };
    const isTag = event === 'tag';
    return {
      event: {
        event,
        action: event === 'pull_request' ? 'synchronize' : null,
        branch: isTag ? null : (sent.target ?? ref),
        tag: isTag ? ref : null,
        source: sourceOf('other', { repository, commit, ref, pullRequest: number, url: sent.url }),
        labels,
        addedLabels: [],
        paths: sent.paths ? pathsOf(sent.paths) : null,
        isFork: fork,
        happenedAt: timeOf(sent.at),
        before: null,
      },
    };
  });
}

type Place = { kind: 'branch' | 'tag'; name: string };

function placeOf(ref: string): Place | null {
  const [, kind, name = ''] = /^refs\/(heads|tags)\/(.+)$/s.exec(ref) ?? [];
  if (kind === undefined) return null;
  return { kind: kind === 'heads' ? 'branch' : 'tag', name };
}

type Pushed = {
  repository: string;
  commit: string;
  url: string | null | undefined;
  commits: Partial<Record<'added' | 'modified' | 'removed', string[] | null | undefined>>[];
  /** Whether `commits` are all of the push. */
  isComplete: boolean;
  happenedAt: Date | null;
  before: string;
};

function pushed(
  provider: RunSource['provider'],
  { kind, name }: Place,
  { repository, commit, url, commits, isComplete, happenedAt, before }: Pushed,
): ReadDelivery {
  const changed = commits.flatMap(({ added, modified, removed }) => [...(added ?? []), ...(modified ?? []), ...(removed ?? [])]);
  return {
    event: {
      event: kind === 'branch' ? 'push' : 'tag',
      action: null,
      branch: kind === 'branch' ? name : null,
      tag: kind === 'tag' ? name : null,
      source: sourceOf(provider, { repository, commit, ref: name, pullRequest: null, url }),
      labels: [],
      addedLabels: [],
      // A new branch, or one that was set back, has no commits of its own.
      paths: isComplete && commits.length > 0 ? pathsOf(changed) : null,
      isFork: false,
      happenedAt,
      // A new branch has none.
      before: /^0+$/.test(before) ? null : before,
    },
  };
}

const [earliest, latest] = [Date.UTC(2000), Date.UTC(2100)];

/** A text or seconds since 1970 as a time; null for what is none. */
function timeOf(given: string | number | null | undefined): Date | null {
  const ms = typeof given === 'number' ? given * 1000 : Date.parse(given ?? '');
  return ms > earliest && ms < latest ? new Date(ms) : null;
}

const maxPaths = 1_000;
const maxPathLength = 500;

/** Null where there are so many, or so long ones, that comparing them with patterns would take long. */
function pathsOf(paths: readonly string[]): string[] | null {
  const distinct = [...new Set(paths)];
  return distinct.length > maxPaths || distinct.some((path) => path.length > maxPathLength) ? null : distinct;
}

type Pull = {
  action: HookEvent['action'];
  number: number;
  repository: string;
  commit: string;
  ref: string;
  branch: string;
  url: string | null | undefined;
} & Pick<HookEvent, 'labels' | 'addedLabels' | 'isFork' | 'happenedAt' | 'before'>;

function pullRequest(
  provider: RunSource['provider'],
  { action, number, repository, commit, ref, branch, url, ...rest }: Pull,
): ReadDelivery {
  const source = sourceOf(provider, { repository, commit, ref, pullRequest: number, url });
  return { event: { event: 'pull_request', action, branch, tag: null, source, paths: null, ...rest } };
}

type Given = Omit<RunSource, 'provider' | 'url'> & { url: string | null | undefined };

/** A page whose address is not one is left out; a name that is too long is cut. */
function sourceOf(provider: RunSource['provider'], { url, ref, ...rest }: Given): RunSource {
  const known = runSource.shape.url.safeParse(url ?? null);
  return { provider, ...rest, ref: firstOf(ref, 255), url: known.success ? known.data : null };
}

type Parsed<T> =
  | { success: true; data: T }
  | { success: false; error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } };

function parsed<T>(result: Parsed<T>, read: (value: T) => ReadDelivery): ReadDelivery {
  if (result.success) return read(result.data);
  const issue = result.error.issues[0];
  if (issue === undefined || issue.path.length === 0) return { unreadable: 'the body is not a JSON object' };
  return { unreadable: firstOf(`${issue.path.map(String).join('.')}: ${faultText(issue.message)}`, 300) };
}
