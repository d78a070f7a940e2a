import { artifactKind, type LineageView, stepKind } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { ArtifactWithFiles } from './artifact-files.ts';
import { needsColumn, readColumn, readRows, recordColumn } from './columns.ts';

type Made = LineageView['made'][number];
/** A result with what made it. */
export type MadeArtifact = Made & { stepId: string; artifact: ArtifactWithFiles; reads: { role: string; artifactId: string }[] };

/** More would be no lineage but a loop; the largest built-in recipe has 40 steps. */
const maxMade = 200;
const maxModels = 20;

/** What a result was made from, itself first, each once; over the runs whose results were reused. Ends at what no run has made. */
export async function loadLineage(db: Transaction, projectId: string, artifactId: string): Promise<MadeArtifact[]> {
  const stepsOf = stepsByRun(db, projectId);
  const found = new Map<string, MadeArtifact>();
  const open: { role: string | null; artifactId: string }[] = [{ role: null, artifactId }];
  for (let next = open.shift(); next !== undefined && found.size < maxMade; next = open.shift()) {
    if (found.has(next.artifactId)) continue;
    const artifact = await db.artifact.findFirst({
      where: { id: next.artifactId, projectId },
      select: { id: true, kind: true, prefix: true, files: true, runId: true, stepName: true },
    });
    if (artifact?.runId == null) continue;
    const steps = await stepsOf(artifact.runId);
    const maker = steps.find(({ name }) => name === artifact.stepName);
    if (maker === undefined) continue;
    const what = `step ${maker.id}`;
    const list = readColumn(recordColumn, maker.settings, `${what} settings`).list;
    const reads = readColumn(needsColumn, maker.needs, `${what} needs`).flatMap(({ role, step }) => {
      const read = steps.find(({ name }) => name === step)?.artifactId;
      return read == null ? [] : [{ role, artifactId: read }];
    });
    found.set(artifact.id, {
      role: next.role,
      kind: readColumn(artifactKind, artifact.kind, `artifact ${artifact.id} kind`),
      artifactId: artifact.id,
      run: maker.run,
      step: maker.name,
      stepKind: readColumn(stepKind, maker.kind, `${what} kind`),
      list: maker.kind === 'extract' && typeof list === 'string' ? list : null,
      stepId: maker.id,
      artifact: { id: artifact.id, prefix: artifact.prefix, files: artifact.files },
      reads,
    });
    open.push(...reads);
  }
  return [...found.values()];
}

function stepsByRun(db: Transaction, projectId: string) {
  const load = (runId: string) =>
    db.step.findMany({
      where: { runId, run: { projectId } },
      select: {
        id: true,
        name: true,
        kind: true,
        settings: true,
        needs: true,
        artifactId: true,
        run: { select: { id: true, name: true } },
      },
    });
  const known = new Map<string, ReturnType<typeof load>>();
  return (runId: string): ReturnType<typeof load> => {
    const steps = known.get(runId) ?? load(runId);
    known.set(runId, steps);
    return steps;
  };
}

/** The dataset of a run, as NAME@VERSION. */
export async function datasetOfRun(db: Transaction, projectId: string, runId: string | null): Promise<string | null> {
  const run =
    runId === null
      ? null
      : await db.run.findFirst({ where: { id: runId, projectId }, select: { dataset: { select: { name: true, version: true } } } });
  return run === null ? null : `${run.dataset.name}@${run.dataset.version}`;
}

/** The versions of models that were registered with an evaluation, newest first. */
export async function modelsOfEvaluation(db: Transaction, projectId: string, artifactId: string): Promise<LineageView['models']> {
  return db.model.findMany({
    where: { projectId, artifacts: { path: ['evaluation'], equals: artifactId } },
    orderBy: { createdAt: 'desc' },
    take: maxModels,
    select: { name: true, version: true },
  });
}

const startsRow = z.object({ starts: z.array(z.number().int()).nullable() });

/** The first image of each shard of an extraction, in order. */
export async function shardStarts(db: Transaction, stepId: string): Promise<readonly number[]> {
  const rows = await db.$queryRaw`select array_agg(from_row order by index) as starts from shard where step_id = ${stepId}`;
  return readRows(startsRow, rows)[0]?.starts ?? [];
}
