import { stepVersions } from '@cairn/contract';
import { env } from 'onnxruntime-node';
import sharp from 'sharp';

/** What features depend on besides the model and the images. */
export function extractionVersions(): Record<string, string> {
  const { sharp: decoder = '', vips = '' } = sharp.versions;
  return {
    extract: String(stepVersions.extract),
    onnxruntime: env.versions.node ?? env.versions.common,
    sharp: decoder,
    libvips: vips,
    node: process.versions.node,
  };
}
