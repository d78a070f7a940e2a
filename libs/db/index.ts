export * from './client.ts';
export { Prisma, PrismaClient, type Token } from './generated/client.ts';
export * from './listen.ts';
export { migrate } from './migrate.ts';
export * from './read/index.ts';
export { openSchemaEngine } from './schema-engine.ts';
