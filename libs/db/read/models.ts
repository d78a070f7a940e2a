import { CairnError, type ModelView, wholeNumber } from '@cairn/contract';
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
  return pageOf(rows, page.limit, (row) => [row.name], modelViewOf);
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
  return pageOf(rows, limit, (row) => [row.version], modelViewOf);
}

function modelViewOf(row: Model): ModelView {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    owner: row.owner,
    runId: row.runId,
    artifacts: readColumn(textsColumn, row.artifacts, `model ${row.id} artifacts`),
    metrics: readColumn(scoresColumn, row.metrics, `model ${row.id} metrics`),
    createdAt: isoTime(row.createdAt),
  };
}
