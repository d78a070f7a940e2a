import {
  isEndedRun,
  liveAttemptStates,
  liveRunStates,
  type RunView,
  runOrigin,
  runSource,
  runState,
  webhookMessage,
} from '@cairn/contract';
import { getRun } from '@cairn/db';
import type { Week } from './open-week.ts';

/** What is wrong with what the service, the code host and the receiver of webhooks have at the end of a week, as sentences. */
export async function booksOf(week: Week): Promise<string[]> {
  const runs = await week.prisma.run.findMany({ orderBy: { id: 'asc' } });
  const views = await Promise.all(runs.map(({ id }) => getRun(week.prisma, { projectId: 'default', runId: id })));
  return [
    ...(await unfinished(week)),
    ...(await startedTwice(week)),
    ...(await doneTwice(week)),
    ...shownAtHost(week, views),
    ...(await announced(week)),
    ...(await ledger(week)),
  ];
}

async function unfinished({ prisma }: Week): Promise<string[]> {
  const counts = {
    'runs are live': await prisma.run.count({ where: { state: { in: liveRunStates } } }),
    'attempts are live': await prisma.attempt.count({ where: { state: { in: liveAttemptStates } } }),
    'entries of the outbox are left': await prisma.outbox.count(),
    'deliveries were accepted and never started': await prisma.hookDelivery.count({ where: { outcome: 'accepted' } }),
    'gates are not judged': await prisma.run.count({ where: { state: 'succeeded', gateState: { notIn: ['judged'] } } }),
    'reports and messages were not sent': await prisma.delivery.count({ where: { state: { not: 'delivered' } } }),
  };
  return Object.entries(counts).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}`]));
}

/** Each delivery that started something has one run, and each run that a delivery, a time or a key started is the only one. */
async function startedTwice({ prisma }: Week): Promise<string[]> {
  const deliveries = await prisma.hookDelivery.findMany({ where: { outcome: 'started' } });
  const runs = (await prisma.run.findMany()).map(({ id, origin }) => ({ id, origin: runOrigin.parse(origin) }));
  const causes = runs.flatMap(({ origin }) => (origin.kind === 'person' ? [] : [JSON.stringify(origin)]));
  const byDelivery = new Map(runs.flatMap(({ id, origin }) => (origin.kind === 'trigger' ? [[origin.delivery, id] as const] : [])));
  return [
    ...causes.filter((cause, index) => causes.indexOf(cause) !== index).map((cause) => `two runs were started by ${cause}`),
    ...deliveries.filter(({ id, runId }) => byDelivery.get(id) !== runId).map(({ id, runId }) => `${id} says ${runId}, not its run`),
    ...(byDelivery.size === deliveries.length ? [] : [`${deliveries.length} deliveries started ${byDelivery.size} runs`]),
  ];
}

/** No step has two attempts that succeeded, no generation of a gate two judgements, and no result was made twice. */
async function doneTwice({ prisma }: Week): Promise<string[]> {
  const steps = await prisma.$queryRaw<{ what: string }[]>`
    select r.name || '/' || s.name || ' was done ' || count(*) || ' times' as what from attempt a join step s on s.id = a.step_id
      join run r on r.id = s.run_id where a.state = 'succeeded' and (a.purpose = 'finalize' or s.kind <> 'extract')
     group by r.name, s.name, s.id, a.purpose, a.step_generation having count(*) > 1
    union all
    select 'the gate of ' || run_id || ' was judged ' || count(*) || ' times' from judgement where gate_generation is not null
     group by run_id, gate_generation having count(*) > 1
    union all
    select 'version ' || version || ' is of the run ' || run_id || ', as another is' from model m
     where exists (select 1 from model o where o.run_id = m.run_id and o.id <> m.id)`;
  return steps.map(({ what }) => what);
}

/** The last status of each commit is that of its newest run, and each pull request has one comment, about its newest run. */
function shownAtHost({ github: { host } }: Week, views: readonly RunView[]): string[] {
  const wrong: string[] = [];
  const comments = new Map<string, RunView>();
  for (const run of views) {
    if (run.source === null) continue;
    const { commit, pullRequest } = runSource.parse(run.source);
    const context = run.origin.kind === 'trigger' ? `cairn/${run.origin.trigger}` : `cairn/run/${run.recipe}`;
    const statuses = host.statuses.filter((status) => status.commit === commit && status.context === context);
    const wanted = stateOf(run);
    if (statuses.at(-1)?.state !== wanted) wrong.push(`the commit of ${run.name} is ${statuses.at(-1)?.state}, not ${wanted}`);
    if (!statuses.at(-1)?.description.startsWith(run.name)) wrong.push(`the last status of ${commit} is not about ${run.name}`);
    if (pullRequest !== null) comments.set(`${pullRequest} ${context}`, run);
  }
  if (host.comments.length !== comments.size) wrong.push(`there are ${host.comments.length} comments, not ${comments.size}`);
  for (const run of comments.values()) {
    const own = host.comments.filter(({ pullRequest }) => pullRequest === run.source?.pullRequest);
    if (own.length !== 1 || !own[0]?.body.includes(`[${run.name}]`)) wrong.push(`the comment of ${run.name} is missing, or there are two`);
  }
  return wrong;
}

function stateOf({ state, gate, verdict }: RunView): string {
  if (state !== 'succeeded') return 'error';
  return gate === null || verdict === 'passed' ? 'success' : 'failure';
}

/** Each ended run, judgement and move of an alias was announced in its order; what arrived twice has the same id. */
async function announced({ prisma, receiver }: Week): Promise<string[]> {
  const byId = new Map(receiver.requests.map(({ headers, body }) => [headers['webhook-id'], webhookMessage.parse(JSON.parse(body))]));
  const messages = [...byId.values()];
  const told = messages.flatMap(({ type, data }) => (type === 'run.ended' || type === 'gate.judged' ? [`${data.run.id} ${type}`] : []));
  const runs = await prisma.run.findMany({ include: { judgements: true }, orderBy: { id: 'asc' } });
  const wanted = runs.flatMap(({ id, state, judgements }) => [
    ...(isEndedRun(runState.parse(state)) ? [`${id} run.ended`] : []),
    ...judgements.map(() => `${id} gate.judged`),
  ]);
  const moves = (await prisma.aliasMove.findMany({ orderBy: { id: 'asc' } })).map(({ action, toVersion }) => `${action} ${toVersion}`);
  const toldMoves = messages.flatMap(({ type, data }) => (type === 'alias.moved' ? [`${data.action} ${data.toVersion}`] : []));
  const inOrder = (run: string) =>
    told.filter((text) => text.startsWith(run)).join() === wanted.filter((text) => text.startsWith(run)).join();
  return [
    ...runs.filter(({ id }) => !inOrder(id)).map(({ id }) => `of ${id} was told: ${told.filter((text) => text.startsWith(id))}`),
    ...(toldMoves.join() === moves.join() ? [] : [`the alias moved ${moves}, and was told ${toldMoves}`]),
  ];
}

/** The ledger adds up to the time that attempts held, however it is grouped. */
async function ledger({ prisma, client }: Week): Promise<string[]> {
  const [row] = await prisma.$queryRaw<{ held: number }[]>`
    select sum(slots * greatest(0, extract(epoch from ended_at - created_at)))::float8 as held from attempt where pool <> 'tasks'`;
  const held = row?.held ?? 0;
  const from = new Date(0).toISOString();
  const wrong: string[] = held > 0 ? [] : ['no attempt held a GPU'];
  for (const by of ['owner', 'run', 'step', 'attempt', 'pool', 'cause', 'label:team'] as const) {
    const { total } = await client.readLedger({ by, from, limit: 1 });
    const rows = await Array.fromAsync(client.eachLedgerRow({ by, from }));
    const sum = rows.reduce((all, row) => all + row.held, 0);
    const parts = total.useful + total.running + total.lost + total.idle;
    const isEqual = [sum, parts, held].every((other) => Math.abs(other - total.held) < 0.01);
    if (!isEqual) wrong.push(`by ${by} the ledger has ${total.held} s, its rows ${sum}, its parts ${parts}, and the attempts ${held}`);
  }
  return wrong;
}
