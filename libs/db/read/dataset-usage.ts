import { type DatasetUsage, listName, listsDetails, maxDatasetUsers, runState } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { getDataset } from './catalogue.ts';
import { isoTime, readColumn, readRows } from './columns.ts';

/** Prepared lists that are looked through: a run may have prepared only some of them. */
const newestLists = 20;
const mostVersions = 200;

const modelRow = z.object({ name: z.string(), version: z.number().int(), runId: z.string(), createdAt: z.date(), total: z.number().int() });

type DatasetUsageArgs = { projectId: string; name: string; version: number | null };

/**
 * What was made from a version of a dataset: its lists, the runs and the models.
 *
 * @throws CairnError `not_found`
 */
export async function readDatasetUsage(db: Transaction, args: DatasetUsageArgs): Promise<DatasetUsage> {
  const { projectId, name } = args;
  const dataset = await getDataset(db, args);
  const versions = await db.dataset.findMany({
    where: { projectId, name },
    orderBy: { version: 'desc' },
    take: mostVersions,
    select: { version: true, owner: true, digest: true, createdAt: true },
  });
  const made = await db.artifact.findMany({
    where: { projectId, kind: 'lists', state: 'ready', memoParts: { path: ['source'], equals: dataset.digest } },
    orderBy: { createdAt: 'desc' },
    take: newestLists,
    select: { id: true, details: true },
  });
  const runs = { projectId, datasetId: dataset.id };
  const newest = await db.run.findMany({
    where: runs,
    orderBy: { createdAt: 'desc' },
    take: maxDatasetUsers,
    select: { id: true, name: true, state: true, owner: true, createdAt: true },
  });
  const total = await db.run.count({ where: runs });
  // A model has no relation to its run: the ids of the runs are a subquery.
  const modelRows = await db.$queryRaw`
    select m.name, m.version, m.run_id as "runId", m.created_at as "createdAt", count(*) over ()::int as total
      from model m join run r on r.id = m.run_id
     where m.project_id = ${projectId} and r.dataset_id = ${dataset.id}
     order by m.created_at desc, m.id desc limit ${maxDatasetUsers}`;
  const models = readRows(modelRow, modelRows);
  return {
    dataset,
    versions: versions.map(({ createdAt, ...row }) => ({ ...row, createdAt: isoTime(createdAt) })),
    lists: newestOfEachList(made),
    runs: {
      total,
      items: newest.map(({ state, createdAt, ...row }) => ({
        ...row,
        state: readColumn(runState, state, `run ${row.id} state`),
        createdAt: isoTime(createdAt),
      })),
    },
    models: {
      total: models[0]?.total ?? 0,
      items: models.map(({ name: model, version, runId, createdAt }) => ({ name: model, version, runId, createdAt: isoTime(createdAt) })),
    },
  };
}

function newestOfEachList(artifacts: readonly { id: string; details: unknown }[]): DatasetUsage['lists'] {
  const found = new Map<string, DatasetUsage['lists'][number]>();
  for (const { id, details } of artifacts) {
    for (const [name, list] of Object.entries(listsDetails.safeParse(details).data?.lists ?? {})) {
      const { rows, distinct, classes, labelSizes = null, samples = [] } = list;
      if (!found.has(name)) found.set(name, { name, rows, images: distinct, classes, labelSizes, samples, artifactId: id });
    }
  }
  const order: readonly string[] = listName.options;
  return [...found.values()].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}
