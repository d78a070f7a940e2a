import { CairnError, type Recipe, settingPathText } from '@cairn/contract';
import type { StepPlan, StepWant } from '@cairn/domain';
import type { Given } from './columns.ts';
import type { EngineContext } from './context.ts';

/** What of imported weights a submission needs to know. */
export type ImportedWeights = { name: string; artifactId: string; sha256: string };

/**
 * The weights that steps want by name, as far as they are here.
 *
 * @throws CairnError `model_mismatch` when some are of another backbone, of another length, or hold something else
 */
export async function findWeights(
  ctx: EngineContext,
  recipe: Recipe,
  plan: readonly StepPlan[],
  projectId: string,
): Promise<ReadonlyMap<string, ImportedWeights>> {
  const wants = plan.flatMap((step) => step.wants);
  if (wants.length === 0) return new Map();
  const rows = await ctx.prisma.weights.findMany({ where: { projectId, name: { in: wants.map((want) => want.name) } } });
  for (const want of wants) {
    const row = rows.find((candidate) => candidate.name === want.name);
    const fault = row && faultOf(row, want, recipe);
    if (fault) throw new CairnError('model_mismatch', `${want.setting} is ${want.name}, which ${fault}`);
  }
  return new Map(rows.map(({ name, artifactId, sha256 }) => [name, { name, artifactId, sha256 }]));
}

type Row = { content: string; backbone: string; extent: string; embeddingDim: number | null };

function faultOf(row: Row, { contents, setting }: StepWant, { model, stages }: Recipe): string | null {
  if (!contents.some((content) => content === row.content)) return 'holds a backbone alone; a whole model is needed';
  if (row.backbone !== model.backbone) return `is of the backbone ${row.backbone}; model.backbone is ${model.backbone}`;
  if (row.content === 'model' && row.embeddingDim !== model.embeddingDim)
    return `gives features of length ${row.embeddingDim}; model.embeddingDim is ${model.embeddingDim}`;
  const stage = Object.entries(stages).find(([name]) => setting === settingPathText(['stages', name, 'weights']));
  if (row.extent === 'upstream' && stage?.[1].weightsExtent === 'all')
    return `was imported without the squeeze-excitations (--extent upstream); ${settingPathText(['stages', stage[0], 'weightsExtent'])} is all`;
  return null;
}

/** @throws CairnError `not_found` with the command that brings the absent weights in */
export function refuseAbsentWeights(recipe: Recipe, plan: readonly StepPlan[], weights: ReadonlyMap<string, ImportedWeights>): void {
  const absent = plan.flatMap((step) => step.wants).find((want) => !weights.has(want.name));
  if (absent === undefined) return;
  const { name, setting, contents } = absent;
  const { backbone } = recipe.model;
  const isBackbone = contents.includes('backbone');
  const command = isBackbone
    ? `cairn import weights ${name}.pth --backbone ${backbone}`
    : `cairn import model ${name}.pth --backbone ${backbone} --name ${name}`;
  const untrained = isBackbone ? ` Or start from untrained weights: --set '${setting}=null'.` : '';
  throw new CairnError('not_found', `${setting} names the weights ${name}, which are not here`, {
    details: { weights: name, remedy: `Bring them in: \`${command}\`.${untrained}` },
  });
}

/** What a step reads of them. */
export function givenTo({ wants }: Pick<StepPlan, 'wants'>, weights: ReadonlyMap<string, ImportedWeights>): Given[] {
  return wants.flatMap(({ role, name }) => {
    const found = weights.get(name);
    return found === undefined ? [] : [{ role, ...found }];
  });
}
