import type { Transaction } from '../client.ts';
import { artifactFilesColumn, readColumn } from './columns.ts';

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
