import { createHash } from 'node:crypto';
import { safeName, type TriggerFilter } from '@cairn/contract';
import type { HookEvent } from './read-delivery.ts';

export type DeliveryDecision = { verdict: 'start' | 'hold' | 'ignore'; reason: string };

/** Steps of comparing names with patterns, at most the product of their lengths: about 0.2 s, in which nothing else is answered. */
const maxSteps = 20_000_000;
const lengthOf = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + text.length + 1, 0);

/** Whether a delivery starts a run, waits for a person, or starts nothing, and why. */
export function decideDelivery(filter: TriggerFilter, given: HookEvent): DeliveryDecision {
  const isTooMuch = given.paths !== null && lengthOf(given.paths) * lengthOf(filter.paths) > maxSteps;
  const event = isTooMuch ? { ...given, paths: null } : given;
  const against = objection(filter, event);
  if (against !== null) return { verdict: 'ignore', reason: against };
  const what = subjectOf(event);
  if (event.isFork) return { verdict: 'hold', reason: `${what}; it is from a fork, so it waits until a person releases it` };
  if (filter.paths.length === 0 || event.event !== 'push' || event.paths !== null) return { verdict: 'start', reason: what };
  const why = isTooMuch ? 'its changed files are too many to be compared' : 'the delivery does not list every changed file';
  return { verdict: 'start', reason: `${what}; ${why}, so no path is excluded` };
}

/** What a delivery is about, in words. */
export function subjectOf({ event, action, branch, tag, source }: HookEvent): string {
  if (source.pullRequest !== null) return `pull request ${source.pullRequest} ${action === null ? '' : actionWords[action]}`.trim();
  if (tag !== null) return `tag ${tag}`;
  return event === 'push' ? `push to ${branch}` : `${event} of ${source.ref}`;
}

const actionWords = {
  opened: 'was opened',
  synchronize: 'has new commits',
  reopened: 'was reopened',
  labeled: 'got a label',
} satisfies Record<NonNullable<HookEvent['action']>, string>;

/** The first rule of the filter that speaks against it. */
function objection(filter: TriggerFilter, { event, action, branch, tag, labels, addedLabels, paths, source }: HookEvent): string | null {
  if (!filter.events.includes(event)) return `the trigger takes ${listed(filter.events)}, not ${event}`;
  if (branch !== null && !isAllowedBy(filter.branches, branch)) return `the branch ${branch} is not one of ${listed(filter.branches)}`;
  if (tag !== null && !isAllowedBy(filter.tags, tag)) return `the tag ${tag} is not one of ${listed(filter.tags)}`;
  if (paths !== null && filter.paths.length > 0 && !paths.some((path) => isAllowedBy(filter.paths, path)))
    return `${paths.length === 1 ? 'its only changed file is not' : `none of its ${paths.length} changed files is`} one of ${listed(filter.paths)}`;
  if (source.pullRequest === null) return null;
  if (action === 'labeled' && !addedLabels.some((label) => filter.labels.includes(label)))
    return filter.labels.length === 0
      ? `the label ${listed(addedLabels)} was added, and the trigger waits for none`
      : `the label ${listed(addedLabels)} was added, which is not one of ${listed(filter.labels)}`;
  if (filter.labels.length > 0 && !labels.some((label) => filter.labels.includes(label)))
    return `pull request ${source.pullRequest} has none of the labels ${listed(filter.labels)}`;
  return null;
}

const shown = 5;
const listed = (texts: readonly string[]): string =>
  texts.length > shown ? `${texts.slice(0, shown).join(', ')} and ${texts.length - shown} more` : texts.join(', ');

const maxGroupName = 63;

/**
 * The name of a run's group. What a name cannot have becomes a dash, and a digest of the whole is added then, so that `a/b` and `a-b` are two
 * groups.
 */
export function groupName(template: string, trigger: string, { event, tag, branch, source }: HookEvent): string {
  const subject = source.pullRequest === null ? (tag ?? branch ?? source.ref) : `pr-${source.pullRequest}`;
  const parts: Record<string, string> = { trigger, event, subject, repository: source.repository };
  const whole = template.replaceAll(/\{([a-z]+)\}/g, (_, name: string) => parts[name] ?? '');
  if (safeName.safeParse(whole).success) return whole;
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 8);
  const plain = whole.replaceAll(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return `${plain.slice(0, maxGroupName - 9) || 'group'}-${digest}`;
}

/**
 * Whether a path matches a pattern: `*` is any characters but a slash, `**` as a whole part any folders (also none), `?` one character but
 * a slash; everything else is itself. The time is bounded by the product of the lengths: names come from outside, and a regular expression
 * of a pattern such as `*a*a*a*` could take forever on a long one.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  return matches(path.split('/'), pattern.split('/'), {
    isAny: (part) => part === '**',
    isEqual: (part, given) =>
      matches([...given], [...part], { isAny: (mark) => mark === '*', isEqual: (mark, letter) => mark === '?' || mark === letter }),
  });
}

/** Whether a list of patterns allows a path; the last one that matches decides, and one that begins with `!` takes it out again. */
export function isAllowedBy(patterns: readonly string[], path: string): boolean {
  const last = patterns.findLast((pattern) => matchesGlob(path, pattern.replace(/^!/, '')));
  if (last !== undefined) return !last.startsWith('!');
  // Only exceptions: they are taken from everything.
  return patterns.every((pattern) => pattern.startsWith('!'));
}

type Rules = { isAny(mark: string): boolean; isEqual(mark: string, item: string): boolean };

/** Greedy, with a way back to the newest wildcard only: an earlier one need never take more. */
function matches(items: readonly string[], marks: readonly string[], { isAny, isEqual }: Rules): boolean {
  let mark = 0;
  let wildcard = -1;
  let taken = 0;
  for (let item = 0; item < items.length; ) {
    const next = marks[mark];
    if (next !== undefined && isAny(next)) {
      wildcard = mark;
      taken = item;
      mark += 1;
    } else if (next !== undefined && isEqual(next, items[item] ?? '')) {
      item += 1;
      mark += 1;
    } else if (wildcard >= 0) {
      taken += 1;
      item = taken;
      mark = wildcard + 1;
    } else {
      return false;
    }
  }
  return marks.slice(mark).every(isAny);
}
