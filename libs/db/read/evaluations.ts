import {
  type ArtifactKind,
  artifactKind,
  CairnError,
  checkpointDetails,
  type EvaluationView,
  evaluationDetails,
  gateParts,
  idOf,
  type LineageView,
  type StoredJudgement,
  stepKind,
  storedJudgement,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Judgement } from '../generated/client.ts';
import { type ArtifactWithFiles, versionNamed } from './catalogue.ts';
import { artifactFilesColumn, isoTime, needsColumn, readColumn, readRows, recordColumn, textsColumn } from './columns.ts';

/** An evaluation, and its file of scores by query; null in one of an earlier release. */
export type FoundEvaluation = {
  view: EvaluationView;
  perQuery: { key: string; bytes: number; sha256: string } | null;
};

type EvaluationArgs = { projectId: string; reference: string };

/** The step that a run's evaluation is looked for in, if it has several. */
const mainStep = 'evaluate';

/**
 * The evaluation that a reference names: see `evaluationReference`.
 *
 * @throws CairnError `not_found`; `wrong_state` when its step has not finished; `invalid_request` when a run has several
 */
export async function findEvaluation(db: Transaction, args: EvaluationArgs): Promise<FoundEvaluation> {
  const { artifactId, name } = await evaluationNamed(db, args);
  const row = await db.artifact.findFirst({ where: { id: artifactId, projectId: args.projectId, kind: 'evaluation', state: 'ready' } });
  if (row === null)
    throw notFound(`No evaluation ${artifactId}`, 'Use the id of an artifact of the kind evaluation; `cairn show RUN --json` has them.');
  const what = `artifact ${row.id}`;
  const details = readColumn(recordColumn, row.details, `${what} details`);
  const { bootstrap, galleryDigest, galleryRows, groundTruthDigest } = readColumn(evaluationDetails, row.details, `${what} details`);
  const file = readColumn(artifactFilesColumn, row.files, `${what} files`).find((one) => one.name === 'per_query.parquet');
  const run = row.runId === null ? null : await db.run.findUnique({ where: { id: row.runId }, select: { name: true } });
  return {
    view: {
      id: row.id,
      name: name ?? (run === null ? row.id : `${run.name}/${row.stepName}`),
      runId: row.runId,
      step: row.stepName,
      scores: scoresOf({}, { kind: 'evaluation', details }),
      bootstrap: bootstrap ?? null,
      gallery: galleryDigest === undefined ? null : { digest: galleryDigest, rows: galleryRows ?? 0 },
      groundTruthDigest: groundTruthDigest ?? null,
      hasQueries: file !== undefined,
      createdAt: isoTime(row.createdAt),
    },
    perQuery: file === undefined ? null : { key: `${row.prefix}${file.name}`, bytes: file.bytes, sha256: file.sha256 },
  };
}

type BaselineArgs = { projectId: string; model: string; version: number; like: Pick<EvaluationView, 'gallery' | 'groundTruthDigest'> };

/** Evaluations that gates had made of one version, of the same data. */
const maxMadeForGates = 5;

/**
 * The evaluations of a version of a model: the one that it was registered with, then those that gates had made of it since, on the gallery and the
 * ground truths of `like`, the newest first.
 *
 * @throws CairnError as {@link findEvaluation}
 */
export async function findBaselineEvaluations(
  db: Transaction,
  { projectId, model, version, like }: BaselineArgs,
): Promise<[FoundEvaluation, ...FoundEvaluation[]]> {
  const registered = await findEvaluation(db, { projectId, reference: `${model}@${version}` });
  if (like.gallery === null) return [registered];
  const again = await db.$queryRaw<{ id: string }[]>`
    select a.id from run r join step s on s.run_id = r.id and s.kind = 'evaluate' join artifact a on a.id = s.artifact_id and a.state = 'ready'
     where r.project_id = ${projectId} and r.origin->>'kind' = 'gate' and r.origin->>'model' = ${model} and r.origin->>'version' = ${String(version)}
       and a.details->>'galleryDigest' = ${like.gallery.digest} and a.details->>'groundTruthDigest' is not distinct from ${like.groundTruthDigest}
     order by r.id desc limit ${maxMadeForGates}`;
  const others = await Promise.all(again.map(({ id }) => findEvaluation(db, { projectId, reference: id })));
  return [registered, ...others.map(({ view, ...found }) => ({ ...found, view: { ...view, name: `${model}@${version}` } }))];
}

/** The id of an evaluation, and how messages call it; null for one that was named by its id. */
async function evaluationNamed(
  db: Transaction,
  { projectId, reference }: EvaluationArgs,
): Promise<{ artifactId: string; name: string | null }> {
  if (idOf('artifact').safeParse(reference).success) return { artifactId: reference, name: null };
  const columns = { name: true, kind: true, state: true, artifactId: true, run: { select: { name: true } } } as const;
  if (idOf('step').safeParse(reference).success) {
    const step = await db.step.findFirst({ where: { id: reference, run: { projectId } }, select: columns });
    if (step === null) throw notFound(`No step ${reference}`, '`cairn show RUN --json` has the ids of steps.');
    return resultOf(step);
  }
  if (reference.includes('@')) return ofModel(db, projectId, reference);
  const [runName = '', stepName] = reference.split('/');
  const named = idOf('run').safeParse(runName).success ? { id: runName } : { name: runName };
  const run = await db.run.findFirst({ where: { ...named, projectId }, orderBy: { createdAt: 'desc' }, select: { id: true, name: true } });
  if (run === null) throw notFound(`No run ${runName}`, '`cairn runs` lists them. A model is named with its version, as MODEL@VERSION.');
  const steps = await db.step.findMany({ where: { runId: run.id, kind: 'evaluate' }, orderBy: { position: 'asc' }, select: columns });
  const names = steps.map((step) => step.name);
  const [only] = steps;
  const step =
    steps.find((one) => one.name === (stepName ?? mainStep)) ?? (stepName === undefined && steps.length === 1 ? only : undefined);
  if (step !== undefined) return resultOf(step);
  if (only === undefined)
    throw notFound(`The run ${run.name} has no step that evaluates`, 'Choose a run whose recipe has a step `evaluate`.');
  const choices = names.map((name) => `${run.name}/${name}`).join(', ');
  if (stepName !== undefined) throw notFound(`The run ${run.name} has no step ${stepName} that evaluates`, `Use one of ${choices}.`);
  throw new CairnError('invalid_request', `The run ${run.name} has several evaluations`, { details: { remedy: `Use one of ${choices}.` } });
}

type StepRow = { name: string; kind: string; state: string; artifactId: string | null; run: { name: string } };

function resultOf({ name, kind, state, artifactId, run }: StepRow): { artifactId: string; name: string } {
  const isDone = state === 'succeeded' || state === 'reused';
  if (kind === 'evaluate' && isDone && artifactId !== null) return { artifactId, name: `${run.name}/${name}` };
  const [what, remedy] =
    kind === 'evaluate'
      ? [`The step ${name} of the run ${run.name} is ${state}: it has no evaluation`, 'Wait until it has finished, or choose another run.']
      : [`The step ${name} of the run ${run.name} is of the kind ${kind}: it has no evaluation`, 'Choose a step of the kind evaluate.'];
  throw new CairnError('wrong_state', what, { details: { remedy } });
}

async function ofModel(db: Transaction, projectId: string, reference: string): Promise<{ artifactId: string; name: string }> {
  const [name = '', named = ''] = reference.split('@');
  const version = await versionNamed(db, { projectId, model: name, version: named });
  const model = await db.model.findUnique({ where: { projectId_name_version: { projectId, name, version } } });
  if (model === null)
    throw notFound(`No model ${reference}`, '`cairn models` lists the models, and `cairn models NAME` the versions of one.');
  const artifactId = readColumn(textsColumn, model.artifacts, `model ${model.id} artifacts`).evaluation;
  if (artifactId === undefined) throw notFound(`The model ${reference} was registered without an evaluation`, 'Choose another version.');
  return { artifactId, name: `${name}@${version}` };
}

function notFound(what: string, remedy: string): CairnError {
  return new CairnError('not_found', what, { details: { remedy } });
}

/** The judgements of a run, newest first. */
export async function listJudgements(
  db: Transaction,
  { projectId, runId }: { projectId: string; runId: string },
): Promise<StoredJudgement[]> {
  const rows = await db.judgement.findMany({ where: { runId, run: { projectId } }, orderBy: { id: 'desc' }, take: 100 });
  return rows.map(storedJudgementOf);
}

/** What the gate of a run's submission decided. */
export async function findJudgement(db: Transaction, gate: { runId: string; gateGeneration: number }): Promise<StoredJudgement | null> {
  const row = await db.judgement.findUnique({ where: { runId_gateGeneration: gate } });
  return row === null ? null : storedJudgementOf(row);
}

function storedJudgementOf({ id, details, actor, createdAt }: Judgement): StoredJudgement {
  const stored = readColumn(storedDetails, details, `judgement ${id} details`);
  return { ...stored, judgedBy: actor, judgedAt: isoTime(createdAt) };
}
const storedDetails = storedJudgement.omit({ judgedBy: true, judgedAt: true });

/**
 * The scores of a step, 0 to 1: those reported while it ran, and those in the details of its artifact, so that a reused step shows the
 * scores of the reused result.
 */
export function scoresOf(
  reported: Record<string, number>,
  artifact: { kind: ArtifactKind; details: Record<string, unknown> } | null,
): Record<string, number> {
  return { ...reported, ...(artifact === null ? {} : present(scoresInDetails(artifact.kind, artifact.details))) };
}

function scoresInDetails(kind: ArtifactKind, details: Record<string, unknown>): Record<string, number | null | undefined> {
  if (kind === 'checkpoint') {
    const parsed = checkpointDetails.safeParse(details);
    return parsed.success ? { 'mapAt100.start': parsed.data.mapAt100Start, 'mapAt100.end': parsed.data.mapAt100End } : {};
  }
  if (kind !== 'evaluation') return {};
  const parsed = evaluationDetails.safeParse(details);
  if (!parsed.success) return {};
  const { kaggle, reference, intervals } = parsed.data.mapAt100;
  const { byContinent = {} } = parsed.data;
  return {
    mapAt100: kaggle?.all,
    'mapAt100.low': intervals?.kaggle.all?.low,
    'mapAt100.high': intervals?.kaggle.all?.high,
    'mapAt100.public': kaggle?.public,
    'mapAt100.private': kaggle?.private,
    'mapAt100.reference': reference,
    ...Object.fromEntries(
      Object.entries(gateParts).flatMap(([part, of]) =>
        'continent' in of ? [[`mapAt100.${part}`, byContinent[of.continent]?.kaggle]] : [],
      ),
    ),
  };
}

function present(scores: Record<string, number | null | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(scores).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
}

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
