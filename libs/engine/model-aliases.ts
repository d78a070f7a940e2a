import { type AliasAction, CairnError, type Promotion, type WebhookData } from '@cairn/contract';
import { currentAliases, inTransaction, type Transaction } from '@cairn/db';
import { audit } from './audit.ts';
import { announce, announcementOf } from './deliveries/sending.ts';
import type { Actor, AliasName, EngineContext } from './engine.ts';

/**
 * Lets an alias name a version, and records the change. The same version again changes nothing.
 *
 * @throws CairnError `not_found` when the version is not registered; `wrong_state` when the alias does not name `ifVersion`
 */
export function setAlias(
  ctx: EngineContext,
  name: AliasName,
  { version, reason, ifVersion }: { version: number; reason: string; ifVersion?: number | null | undefined },
  actor: Actor,
): Promise<void> {
  return withAlias(ctx, name, actor, async (tx, current) => {
    if (ifVersion !== undefined && ifVersion !== current) {
      const expected = ifVersion === null ? 'not to exist' : `to name version ${ifVersion}`;
      throw new CairnError('wrong_state', `${name.model}@${name.alias} was expected ${expected}, but ${stateOf(current)}`, {
        details: { remedy: `See who moved it and why: \`cairn alias history ${name.model}@${name.alias}\`.` },
      });
    }
    if (version === current) return;
    await requireVersion(tx, name.model, version, actor);
    await record(tx, name, { action: 'set', from: current, to: version, reason }, actor);
  });
}

/**
 * Lets an alias name the version that it named before the present one. Repeated rollbacks lead further back.
 *
 * @throws CairnError `not_found` when the alias does not exist; `wrong_state` when it has never named another version
 */
export function rollBackAlias(ctx: EngineContext, name: AliasName, reason: string, actor: Actor): Promise<void> {
  return withAlias(ctx, name, actor, async (tx, current) => {
    if (current === null) throw absent(name);
    const moves = await tx.aliasMove.findMany({
      where: { projectId: actor.projectId, ...name },
      orderBy: { id: 'asc' },
      select: { action: true, toVersion: true },
    });
    const before = versionsBehind(moves).at(-2);
    if (before === undefined) {
      throw new CairnError('wrong_state', `${name.model}@${name.alias} has named no other version since it was set to ${current}`, {
        details: { remedy: `Set a version: \`cairn alias set ${name.alias} ${name.model}@VERSION --reason ...\`.` },
      });
    }
    await record(tx, name, { action: 'rollback', from: current, to: before, reason }, actor);
  });
}

/** @throws CairnError `not_found` when the alias does not exist */
export function removeAlias(ctx: EngineContext, name: AliasName, reason: string, actor: Actor): Promise<void> {
  return withAlias(ctx, name, actor, async (tx, current) => {
    if (current === null) throw absent(name);
    await record(tx, name, { action: 'remove', from: current, to: null, reason }, actor);
  });
}

/** The versions to which rollbacks would lead, the present one last. */
function versionsBehind(moves: readonly { action: string; toVersion: number | null }[]): number[] {
  const versions: number[] = [];
  for (const { action, toVersion } of moves) {
    if (action === 'rollback') versions.pop();
    else if (toVersion === null) versions.length = 0;
    else versions.push(toVersion);
  }
  return versions;
}

/**
 * Lets an alias name the model of a run whose gate passed, in the transaction of the judgement. If it no longer names `expected`, the version
 * that the model was compared with, it is kept as it is: the comparison says nothing about the version that it names now.
 */
export async function promote(
  tx: Transaction,
  name: AliasName,
  { version, expected, reason }: { version: number; expected: number | null; reason: string },
  actor: Actor,
): Promise<Promotion> {
  const { alias } = name;
  const called = `${name.model}@${alias}`;
  const current = await lockAlias(tx, name, actor);
  if (current === version) return { alias, outcome: 'unchanged', reason: `${called} already names version ${version}.` };
  if (current !== expected) {
    const before = expected === null ? 'when it did not exist' : `with version ${expected}`;
    const why = `${called} was kept: ${stateOf(current)}, but the model was compared ${before}.`;
    return { alias, outcome: 'kept', reason: why };
  }
  const [row] = await tx.$queryRaw<{ removedAt: Date | null }[]>`
    select removed_at as "removedAt" from model
     where project_id = ${actor.projectId} and name = ${name.model} and version = ${version} for key share`;
  if (row?.removedAt != null) {
    const why = `${called} was kept: the artifacts of version ${version} were removed by the retention policy.`;
    return { alias, outcome: 'kept', reason: why };
  }
  await record(tx, name, { action: 'set', from: current, to: version, reason }, actor);
  const from = current === null ? '' : ` instead of ${current}`;
  return { alias, outcome: 'moved', reason: `${called} now names version ${version}${from}.` };
}

async function withAlias(
  { prisma }: EngineContext,
  name: AliasName,
  actor: Actor,
  change: (tx: Transaction, current: number | null) => Promise<void>,
): Promise<void> {
  await inTransaction(prisma, async (tx) => change(tx, await lockAlias(tx, name, actor)));
}

/** The version that an alias names; until the transaction ends, nobody else moves an alias of the model. */
async function lockAlias(tx: Transaction, { model, alias }: AliasName, { projectId }: Actor): Promise<number | null> {
  await tx.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`alias ${projectId} ${model}`}, 0))`;
  const aliases = await currentAliases(tx, projectId, [model]);
  return aliases.find((other) => other.alias === alias)?.version ?? null;
}

type Move = { action: AliasAction; from: number | null; to: number | null; reason: string };

async function record(tx: Transaction, { model, alias }: AliasName, { action, from, to, reason }: Move, actor: Actor): Promise<void> {
  const { projectId, name } = actor;
  await tx.aliasMove.createMany({
    data: [{ projectId, model, alias, action, fromVersion: from, toVersion: to, reason, actor: name }],
  });
  const data: WebhookData['alias.moved'] = { model, alias, action, fromVersion: from, toVersion: to, reason, movedBy: name };
  await announce(tx, projectId, announcementOf('alias.moved', { subject: `${model}@${alias}`, at: new Date(), data }));
  const versionOf = (version: number | null) => (version === null ? null : { version });
  await audit(tx, actor, {
    action: `alias.${action}`,
    target: `${model}@${alias}`,
    before: versionOf(from),
    after: versionOf(to),
    details: { reason },
  });
}

async function requireVersion(tx: Transaction, model: string, version: number, { projectId }: Actor): Promise<void> {
  const newest = await tx.model.findFirst({ where: { projectId, name: model }, orderBy: { version: 'desc' }, select: { version: true } });
  if (newest === null) throw new CairnError('not_found', `Model ${model} not found; list the models with \`cairn models\``);
  // A collection that is about to give the version up waits for the alias, or this for the collection.
  const [found] = await tx.$queryRaw<{ removedAt: Date | null }[]>`
    select removed_at as "removedAt" from model where project_id = ${projectId} and name = ${model} and version = ${version} for key share`;
  if (found?.removedAt)
    throw new CairnError('wrong_state', `The artifacts of ${model}@${version} were removed by the retention policy`, {
      details: { remedy: 'Choose another version, or retry its run and register the model again.' },
    });
  if (found === undefined) throw new CairnError('not_found', `Model ${model} has no version ${version}; the newest is ${newest.version}`);
}

function absent({ model, alias }: AliasName): CairnError {
  return new CairnError('not_found', `Model ${model} has no alias ${alias}; list its aliases with \`cairn alias list ${model}\``);
}

const stateOf = (current: number | null): string => (current === null ? 'it does not exist' : `it names version ${current}`);
