import { z } from 'zod';

/**
 * What a feature set's `manifest.json` may tell of how it was made, in its `details`: the digest of the model, and the preprocessing of the images. Sets with
 * different ones are not to be compared. Unknown keys are passed over, and a set may tell nothing.
 */
export const featureSetManifest = z.object({
  details: z.object({ model: z.string().nullish(), preprocessing: z.string().nullish() }).default({}),
});
export type FeatureSetManifest = z.infer<typeof featureSetManifest>;
