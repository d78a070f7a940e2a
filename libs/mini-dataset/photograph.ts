import sharp from 'sharp';
import type { Random } from './random.ts';

/** EXIF orientations of a rotated camera, and the corresponding rotation of the stored pixels. */
const turns = { 3: 180, 6: 270, 8: 90 } as const;

/** Renders a drawing as a JPEG file with the properties of a photograph: exposure, white balance, noise, blur, quality. */
export async function photograph(drawing: string, random: Random, hardness: number): Promise<Buffer> {
  const { data, info } = await sharp(Buffer.from(drawing))
    .flatten({ background: '#888' })
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const exposure = 1 + random.normal() * 0.3 * hardness;
  const contrast = 1 + random.normal() * 0.22 * hardness;
  const warmth = random.normal() * 0.14 * hardness;
  const noise = random.between(0, 3 + 5 * hardness);
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
  if (random.chance(0.25 * hardness)) image = image.blur(random.between(0.4, 1));
  const orientation = random.chance(0.03) ? random.pick([3, 6, 8] as const) : null;
  if (orientation !== null) image = image.rotate(turns[orientation]).withMetadata({ orientation });
  if (random.chance(0.02)) image = image.greyscale();
  const quality = random.integer(Math.round(88 - 40 * hardness), 95);
  return image.jpeg({ quality, progressive: random.chance(0.1), chromaSubsampling: '4:2:0' }).toBuffer();
}
