import { CairnError, modelDetails } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { type ArtifactFile, type ArtifactWithFiles, fileOfArtifact } from './artifact-files.ts';
import { versionNamed } from './catalogue.ts';
import { readColumn, textsColumn } from './columns.ts';

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
      `${name} cannot be searched with: it was registered without ${index === null ? 'features of an index' : 'an exported model'}`,
      {
        details: { remedy: 'Choose a version whose run exports one model and extracts an index with it.' },
      },
    );
  }
  const details = readColumn(modelDetails, made.details, `artifact ${made.id} details`);
  return { name, runId: row.runId, onnx, details, index: { ...index, bytes: Number(index.bytes) } };
}
