/** A checkpoint after every step: each is a place to go on from. */
export const smallSettings: Readonly<Record<string, unknown>> = Object.fromEntries(
  ['384', '384_finetune', '512_finetune', '512_all'].map((stage) => [`stages.${stage}.checkpointEverySteps`, 1]),
);
