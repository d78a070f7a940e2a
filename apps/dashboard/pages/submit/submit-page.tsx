import { recipe as recipeSchema } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { stringify } from 'yaml';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { recipeQuery, recipesQuery, runQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import { readYaml } from './recipe-text.ts';
import classes from './submit.module.css';
import { SubmitForm } from './submit-form.tsx';

/** A run is put together here: from a recipe of the service, or from that of another run. */
export function SubmitPage() {
  useTitle('Submit a run');
  useFollow('runs');
  const maySubmit = useMay('run.submit');
  const { from } = useSearch({ from: '/signed-in/submit' });
  if (!maySubmit) {
    return (
      <>
        <h1>Submit a run</h1>
        <p>Your role may not submit runs: it takes a token of the role submitter.</p>
      </>
    );
  }
  return from === undefined ? <FromRecipe /> : <FromRun runId={from} />;
}

function FromRecipe() {
  const { client } = useServices();
  const { recipe: chosen } = useSearch({ from: '/signed-in/submit' });
  const recipes = useQuery(recipesQuery(client));
  const name = chosen ?? recipes.data?.items[0]?.name;
  const recipe = useQuery({ ...recipeQuery(client, name ?? ''), enabled: name !== undefined });
  const error = recipes.error ?? recipe.error;
  return (
    <>
      {error !== null && <ProblemNotice error={error} onRetry={() => void Promise.all([recipes.refetch(), recipe.refetch()])} />}
      {recipe.data === undefined ? (
        <Heading end={<RecipeChoice value={name} names={recipes.data?.items.map((one) => one.name) ?? []} />}>
          {error === null && <p role="status">Loading …</p>}
        </Heading>
      ) : (
        <SubmitForm
          key={name}
          base={{
            recipe: recipe.data.recipe.name,
            yaml: recipe.data.yaml,
            value: recipe.data.recipe,
            run: null,
          }}
          choice={<RecipeChoice value={name} names={recipes.data?.items.map((one) => one.name) ?? []} />}
          description={recipe.data.recipe.description}
        />
      )}
    </>
  );
}

function FromRun({ runId }: { runId: string }) {
  const { client } = useServices();
  const run = useQuery(runQuery(client, runId));
  if (run.data === undefined) {
    return (
      <Heading end={null}>
        {run.error === null ? <p role="status">Loading …</p> : <ProblemNotice error={run.error} onRetry={() => void run.refetch()} />}
      </Heading>
    );
  }
  const { recipeYaml: yaml, name, dataset, priority, given } = run.data;
  const read = readYaml(yaml);
  const parsed = recipeSchema.safeParse('value' in read ? read.value : null);
  // A recipe of another release may not be one of this release: then it is submitted as it is written, and the form says what is wrong.
  // In the order of the schema, which the database does not keep.
  const value = parsed.success ? parsed.data : null;
  return (
    <SubmitForm
      key={runId}
      base={{
        recipe: value,
        yaml: value === null ? yaml : stringify(value),
        value,
        run: { id: runId, name, dataset, priority, until: given?.until ?? null },
      }}
      choice={
        <span>
          from the run{' '}
          <Link to="/runs/$runId" params={{ runId }}>
            {name}
          </Link>
        </span>
      }
      description=""
    />
  );
}

function Heading({ end, children }: { end: React.ReactNode; children: React.ReactNode }) {
  return (
    <>
      <div className={classes.heading}>
        <h1>Submit a run</h1>
        {end}
      </div>
      {children}
    </>
  );
}

function RecipeChoice({ value, names }: { value: string | undefined; names: readonly string[] }) {
  const navigate = useNavigate({ from: '/submit' });
  return (
    <NativeSelect
      size="xs"
      aria-label="Recipe"
      value={value ?? ''}
      data={[...new Set([...names, ...(value === undefined ? [] : [value])])]}
      onChange={({ currentTarget: { value: recipe } }) =>
        void navigate({ search: ({ dataset, priority }) => ({ recipe, dataset, priority }) })
      }
    />
  );
}
