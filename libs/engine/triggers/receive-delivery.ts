import {
  type DeliveryOutcome,
  firstOf,
  type Hint,
  type HookAnswer,
  type HookProvider,
  type RunSource,
  submitRequest,
} from '@cairn/contract';
import { hintChannel, type PrismaClient } from '@cairn/db';
import { decideDelivery, groupName, type HookEvent, readDelivery, subjectOf } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import type { EngineContext } from '../engine.ts';
import { openSecrets } from '../sealed-secrets.ts';
import { type BoundTrigger, boundTrigger, type RefusedDelivery, type SignedDelivery } from './bound-trigger.ts';
import { noTrigger } from './manage-triggers.ts';
import { startDelivery } from './start-deliveries.ts';

/** @throws CairnError `not_found` */
export async function findTrigger({ prisma }: EngineContext, name: string): Promise<BoundTrigger> {
  const row = await prisma.trigger.findUnique({ where: { name } });
  if (row === null) throw noTrigger(name);
  return boundTrigger.parse(row);
}

/** The secrets that a trigger accepts now: the current one, and the earlier one for a while after a rotation. */
export const triggerSecrets = (ctx: EngineContext, { projectId, id }: BoundTrigger): Promise<string[]> =>
  openSecrets(ctx, ctx.prisma, { projectId, ownerId: id });

/**
 * Decides what a delivery does, records it, and starts its run. What is recorded as accepted is started by the leader if this program dies
 * before it does; the run's idempotency key is that of the delivery, so it is started once.
 */
export async function receiveDelivery(ctx: EngineContext, trigger: BoundTrigger, delivery: SignedDelivery): Promise<HookAnswer> {
  const decision = await decide(ctx, trigger, delivery);
  const id = newId('hookDelivery');
  const isNew = await insertDelivery(ctx.prisma, trigger, { id, ...delivery, ...decision });
  if (!isNew) return repeated(ctx, trigger, delivery);
  if (decision.outcome === 'accepted') return startDelivery(ctx, id);
  return { delivery: id, outcome: decision.outcome, reason: decision.reason, runId: null };
}

type Decision = { outcome: DeliveryOutcome; reason: string; event: string; subject: string; source: RunSource | null; request: unknown };

/** Most deliveries of a trigger that wait for a person: anybody can open pull requests. */
const maxHeld = 1_000;

async function decide({ prisma }: EngineContext, trigger: BoundTrigger, { eventName, body }: SignedDelivery): Promise<Decision> {
  const read = readDelivery(trigger.provider, eventName, body);
  const unknown = { event: firstOf(eventName ?? 'unknown', 100), subject: '', source: null, request: null };
  if ('ignored' in read) return { outcome: 'ignored', reason: read.ignored, ...unknown };
  if ('unreadable' in read)
    return { outcome: 'refused', reason: `it is not a delivery of ${senders[trigger.provider]}: ${read.unreadable}`, ...unknown };
  const { event } = read;
  const about = { event: event.event, subject: subjectOf(event), source: event.source };
  const { verdict, reason } = decideDelivery(trigger.filter, event);
  if (verdict === 'ignore') return { outcome: 'ignored', reason, ...about, request: null };
  const request = requestOf(trigger, event);
  if (verdict === 'start') return { outcome: 'accepted', reason, ...about, request };
  const held = await prisma.hookDelivery.count({ where: { triggerId: trigger.id, outcome: 'held' } });
  if (held < maxHeld) return { outcome: 'held', reason, ...about, request };
  return { outcome: 'ignored', reason: `${reason}; ${held} deliveries of the trigger wait already, the maximum`, ...about, request: null };
}

const senders = { github: 'GitHub', gitlab: 'GitLab', standard: 'the documented form' } satisfies Record<HookProvider, string>;

/** The submission that a delivery causes. It is stored, so that every try submits the same. */
function requestOf(trigger: BoundTrigger, event: HookEvent) {
  const group = trigger.groupTemplate === null ? {} : { group: groupName(trigger.groupTemplate, trigger.name, event) };
  return submitRequest.parse({ ...trigger.run, source: event.source, onNewer: trigger.onNewer, ...group });
}

/** How long the program that accepted a delivery may take to start it, before the leader does. */
const ownStartSeconds = 15;

type NewDelivery = Omit<SignedDelivery, 'eventName' | 'body'> & Decision & { id: string };

/** False where it was delivered before: the unique keys decide, so of concurrent repeats exactly one is new. */
async function insertDelivery(prisma: PrismaClient, trigger: BoundTrigger, row: NewDelivery): Promise<boolean> {
  const isRefused = row.outcome === 'refused';
  const json = (value: unknown) => (value === null ? null : JSON.stringify(value));
  // No run changes when a delivery is held, but what needs a person does.
  const hint: Hint = { topic: 'runs', what: 'run' };
  // From the trigger's row, which may just have been removed.
  const inserted = await prisma.$queryRaw<unknown[]>`
    with inserted as (
      insert into hook_delivery
        (id, trigger_id, key, replay_key, digest, event, subject, source, outcome, reason, request, address, not_before)
      select ${row.id}, id, ${isRefused ? row.id : row.key}, ${isRefused ? null : row.replayKey}, ${row.digest}, ${row.event},
        ${row.subject}, ${json(row.source)}::jsonb, ${row.outcome}, ${row.reason}, ${json(row.request)}::jsonb, ${row.address},
        case when ${row.outcome} = 'accepted' then now() + make_interval(secs => ${ownStartSeconds}) end
      from trigger where id = ${trigger.id}
      on conflict do nothing returning outcome)
    select case outcome when 'held' then pg_notify(${hintChannel}, ${JSON.stringify(hint)})::text end from inserted`;
  return inserted.length > 0;
}

/** Counts a repeat in the row of the first delivery. One whose run was not started yet, or could not be, is started now. */
async function repeated(ctx: EngineContext, trigger: BoundTrigger, { key, replayKey }: SignedDelivery): Promise<HookAnswer> {
  const [first] = await ctx.prisma.$queryRaw<{ id: string; outcome: DeliveryOutcome; reason: string; runId: string | null }[]>`
    update hook_delivery set repeats = least(repeats + 1, 1000000000), outcome = case outcome when 'failed' then 'accepted' else outcome end,
      tries = case outcome when 'failed' then 0 else tries end, not_before = case outcome when 'failed' then now() else not_before end
    where trigger_id = ${trigger.id} and (key = ${key} or replay_key = ${replayKey})
    returning id, outcome, reason, run_id as "runId"`;
  if (first === undefined) throw noTrigger(trigger.name);
  const { runId, outcome, reason } = first.outcome === 'accepted' ? await startDelivery(ctx, first.id) : first;
  return { delivery: first.id, outcome: 'repeated', reason: `it was delivered before, and was ${outcome}: ${reason}`, runId };
}

/** Records a delivery with a wrong signature, or one that cannot be read. The caller limits how many. */
export async function recordRefusal(
  { prisma }: EngineContext,
  trigger: BoundTrigger,
  { reason, digest, address, eventName }: RefusedDelivery,
): Promise<string> {
  const id = newId('hookDelivery');
  const event = firstOf(eventName ?? 'unknown', 100);
  const row = {
    id,
    key: id,
    replayKey: null,
    digest,
    event,
    subject: '',
    source: null,
    outcome: 'refused' as const,
    reason,
    request: null,
  };
  await insertDelivery(prisma, trigger, { ...row, address });
  return id;
}
