/** The folders of a collection in GLDv2's layout. */
export const imageSplits = ['train', 'index', 'test'] as const;
export type ImageSplit = (typeof imageSplits)[number];

/**
 * An image id: GLDv2's are 16 lower-case hexadecimal digits; other collections may use letters, digits, dash and underscore, at least
 * three, since the first three name folders. No id can lead out of a folder.
 */
export const imageIdPattern = /^[0-9A-Za-z_-]{3,64}$/;

/** `a/b/c/abc....jpg`: the path of an image in its split, both in folders and in tars. */
export function memberPath(imageId: string): string {
  return `${imageId[0] ?? ''}/${imageId[1] ?? ''}/${imageId[2] ?? ''}/${imageId}.jpg`;
}

/** {@link memberPath} as SQL. */
export function memberPathSql(imageId: string): string {
  return `concat(${imageId}[1], '/', ${imageId}[2], '/', ${imageId}[3], '/', ${imageId}, '.jpg')`;
}

/** The path of an image relative to the image root: `train/a/b/c/abc....jpg`. */
export function imagePath(split: ImageSplit, imageId: string): string {
  return `${split}/${memberPath(imageId)}`;
}
