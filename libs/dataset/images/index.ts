// For programs that show images, without what makes lists.
export { imagePath } from '../folders.ts';
export { ImageUnavailable, openImageReader } from './open-image-reader.ts';
