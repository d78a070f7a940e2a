import type { CairnClient } from '@cairn/client';
import { type AttemptView, isLiveAttempt, type LogLines, type LogStream, type RunView } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useInfiniteQuery, useMutation, useQueries, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { type UIEvent, useEffect, useRef, useState } from 'react';
import { Virtuoso, type VirtuosoHandle } from 'react-virtuoso';
import { useTimeZone } from '../../app/preferences.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { clockTime } from '../../parts/time.tsx';
import { lastUpdate, markMatches, piecesOf, recordPieces, shownCharacters } from './log-text.ts';
import classes from './log-viewer.module.css';

/** A log of any length: only the lines on the screen are in the page, and only those around them in memory. */
export function LogViewer({ run, attempt, stream }: { run: RunView; attempt: AttemptView; stream: LogStream }) {
  const { line: marked, q = '' } = useSearch({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const list = useRef<VirtuosoHandle>(null);
  const [visible, setVisible] = useState({ first: 1, last: 1 });
  const [follows, setFollows] = useState(marked === undefined && q === '');
  const scrolled = useRef({ top: 0, height: 0 });
  const log = useLogLines(run.id, attempt.id, stream, visible);
  const download = useMutation({
    mutationFn: () =>
      downloadLog(client, { attemptId: attempt.id, stream, name: `${run.name}-${attempt.step}-${attempt.ordinal}.${stream}.log` }),
  });
  const isOver = log.isOver || !isLiveAttempt(attempt.state);
  const isKnown = log.total !== null;
  useEffect(() => {
    if (marked === undefined || !isKnown) return;
    setFollows(false);
    // A line that was clicked stays where it is.
    setVisible((now) => {
      if (marked < now.first || marked > now.last) list.current?.scrollToIndex({ index: marked - 1, align: 'center' });
      return now;
    });
  }, [marked, isKnown]);

  if (log.error !== null) return <ProblemNotice error={log.error} onRetry={log.retry} />;
  if (log.total === null) return <p role="status">Loading …</p>;
  if (log.total === 0)
    return <p className={classes.empty}>{isOver ? `The attempt wrote nothing to ${stream}.` : `Nothing in ${stream} yet.`}</p>;
  const { total } = log;
  const toEnd = (): void => list.current?.scrollToIndex({ index: total - 1, align: 'end' });
  const goToEnd = (): void => {
    setFollows(true);
    toEnd();
  };
  /** Someone who scrolls up wants to read there. Rows that turn out lower than expected move the log too, but change its height. */
  const onScroll = ({ currentTarget: { scrollTop: top, scrollHeight: height } }: UIEvent<HTMLElement>): void => {
    if (top < scrolled.current.top - 1 && height >= scrolled.current.height) setFollows(false);
    scrolled.current = { top, height };
  };
  return (
    <>
      <div className={classes.tools}>
        <LogSearch attempt={attempt} stream={stream} />
        {!isOver && (
          <Button variant="default" aria-pressed={follows} onClick={() => (follows ? setFollows(false) : goToEnd())}>
            {follows ? 'Following' : 'Follow'}
          </Button>
        )}
        <Button variant="default" onClick={() => list.current?.scrollToIndex({ index: 0 })}>
          Top
        </Button>
        <Button variant="default" onClick={goToEnd}>
          End
        </Button>
        <Button variant="default" loading={download.isPending} onClick={() => download.mutate()}>
          Download
        </Button>
        <CopyCall
          cli={`cairn logs ${run.id} ${quoted(attempt.step)} --attempt ${attempt.ordinal} --stream ${stream}`}
          call={{ path: `/v1/attempts/${attempt.id}/logs/lines?stream=${stream}` }}
        />
        <span className={classes.dim}>
          {formatCount(total)} {total === 1 ? 'line' : 'lines'}
          {isOver ? '' : ' so far'}
        </span>
      </div>
      {download.error !== null && <ProblemNotice error={download.error} />}
      <Virtuoso
        ref={list}
        className={classes.log}
        style={{ height: 'max(20rem, calc(100dvh - 28rem))' }}
        onScroll={onScroll}
        role="log"
        aria-live="off"
        aria-label={`${stream} of attempt ${attempt.ordinal} of ${attempt.step}`}
        totalCount={total}
        initialTopMostItemIndex={
          marked === undefined ? { index: total - 1, align: 'end' } : { index: Math.min(marked, total) - 1, align: 'center' }
        }
        followOutput={follows && !isOver ? 'auto' : false}
        rangeChanged={({ startIndex, endIndex }) => setVisible({ first: startIndex + 1, last: endIndex + 1 })}
        increaseViewportBy={200}
        itemContent={(index) => (
          <LogLine
            number={index + 1}
            line={log.lineAt(index + 1)}
            isMarked={index + 1 === marked}
            search={q}
            digits={String(total).length}
          />
        )}
      />
    </>
  );
}

type LogLineProps = { number: number; line: { text: string; isCut: boolean } | null; isMarked: boolean; search: string; digits: number };

function LogLine({ number, line, isMarked, search, digits }: LogLineProps) {
  const [zone] = useTimeZone();
  const pieces = line === null ? [] : (recordPieces(line.text, (ms) => clockTime(ms, zone)) ?? piecesOf(line.text));
  return (
    <div className={classes.line} data-marked={isMarked}>
      {/* Out of the order of the tab key, which would never reach the end of the log. */}
      <Link
        from="/runs/$runId"
        search={(now) => ({ ...now, line: number })}
        className={classes.number}
        style={{ minWidth: `${digits + 2}ch` }}
        aria-label={`Line ${number}`}
        tabIndex={-1}
        replace
        resetScroll={false}
      >
        {number}
      </Link>
      <span className={classes.text}>
        {line === null
          ? '…'
          : markMatches(pieces, search).map(({ text, look, at, isMatch }) =>
              isMatch ? (
                <mark key={at}>{text}</mark>
              ) : (
                <span key={at} className={look}>
                  {text}
                </span>
              ),
            )}
        {line?.isCut && <span className={classes.dim}> … (cut; the download has the whole line)</span>}
      </span>
    </div>
  );
}

/** Finds a text in the whole log, on the server, and goes from match to match. */
function LogSearch({ attempt, stream }: { attempt: AttemptView; stream: LogStream }) {
  const { line, q = '' } = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const { client } = useServices();
  const [text, setText] = useState(q);
  const search = useInfiniteQuery({
    queryKey: ['log-search', attempt.id, stream, q],
    queryFn: ({ signal, pageParam }) => client.searchLog(attempt.id, { stream, q, from: pageParam }, { signal }),
    initialPageParam: 1,
    getNextPageParam: (page) => page.next,
    enabled: q !== '',
  });
  const matches = search.data?.pages.flatMap((page) => page.matches) ?? [];
  const at = matches.findIndex((match) => match.line === line);
  const go = (index: number): void => {
    const match = matches[index];
    if (match !== undefined) void navigate({ search: (now) => ({ ...now, stream, line: match.line }), replace: true, resetScroll: false });
  };
  const newest = matches.at(-1)?.line;
  useEffect(() => {
    // A new search, or a link to a failure, goes to the newest match: what failed last is what ended the attempt.
    if (line === undefined && newest !== undefined)
      void navigate({ search: (now) => ({ ...now, stream, line: newest }), replace: true, resetScroll: false });
  }, [line, newest, navigate, stream]);
  const count = `${formatCount(matches.length)}${search.hasNextPage ? ' or more' : ''}`;
  return (
    <form
      className={classes.search}
      onSubmit={(event) => {
        event.preventDefault();
        if (text === q) go(at + 1);
        else
          void navigate({
            search: (now) => ({ ...now, stream, q: text === '' ? undefined : text, line: undefined }),
            replace: true,
            resetScroll: false,
          });
      }}
    >
      <TextInput
        size="xs"
        w="20rem"
        maw="100%"
        aria-label="Search the log"
        placeholder="Search the log"
        value={text}
        maxLength={200}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Button type="submit" variant="default" loading={search.isFetching}>
        {text === q && q !== '' ? 'Next' : 'Search'}
      </Button>
      {q !== '' && (
        <>
          <Button variant="default" disabled={at <= 0} onClick={() => go(at - 1)}>
            Previous
          </Button>
          {search.hasNextPage && (
            <Button variant="default" onClick={() => void search.fetchNextPage()}>
              Search on
            </Button>
          )}
          <span className={classes.dim} role="status">
            {search.data === undefined ? '' : matches.length === 0 ? 'no match' : at < 0 ? `${count} matches` : `${at + 1} of ${count}`}
          </span>
        </>
      )}
      {search.error !== null && <ProblemNotice error={search.error} />}
    </form>
  );
}

const pageBytes = 1024 * 1024;

/** Saves a whole log as a file, as the program wrote it. */
async function downloadLog(client: CairnClient, log: { attemptId: string; stream: LogStream; name: string }): Promise<void> {
  const parts: Blob[] = [];
  for (let offset = 0; ; ) {
    const page = await client.readLog(log.attemptId, { stream: log.stream, offset, limit: pageBytes });
    // A Blob may lie on the disk; a long list of texts would fill the memory.
    if (page.text !== '') parts.push(new Blob([page.text]));
    if (page.end || page.nextOffset === offset) break;
    offset = page.nextOffset;
  }
  const address = URL.createObjectURL(new Blob(parts, { type: 'text/plain' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = log.name;
  link.click();
  URL.revokeObjectURL(address);
}

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
function useLogLines(runId: string, attemptId: string, stream: LogStream, visible: { first: number; last: number }) {
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
