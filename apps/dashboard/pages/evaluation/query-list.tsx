import { evaluationReference, type LineageView } from '@cairn/contract';
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useId, useState } from 'react';
import { queryScoresQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './evaluation.module.css';
import { type EvaluationSearch, orderOfSearch, orders } from './evaluation-search.ts';
import { QueryPart } from './query-part.tsx';

/** The queries of an evaluation, page by page, in the chosen order. */
export function QueryList({ of, lineage }: { of: string; lineage: LineageView }) {
  const { client } = useServices();
  const search = useSearch({ from: '/signed-in/evaluation' });
  const { against, usage, query, cursor } = search;
  const scores = useQuery(queryScoresQuery(client, of, search));
  const ids = scores.data?.items.map(({ queryId }) => queryId) ?? [];
  const results = useQuery({
    queryKey: keys.evaluation(of, 'neighbours', against, ids),
    queryFn: ({ signal }) => client.listNeighbours({ of, against, query: ids, limit: 10 }, { signal }),
    enabled: ids.length > 0,
    placeholderData: (previous) => previous,
  });
  return (
    <section aria-label="Queries">
      <Choices order={orderOfSearch(search)} />
      {scores.data === undefined ? (
        scores.error === null ? (
          <p role="status">Loading …</p>
        ) : (
          <ProblemNotice error={scores.error} onRetry={() => void scores.refetch()} />
        )
      ) : scores.data.items.length === 0 ? (
        <p className={classes.empty}>
          No query{query === undefined ? '' : ` ${query}`}
          {usage === undefined ? '' : ` with the usage ${usage}`} was scored. {query !== undefined && <AllQueries />}
        </p>
      ) : (
        <>
          {results.error !== null && <ProblemNotice error={results.error} onRetry={() => void results.refetch()} />}
          <ol className={classes.queries} aria-label="Queries with their results" aria-busy={scores.isPlaceholderData}>
            {scores.data.items.map((score) => (
              <QueryPart
                key={score.queryId}
                of={of}
                lineage={lineage}
                score={score}
                results={results.data?.queries.find(({ query }) => query.queryId === score.queryId)}
                otherName={results.data?.against?.name ?? null}
              />
            ))}
          </ol>
          <p className={classes.pages}>
            {cursor !== undefined && (
              <Link from="/evaluation" search={(now) => ({ ...now, cursor: undefined })}>
                First page
              </Link>
            )}
            {scores.data.nextCursor !== null && (
              <Link from="/evaluation" search={(now) => ({ ...now, cursor: scores.data.nextCursor ?? undefined })}>
                Next page
              </Link>
            )}
            {query === undefined ? <span className={classes.dim}>{formatCount(scores.data.total)} queries</span> : <AllQueries />}
          </p>
        </>
      )}
    </section>
  );
}

const AllQueries = () => (
  <Link from="/evaluation" search={(now) => ({ ...now, query: undefined, cursor: undefined })}>
    All queries
  </Link>
);

function Choices({ order }: { order: keyof typeof orders }) {
  const { against, usage } = useSearch({ from: '/signed-in/evaluation' });
  const navigate = useNavigate({ from: '/evaluation' });
  const change = (part: Partial<EvaluationSearch>): void =>
    void navigate({ search: (now) => ({ ...now, cursor: undefined, ...part }), replace: true, resetScroll: false });
  return (
    <div className={classes.choices}>
      <h2>Queries</h2>
      <NativeSelect
        label="Order"
        value={order}
        data={Object.entries(orders).map(([value, { label, needsAgainst }]) => ({
          value,
          label: needsAgainst && against === undefined ? `${label} (compare first)` : label,
          disabled: needsAgainst && against === undefined,
        }))}
        onChange={(event) => change({ sort: orderOf(event.currentTarget.value) })}
      />
      <NativeSelect
        label="Queries of"
        value={usage ?? ''}
        data={[{ value: '', label: 'all' }, 'Public', 'Private']}
        onChange={(event) => change({ usage: usageOf(event.currentTarget.value) })}
      />
      <Against key={against ?? ''} against={against} onChange={change} />
    </div>
  );
}

const orderOf = (value: string) => (Object.keys(orders) as (keyof typeof orders)[]).find((order) => order === value);
const usageOf = (value: string) => (['Public', 'Private'] as const).find((usage) => usage === value);

type AgainstProps = { against: string | undefined; onChange: (part: Partial<EvaluationSearch>) => void };

/** Names the evaluation to compare with: models and the newest runs are suggested. */
function Against({ against, onChange }: AgainstProps) {
  const { client } = useServices();
  const [text, setText] = useState(against ?? '');
  const [isAsked, setIsAsked] = useState(false);
  const id = useId();
  const models = useQuery({
    queryKey: keys.models,
    queryFn: ({ signal }) => client.listModels({ limit: 50 }, { signal }),
    enabled: isAsked,
  });
  const runs = useQuery({
    queryKey: [...keys.runs, 'with-evaluations'],
    queryFn: ({ signal }) => client.listRuns({ state: ['succeeded'], sort: '-updatedAt', limit: 30 }, { signal }),
    enabled: isAsked,
  });
  const suggested = [
    ...(models.data?.items.map(({ name, version }) => `${name}@${version}`) ?? []),
    ...(runs.data?.items.filter(({ mapAt100 }) => mapAt100.last !== null).map(({ name }) => name) ?? []),
  ];
  const isValid = text === '' || evaluationReference.safeParse(text).success;
  return (
    <form
      className={classes.against}
      onSubmit={(event) => {
        event.preventDefault();
        if (isValid) onChange(text === '' ? { against: undefined, sort: undefined } : { against: text, sort: 'changed' });
      }}
    >
      <TextInput
        label="Compare with"
        placeholder="RUN or MODEL@VERSION"
        w="16rem"
        list={id}
        value={text}
        error={isValid ? null : 'RUN, RUN/STEP, MODEL@VERSION or an id'}
        onFocus={() => setIsAsked(true)}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <datalist id={id}>
        {[...new Set(suggested)].map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <Button type="submit" variant="default">
        Compare
      </Button>
      {against !== undefined && (
        <Button variant="default" onClick={() => onChange({ against: undefined, sort: undefined })}>
          Stop comparing
        </Button>
      )}
    </form>
  );
}
