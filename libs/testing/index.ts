export { freePort } from '@cairn/runtime';
export * from './create-database.ts';
export * from './provided.ts';
export * from './run-folder.ts';
export * from './seeded-random.ts';
export * from './start-postgres.ts';
export * from './start-s3.ts';
export * from './start-valkey.ts';
export * from './wait-for.ts';
