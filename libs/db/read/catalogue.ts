import {
  type AliasMoveView,
  type AliasView,
  type ArtifactView,
  aliasAction,
  artifactKind,
  artifactState,
  CairnError,
  type DatasetView,
  type ModelView,
  maxListedFiles,
  type RunSource,
  type WeightsView,
  weightsContent,
  weightsExtent,
  wholeNumber,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Dataset, Model, Weights } from '../generated/client.ts';
import {
  artifactFilesColumn,
  isoTime,
  isoTimeOrNull,
  readColumn,
  readRows,
  recordColumn,
  scoresColumn,
  sourceColumn,
  sourceOf,
  textsColumn,
} from './columns.ts';
import { decodeCursor, keyText, newestFirstKey, type Page, type PageArgs, pageOf } from './page-cursor.ts';

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
  const sources = await sourcesOfRuns(db, rows);
  return pageOf(
    rows,
    page.limit,
    (row) => [row.name],
    (row) => modelViewOf(row, aliases, sources),
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
    throw unknownModel(name);
  }
  const aliases = await currentAliases(db, projectId, [name]);
  const sources = await sourcesOfRuns(db, rows);
  return pageOf(
    rows,
    limit,
    (row) => [row.version],
    (row) => modelViewOf(row, aliases, sources),
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

/**
 * The aliases of a model.
 *
 * @throws CairnError `not_found` when no version of the model is registered
 */
export async function listAliases(db: Transaction, { projectId, model }: { projectId: string; model: string }): Promise<AliasView[]> {
  const rows = await currentAliases(db, projectId, [model]);
  if (rows.length === 0 && (await db.model.count({ where: { projectId, name: model } })) === 0) throw unknownModel(model);
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

function unknownModel(name: string): CairnError {
  return new CairnError('not_found', `Model ${name} not found; list the models with GET /v1/models`);
}

/** The commits of the runs of some models, by the id of the run. */
async function sourcesOfRuns(db: Transaction, rows: readonly Model[]): Promise<Map<string, RunSource | null>> {
  const runs = await db.run.findMany({ where: { id: { in: rows.map(({ runId }) => runId) } }, select: { id: true, source: true } });
  return new Map(runs.map(({ id, source }) => [id, sourceOf(id, source)]));
}

function modelViewOf(
  row: Model,
  aliases: readonly { model: string; alias: string; version: number }[],
  sources: ReadonlyMap<string, RunSource | null>,
): ModelView {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    owner: row.owner,
    runId: row.runId,
    source: sources.get(row.runId) ?? null,
    artifacts: readColumn(textsColumn, row.artifacts, `model ${row.id} artifacts`),
    metrics: readColumn(scoresColumn, row.metrics, `model ${row.id} metrics`),
    aliases: aliases.filter(({ model, version }) => model === row.name && version === row.version).map(({ alias }) => alias),
    createdAt: isoTime(row.createdAt),
    removedAt: isoTimeOrNull(row.removedAt),
  };
}

/** One page of imported weights, newest first. */
export async function listWeights(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<WeightsView>> {
  const after = decodeCursor(page.cursor, newestFirstKey);
  const rows = await db.weights.findMany({
    where: {
      projectId,
      ...(after === null ? {} : { OR: [{ createdAt: { lt: after[0] } }, { createdAt: after[0], id: { lt: after[1] } }] }),
    },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: page.limit + 1,
  });
  return pageOf(rows, page.limit, (row) => [row.createdAt.toISOString(), row.id], weightsViewOf);
}

/** @throws CairnError `not_found` */
export async function getWeights(db: Transaction, { projectId, name }: { projectId: string; name: string }): Promise<WeightsView> {
  const row = await db.weights.findUnique({ where: { projectId_name: { projectId, name } } });
  if (row === null) throw new CairnError('not_found', `Weights ${name} not found; list the imported weights with GET /v1/weights`);
  return weightsViewOf(row);
}

export function weightsViewOf(row: Weights): WeightsView {
  const { id, name, backbone, sha256, source, licence, embeddingDim, classes, owner, artifactId } = row;
  return {
    id,
    name,
    content: readColumn(weightsContent, row.content, `weights ${id} content`),
    backbone,
    extent: readColumn(weightsExtent, row.extent, `weights ${id} extent`),
    sha256,
    bytes: Number(row.bytes),
    source,
    licence,
    embeddingDim,
    classes,
    owner,
    artifactId,
    createdAt: isoTime(row.createdAt),
  };
}

/** One page of datasets, every version, newest first. */
export async function listDatasets(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<DatasetView>> {
  const after = decodeCursor(page.cursor, newestFirstKey);
  const rows = await db.dataset.findMany({
    where: {
      projectId,
      ...(after === null ? {} : { OR: [{ createdAt: { lt: after[0] } }, { createdAt: after[0], id: { lt: after[1] } }] }),
    },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: page.limit + 1,
  });
  return pageOf(rows, page.limit, (row) => [row.createdAt.toISOString(), row.id], datasetViewOf);
}

/**
 * The dataset with this name: the given version, or the newest.
 *
 * @throws CairnError `not_found`, naming the existing versions
 */
export async function getDataset(db: Transaction, args: { projectId: string; name: string; version: number | null }): Promise<DatasetView> {
  const { projectId, name, version } = args;
  const row = await db.dataset.findFirst({
    where: { projectId, name, ...(version === null ? {} : { version }) },
    orderBy: { version: 'desc' },
  });
  if (row !== null) return datasetViewOf(row);
  const versions = await db.dataset.findMany({ where: { projectId, name }, orderBy: { version: 'asc' }, select: { version: true } });
  if (versions.length > 0) {
    throw new CairnError('not_found', `Dataset ${name} has no version ${version}; it has ${versions.map((one) => one.version).join(', ')}`);
  }
  throw new CairnError('not_found', `Dataset ${name} not found; list the datasets with GET /v1/datasets`);
}

export function datasetViewOf(row: Dataset): DatasetView {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    owner: row.owner,
    source: readColumn(sourceColumn, row.source, `dataset ${row.id} source`),
    digest: row.digest,
    digestBasis: row.digestBasis,
    createdAt: isoTime(row.createdAt),
  };
}

type ArtifactArgs = {
  projectId: string;
  artifactId: string;
  /** The location of a key prefix of the object store, for people. */
  locate(prefix: string): string;
};

/** @throws CairnError `not_found` */
export async function getArtifact(db: Transaction, { projectId, artifactId, locate }: ArtifactArgs): Promise<ArtifactView> {
  const row = await db.artifact.findFirst({ where: { id: artifactId, projectId } });
  if (row === null)
    throw new CairnError('not_found', `Artifact ${artifactId} not found; the steps of a run show the IDs of their artifacts`);
  const what = `artifact ${row.id}`;
  return {
    id: row.id,
    kind: readColumn(artifactKind, row.kind, `${what} kind`),
    state: readColumn(artifactState, row.state, `${what} state`),
    digest: row.digest,
    prefix: row.prefix,
    location: locate(row.prefix),
    bytes: Number(row.bytes),
    files: row.fileCount > maxListedFiles ? [] : readColumn(artifactFilesColumn, row.files, `${what} files`),
    fileCount: row.fileCount,
    details: readColumn(recordColumn, row.details, `${what} details`),
    runId: row.runId,
    createdAt: isoTime(row.createdAt),
  };
}

/** A stored file of an artifact, by its key in the object store. */
export type ArtifactFile = { key: string; bytes: number; sha256: string };

export type ArtifactWithFiles = { id: string; prefix: string; files: unknown };

/** A file of an artifact, by its name in it; null where it has none, or lists its files only in its manifest. */
export function fileOfArtifact({ id, prefix, files }: ArtifactWithFiles, name: string): ArtifactFile | null {
  const file = readColumn(artifactFilesColumn, files, `artifact ${id} files`).find((one) => one.name === name);
  return file === undefined ? null : { key: `${prefix}${file.name}`, bytes: file.bytes, sha256: file.sha256 };
}

/** The lists that the newest run of a dataset has prepared, the smallest first; empty where none has. */
export async function findLists(db: Transaction, datasetId: string): Promise<ArtifactFile[]> {
  const step = await db.step.findFirst({
    where: { kind: 'prepare', run: { datasetId }, artifact: { state: 'ready' } },
    orderBy: { createdAt: 'desc' },
    select: { artifact: { select: { id: true, prefix: true, files: true } } },
  });
  if (step?.artifact == null) return [];
  const { id, prefix, files } = step.artifact;
  return readColumn(artifactFilesColumn, files, `artifact ${id} files`)
    .filter(({ name }) => /^lists\/(?!ground_truth)[a-z0-9_]+\.parquet$/.test(name))
    .map(({ name, bytes, sha256 }) => ({ key: `${prefix}${name}`, bytes, sha256 }))
    .sort((a, b) => a.bytes - b.bytes);
}
