import {
  artifactKind,
  CairnError,
  kindAndSettings,
  type Lineage,
  type LineageNode,
  listsDetails,
  maxLineageNodes,
  stepKind,
  stepState,
} from '@cairn/contract';
import { rulesOf } from '@cairn/domain';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { versionNamed } from './catalogue.ts';
import { isoTime, isoTimeOrNull, needsColumn, readColumn, scoresColumn, sourceOf } from './columns.ts';
import { scoresOf } from './evaluations.ts';
import { runNotFound } from './get-run.ts';

const givenColumn = z.array(z.object({ role: z.string(), name: z.string(), artifactId: z.string() }));

/** @throws CairnError `not_found` */
export async function runLineage(db: Transaction, { projectId, runId }: { projectId: string; runId: string }): Promise<Lineage> {
  const run = await db.run.findFirst({ where: { id: runId, projectId }, select: { id: true, name: true, source: true } });
  if (run === null) throw runNotFound(runId);
  const steps = await db.step.findMany({ where: { runId }, orderBy: { position: 'asc' }, select: { id: true, name: true, needs: true } });
  const needed = new Set(steps.flatMap((step) => readColumn(needsColumn, step.needs, `step ${step.id} needs`).map((need) => need.step)));
  const roots = steps.filter(({ name }) => !needed.has(name)).map(({ id }) => id);
  return { of: { model: null, run: runOf(run) }, roots, ...(await nodesBelow(db, projectId, roots)) };
}

/**
 * What a version of a model was made from: its newest version, or the one that a number or an alias names.
 *
 * @throws CairnError `not_found`
 */
export async function modelLineage(db: Transaction, { projectId, reference }: { projectId: string; reference: string }): Promise<Lineage> {
  const [name = '', named] = reference.split('@');
  const version = named === undefined ? undefined : await versionNamed(db, { projectId, model: name, version: named });
  const model = await db.model.findFirst({
    where: { projectId, name, ...(version === undefined ? {} : { version }) },
    orderBy: { version: 'desc' },
  });
  if (model === null) throw new CairnError('not_found', `Model ${reference} not found; list the models with GET /v1/models`);
  const run = await db.run.findUniqueOrThrow({ where: { id: model.runId }, select: { id: true, name: true, source: true } });
  const below = await nodesBelow(db, projectId, [model.stepId]);
  return { of: { model: `${model.name}@${model.version}`, run: runOf(run) }, roots: [model.stepId], ...below };
}

const runOf = ({ id, name, source }: { id: string; name: string; source: unknown }) => ({ id, name, source: sourceOf(id, source) });

/** The steps with these ids and all that they read, level by level: a few statements for each. */
async function nodesBelow(db: Transaction, projectId: string, roots: readonly string[]): Promise<Pick<Lineage, 'nodes' | 'isComplete'>> {
  const nodes = new Map<string, LineageNode>();
  let level = [...roots];
  while (level.length > 0 && nodes.size < maxLineageNodes) {
    const found = await stepNodes(db, level.slice(0, maxLineageNodes - nodes.size));
    for (const { node } of found) nodes.set(node.id, node);
    const given = await givenNodes(
      db,
      projectId,
      new Map(found.flatMap((one) => one.given.map(({ artifactId, name }) => [artifactId, name]))),
    );
    for (const { node, given: inputs } of found)
      for (const { role, artifactId } of inputs) node.reads.push({ role, node: given.idOf(artifactId), lists: [] });
    for (const node of given.leaves) nodes.set(node.id, node);
    for (const { dataset } of found) if (dataset !== null) nodes.set(dataset.id, dataset);
    const reached = found.flatMap(({ node }) => node.reads.map((read) => read.node)).filter((id) => id.startsWith('stp_'));
    level = [...new Set(reached)].filter((id) => !nodes.has(id));
  }
  return { nodes: [...nodes.values()].slice(0, maxLineageNodes), isComplete: level.length === 0 && nodes.size <= maxLineageNodes };
}

type StepNode = { node: LineageNode; given: z.infer<typeof givenColumn>; dataset: LineageNode | null };

/** Steps as nodes that read other steps of their run; those of `prepare` read the dataset. */
async function stepNodes(db: Transaction, ids: readonly string[]): Promise<StepNode[]> {
  const steps = await db.step.findMany({
    where: { id: { in: [...ids] } },
    include: {
      artifact: { select: { id: true, kind: true, digest: true, state: true, details: true } },
      run: { select: { id: true, name: true, source: true, dataset: { select: { id: true, name: true, version: true, digest: true } } } },
    },
  });
  const runIds = [...new Set(steps.map(({ runId }) => runId))];
  const siblings = await db.step.findMany({ where: { runId: { in: runIds } }, select: { id: true, runId: true, name: true } });
  const idsByName = new Map(siblings.map(({ id, runId, name }) => [`${runId} ${name}`, id]));
  const reusedIds = steps.flatMap(({ reusedFromRunId }) => reusedFromRunId ?? []);
  const reused = await db.run.findMany({ where: { id: { in: reusedIds } }, select: { id: true, name: true } });
  const namesOfRuns = new Map(reused.map(({ id, name }) => [id, name]));

  return steps.map((step): StepNode => {
    const what = `step ${step.id}`;
    const kind = readColumn(stepKind, step.kind, `${what} kind`);
    const parsed = kindAndSettings.safeParse({ kind, settings: step.settings });
    const listsOf = (role: string): readonly string[] => {
      const reading = parsed.success ? rulesOf(parsed.data).reads(role) : 'all';
      return typeof reading === 'string' ? [] : reading.lists;
    };
    const reads = readColumn(needsColumn, step.needs, `${what} needs`).flatMap((need) => {
      const node = idsByName.get(`${step.runId} ${need.step}`);
      return node === undefined ? [] : [{ role: need.role, node, lists: [...listsOf(need.role)] }];
    });
    const ready = step.artifact?.state === 'ready' ? step.artifact : null;
    const made = ready === null ? null : { kind: readColumn(artifactKind, ready.kind, `artifact ${ready.id} kind`), row: ready };
    const { dataset } = step.run;
    const from = kind === 'prepare' ? [{ role: 'dataset', node: dataset.id, lists: [] }] : [];
    return {
      node: {
        ...{ type: 'step', id: step.id, step: step.name, kind, run: runOf(step.run) },
        state: readColumn(stepState, step.state, `${what} state`),
        artifact: made === null ? null : { id: made.row.id, kind: made.kind, digest: made.row.digest },
        reusedFrom:
          step.reusedFromRunId === null
            ? null
            : { runId: step.reusedFromRunId, runName: namesOfRuns.get(step.reusedFromRunId) ?? step.reusedFromRunId },
        lists: made?.kind === 'lists' ? madeLists(made.row.details) : [],
        scores: scoresOf(
          readColumn(scoresColumn, step.scores, `${what} scores`),
          made && { kind: made.kind, details: readColumn(z.record(z.string(), z.unknown()), made.row.details, `${what} result`) },
        ),
        finishedAt: isoTimeOrNull(step.finishedAt),
        reads: [...reads, ...from],
      },
      given: readColumn(givenColumn, step.given, `${what} given`),
      dataset: from.length === 0 ? null : { ...dataset, type: 'dataset', reads: [] },
    };
  });
}

const madeLists = (details: unknown) =>
  Object.entries(listsDetails.safeParse(details).data?.lists ?? {}).map(([name, { rows, classes }]) => ({ name, rows, classes }));

/**
 * The nodes of inputs from outside a run: imported weights, and the steps of other runs that made them.
 *
 * @param names how the recipe names each artifact
 */
async function givenNodes(
  db: Transaction,
  projectId: string,
  names: ReadonlyMap<string, string>,
): Promise<{ leaves: LineageNode[]; idOf: (artifactId: string) => string }> {
  if (names.size === 0) return { leaves: [], idOf: (id) => id };
  const artifacts = await db.artifact.findMany({
    where: { id: { in: [...names.keys()] }, projectId },
    select: { id: true, digest: true, runId: true, stepName: true, weights: true },
  });
  const makers = await db.step.findMany({
    where: { OR: artifacts.flatMap(({ runId, stepName }) => (runId === null ? [] : [{ runId, name: stepName }])) },
    select: { id: true, runId: true, name: true },
  });
  const ids = new Map<string, string>();
  const leaves = [...names].flatMap(([id, name]): LineageNode[] => {
    const row = artifacts.find((one) => one.id === id);
    const maker = row && makers.find((step) => step.runId === row.runId && step.name === row.stepName);
    if (maker !== undefined) {
      ids.set(id, maker.id);
      return [];
    }
    // Weights that were removed or imported again have another name now, or none.
    const imported = row?.weights[0];
    if (imported === undefined) return [{ type: 'artifact', id, name, digest: row?.digest ?? null, reads: [] }];
    const { name: own, sha256, backbone, source, licence, owner, createdAt } = imported;
    return [{ type: 'weights', id, name: own, sha256, backbone, source, licence, owner, importedAt: isoTime(createdAt), reads: [] }];
  });
  return { leaves, idOf: (id) => ids.get(id) ?? id };
}
