import { z } from 'zod';
import { idOf, sha256Hex, timestamp } from './names.ts';
import { commitText, type RunSource, runSource } from './origin.ts';
import { artifactKind, stepKind, stepState } from './states.ts';

// What a run, or a version of a model, was made from: steps, lists, the dataset, imported weights, and results of other runs.

/** Most nodes of a lineage; beyond them it says that it is not complete. */
export const maxLineageNodes = 500;

/** What a node reads: another node, in a role such as `checkpoint`; `lists` names those that it reads of all of them. */
export const lineageRead = z.object({ role: z.string(), node: z.string(), lists: z.array(z.string()) });

/** A list with its rows and its classes; null where it has no labels. */
export const lineageList = z.object({ name: z.string(), rows: z.number().int(), classes: z.number().int().nullable() });

/** A run, and the commit that it was started for. */
const lineageRun = z.object({ id: idOf('run'), name: z.string(), source: runSource.nullable().default(null) });

const common = { id: z.string(), reads: z.array(lineageRead) };

export const lineageNode = z.discriminatedUnion('type', [
  z.object({
    ...common,
    type: z.literal('step'),
    run: lineageRun,
    step: z.string(),
    kind: stepKind,
    state: stepState,
    /** Its result; null until it is there. */
    artifact: z.object({ id: idOf('artifact'), kind: artifactKind, digest: sha256Hex.nullable() }).nullable(),
    reusedFrom: z.object({ runId: idOf('run'), runName: z.string() }).nullable(),
    /** The lists that it made. */
    lists: z.array(lineageList),
    scores: z.record(z.string(), z.number()),
    finishedAt: timestamp.nullable(),
  }),
  z.object({
    ...common,
    type: z.literal('weights'),
    name: z.string(),
    sha256: sha256Hex,
    backbone: z.string(),
    source: z.string().nullable(),
    licence: z.string().nullable(),
    owner: z.string(),
    importedAt: timestamp,
  }),
  z.object({ ...common, type: z.literal('dataset'), name: z.string(), version: z.number().int(), digest: sha256Hex }),
  /** A result whose step or name is not there any more. */
  z.object({ ...common, type: z.literal('artifact'), name: z.string(), digest: z.string().nullable() }),
]);
export type LineageNode = z.infer<typeof lineageNode>;

export const lineage = z.object({
  /** The model, as `name@version`, or the run. */
  of: z.object({ model: z.string().nullable(), run: lineageRun }),
  /** The nodes that nothing of the run reads; of a model, the step that registered it. */
  roots: z.array(z.string()),
  nodes: z.array(lineageNode),
  /** False where there is more than 500 nodes. */
  isComplete: z.boolean(),
});
export type Lineage = z.infer<typeof lineage>;

/**
 * The commits of the runs of a lineage, that of the run itself first, each once: `1f2e3d4c5b6a of team/landmarks, main`, and the names of its
 * runs.
 */
export function lineageCommits({ of, nodes }: Pick<Lineage, 'of' | 'nodes'>): { source: RunSource; runs: string[] }[] {
  const commits = new Map<string, { source: RunSource; runs: string[] }>();
  for (const { name, source } of [of.run, ...nodes.flatMap((node) => (node.type === 'step' ? [node.run] : []))]) {
    if (source === null) continue;
    const found = commits.get(commitText(source)) ?? { source, runs: [] };
    commits.set(commitText(source), found);
    if (!found.runs.includes(name)) found.runs.push(name);
  }
  return [...commits.values()];
}

/** A line of a lineage as a tree: a node, and in which role the node above reads it. */
export type LineageLine = {
  node: LineageNode;
  depth: number;
  role: string | null;
  lists: readonly string[];
  /** Whether the node, with what it reads, has a line elsewhere. */
  isRepeated: boolean;
};

/** The lines of a lineage in their order. A node that is read by several is unfolded below the one that is nearest to the roots. */
export function lineageTree({ roots, nodes }: Pick<Lineage, 'roots' | 'nodes'>): LineageLine[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const unfolds = new Map<string, string | null>(roots.map((id) => [id, null]));
  const queue = [...roots];
  for (const id of queue) {
    for (const read of byId.get(id)?.reads ?? []) {
      if (unfolds.has(read.node)) continue;
      unfolds.set(read.node, id);
      queue.push(read.node);
    }
  }
  const lines: LineageLine[] = [];
  const visit = (id: string, above: string | null, depth: number, role: string | null, lists: readonly string[]): void => {
    const node = byId.get(id);
    if (node === undefined) return;
    const isRepeated = unfolds.get(id) !== above || lines.some((line) => line.node.id === id);
    lines.push({ node, depth, role, lists, isRepeated });
    if (!isRepeated) for (const read of node.reads) visit(read.node, id, depth + 1, read.role, read.lists);
  };
  for (const id of roots) visit(id, null, 0, null, []);
  return lines;
}
