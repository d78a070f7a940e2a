import { type ArtifactKind, CairnError, type ModelSettings } from '@cairn/contract';
import type { Transaction } from '@cairn/db';
import { nameOfInput, rulesOf, type StepPlan, type StepWant } from '@cairn/domain';
import { z } from 'zod';
import { detailsColumn, type Given, memoPartsColumn, states } from './columns.ts';
import type { EngineContext } from './engine.ts';

/** An input from outside a run, as of the submission. `digest` is that of the artifact, or for imported weights that of their file. */
export type ExternalSource = { name: string; artifactId: string; digest: string; details: unknown };

/** The external inputs of a submission, by step and role; weights that are not imported yet are absent. */
export type ExternalInputs = { of: (step: Pick<StepPlan, 'name'>, role: string) => ExternalSource | undefined };

/**
 * Looks up the external inputs of steps.
 *
 * @throws CairnError `not_found`, except for weights, which may be imported later; `model_mismatch` when an input has another backbone or
 *   feature length than the step; `invalid_setting` when it has a kind that the step does not accept
 */
export async function findExternalInputs(ctx: EngineContext, plan: readonly StepPlan[], projectId: string): Promise<ExternalInputs> {
  const wanted = plan.flatMap((step) =>
    step.wants.map((want): Wanted => ({ step, want, accepted: rulesOf(step).inputs[want.role]?.kinds ?? [] })),
  );
  const rows = wanted.length === 0 ? [] : await loadSources(ctx, wanted, projectId);
  const found = new Map<string, ExternalSource>();
  for (const [index, row] of rows.entries()) {
    const one = wanted[index];
    const source = one === undefined ? null : 'weights' in one.want.input ? weightsOf(row, one) : artifactOf(row, one);
    if (one !== undefined && source !== null) found.set(`${one.step.name}/${one.want.role}`, source);
  }
  return { of: ({ name }, role) => found.get(`${name}/${role}`) };
}

/** An input from outside that a step wants, and the kinds of artifact that it accepts. */
type Wanted = { step: StepPlan; want: StepWant; accepted: readonly ArtifactKind[] };

/** What the database has for one input. */
const sourceRow = z.object({
  weights: z
    .object({ artifactId: z.string(), content: z.string(), backbone: z.string(), extent: z.string(), embeddingDim: z.number().nullable() })
    .extend({ sha256: z.string() })
    .nullable(),
  /** The newest step of that name of the run. */
  step: z.object({ artifactId: z.string().nullable() }).nullable(),
  /** The version of the model that a number or an alias names, or its newest; its artifacts by role. */
  model: z.object({ version: z.number(), artifacts: z.record(z.string(), z.string()), isRemoved: z.boolean() }).nullable(),
  /** The artifact that is named, that of the step, or all of the model. */
  artifacts: z.array(
    z.object({
      ...{ id: z.string(), kind: z.string(), state: z.string(), digest: z.string().nullable() },
      ...{ details: z.unknown(), memoParts: z.unknown() },
    }),
  ),
});
type SourceRow = z.infer<typeof sourceRow>;

/** The rows of all inputs, in their order, in one statement. */
async function loadSources({ prisma }: EngineContext, wanted: readonly Wanted[], projectId: string): Promise<SourceRow[]> {
  const names = wanted.map(({ want: { input } }) => {
    const [model, version] = 'model' in input ? input.model.split('@') : [];
    if (model === undefined) return input;
    const isNumber = version !== undefined && /^[0-9]+$/.test(version);
    return { model, version: isNumber ? Number(version) : null, alias: isNumber ? null : (version ?? null) };
  });
  const rows = await prisma.$queryRaw<unknown[]>`
    select (select jsonb_build_object('artifactId', artifact_id, 'content', content, 'backbone', backbone, 'extent', extent,
                                      'embeddingDim', embedding_dim, 'sha256', sha256)
              from weights where project_id = ${projectId} and name = want.weights) as weights,
           to_jsonb(of_run) as step, to_jsonb(of_model) as model,
           coalesce((select jsonb_agg(jsonb_build_object('id', id, 'kind', kind, 'state', state, 'digest', digest,
                                                         'details', details, 'memoParts', memo_parts))
                       from artifact where project_id = ${projectId} and (id in (want.artifact, of_run."artifactId")
                         or id in (select value from jsonb_each_text(of_model.artifacts)))), '[]') as artifacts
      from rows from (jsonb_to_recordset(${JSON.stringify(names)}::jsonb)
                      as (weights text, artifact text, run text, step text, model text, version int, alias text)) with ordinality as want
      left join lateral (
        select step.artifact_id as "artifactId" from step join run on run.id = step.run_id
         where run.project_id = ${projectId} and want.run in (run.id, run.name) and step.name = want.step
         order by step.created_at desc limit 1) of_run on true
      left join lateral (
        select version, artifacts, removed_at is not null as "isRemoved" from model
         where project_id = ${projectId} and name = want.model and (want.version is null or version = want.version)
           and (want.alias is null or version = (
             select to_version from alias_move where project_id = ${projectId} and model = want.model and alias = want.alias
              order by id desc limit 1))
         order by version desc limit 1) of_model on true
     order by want.ordinality`;
  return z.array(sourceRow).parse(rows);
}

function artifactOf(row: SourceRow, wanted: Wanted): ExternalSource {
  const { step, want, accepted } = wanted;
  const name = nameOfInput(want.input);
  const { id, from } = findArtifactId(row, wanted);
  const artifact = row.artifacts.find((one) => one.id === id);
  if (artifact?.state !== 'ready' || artifact.digest === null) throw new CairnError('not_found', `${want.setting} is ${name}, ${from}`);
  const kind = states.artifactKind.parse(artifact.kind);
  if (!accepted.includes(kind))
    throw new CairnError('invalid_setting', `${want.setting} is ${name}, which has the kind ${kind}; expected ${accepted.join(' or ')}`);
  const made = z
    .object({ model: z.object({ backbone: z.string(), embeddingDim: z.number() }) })
    .safeParse(memoPartsColumn.safeParse(artifact.memoParts).data?.settings).data?.model;
  const fault = made && kind === 'checkpoint' ? otherModel(made, modelOf(step)) : null;
  if (fault) throw new CairnError('model_mismatch', `${want.setting} is ${name}, which ${fault}`);
  // Features of earlier releases do not tell their model in their details.
  const madeBy = kind === 'features' ? memoPartsColumn.safeParse(artifact.memoParts).data?.inputs.model : undefined;
  const details = { ...(madeBy !== undefined && { model: madeBy }), ...detailsColumn.parse(artifact.details) };
  return { name, artifactId: artifact.id, digest: artifact.digest, details };
}

/** The id of an artifact, or null with the reason in `from`. */
function findArtifactId({ step, model, artifacts }: SourceRow, { want, accepted }: Wanted): { id: string | null; from: string } {
  const { input, role, setting } = want;
  if ('artifact' in input) return { id: input.artifact, from: 'which is not a ready artifact' };
  if ('run' in input) return { id: step?.artifactId ?? null, from: step === null ? 'but that step does not exist' : 'which has no result' };
  if (model === null)
    throw new CairnError(
      'not_found',
      `${setting} is ${nameOfInput(input)}, but no such version is registered; list the models with \`cairn models\``,
    );
  if (model.isRemoved) return { id: null, from: `version ${model.version}, whose artifacts were removed by the retention policy` };
  // By role, since `index` and `query` have the same kind; else by kind: a stage starts from the model's `checkpoint`.
  const fitting = artifacts.filter(({ kind }) => accepted.some((one) => one === kind)).map(({ id }) => id);
  const own = model.artifacts[role];
  const id = own !== undefined && fitting.includes(own) ? own : fitting.length === 1 ? (fitting[0] ?? null) : null;
  return { id, from: `version ${model.version}, which has no unique ${accepted.join(' or ')}` };
}

function weightsOf({ weights }: SourceRow, { step, want }: Wanted): ExternalSource | null {
  if (weights === null) return null;
  const name = nameOfInput(want.input);
  const fault = faultOf(weights, want, step);
  if (fault) throw new CairnError('model_mismatch', `${want.setting} is ${name}, which ${fault}`);
  return { name, artifactId: weights.artifactId, digest: weights.sha256, details: null };
}

function faultOf(row: NonNullable<SourceRow['weights']>, { contents, setting }: StepWant, step: StepPlan): string | null {
  if (!contents.some((content) => content === row.content))
    return `contains ${inWords(row.content)}; ${contents.map(inWords).join(' or ')} is required`;
  const fault = otherModel({ backbone: row.backbone, embeddingDim: row.content === 'model' ? row.embeddingDim : null }, modelOf(step));
  if (fault !== null) return fault;
  if (row.extent === 'upstream' && step.kind === 'train' && step.settings.weightsExtent === 'all')
    return `was imported without the squeeze-excitations (--extent upstream); ${setting}Extent is all`;
  return null;
}

const inWords = (content: string): string =>
  content === 'backbone' ? 'only a backbone' : content === 'model' ? 'a whole model' : 'a matcher of images';

/** The model settings of a step that trains or exports one. */
const modelOf = ({ settings }: StepPlan): ModelSettings | null =>
  'model' in settings && typeof settings.model === 'object' ? settings.model : null;

function otherModel(theirs: { backbone: string; embeddingDim: number | null }, ours: ModelSettings | null): string | null {
  if (ours === null) return null;
  if (theirs.backbone !== ours.backbone) return `has the backbone ${theirs.backbone}; model.backbone is ${ours.backbone}`;
  if (theirs.embeddingDim !== null && theirs.embeddingDim !== ours.embeddingDim)
    return `produces features of length ${theirs.embeddingDim}; model.embeddingDim is ${ours.embeddingDim}`;
  return null;
}

/** @throws CairnError `not_found` with the command that imports the missing weights */
export function refuseAbsentWeights(plan: readonly StepPlan[], inputs: ExternalInputs): void {
  for (const step of plan) {
    const absent = step.wants.find((want) => inputs.of(step, want.role) === undefined);
    if (absent === undefined || !('weights' in absent.input)) continue;
    const { setting, contents } = absent;
    const name = absent.input.weights;
    const backbone = modelOf(step)?.backbone ?? 'BACKBONE';
    const isBackbone = contents.includes('backbone');
    const command = contents.includes('matcher')
      ? `cairn import matcher ${name}.onnx`
      : isBackbone
        ? `cairn import weights ${name}.pth --backbone ${backbone}`
        : `cairn import model ${name}.pth --backbone ${backbone} --name ${name}`;
    const untrained = isBackbone ? ` Or start from untrained weights: --set '${setting}=null'.` : '';
    throw new CairnError('not_found', `${setting} names the weights ${name}, which are not imported`, {
      details: { weights: name, remedy: `Import them: \`${command}\`.${untrained}` },
    });
  }
}

/**
 * Keeps collections from removing the external inputs of steps until the transaction ends, which refers to them.
 *
 * @throws CairnError `not_found` when one was removed since it was looked up
 */
export async function lockGiven(tx: Transaction, steps: readonly { name: string; given: readonly Given[] }[]): Promise<void> {
  const given = steps.flatMap((step) => step.given);
  if (given.length === 0) return;
  const ids = [...new Set(given.map(({ artifactId }) => artifactId))];
  const rows = await tx.$queryRaw<
    { id: string }[]
  >`select id from artifact where id = any(${ids}) and state = 'ready' order by id for key share`;
  const gone = given.find(({ artifactId }) => !rows.some(({ id }) => id === artifactId));
  if (gone !== undefined)
    throw new CairnError('not_found', `${gone.name}, which the run reads, was removed; submit a run that reads another`);
}

/** The external inputs of a step, as stored in its row. */
export function givenTo(step: StepPlan, inputs: ExternalInputs): Given[] {
  return step.wants.flatMap(({ role }) => {
    const found = inputs.of(step, role);
    return found === undefined ? [] : [{ role, name: found.name, artifactId: found.artifactId, sha256: found.digest }];
  });
}
