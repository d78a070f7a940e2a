import { isEndedStep, type RunOrigin, type RunSource, repositoryPath, stepState } from '@cairn/contract';
import { z } from 'zod';

/** What a report is about: the newest run of its recipe or trigger for a commit, or for a pull request. */
export const reportBody = z.object({
  runId: z.string(),
  repository: repositoryPath,
  commit: z.string(),
  pullRequest: z.number().int().nullable(),
  /** What the commit status is called, and what distinguishes the comment from those of other recipes: the trigger, the schedule or the recipe. */
  context: z.string(),
});
export type ReportBody = z.infer<typeof reportBody>;

/** A report to write; `key` names what it replaces. */
export type Report = {
  event: 'status' | 'comment';
  provider: string;
  repository: string;
  subject: string;
  key: string;
  body: ReportBody;
};

/** A comment is updated at most this often. */
const commentSeconds = 60;

type ReportedRun = { id: string; recipeName: string; origin: RunOrigin; source: RunSource | null };

/** The reports that a command causes which adds these events to a run. */
export function reportsOf(
  { id: runId, recipeName, origin, source }: ReportedRun,
  events: readonly { type: string; data: unknown }[],
): Report[] {
  if (source === null || source.provider === 'other') return [];
  const changesRun = events.some(({ type }) => type === 'run' || type === 'gate');
  const { provider, repository, commit, pullRequest } = source;
  const context = contextOf(recipeName, origin);
  const body = { runId, repository, commit, pullRequest, context };
  const place = `${provider} ${repository.toLowerCase()}`;
  const status: Report = {
    ...{ event: 'status', provider, repository, body },
    subject: `${repository}@${commit.slice(0, 12)}`,
    key: `status ${place} ${commit} ${context}`,
  };
  const comment: Report = {
    ...{ event: 'comment', provider, repository, body },
    subject: `${repository}#${pullRequest}`,
    key: `comment ${place} ${pullRequest} ${context}`,
  };
  return [...(changesRun ? [status] : []), ...(pullRequest !== null && (changesRun || events.some(endsStep)) ? [comment] : [])];
}

/** A name of a trigger has no slash: nobody can submit a run whose status replaces that of a trigger. */
function contextOf(recipeName: string, origin: RunOrigin): string {
  switch (origin.kind) {
    case 'trigger':
      return origin.trigger;
    case 'schedule':
    case 'dataset':
      return `schedule/${origin.schedule}`;
    case 'person':
    case 'gate':
      return `run/${recipeName}`;
  }
}

const stepChange = z.object({ state: stepState });
function endsStep({ type, data }: { type: string; data: unknown }): boolean {
  const change = type === 'step' ? stepChange.safeParse(data).data : undefined;
  return change !== undefined && isEndedStep(change.state);
}

/** How long a report is tried after the newest change. */
const reportDays = 7;

/**
 * Writes the reports `r`, a row source with the columns of {@link Report} and `project`, for the first code host that has the repository.
 * One that was not sent yet is replaced, except by an older run's.
 */
export const reportInsertion = (r: string): string => `
  insert into delivery (project_id, kind, target, order_key, event, subject, body, give_up_at)
  select r.project, 'report', c.id, c.id || ' ' || r.key, r.event, r.subject, r.body, now() + interval '${reportDays} days'
    from ${r} cross join lateral (
      select c.id from code_host c
       where c.project_id = r.project and c.provider = r.provider and exists (
         select from unnest(c.repositories) p where p = '*' or lower(p) = lower(r.repository)
            or (right(p, 2) = '/*' and starts_with(lower(r.repository), lower(left(p, -1)))))
       order by c.name limit 1) c
  on conflict (order_key) where kind = 'report' do update set
    version = delivery.version + 1, state = 'pending', subject = excluded.subject, body = excluded.body, give_up_at = excluded.give_up_at,
    failures = case when delivery.state = 'pending' then delivery.failures else 0 end,
    not_before = case when delivery.state = 'pending' then delivery.not_before
      when delivery.event = 'comment' and delivery.state = 'delivered' then greatest(now(), delivery.ended_at + interval '${commentSeconds} s')
      else now() end
  where delivery.body->>'runId' collate "C" <= excluded.body->>'runId'`;
