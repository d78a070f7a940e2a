// A check of `npm run check`: prisma/schema.prisma and the migrations make the same database, in a PostgreSQL of its own.
import { migrate } from '@cairn/db';
import { createDatabase } from './create-database.ts';
import { schemaDifference } from './schema-difference.ts';
import { startPostgres } from './start-postgres.ts';

const server = await startPostgres();
try {
  await migrate(server.url);
  const empty = await createDatabase({ postgresUrl: server.url });
  const { onlyMigrated, onlySchema } = await schemaDifference(server.url, empty.url);
  for (const line of onlyMigrated) console.log(`a migration makes it, and prisma/schema.prisma does not say it: ${line}`);
  for (const line of onlySchema) console.log(`prisma/schema.prisma says it, and no migration makes it: ${line}`);
  process.exitCode = onlyMigrated.length + onlySchema.length === 0 ? 0 : 1;
} finally {
  await server.stop();
}
// The schema engine leaves a timer of 10 s behind.
process.exit();
