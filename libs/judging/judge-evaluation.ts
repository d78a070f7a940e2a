import {
  type BaselineVersion,
  baselineVersion,
  CairnError,
  type Gate,
  type GatePart,
  type GateRequest,
  type GateScore,
  gateParts,
  isCairnError,
  type Judgement,
  type MetricRank,
  metricRanks,
  parseGate,
  type QueryScore,
  recipe as recipeSchema,
} from '@cairn/contract';
import { type FoundEvaluation, findBaselineEvaluations, type Transaction, versionNamed } from '@cairn/db';
import { baselineRecipe, type GateFacts, judgeGate } from '@cairn/domain';
import type { NamedScores } from '@cairn/retrieval/scores';
import type { ReadQueryScores } from './query-scores.ts';
import { differingConditions, searchConditions } from './search-conditions.ts';

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
  const { baseline, facts, lost } = await compare(parts, gate, judged, registered, signal).catch(async (error: unknown) => {
    throw await withoutVainOffer(parts.prisma, judged, error);
  });
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
  const [isIn, scoreOf] = [inPart(gate.part), scorers[gate.score]];
  if ('value' in gate.baseline) {
    const { meanWithInterval } = await import('@cairn/retrieval/scores');
    const mean = await meanWithInterval(scores.queries.filter(isIn), scoreOf, signal);
    if (mean === null) throw nothingToJudge(gate, [scores]);
    const { value: required } = gate.baseline;
    const facts = {
      ...{ queries: mean.queries, value: mean.mean, baselineValue: required },
      ...{ low: mean.low - required, high: mean.high - required, baselineName: null },
    };
    return { baseline: null, facts, lost: [] };
  }
  const { model, version } = await namedBaseline(prisma, gate.baseline, { projectId, found, registered });
  const { version: reference } = gate.baseline;
  const other = await comparableBaseline(prisma, { projectId, found }, { model, version });
  const { compareScore } = await import('@cairn/retrieval/scores');
  const before = await readScores(other);
  const means = await compareScore(before, scores, { scoreOf, isIn, show: shownLosses, signal }).catch((error: unknown) => {
    throw isCairnError(error, 'not_comparable') ? withOffer(error, { model, version }) : error;
  });
  if (means === null) throw nothingToJudge(gate, [scores, before]);
  const called = reference === String(version) ? '' : ` (${reference})`;
  const facts = {
    ...{ queries: means.queries, value: means.b, baselineValue: means.a, low: means.low, high: means.high },
    baselineName: `${model}@${version}${called}`,
  };
  return { baseline: { model, version, evaluationId: other.view.id }, facts, lost: means.lost };
}

/**
 * The evaluation of a version to compare with: the first one of the same data, searched in the same way. Where there is none, the one that it was
 * registered with, if only its data differ: reading its scores says how.
 *
 * @throws CairnError `not_comparable` where the data are the same and the search was not
 */
async function comparableBaseline(
  prisma: Transaction,
  { projectId, found }: Pick<Judged, 'projectId' | 'found'>,
  { model, version }: BaselineVersion,
): Promise<FoundEvaluation> {
  const { view } = found;
  const candidates = await findBaselineEvaluations(prisma, { projectId, model, version, like: view });
  const conditions = await searchConditions(prisma, projectId, view.id);
  const hasSameData = (other: FoundEvaluation['view']) =>
    other.gallery?.digest === view.gallery?.digest && other.groundTruthDigest === view.groundTruthDigest;
  let refusal: CairnError | null = null;
  for (const candidate of candidates) {
    if (!hasSameData(candidate.view)) continue;
    const differing = differingConditions(await searchConditions(prisma, projectId, candidate.view.id), conditions);
    if (differing.length === 0) return candidate;
    refusal = searchedOtherwise(candidate.view.name, view.name, differing, { model, version });
  }
  if (refusal !== null) throw refusal;
  return candidates[0];
}

function searchedOtherwise(a: string, b: string, differing: ReturnType<typeof differingConditions>, baseline: BaselineVersion): CairnError {
  const what = differing.map((one) => `${one.name} was ${one.a} and ${one.b}`).join('; ');
  const error = new CairnError('not_comparable', `${a} and ${b} cannot be compared: they were searched in different ways: ${what}`);
  // A model is given its images in one way, whatever it is evaluated on.
  if (differing.every(({ name }) => name !== 'preprocessing')) return withOffer(error, baseline);
  const remedy = 'Set `export.preprocessing` as in the baseline, or judge by a gate with a number, such as `mAP@100 >= 55 %`.';
  return new CairnError('not_comparable', error.message, { details: { remedy } });
}

/** Whether a query belongs to the queries that a gate is about. */
function inPart(part: GatePart | null): (query: QueryScore) => boolean {
  const wanted: Partial<Pick<QueryScore, 'usage' | 'continent'>> = part === null ? {} : gateParts[part];
  return ({ usage, continent }) => (wanted.usage ?? usage) === usage && (wanted.continent ?? continent) === continent;
}

/** The score of one query; null where the mean leaves it out. */
const scorers: Record<GateScore, (query: QueryScore) => number | null> = {
  'mAP@100': ({ averagePrecision }) => averagePrecision,
  'mAP@100.reference': ({ averagePrecisionReference }) => averagePrecisionReference,
  ...atRanks('CMC', (hits) => (hits > 0 ? 1 : 0)),
  ...atRanks('precision', (hits, k) => hits / k),
  ...atRanks('recall', (hits, _, all) => hits / all),
};

function atRanks<Name extends string>(name: Name, value: (hits: number, k: number, all: number) => number) {
  const scores = metricRanks.map((k) => [`${name}@${k}`, ({ hitsAt }: QueryScore) => hitsAt && value(hitsAt[k], k, hitsAt.all)]);
  return Object.fromEntries(scores) as Record<`${Name}@${MetricRank}`, (query: QueryScore) => number | null>;
}

/** Why no query is left to judge, and what to do about it. */
function nothingToJudge({ score, part, metric }: Gate, sides: readonly NamedScores[]): CairnError {
  const refuse = (what: string, remedy: string) => new CairnError('invalid_request', what, { details: { remedy } });
  const unscored = sides.find(({ queries }) => queries.every((query) => scorers[score](query) === null));
  if (unscored !== undefined && unscored.queries.length > 0)
    return refuse(
      `The queries of ${unscored.name} have no ${score}: an earlier release evaluated it`,
      'Submit its recipe again: only the step `evaluate` runs, and its result has it.',
    );
  const [{ name, queries } = { name: '', queries: [] }] = sides;
  if (part !== null && 'continent' in gateParts[part] && queries.every(({ continent }) => continent === null))
    return refuse(
      `The queries of ${name} have no continents`,
      'Register the dataset with its countries (`cairn dataset add --countries`), and submit the recipe again.',
    );
  const parts = Object.keys(gateParts).filter((other): other is GatePart => queries.some(inPart(other as GatePart)));
  return refuse(`${name} has no queries for ${metric}`, `It has queries for these parts: ${parts.join(', ') || 'none'}.`);
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
  const remedy = `Evaluate ${model}@${version} on the same data, in the same way, first: --evaluate-baseline does it.`;
  return new CairnError('not_comparable', error.message, { cause: error, details: { remedy, baseline: { model, version } } });
}

/** The same error, without the offer to evaluate a baseline where that cannot be done: one side is an ensemble, or a graph of the user's own. */
async function withoutVainOffer(prisma: Transaction, { projectId, found: { view } }: Judged, error: unknown): Promise<unknown> {
  const baseline = incomparableBaseline(error);
  if (baseline === null || !(error instanceof CairnError)) return error;
  const { model: name, version } = baseline;
  const [run, row] = await Promise.all([
    view.runId === null ? null : prisma.run.findUnique({ where: { id: view.runId }, select: { recipe: true } }),
    prisma.model.findUnique({ where: { projectId_name_version: { projectId, name, version } }, select: { artifacts: true } }),
  ]);
  const known = recipeSchema.safeParse(run?.recipe).data;
  const isOneModel = typeof row?.artifacts === 'object' && row.artifacts !== null && Object.hasOwn(row.artifacts, 'model');
  if (known === undefined || (isOneModel && baselineRecipe(known, view.step, `${name}@${version}`) !== null)) return error;
  const remedy = `Name a baseline that was evaluated on the same data, in the same way: \`cairn models ${name}\` lists the versions.`;
  return new CairnError('not_comparable', error.message, { cause: error, details: { remedy } });
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
