import { type ArtifactView, artifactKind, artifactState, CairnError, maxListedFiles } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { artifactFilesColumn, isoTime, readColumn, recordColumn } from './columns.ts';

export type ArtifactArgs = {
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
