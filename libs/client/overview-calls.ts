import { datasetUsage, fleetWork, lineage, runComparison } from '@cairn/contract';
import type { Requester, RequestOptions } from './request.ts';

/** Calls that show several things together: what differs between runs, what was made from what, who waits for whom. */
export function overviewCalls({ send }: Requester) {
  return {
    /** What was made from a dataset: lists with their counts, runs, models. */
    getDatasetUsage: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'datasets', name, 'usage'], repeatable: true, answer: datasetUsage }, options),

    /** What a version of a model was made from: NAME, NAME@VERSION or NAME@ALIAS. */
    getModelLineage: (reference: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'models', reference, 'lineage'], repeatable: true, answer: lineage }, options),

    /** Who holds slots, what waits for them and why, and the queues. */
    getFleetWork: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'fleet', 'work'], repeatable: true, answer: fleetWork }, options),

    /** Two to eight runs: what differs in their settings, and what became of their steps. */
    compareRuns: (runIds: readonly string[], options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'runs', 'comparison'], query: { run: runIds }, repeatable: true, answer: runComparison }, options),

    /** What the run was made from. */
    getRunLineage: (runId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'runs', runId, 'lineage'], repeatable: true, answer: lineage }, options),
  };
}
