export * from './builders.ts';
export * from './stub-api.ts';
