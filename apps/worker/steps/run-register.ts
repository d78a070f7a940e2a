import type { ArtifactDetails } from '@cairn/contract';
import type { Runner } from '../agent/attempt-context.ts';
import { inputOf, uploadFile } from '../agent/stored-files.ts';
import { modelCard, modelMetrics } from './model-card.ts';

/** One attempt at a registration: writes the model's card. The control plane creates the version and its row. */
export const runRegister: Runner<'register'> = async (context) => {
  const { spec, stop } = context;
  const { model, models } = spec.settings;
  const metrics = modelMetrics(inputOf(spec, 'evaluation').details, spec.inputs.checkpoint?.details ?? {});
  const card = modelCard({ model, models, run: spec.run, source: spec.source, inputs: spec.inputs, metrics });
  const file = await uploadFile(context, 'card.md', card, { signal: stop.asked });
  const details: ArtifactDetails['registration'] = { model, metrics };
  return { outcome: 'succeeded', files: [file], details };
};
