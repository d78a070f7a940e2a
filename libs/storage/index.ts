export * from './artifacts.ts';
export * from './object-store.ts';
export * from './open-store.ts';
export * from './remove-folder.ts';
