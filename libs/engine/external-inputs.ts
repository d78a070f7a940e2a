import { type ArtifactKind, CairnError, type ExternalInput, type ModelSettings } from '@cairn/contract';
import { nameOfInput, rulesOf, type StepPlan, type StepWant } from '@cairn/domain';
import { z } from 'zod';
import { detailsColumn, type Given, memoPartsColumn, states } from './columns.ts';
import type { EngineContext } from './context.ts';

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
  const found = new Map<string, ExternalSource>();
  for (const step of plan) {
    for (const want of step.wants) {
      const source = await findSource(ctx, step, want, projectId);
      if (source !== null) found.set(`${step.name}/${want.role}`, source);
    }
  }
  return { of: ({ name }, role) => found.get(`${name}/${role}`) };
}

async function findSource(ctx: EngineContext, step: StepPlan, want: StepWant, projectId: string): Promise<ExternalSource | null> {
  const { input, setting, role } = want;
  if ('weights' in input) return findWeights(ctx, step, want, input.weights, projectId);
  const accepted: readonly ArtifactKind[] = rulesOf(step).inputs[role]?.kinds ?? [];
  const { id, from } = await findArtifactId(ctx, input, want, accepted, projectId);
  const row = id === null ? null : await ctx.prisma.artifact.findFirst({ where: { id, projectId, state: 'ready' } });
  if (row?.digest == null) throw new CairnError('not_found', `${setting} is ${nameOfInput(input)}, ${from}`);
  const kind = states.artifactKind.parse(row.kind);
  if (!accepted.includes(kind))
    throw new CairnError(
      'invalid_setting',
      `${setting} is ${nameOfInput(input)}, which has the kind ${kind}; expected ${accepted.join(' or ')}`,
    );
  const made = z
    .object({ model: z.object({ backbone: z.string(), embeddingDim: z.number() }) })
    .safeParse(memoPartsColumn.safeParse(row.memoParts).data?.settings).data?.model;
  const fault = made && kind === 'checkpoint' ? otherModel(made, modelOf(step)) : null;
  if (fault) throw new CairnError('model_mismatch', `${setting} is ${nameOfInput(input)}, which ${fault}`);
  // Features of earlier releases do not tell their model in their details.
  const madeBy = kind === 'features' ? memoPartsColumn.safeParse(row.memoParts).data?.inputs.model : undefined;
  const details = { ...(madeBy !== undefined && { model: madeBy }), ...detailsColumn.parse(row.details) };
  return { name: nameOfInput(input), artifactId: row.id, digest: row.digest, details };
}

/** The id of an artifact, or null with the reason in `from`. */
async function findArtifactId(
  { prisma }: EngineContext,
  input: Exclude<ExternalInput, { weights: string }>,
  { role, setting }: StepWant,
  accepted: readonly ArtifactKind[],
  projectId: string,
): Promise<{ id: string | null; from: string }> {
  if ('artifact' in input) return { id: input.artifact, from: 'which is not a ready artifact' };
  if ('run' in input) {
    const step = await prisma.step.findFirst({
      where: { name: input.step, run: { projectId, OR: [{ id: input.run }, { name: input.run }] } },
      orderBy: { createdAt: 'desc' },
      select: { artifactId: true },
    });
    return { id: step?.artifactId ?? null, from: step === null ? 'but that step does not exist' : 'which has no result' };
  }
  const [name = '', version] = input.model.split('@');
  const model = await prisma.model.findFirst({
    where: { projectId, name, ...(version === undefined ? {} : { version: Number(version) }) },
    orderBy: { version: 'desc' },
    select: { artifacts: true, version: true },
  });
  if (model === null)
    throw new CairnError(
      'not_found',
      `${setting} is ${input.model}, but no such model is registered; list the models with \`cairn models\``,
    );
  const parts = z.record(z.string(), z.string()).parse(model.artifacts);
  // By role, since `index` and `query` have the same kind; else by kind: a stage starts from the model's `checkpoint`.
  const rows = await prisma.artifact.findMany({
    where: { id: { in: Object.values(parts) }, kind: { in: [...accepted] } },
    select: { id: true },
  });
  const fitting = rows.map(({ id }) => id);
  const own = parts[role];
  const id = own !== undefined && fitting.includes(own) ? own : fitting.length === 1 ? (fitting[0] ?? null) : null;
  return { id, from: `version ${model.version}, which has no unique ${accepted.join(' or ')}` };
}

type WeightsRow = { content: string; backbone: string; extent: string; embeddingDim: number | null };

async function findWeights(
  { prisma }: EngineContext,
  step: StepPlan,
  want: StepWant,
  name: string,
  projectId: string,
): Promise<ExternalSource | null> {
  const row = await prisma.weights.findUnique({ where: { projectId_name: { projectId, name } } });
  if (row === null) return null;
  const fault = faultOf(row, want, step);
  if (fault) throw new CairnError('model_mismatch', `${want.setting} is ${name}, which ${fault}`);
  return { name, artifactId: row.artifactId, digest: row.sha256, details: null };
}

function faultOf(row: WeightsRow, { contents, setting }: StepWant, step: StepPlan): string | null {
  if (!contents.some((content) => content === row.content)) return 'contains only a backbone; a whole model is required';
  const fault = otherModel({ backbone: row.backbone, embeddingDim: row.content === 'model' ? row.embeddingDim : null }, modelOf(step));
  if (fault !== null) return fault;
  if (row.extent === 'upstream' && step.kind === 'train' && step.settings.weightsExtent === 'all')
    return `was imported without the squeeze-excitations (--extent upstream); ${setting}Extent is all`;
  return null;
}

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
    const command = isBackbone
      ? `cairn import weights ${name}.pth --backbone ${backbone}`
      : `cairn import model ${name}.pth --backbone ${backbone} --name ${name}`;
    const untrained = isBackbone ? ` Or start from untrained weights: --set '${setting}=null'.` : '';
    throw new CairnError('not_found', `${setting} names the weights ${name}, which are not imported`, {
      details: { weights: name, remedy: `Import them: \`${command}\`.${untrained}` },
    });
  }
}

/** The external inputs of a step, as stored in its row. */
export function givenTo(step: StepPlan, inputs: ExternalInputs): Given[] {
  return step.wants.flatMap(({ role }) => {
    const found = inputs.of(step, role);
    return found === undefined ? [] : [{ role, name: found.name, artifactId: found.artifactId, sha256: found.digest }];
  });
}
