import { exportSettings, preprocessing } from '@cairn/contract';
import { z } from 'zod';

/** Details of the artifact `model`: what an extraction must know to use it. */
export const modelDetails = z.object({
  /** Side of the square input in pixels. */
  imageSize: z.number().int(),
  preprocessing,
  /** What the backbone computes in; absent in models that were exported before there was a choice, which are fp32. */
  precision: exportSettings.shape.precision,
  embeddingDim: z.number().int(),
  /** The least cosine between ONNX Runtime and PyTorch on real images. */
  cosine: z.number(),
});
export type ModelDetails = z.infer<typeof modelDetails>;
