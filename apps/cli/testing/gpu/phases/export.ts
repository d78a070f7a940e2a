import { drawModel, exportModel } from '../exported-model.ts';
import type { PhaseContext } from '../phase.ts';

/** The export in both precisions, and how closely ONNX Runtime on the CPU follows PyTorch; on the GPU the phase extract compares. */
export async function exportModels(context: PhaseContext): Promise<void> {
  const model = await drawModel(context);
  context.record('model', { backbone: model.backbone, imageSize: model.imageSize });
  for (const precision of ['fp32', 'fp16'] as const) {
    await context.attempt(precision, async () => {
      const { cosine, images, seconds } = await exportModel(context, model, precision);
      context.record(precision, { cosine, images, seconds });
      context.say(`${precision}: least cosine ${cosine.toFixed(7)} over ${images} images, ${seconds.toFixed(1)} s`);
    });
  }
}
