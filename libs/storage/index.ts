export * from './artifacts.ts';
export * from './object-store.ts';
export * from './open-store.ts';
