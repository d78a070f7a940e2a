import {
  type ArtifactView,
  artifactKind,
  artifactState,
  CairnError,
  type DatasetView,
  type ModelView,
  maxListedFiles,
  type WeightsView,
  weightsContent,
  weightsExtent,
  wholeNumber,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Dataset, Model, Weights } from '../generated/client.ts';
import { artifactFilesColumn, isoTime, readColumn, readRows, recordColumn, scoresColumn, sourceColumn, textsColumn } from './columns.ts';
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
