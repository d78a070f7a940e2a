import { createHash } from 'node:crypto';
import { safeName, type TriggerFilter } from '@cairn/contract';
import { isAllowedBy } from './glob.ts';
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
    return `none of its ${paths.length} changed files is one of ${listed(filter.paths)}`;
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
