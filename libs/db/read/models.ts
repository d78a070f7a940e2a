import { type AliasMoveView, type AliasView, aliasAction, CairnError, type ModelView, wholeNumber } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Model } from '../generated/client.ts';
import { isoTime, readColumn, readRows, scoresColumn, textsColumn } from './columns.ts';
import { decodeCursor, keyText, type Page, type PageArgs, pageOf } from './page-cursor.ts';

const idRow = z.object({ id: z.string() });

/** One page of models by name, each in its newest version. */
export async function listModels(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<ModelView>> {
  const after = decodeCursor(page.cursor, z.tuple([keyText]));
  const newest = await db.$queryRaw`
    select distinct on (name) id from model
     where project_id = ${projectId} and name > ${after?.[0] ?? ''}
     order by name, version desc
     limit ${page.limit + 1}`;
  const rows = await db.model.findMany({ where: { id: { in: readRows(idRow, newest).map((row) => row.id) } }, orderBy: { name: 'asc' } });
  const aliases = await currentAliases(
    db,
    projectId,
    rows.map((row) => row.name),
  );
  return pageOf(
    rows,
    page.limit,
    (row) => [row.name],
    (row) => modelViewOf(row, aliases),
  );
}

/**
 * One page of a model's versions, newest first.
 *
 * @throws CairnError `not_found`
 */
export async function listModelVersions(db: Transaction, args: PageArgs & { projectId: string; name: string }): Promise<Page<ModelView>> {
  const { projectId, name, limit, cursor } = args;
  const after = decodeCursor(cursor, z.tuple([wholeNumber]));
  const rows = await db.model.findMany({
    where: { projectId, name, ...(after === null ? {} : { version: { lt: after[0] } }) },
    orderBy: { version: 'desc' },
    take: limit + 1,
  });
  if (rows.length === 0 && after === null) {
    throw new CairnError('not_found', `Model ${name} not found; list the models with GET /v1/models`);
  }
  const aliases = await currentAliases(db, projectId, [name]);
  return pageOf(
    rows,
    limit,
    (row) => [row.version],
    (row) => modelViewOf(row, aliases),
  );
}

const currentAlias = z.object({
  model: z.string(),
  alias: z.string(),
  version: z.number(),
  reason: z.string(),
  actor: z.string(),
  createdAt: z.date(),
});

/** The aliases of some models with the versions that they name now, by name: the newest move of each, unless it removed the alias. */
export async function currentAliases(
  db: Transaction,
  projectId: string,
  models: readonly string[],
): Promise<z.infer<typeof currentAlias>[]> {
  const rows = await db.$queryRaw`
    select model, alias, to_version as version, reason, actor, created_at as "createdAt"
      from (select distinct on (model, alias) * from alias_move
             where project_id = ${projectId} and model = any(${[...models]})
             order by model, alias, id desc) newest
     where to_version is not null
     order by model, alias`;
  return readRows(currentAlias, rows);
}

/**
 * The version of a model that a number or an alias names.
 *
 * @throws CairnError `not_found` when there is no such alias; a number is not looked up
 */
export async function versionNamed(
  db: Transaction,
  { projectId, model, version }: { projectId: string; model: string; version: string },
): Promise<number> {
  if (/^[0-9]{1,9}$/.test(version)) return Number(version);
  const aliases = await currentAliases(db, projectId, [model]);
  const found = aliases.find(({ alias }) => alias === version);
  if (found !== undefined) return found.version;
  throw new CairnError('not_found', `Model ${model} has no alias ${version}`, {
    details: {
      remedy: `Add it: \`cairn alias set ${version} ${model}@VERSION --reason ...\`; \`cairn models ${model}\` lists the versions.`,
    },
  });
}

/** The aliases of a model. */
export async function listAliases(db: Transaction, { projectId, model }: { projectId: string; model: string }): Promise<AliasView[]> {
  const rows = await currentAliases(db, projectId, [model]);
  return rows.map(({ actor, createdAt, ...row }) => ({ ...row, movedBy: actor, movedAt: isoTime(createdAt) }));
}

/** One page of an alias's history, newest first. */
export async function listAliasMoves(
  db: Transaction,
  { projectId, model, alias, limit, cursor }: PageArgs & { projectId: string; model: string; alias: string },
): Promise<Page<AliasMoveView>> {
  const after = decodeCursor(cursor, z.tuple([wholeNumber]));
  const rows = await db.aliasMove.findMany({
    where: { projectId, model, alias, ...(after === null ? {} : { id: { lt: after[0] } }) },
    orderBy: { id: 'desc' },
    take: limit + 1,
  });
  return pageOf(
    rows,
    limit,
    (row) => [Number(row.id)],
    ({ action, fromVersion, toVersion, reason, actor, createdAt }) => ({
      action: readColumn(aliasAction, action, 'alias_move action'),
      fromVersion,
      toVersion,
      reason,
      movedBy: actor,
      movedAt: isoTime(createdAt),
    }),
  );
}

function modelViewOf(row: Model, aliases: readonly { model: string; alias: string; version: number }[]): ModelView {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    owner: row.owner,
    runId: row.runId,
    artifacts: readColumn(textsColumn, row.artifacts, `model ${row.id} artifacts`),
    metrics: readColumn(scoresColumn, row.metrics, `model ${row.id} metrics`),
    aliases: aliases.filter(({ model, version }) => model === row.name && version === row.version).map(({ alias }) => alias),
    createdAt: isoTime(row.createdAt),
  };
}
