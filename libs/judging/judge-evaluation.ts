import {
  type BaselineVersion,
  baselineVersion,
  CairnError,
  type Gate,
  type GateRequest,
  gateMetrics,
  isCairnError,
  type Judgement,
  parseGate,
} from '@cairn/contract';
import { type FoundEvaluation, findBaselineEvaluation, type Transaction, versionNamed } from '@cairn/db';
import { type GateFacts, judgeGate } from '@cairn/domain';
import type { ReadQueryScores } from './query-scores.ts';

/** Queries in a judgement that lost most. */
const shownLosses = 10;

type Parts = { prisma: Transaction; readScores: ReadQueryScores };

export type Judged = {
  projectId: string;
  found: FoundEvaluation;
  /** The run that is judged, if it is one: its model gives a baseline without a name its own. */
  runId: string | null;
  question: GateRequest;
};

/**
 * Asks a gate about an evaluation: reads the scores by query of both sides and compares them. Stores nothing.
 *
 * @throws CairnError `not_found` for a baseline that does not exist; `not_comparable`; `invalid_request` for a gate that cannot be read, or
 *   whose metric has no queries here
 */
export async function judgeEvaluation(parts: Parts, judged: Judged, signal: AbortSignal): Promise<Judgement> {
  const { found, question } = judged;
  const gate = parseGate(question.gate);
  const registered = await registeredOf(parts.prisma, judged);
  const { baseline, facts, lost } = await compare(parts, gate, judged, registered, signal);
  const decision = judgeGate(gate, question.by, question.minQueries, facts);
  const { queries, value, baselineValue, low, high } = facts;
  const { id, name } = found.view;
  return {
    ...{ gate: question.gate, by: question.by, minQueries: question.minQueries, ...decision },
    ...{ queries, value, baselineValue, low, high },
    ...{ evaluation: { id, name }, model: registered, baseline, lost },
  };
}

type Comparison = { baseline: Judgement['baseline']; facts: GateFacts; lost: Judgement['lost'] };

async function compare(
  { prisma, readScores }: Parts,
  gate: Gate,
  { projectId, found }: Judged,
  registered: Judgement['model'],
  signal: AbortSignal,
): Promise<Comparison> {
  const scores = await readScores(found);
  const usage = gateMetrics[gate.metric];
  const none = () => new CairnError('invalid_request', `${found.view.name} has no queries for ${gate.metric}`);
  if ('value' in gate.baseline) {
    const { meanWithInterval } = await import('@cairn/retrieval/scores');
    const mean = await meanWithInterval(scores.queries, usage, signal);
    if (mean === null) throw none();
    const { value: required } = gate.baseline;
    const facts = {
      ...{ queries: mean.queries, value: mean.mean, baselineValue: required },
      ...{ low: mean.low - required, high: mean.high - required, baselineName: null },
    };
    return { baseline: null, facts, lost: [] };
  }
  const { model, version } = await namedBaseline(prisma, gate.baseline, { projectId, found, registered });
  const { version: reference } = gate.baseline;
  const other = await findBaselineEvaluation(prisma, { projectId, model, version, like: found.view });
  const { compareResults } = await import('@cairn/retrieval/scores');
  const comparison = await compareResults(await readScores(other), scores, { show: shownLosses, signal }).catch((error: unknown) => {
    throw isCairnError(error, 'not_comparable') ? withOffer(error, { model, version }) : error;
  });
  const means = comparison[usage];
  if (means === null) throw none();
  const called = reference === String(version) ? '' : ` (${reference})`;
  const facts = {
    ...{ queries: means.queries, value: means.b, baselineValue: means.a, low: means.low, high: means.high },
    baselineName: `${model}@${version}${called}`,
  };
  const lost = comparison.lost.map(({ queryId, a, b }) => ({ queryId, a, b }));
  return { baseline: { model, version, evaluationId: other.view.id }, facts, lost };
}

type Named = Pick<Judged, 'projectId' | 'found'> & { registered: Judgement['model'] };

async function namedBaseline(
  prisma: Transaction,
  baseline: { model: string | null; version: string },
  { projectId, found, registered }: Named,
) {
  const model = baseline.model ?? registered?.model;
  if (model === undefined) throw unnamed(found);
  return { model, version: await versionNamed(prisma, { projectId, model, version: baseline.version }) };
}

/**
 * The version of a model that a gate compares an evaluation with.
 *
 * @throws CairnError `invalid_request` for a gate against a fixed value, or without a model's name where none was registered; `not_found`
 */
export async function baselineOf(prisma: Transaction, judged: Omit<Judged, 'question'>, gate: string): Promise<BaselineVersion> {
  const { baseline } = parseGate(gate);
  if ('value' in baseline) throw new CairnError('invalid_request', `The gate "${gate}" compares with a fixed value, not with a model`);
  return namedBaseline(prisma, baseline, { ...judged, registered: await registeredOf(prisma, judged) });
}

/** The same refusal with what can be done about it. */
function withOffer(error: CairnError, { model, version }: BaselineVersion): CairnError {
  const remedy = `Evaluate ${model}@${version} on the same data first: --evaluate-baseline does it.`;
  return new CairnError('not_comparable', error.message, { cause: error, details: { remedy, baseline: { model, version } } });
}

/** The version with which a gate could not compare, because it was evaluated on other data; null for any other error. */
export function incomparableBaseline(error: unknown): BaselineVersion | null {
  if (!isCairnError(error, 'not_comparable')) return null;
  return baselineVersion.safeParse(error.details.baseline).data ?? null;
}

/** The version that was registered with an evaluation: by the judged run, else by the run that made the evaluation, else the newest. */
async function registeredOf(
  prisma: Transaction,
  { projectId, found: { view }, runId }: Omit<Judged, 'question'>,
): Promise<Judgement['model']> {
  const rows = await prisma.model.findMany({
    where: { projectId, artifacts: { path: ['evaluation'], equals: view.id } },
    orderBy: { createdAt: 'desc' },
    select: { name: true, version: true, runId: true },
    take: 100,
  });
  const row = rows.find((one) => one.runId === runId) ?? rows.find((one) => one.runId === view.runId) ?? rows[0];
  if (row !== undefined) return { model: row.name, version: row.version };
  // A run that registers a model without its evaluation still says which one it is about.
  const makers = [runId, view.runId].filter((id) => id !== null);
  const other = await prisma.model.findFirst({ where: { runId: { in: makers } }, select: { name: true, version: true } });
  return other === null ? null : { model: other.name, version: other.version };
}

function unnamed({ view }: FoundEvaluation): CairnError {
  return new CairnError('invalid_request', `The run of ${view.name} has registered no model, so the gate has to name one`, {
    details: { remedy: 'Write the baseline as MODEL@VERSION or MODEL@ALIAS, such as landmark@production.' },
  });
}
