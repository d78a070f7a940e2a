import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CategoryQuotes, knownCounts, type ListName } from '@cairn/contract';
import type { Database } from '../duckdb.ts';
import { count, openDatabase, text } from '../duckdb.ts';
import { createFileGate } from '../file-gate.ts';
import { requireFolder } from '../folders.ts';
import { loadMetadata } from '../metadata/load-metadata.ts';
import { takeInMetadata } from '../metadata/take-in.ts';
import { defineLists, makeListTables, rowsOf } from './definitions.ts';
import { questionsTo } from './findings.ts';
import { loadCountries } from './load-tables.ts';

export type CheckListsOptions = {
  metadata: string;
  countries?: string | undefined;
  lists: readonly ListName[];
  categoryQuotes?: CategoryQuotes;
  signal?: AbortSignal;
};

/** Rows and labels of a list, next to those of GLDv2's; `known` is null if they are unknown. */
export type ListCount = {
  list: ListName;
  rows: number;
  labels: number;
  known: { rows: number; labels: number | null; source: string } | null;
  isAsKnown: boolean | null;
};

export type Finding = { id: string; count: number; examples: string[]; isFault: boolean; says: string };

export type CheckedLists = { counts: ListCount[]; findings: Finding[] };

const shownExamples = 5;
const shownCharacters = 200;

/**
 * Reads the metadata and returns the counts of the lists, next to the published counts, and inconsistencies of the files: duplicate ids,
 * ids that one file has and another lacks, categories without a match. Nothing is written.
 *
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`; the signal's reason.
 */
export async function checkLists(options: CheckListsOptions): Promise<CheckedLists> {
  const { metadata, countries, lists, categoryQuotes = 'reference', signal } = options;
  await requireFolder('The metadata folder', metadata);
  if (countries !== undefined) await requireFolder('The countries folder', countries);
  const folder = await mkdtemp(join(tmpdir(), 'cairn-check-'));
  const database = await openDatabase({ folder, ...(signal ? { signal } : {}) });
  try {
    const wanted = { lists, importable: [], also: ['test', 'index', 'competitionIndex'] } as const;
    const taken = await takeInMetadata({ metadata, countries }, wanted, { folder, gate: await createFileGate(null), signal });
    const rows = await loadMetadata(database, taken.files, { categoryQuotes, allowsRepeated: true }, signal);
    const loaded = new Set(rows.keys());
    await makeListTables(database, loaded);
    if (taken.countries !== null) await loadCountries(database, taken.countries, loaded, categoryQuotes, signal);
    const counts: ListCount[] = [];
    for (const [list, definition] of defineLists(lists, { seed: 0, cleanLandmarks: rows.get('trainClean') ?? 0 })) {
      counts.push(await countList(database, list, rowsOf(definition)));
    }
    const findings: Finding[] = [];
    for (const question of questionsTo(loaded, countries !== undefined)) {
      const [answer] = await database.rows(`select count(*) as n from (${question.rows})`);
      if (count(answer?.n) === 0) continue;
      const examples = await database.rows(`select example from (${question.rows}) order by example limit ${shownExamples}`);
      const { id, isFault, says } = question;
      findings.push({
        id,
        count: count(answer?.n),
        examples: examples.map((row) => text(row.example).slice(0, shownCharacters)),
        isFault,
        says,
      });
    }
    return { counts, findings };
  } finally {
    database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function countList(database: Database, list: ListName, rows: string): Promise<ListCount> {
  const [answer] = await database.rows(`select count(*) as n, count(distinct label) filter (where label >= 0) as labels from (${rows})`);
  const [n, labels] = [count(answer?.n), count(answer?.labels)];
  const known = knownCounts[list] ?? null;
  const isAsKnown = known === null ? null : known.rows === n && (known.labels === null || known.labels === labels);
  return { list, rows: n, labels, known, isAsKnown };
}
