import { z } from 'zod';
import { idOf, sha256Hex, timestamp } from './names.ts';
import { largestInt4 } from './numbers.ts';
import { page } from './rest.ts';
import { backbone, weightsExtent } from './settings.ts';
import { writtenText } from './text.ts';

/** What an imported file holds: a published backbone, a whole model in the reference's format, or an ONNX graph that matches images. */
export const weightsContent = z.enum(['backbone', 'model', 'matcher']);
export type WeightsContent = z.infer<typeof weightsContent>;

/** What stands for the backbone of a matcher: the form of its inputs and outputs. */
export const matcherForm = 'lightglue-end2end';

/** The largest accepted file of weights, in bytes. */
export const maxWeightsBytes = 8 * 1024 ** 3;

/** The query of PUT /v1/weights/:name, which describes the file; its bytes are the body. */
export const weightsQuery = z.strictObject({
  content: weightsContent.default('backbone'),
  backbone: backbone.optional().describe('The network of the tensors; a matcher has none.'),
  extent: weightsExtent.default('all'),
  /** SHA-256 of the body. */
  sha256: sha256Hex,
  source: writtenText(2000).optional(),
  licence: writtenText(200).optional(),
  /** Only for a whole model: read from its tensors. */
  embeddingDim: z.coerce.number<number>().int().min(8).max(4096).optional(),
  classes: z.coerce.number<number>().int().min(1).max(largestInt4).optional(),
});
export type WeightsQuery = z.infer<typeof weightsQuery>;

export const weightsView = z.object({
  id: idOf('weights'),
  /** The name that recipes refer to. */
  name: z.string(),
  content: weightsContent,
  backbone: z.string().describe('Of a matcher: the form of its inputs and outputs.'),
  extent: weightsExtent,
  sha256: sha256Hex,
  bytes: z.number().int(),
  source: z.string().nullable(),
  licence: z.string().nullable(),
  embeddingDim: z.number().int().nullable(),
  classes: z.number().int().nullable(),
  owner: z.string(),
  artifactId: idOf('artifact'),
  createdAt: timestamp,
});
export type WeightsView = z.infer<typeof weightsView>;
export const weightsPage = page(weightsView);
