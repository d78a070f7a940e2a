import { Graph, layout } from '@dagrejs/dagre';

export type GraphStep = { name: string; needs: readonly string[] };
export type PlacedStep = { name: string; x: number; y: number };

export const nodeSize = { width: 190, height: 58 } as const;

/**
 * The needs that are drawn: without those that follow from others, such as the lists of the first step, which every stage reads.
 *
 * @param steps in topological order
 */
export function drawnNeeds(steps: readonly GraphStep[]): Map<string, string[]> {
  const above = new Map<string, ReadonlySet<string>>();
  const drawn = new Map<string, string[]>();
  for (const { name, needs } of steps) {
    const indirect = new Set(needs.flatMap((need) => [...(above.get(need) ?? [])]));
    above.set(name, new Set([...needs, ...indirect]));
    drawn.set(
      name,
      needs.filter((need) => !indirect.has(need)),
    );
  }
  return drawn;
}

/** The top left corner of each step's box: what a step needs is above it. */
export function placeSteps(steps: readonly GraphStep[]): PlacedStep[] {
  const graph = new Graph();
  graph.setGraph({ rankdir: 'TB', nodesep: 24, ranksep: 32 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { name } of steps) graph.setNode(name, { ...nodeSize });
  for (const [name, needs] of drawnNeeds(steps)) for (const need of needs) graph.setEdge(need, name);
  layout(graph);
  return steps.map(({ name }) => {
    const { x = 0, y = 0 } = graph.node(name);
    return { name, x: x - nodeSize.width / 2, y: y - nodeSize.height / 2 };
  });
}
