import sharp from 'sharp';
import type { Random } from './random.ts';

/** What the camera and the person who uploaded the picture did to it. */
export type Development = {
  exposure: number;
  contrast: number;
  /** Blue to red balance: factors on the red and the blue channel are 1 + warmth and 1 - warmth. */
  warmth: number;
  /** Standard deviation of the sensor's noise, in grey levels. */
  noise: number;
  /** Standard deviation of the blur in pixels; 0 for none. */
  blur: number;
  grey: boolean;
  quality: number;
  progressive: boolean;
  /** EXIF orientation: 1 upright; 3, 6 and 8 are stored turned and must be turned back by the reader. */
  orientation: 1 | 3 | 6 | 8;
};

export function developmentOf(random: Random, hardness: number): Development {
  return {
    exposure: 1 + random.normal() * 0.3 * hardness,
    contrast: 1 + random.normal() * 0.22 * hardness,
    warmth: random.normal() * 0.14 * hardness,
    noise: random.between(0, 3 + 5 * hardness),
    blur: random.chance(0.25 * hardness) ? random.between(0.4, 1) : 0,
    grey: random.chance(0.02),
    quality: random.integer(Math.round(88 - 40 * hardness), 95),
    progressive: random.chance(0.1),
    orientation: random.chance(0.03) ? random.pick([3, 6, 8] as const) : 1,
  };
}

const turnedBack = { 1: 0, 3: 180, 6: 270, 8: 90 } as const;

/** Renders a drawing and stores it as the JPEG file that a camera would have made of it. */
export async function photograph(drawing: string, development: Development, random: Random): Promise<Buffer> {
  const { data, info } = await sharp(Buffer.from(drawing))
    .flatten({ background: '#888' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { exposure, contrast, warmth, noise } = development;
  const gain = [1 + warmth, 1, 1 - warmth].map((balance) => balance * exposure * contrast);
  const lift = 128 * (1 - contrast) * exposure;
  for (let i = 0; i < data.length; i += info.channels) {
    // Noise is the same on all three channels: the eye and JPEG treat it as brightness.
    const grain = lift + (random.next() + random.next() + random.next() - 1.5) * 2 * noise;
    for (let channel = 0; channel < 3; channel++) {
      const value = (data[i + channel] ?? 0) * (gain[channel] ?? 1) + grain;
      data[i + channel] = Math.min(255, Math.max(0, Math.round(value)));
    }
  }
  let image = sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
  if (development.blur > 0) image = image.blur(development.blur);
  const turn = turnedBack[development.orientation];
  if (turn !== 0) image = image.rotate(turn).withMetadata({ orientation: development.orientation });
  if (development.grey) image = image.greyscale();
  return image.jpeg({ quality: development.quality, progressive: development.progressive, chromaSubsampling: '4:2:0' }).toBuffer();
}
