// For programs that show images, without what makes lists.
export { imagePath } from '../folders.ts';
export { ImageUnavailable } from './image-reader.ts';
export { openImageReader } from './open-image-reader.ts';
