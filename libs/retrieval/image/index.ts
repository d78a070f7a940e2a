// For programs that show images, without what searches and extracts.
export * from './make-picture.ts';
export * from './unreadable-image.ts';
