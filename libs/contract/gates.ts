import { z } from 'zod';
import { CairnError } from './errors.ts';
import { aliasName, evaluationReference, idOf, modelReferencePattern, timestamp, wholeNumber } from './names.ts';
import { type Continent, type MetricRank, metricRanks, type scoredUsage } from './query-groups.ts';
import { type RunState, runVerdict } from './states.ts';
import { writtenText } from './text.ts';

// Quality gates: what a model must reach, and what was decided about it. Averages and shares are from 0 to 1.

/** What a gate can judge: means over queries. mAP@100 by Kaggle's formula and by eval_cbir's, and what eval_cbir gives at its ranks. */
export type GateScore = 'mAP@100' | 'mAP@100.reference' | `${'CMC' | 'precision' | 'recall'}@${MetricRank}`;

/** The queries over which the mean is taken, as gates name them: all of them, those of one usage, or those of one continent. */
export const gateParts = {
  public: { usage: 'Public' },
  private: { usage: 'Private' },
  africa: { continent: 'Africa' },
  antarctica: { continent: 'Antarctica' },
  asia: { continent: 'Asia' },
  europe: { continent: 'Europe' },
  'north-america': { continent: 'North America' },
  oceania: { continent: 'Oceania' },
  other: { continent: 'OTHER' },
  'south-america': { continent: 'South America' },
} as const satisfies Record<string, { usage: z.infer<typeof scoredUsage> } | { continent: Continent }>;
export type GatePart = keyof typeof gateParts;

/** A gate as people write it, such as `mAP@100 >= production - 0.2 points`. */
export type Gate = {
  score: GateScore;
  /** Null: all scored queries. */
  part: GatePart | null;
  /** The two as they are written, such as `mAP@100.europe`. */
  metric: string;
  /** A fixed value, or a version of a model; without a name it is that of the judged run. */
  baseline: { value: number } | { model: string | null; version: string };
  /** How much less is accepted: percentage points, or a share of the baseline. */
  tolerance: { amount: number; unit: 'points' | 'percent' };
};

const gateForm = /^(\S+?)\s*>=\s*(\S+(?:\s*%)?)(?:\s+-\s+([0-9]+(?:\.[0-9]+)?)\s*(points?|%))?$/;
const metricForm = /^(mAP@100(?:\.reference)?|(?:CMC|precision|recall)@(?:1|5|10|20|100))(?:\.([A-Za-z-]+))?$/;
const gateExamples = '`mAP@100 >= production - 0.2 points`, `mAP@100.europe >= landmark@7 - 1 %` or `recall@10.private >= 55 %`';
const metricNames =
  'The metrics are mAP@100, mAP@100.reference, and CMC@K, precision@K and recall@K with a K of ' +
  `${metricRanks.join(', ')}; each may end with .PART: ${Object.keys(gateParts).join(', ')}.`;

/**
 * Reads the text of a gate.
 *
 * @throws CairnError `invalid_request` with examples
 */
export function parseGate(text: string): Gate {
  const [, metric, baseline = '', amount = '0', unit] = gateForm.exec(text.trim()) ?? [];
  if (metric === undefined) throw invalidGate(text, whyUnread(text));
  const [, score, written] = metricForm.exec(metric) ?? [];
  if (score === undefined) throw invalidGate(text, `there is no metric ${metric}`);
  // `Private` is how the solution's column Usage has it.
  const part = written?.toLowerCase() ?? null;
  if (!isGatePart(part)) throw invalidGate(text, `${written} is neither a usage nor a continent`);
  if (Number(amount) > 100) throw invalidGate(text, `a tolerance of ${amount} ${unit} accepts everything; it has at most 100`);
  return {
    score: score as GateScore,
    part,
    metric,
    baseline: baselineOf(text, baseline),
    tolerance: { amount: Number(amount), unit: unit === '%' ? 'percent' : 'points' },
  };
}

/** Why a text is no gate at all. */
function whyUnread(text: string): string {
  const [, amount] = /-\s*([0-9]+(?:\.[0-9]+)?)\s*$/.exec(text) ?? [];
  if (text.includes('>=') && amount !== undefined) return `its tolerance has no unit; write ${amount} points or ${amount} %`;
  return 'it is not METRIC >= BASELINE, or METRIC >= BASELINE - TOLERANCE';
}

const isGatePart = (part: string | null): part is GatePart | null => part === null || Object.hasOwn(gateParts, part);

function baselineOf(text: string, baseline: string): Gate['baseline'] {
  const [, digits, percent] = /^([0-9]+(?:\.[0-9]+)?)\s*(%)?$/.exec(baseline) ?? [];
  if (digits !== undefined) {
    const value = percent === undefined ? Number(digits) : Number(digits) / 100;
    if (value > 1) throw invalidGate(text, `${baseline} is more than 100 %; write 55 % or 0.55`);
    return { value };
  }
  if (!modelReferencePattern.test(baseline)) throw invalidGate(text, `${baseline} is neither a number nor a model`);
  const [first = '', version] = baseline.split('@');
  return version === undefined ? { model: null, version: first } : { model: first, version };
}

function invalidGate(text: string, why: string): CairnError {
  return new CairnError('invalid_request', `The gate "${text}" cannot be read: ${why}`, {
    details: { remedy: `Write it as ${gateExamples}. ${metricNames}` },
  });
}

/** What decides: the whole 95 % interval of a paired bootstrap, or the difference of the means alone. */
export const gateEvidence = z.enum(['interval', 'mean']);

const gateSettings = {
  gate: writtenText(200, { least: 1 }),
  by: gateEvidence.default('interval'),
};
const minQueries = (number: z.ZodNumber | z.ZodCoercedNumber) => number.int().min(1).max(1_000_000).default(1);

/** POST /v1/runs/:id/gate: judges a run that succeeded, and stores its verdict. */
export const gateRequest = z.strictObject({ ...gateSettings, minQueries: minQueries(z.number()) });
export type GateRequest = z.infer<typeof gateRequest>;
/** POST /v1/gate/baseline: scores the baseline of a gate on the data of an evaluation. */
export const baselineRequest = z.strictObject({ of: evaluationReference, gate: gateSettings.gate });
/** GET /v1/gate: tries a gate on an evaluation, and stores nothing. */
export const gateQuery = z.strictObject({ of: evaluationReference, ...gateSettings, minQueries: minQueries(z.coerce.number()) });

/**
 * The gate of a submission: the controller judges the run once it has succeeded, and moves an alias to the version that the run registers if
 * the gate passed. `onInconclusive` says what an inconclusive gate means to a waiting caller; the alias is not moved then.
 */
export const runGate = gateRequest.extend({
  onInconclusive: z.enum(['pass', 'fail']).nullable().default(null),
  promote: z.strictObject({ alias: aliasName }).nullable().default(null),
  evaluateBaseline: z
    .boolean()
    .default(false)
    .describe(
      'Where the baseline was evaluated on other images or queries, or searched otherwise: evaluates it as the run was first, by a run of its own.',
    ),
});
export type RunGate = z.infer<typeof runGate>;

/** `inconclusive`: the interval contains the limit, or there are too few queries. */
export const gateVerdict = runVerdict.exclude(['none']);
export type GateVerdict = z.infer<typeof gateVerdict>;

/** The version of a model that a gate compares with. */
export const baselineVersion = z.object({ model: z.string(), version: wholeNumber });
export type BaselineVersion = z.infer<typeof baselineVersion>;

export const judgement = z.object({
  gate: z.string(),
  by: gateEvidence,
  minQueries: wholeNumber,
  verdict: gateVerdict,
  /** One or two sentences with the numbers. */
  reason: z.string(),
  queries: wholeNumber,
  value: z.number(),
  baselineValue: z.number(),
  /** value - baselineValue, with its 95 % interval. */
  difference: z.number(),
  low: z.number(),
  high: z.number(),
  /** The lowest accepted difference: minus the tolerance. */
  limit: z.number(),
  evaluation: z.object({ id: idOf('artifact'), name: z.string() }),
  /** The version that was registered with the evaluation; null where none was. */
  model: z.object({ model: z.string(), version: wholeNumber }).nullable().default(null),
  /** The version that was compared with, as it was named at the judgement; null for a fixed value. */
  baseline: z.object({ model: z.string(), version: wholeNumber, evaluationId: idOf('artifact') }).nullable(),
  /** The queries that lost most. */
  lost: z.array(z.object({ queryId: z.string(), a: z.number(), b: z.number() })),
});
export type Judgement = z.infer<typeof judgement>;

/** What became of the alias that a passed gate was to move. */
export const promotion = z.object({
  alias: z.string(),
  /** `kept`: the alias named another version than the one that the model was compared with, so it was left as it was. */
  outcome: z.enum(['moved', 'unchanged', 'kept']),
  /** One sentence with the versions. */
  reason: z.string(),
});
export type Promotion = z.infer<typeof promotion>;

/** A judgement of a run, as stored. */
export const storedJudgement = judgement.extend({
  judgedBy: z.string(),
  judgedAt: timestamp,
  /** Null where no alias was to be moved. */
  promotion: promotion.nullable().default(null),
});
export type StoredJudgement = z.infer<typeof storedJudgement>;
export const judgementList = z.object({ items: z.array(storedJudgement) });

/** `waiting` for the run to succeed, `judging`, `judged`, or `refused`: it cannot be judged, and `problem` says why. */
export const runGateState = z.enum(['waiting', 'judging', 'judged', 'refused']);
export type RunGateState = z.infer<typeof runGateState>;

/** The gate of a run and what it decided. */
export const runGateView = runGate.extend({
  state: runGateState,
  /** Why it was refused, or why judging takes longer: the storage does not answer, for example. */
  problem: z.string().nullable(),
  judgement: storedJudgement.nullable(),
});
export type RunGateView = z.infer<typeof runGateView>;

/** True while the verdict of a run that succeeded is still to come. */
export const awaitsVerdict = ({ state, gate }: { state: RunState; gate: { state: RunGateState } | null }): boolean =>
  state === 'succeeded' && (gate?.state === 'waiting' || gate?.state === 'judging');
