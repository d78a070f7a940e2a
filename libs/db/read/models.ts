import { type ArtifactKind, artifactKind, CairnError, type ModelCard, modelDetails, weightsDetails } from '@cairn/contract';
import { stringify } from 'yaml';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { type ArtifactFile, type ArtifactWithFiles, currentAliases, fileOfArtifact, versionNamed } from './catalogue.ts';
import { artifactFilesColumn, isoTime, readColumn, recordColumn, scoresColumn, textsColumn } from './columns.ts';

/** The card of a version, and where its registration's Markdown is; null where it was not stored. */
export type FoundCard = { card: ModelCard; markdown: { key: string; sha256: string } | null };

/**
 * What a version of a model is made of: NAME@VERSION or NAME@ALIAS.
 *
 * @throws CairnError `not_found`
 */
export async function findModelCard(
  db: Transaction,
  { projectId, reference }: { projectId: string; reference: string },
): Promise<FoundCard> {
  const [name = '', named = ''] = reference.split('@');
  const version = await versionNamed(db, { projectId, model: name, version: named });
  const row = await db.model.findUnique({ where: { projectId_name_version: { projectId, name, version } } });
  if (row === null) {
    const remedy = '`cairn models` lists the models, and `cairn models NAME` the versions of one.';
    throw new CairnError('not_found', `No model ${reference}`, { details: { remedy } });
  }
  const run = await db.run.findUnique({ where: { id: row.runId }, include: { dataset: true } });
  const registration = await db.step.findUnique({ where: { id: row.stepId }, select: { artifact: true } });
  const roles = readColumn(textsColumn, row.artifacts, `model ${row.id} artifacts`);
  const artifacts = await db.artifact.findMany({ where: { projectId, id: { in: Object.values(roles) } } });
  const made = Object.entries(roles)
    .flatMap(([role, id]) => artifacts.filter((artifact) => artifact.id === id).map((artifact) => ({ role, ...describe(artifact) })))
    .sort((a, b) => (a.role < b.role ? -1 : 1));
  const files = made.filter(({ role }) => /^model(\.|$)/.test(role)).flatMap(pulledFiles);
  const aliases = await currentAliases(db, projectId, [name]);
  const card = registration?.artifact ? describe(registration.artifact) : null;
  const cardFile = card?.files.find((file) => file.name === 'card.md');
  return {
    card: {
      ...{ model: name, version, owner: row.owner, createdAt: isoTime(row.createdAt) },
      aliases: aliases.filter((alias) => alias.version === version).map(({ alias }) => alias),
      run: run === null ? null : { id: run.id, name: run.name, recipe: run.recipeName, recipeYaml: stringify(run.recipe) },
      data: run === null ? null : { dataset: `${run.dataset.name}@${run.dataset.version}`, digest: run.dataset.digest },
      metrics: readColumn(scoresColumn, row.metrics, `model ${row.id} metrics`),
      startingWeights: made.filter(({ role }) => /^weights(\.|$)/.test(role)).flatMap(({ details }) => importOf(details)),
      matcher: made.filter(({ role }) => role === 'matcher').flatMap(({ details }) => importOf(details))[0] ?? null,
      files,
      bytes: files.reduce((sum, file) => sum + file.bytes, 0),
      lineage: made.map(({ role, id, kind, digest }) => ({ role, id, kind, digest })),
    },
    markdown: card === null || cardFile === undefined ? null : { key: `${card.prefix}${cardFile.name}`, sha256: cardFile.sha256 },
  };
}

type ArtifactRow = { id: string; kind: string; digest: string | null; prefix: string; files: unknown; details: unknown };

function describe(row: ArtifactRow) {
  const what = `artifact ${row.id}`;
  const kind: ArtifactKind = readColumn(artifactKind, row.kind, `${what} kind`);
  const files = readColumn(artifactFilesColumn, row.files, `${what} files`);
  return {
    id: row.id,
    kind,
    digest: row.digest,
    prefix: row.prefix,
    files,
    details: readColumn(recordColumn, row.details, `${what} details`),
  };
}

/** The pickled weights are left out where the same tensors are there as safetensors, which an earlier release did not write. */
function pulledFiles({ role, id, files }: { role: string } & ReturnType<typeof describe>): ModelCard['files'] {
  const folder = role === 'model' ? '' : `${role.slice('model.'.length)}/`;
  const isSafe = files.some(({ name }) => name.endsWith('.safetensors'));
  return files
    .filter(({ name }) => !isSafe || !name.endsWith('.pt'))
    .map(({ name, bytes, sha256 }) => ({ path: `${folder}${name}`, artifactId: id, file: name, bytes, sha256 }));
}

function importOf(details: Record<string, unknown>): ModelCard['startingWeights'] {
  const found = weightsDetails.safeParse(details).data;
  return found === undefined ? [] : [{ name: found.imported, source: found.source, licence: found.licence }];
}

/** A version of a model with the features that it extracted, in which a picture can be searched. */
export type SearchableModel = {
  /** NAME@VERSION. */
  name: string;
  runId: string;
  onnx: ArtifactFile;
  details: z.infer<typeof modelDetails>;
  index: ArtifactWithFiles & { bytes: number; fileCount: number };
};

const rolesColumn = z.looseObject({ model: z.string().optional(), index: z.string().optional() });

/**
 * @param reference NAME, the newest version, or NAME@VERSION or NAME@ALIAS
 * @throws CairnError `not_found`; `invalid_request` for a version that was registered without its model or features
 */
export async function findSearchableModel(db: Transaction, projectId: string, reference: string): Promise<SearchableModel> {
  const [model = '', named] = reference.split('@');
  const version = named === undefined ? undefined : await versionNamed(db, { projectId, model, version: named });
  const row = await db.model.findFirst({
    where: { projectId, name: model, ...(version === undefined ? {} : { version }) },
    orderBy: { version: 'desc' },
  });
  if (row === null) {
    throw new CairnError('not_found', `No model ${reference}`, {
      details: { remedy: '`cairn models` lists the models, and `cairn models NAME` the versions of one.' },
    });
  }
  const name = `${row.name}@${row.version}`;
  const roles = rolesColumn.parse(readColumn(textsColumn, row.artifacts, `model ${row.id} artifacts`));
  const columns = { id: true, prefix: true, files: true, bytes: true, fileCount: true, details: true } as const;
  const find = (id: string | undefined) =>
    id === undefined ? null : db.artifact.findFirst({ where: { id, projectId, state: 'ready' }, select: columns });
  const [made, index] = [await find(roles.model), await find(roles.index)];
  const onnx = made === null ? null : fileOfArtifact(made, 'model.onnx');
  if (made === null || onnx === null || index === null) {
    throw new CairnError(
      'invalid_request',
      `The model ${name} cannot be used to search: it was registered without ${index === null ? 'features of an index' : 'an exported model'}`,
      {
        details: { remedy: 'Choose a version whose run exports one model and extracts an index with it.' },
      },
    );
  }
  const details = readColumn(modelDetails, made.details, `artifact ${made.id} details`);
  return { name, runId: row.runId, onnx, details, index: { ...index, bytes: Number(index.bytes) } };
}
