import { fileOfArtifact, type MadeArtifact, type PrismaClient, shardStarts } from '@cairn/db';
import type { StoredTables } from './list-rows.ts';

/** What is known of an image of the gallery by the list that was extracted. */
export type GalleryImage = { label: number | null; shard: number | null };

const unknown: GalleryImage = { label: null, shard: null };

/** Reads label and shard of images of an index: the features of a list, found in the lineage. */
export async function readGallery(
  { prisma, tables }: { prisma: PrismaClient; tables: StoredTables },
  lineage: readonly MadeArtifact[],
  index: MadeArtifact | undefined,
  imageIds: readonly string[],
): Promise<(imageId: string) => GalleryImage> {
  const lists = index === undefined ? undefined : readOf(lineage, index, 'lists');
  const list = lists === undefined || index?.list == null ? null : fileOfArtifact(lists.artifact, `lists/${index.list}.parquet`);
  if (index === undefined || list === null) return () => unknown;
  const rows = await tables.listRows(list, imageIds);
  const starts = await shardStarts(prisma, index.stepId);
  return (imageId) => {
    const { label = null, image_number: number = null } = rows.get(imageId) ?? {};
    return {
      // Without a landmark a list has -1.
      label: label === null || label < 0 ? null : label,
      shard: number === null || starts.length === 0 ? null : starts.findLastIndex((start) => start <= number),
    };
  };
}

/** What a result's step read in a role. */
export function readOf(lineage: readonly MadeArtifact[], made: MadeArtifact | undefined, role: string | RegExp): MadeArtifact | undefined {
  const input = made?.reads.find((one) => (typeof role === 'string' ? one.role === role : role.test(one.role)));
  return lineage.find(({ artifactId }) => artifactId === input?.artifactId);
}
