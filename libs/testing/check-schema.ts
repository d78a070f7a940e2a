// A check of `npm run check`: prisma/schema.prisma and the migrations produce the same database, in a separate PostgreSQL.
import { migrate } from '@cairn/db';
import { createDatabase } from './create-database.ts';
import { schemaDifference } from './schema-difference.ts';
import { startPostgres } from './start-postgres.ts';

const server = await startPostgres();
try {
  await migrate(server.url);
  const empty = await createDatabase({ postgresUrl: server.url });
  const { onlyMigrated, onlySchema } = await schemaDifference(server.url, empty.url);
  for (const line of onlyMigrated) console.log(`created by a migration, but missing in prisma/schema.prisma: ${line}`);
  for (const line of onlySchema) console.log(`in prisma/schema.prisma, but not created by any migration: ${line}`);
  process.exitCode = onlyMigrated.length + onlySchema.length === 0 ? 0 : 1;
} finally {
  await server.stop();
}
// The schema engine leaves a 10 s timer behind.
process.exit();
