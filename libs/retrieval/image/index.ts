// For programs that show images, without what searches and extracts.
export * from './decode-image.ts';
export * from './unreadable-image.ts';
