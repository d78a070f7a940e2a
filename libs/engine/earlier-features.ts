import { type AttemptSpecOf, isDoneStep } from '@cairn/contract';
import { Prisma, type PrismaClient } from '@cairn/db';
import { type MemoParts, mayReuse } from '@cairn/domain';
import { z } from 'zod';
import { memoPartsColumn, toJson } from './columns.ts';
import type { RunWork, WorkStep } from './run-work.ts';

/** The feature set that an extraction goes on from, for the generation of its step. */
const earlierColumn = z.object({ artifactId: z.string(), keepsRejected: z.boolean(), generation: z.number().int() });

/** Of the settings of an extraction. */
const listColumn = z.object({ list: z.string() });

type Earlier = NonNullable<AttemptSpecOf<'extract'>['earlier']>;

const listRole = (list: string): string => `lists.${list}`;

/**
 * Looks for the newest set of the same list by the same model, of before the list changed: images that are
 * the same in both lists are taken over by the workers. A retry that reads rejected images again has named its set already.
 */
export async function findEarlier(run: RunWork, step: WorkStep, parts: MemoParts): Promise<void> {
  const { earlier } = await run.tx.step.findUniqueOrThrow({ where: { id: step.id }, select: { earlier: true } });
  const named = earlierColumn.safeParse(earlier).data;
  if (named?.keepsRejected === false && named.generation === step.generation) return;
  const found = mayReuse(step, run.noReuse) ? await findSet(run, parts) : null;
  if (found === null && earlier === null) return;
  const column = found === null ? Prisma.DbNull : toJson({ artifactId: found, keepsRejected: true, generation: step.generation });
  await run.tx.step.update({ where: { id: step.id }, data: { earlier: column }, select: { id: true } });
}

async function findSet(run: RunWork, { kind, version, settings, inputs }: MemoParts): Promise<string | null> {
  const { list } = listColumn.parse(settings);
  const rest = Object.entries(inputs).filter(([role]) => role !== listRole(list));
  const set = await run.tx.artifact.findFirst({
    where: {
      projectId: run.projectId,
      kind: 'features',
      state: 'ready',
      AND: [
        { memoParts: { path: ['kind'], equals: kind } },
        { memoParts: { path: ['version'], equals: toJson(version) } },
        { memoParts: { path: ['settings', 'list'], equals: list } },
        ...rest.map(([role, digest]) => ({ memoParts: { path: ['inputs', role], equals: digest } })),
      ],
    },
    orderBy: { createdAt: 'desc' },
    select: { id: true },
  });
  return set?.id ?? null;
}

/** Lets the next generation of an extraction take over its set, but for the images that this rejected. */
export async function rereadRejected(run: RunWork, step: WorkStep): Promise<void> {
  const column = { artifactId: step.artifact?.id ?? '', keepsRejected: false, generation: step.generation + 1 };
  await run.tx.step.update({ where: { id: step.id }, data: { earlier: toJson(column) }, select: { id: true } });
}

/** Lets the next generation of an extraction that was to read rejected images again, and did not succeed, do that. */
export async function keepRereading(run: RunWork, { id, state, generation }: WorkStep): Promise<void> {
  if (isDoneStep(state)) return;
  await run.tx.$executeRaw`
    update step set earlier = jsonb_set(earlier, '{generation}', to_jsonb(${generation + 1}::int))
     where id = ${id} and earlier->>'keepsRejected' = 'false' and (earlier->>'generation')::int = ${generation}`;
}

/** The earlier set of a step as its attempts get it; null where there is none, or it or its list is gone. */
export async function readEarlier(
  prisma: PrismaClient,
  step: { earlier: unknown; generation: number; settings: unknown },
): Promise<Earlier | null> {
  const earlier = earlierColumn.safeParse(step.earlier).data;
  if (earlier === undefined || earlier.generation !== step.generation) return null;
  const set = await prisma.artifact.findFirst({
    where: { id: earlier.artifactId, state: 'ready' },
    select: { id: true, projectId: true, prefix: true, memoParts: true },
  });
  if (set === null) return null;
  const { list } = listColumn.parse(step.settings);
  // With the digest of its tars, which follows that of the file.
  const [sha256 = ''] = memoPartsColumn.parse(set.memoParts).inputs[listRole(list)]?.split(',') ?? [];
  const lists = await prisma.artifact.findFirst({
    where: { projectId: set.projectId, kind: 'lists', state: 'ready', details: { path: ['lists', list, 'sha256'], equals: sha256 } },
    select: { prefix: true },
  });
  if (lists === null) return null;
  return { id: set.id, prefix: set.prefix, listKey: `${lists.prefix}lists/${list}.parquet`, keepsRejected: earlier.keepsRejected };
}
