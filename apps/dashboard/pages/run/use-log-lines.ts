import type { CairnClient } from '@cairn/client';
import type { LogLines, LogStream } from '@cairn/contract';
import { useQueries, useQuery } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { lastUpdate, shownCharacters } from './log-text.ts';

const pageLines = 200;
/** How long pages that are no longer visible are kept. */
const keptMs = 30_000;

type Line = { text: string; isCut: boolean };
type Page = { from: number; lines: Line[] };

/**
 * The lines of a log around the visible ones, and its end, which is read again as it grows.
 *
 * @returns `total`: null while unknown; `lineAt`: null for a line that is being fetched
 */
export function useLogLines(runId: string, attemptId: string, stream: LogStream, visible: { first: number; last: number }) {
  const { client } = useServices();
  const end = useQuery({
    // A hint that the log has grown makes this out of date, and not the pages, which never change.
    queryKey: keys.runPart(runId, 'logs', attemptId, stream),
    queryFn: async ({ signal }) => {
      const answer = await client.readLogLines(attemptId, { stream, count: pageLines }, { signal });
      return { ...answer, lines: answer.lines.map(shortened) };
    },
  });
  const known = end.data;
  const firstPage = Math.floor((visible.first - 1) / pageLines);
  const lastPage = known === undefined ? -1 : Math.floor((Math.min(visible.last, known.from - 1) - 1) / pageLines);
  const pages = useQueries({
    queries: Array.from({ length: Math.max(0, lastPage - firstPage + 1) }, (_, index) => {
      const from = (firstPage + index) * pageLines + 1;
      const isWhole = known !== undefined && from + pageLines <= known.total;
      return {
        queryKey: ['log-lines', attemptId, stream, from, isWhole ? 'whole' : known?.total],
        queryFn: ({ signal }: { signal: AbortSignal }) => readPage(client, attemptId, stream, from, signal),
        staleTime: Number.POSITIVE_INFINITY,
        gcTime: keptMs,
      };
    }),
  });
  const loaded = pages.flatMap(({ data }) => data ?? []);
  return {
    total: known?.total ?? null,
    isOver: known?.isOver ?? false,
    error: end.error ?? pages.find(({ error }) => error !== null)?.error ?? null,
    retry: () => void Promise.all([end.refetch(), ...pages.map((page) => page.refetch())]),
    lineAt: (number: number): Line | null => {
      for (const { from, lines } of known === undefined ? loaded : [known, ...loaded]) {
        const line = lines[number - from];
        if (line !== undefined) return line;
      }
      return null;
    },
  };
}

/** A whole page: an answer may have fewer lines than asked for, where they are long. */
async function readPage(client: CairnClient, attemptId: string, stream: LogStream, from: number, signal: AbortSignal): Promise<Page> {
  const lines: Line[] = [];
  while (lines.length < pageLines) {
    const answer = await client.readLogLines(attemptId, { stream, from: from + lines.length, count: pageLines - lines.length }, { signal });
    if (answer.lines.length === 0) break;
    lines.push(...answer.lines.map(shortened));
  }
  return { from, lines };
}

/** What is shown of a line: a progress bar may have written megabytes into one. */
function shortened({ text, isCut }: LogLines['lines'][number]): Line {
  const shown = lastUpdate(text);
  return { text: shown.slice(0, shownCharacters), isCut: isCut || shown.length > shownCharacters };
}
