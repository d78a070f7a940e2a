import { agreement, drawModel, exportModel, weightsFlags } from '../exported-model.ts';
import { askPython, type PhaseContext } from '../phase.ts';
import { rivals } from './machine.ts';

/**
 * The export in both precisions, and how closely ONNX Runtime on the CPU follows PyTorch on the CPU and on the GPU. The phase
 * extract has it on CUDA.
 */
export async function exportModels(context: PhaseContext): Promise<void> {
  const model = await drawModel(context);
  context.record('model', { backbone: model.backbone, imageSize: model.imageSize });
  for (const precision of ['fp32', 'fp16'] as const) {
    await context.attempt(precision, async () => {
      const { path, cosine, images, seconds } = await exportModel(context, model, precision);
      const args = ['exported', model.images, path, ...weightsFlags(model), '--rows', '8'];
      const beside = agreement.parse(await askPython(context, rivals, args, 'comparing with PyTorch'));
      context.record(precision, { cosine, images, seconds, torch: beside });
      context.say(
        `${precision}: least cosine ${cosine.toFixed(7)} over ${images} images, ${seconds.toFixed(1)} s; ${beside.least.toFixed(7)} to PyTorch on ${beside.device}`,
      );
    });
  }
}
