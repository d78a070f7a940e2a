import { type PlannedStep, type PlanView, type RunView, recipe as recipeSchema, type SubmitRequestInput } from '@cairn/contract';
import { Button, Textarea, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { useMay } from '../../app/me.ts';
import { useServices } from '../../app/services.ts';
import type { Look } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './submit-again.module.css';

const typingPauseMs = 500;

const actionLooks = {
  run: { label: 'Runs', icon: 'play', colour: 'blue' },
  reuse: { label: 'Reused', icon: 'recycle', colour: 'violet' },
  'wait-for-same': { label: 'Waits for the same', icon: 'clock', colour: 'gray' },
} as const satisfies Record<PlannedStep['action'], Look>;

/** The recipe of this run as text to change, and beside it what a submission of it would run and reuse. */
export default function SubmitAgainTab({ run }: { run: RunView }) {
  const { client } = useServices();
  const navigate = useNavigate();
  const maySubmit = useMay('run.submit');
  const [yaml, setYaml] = useState(run.recipeYaml);
  const [name, setName] = useState('');
  const [text] = useDebouncedValue(yaml, typingPauseMs);
  const parsed = readRecipe(text);
  const request: SubmitRequestInput | null =
    'recipe' in parsed
      ? { recipe: parsed.recipe, dataset: run.dataset, priority: run.priority, ...(run.given?.until ? { until: run.given.until } : {}) }
      : null;
  const plan = useQuery({
    queryKey: ['plan', request],
    queryFn: ({ signal }) => client.planRun(request ?? { recipe: '' }, { signal }),
    enabled: request !== null && maySubmit,
    placeholderData: keepPreviousData,
  });
  const submit = useMutation({
    mutationFn: (body: SubmitRequestInput) => client.submitRun(body),
    onSuccess: (view) => navigate({ to: '/runs/$runId', params: { runId: view.id } }),
  });
  const isCurrent = text === yaml && !plan.isPlaceholderData && !plan.isFetching;
  if (!maySubmit) return <p>Your role may not submit runs. The recipe is under Settings.</p>;
  return (
    <form
      className={classes.again}
      onSubmit={(event) => {
        event.preventDefault();
        if (request !== null) submit.mutate({ ...request, ...(name === '' ? {} : { name }) });
      }}
    >
      <div className={classes.edit}>
        <Textarea
          label="Recipe (YAML)"
          value={yaml}
          onChange={(event) => setYaml(event.currentTarget.value)}
          error={'fault' in parsed ? parsed.fault : null}
          autosize
          minRows={12}
          maxRows={34}
          spellCheck={false}
          classNames={{ input: classes.text ?? '' }}
        />
        <Button variant="default" disabled={yaml === run.recipeYaml} onClick={() => setYaml(run.recipeYaml)}>
          Undo the changes
        </Button>
      </div>
      <div className={classes.plan} aria-busy={!isCurrent}>
        <h2>What this submission runs</h2>
        {plan.error !== null && <ProblemNotice error={plan.error} />}
        {plan.data !== undefined && plan.error === null && <Plan plan={plan.data} />}
        {plan.data === undefined && plan.error === null && request !== null && <p role="status">Planning …</p>}
        <TextInput
          label="Name of the new run"
          placeholder={run.name}
          description="By default, one is made from the recipe's name."
          value={name}
          maxLength={63}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {submit.error !== null && <ProblemNotice error={submit.error} />}
        <Button type="submit" loading={submit.isPending} disabled={request === null || !isCurrent || plan.error !== null}>
          Submit
        </Button>
      </div>
    </form>
  );
}

function Plan({ plan }: { plan: PlanView }) {
  const runs = plan.steps.filter(({ action }) => action === 'run').length;
  const { gpuHours } = plan.estimate;
  return (
    <>
      <p role="status">
        {runs === 0 ? 'Nothing runs: every result exists.' : `${runs} of ${plan.steps.length} ${runs === 1 ? 'steps runs' : 'steps run'}`}
        {runs > 0 && (gpuHours === null ? '; the GPU time cannot be estimated.' : gpuHours > 0 ? `, about ${hoursText(gpuHours)}.` : '.')}
      </p>
      <ol className={classes.steps}>
        {plan.steps.map((step) => (
          <li key={step.name}>
            <StateBadge look={actionLooks[step.action]} />
            <strong>{step.name}</strong>
            {step.action === 'run' && step.estimate?.gpuHours != null && <span>{hoursText(step.estimate.gpuHours)}</span>}
            <span className={classes.why}>{step.why}</span>
          </li>
        ))}
      </ol>
    </>
  );
}

const hoursText = (hours: number): string => (hours > 0 && hours < 0.01 ? '< 0.01 GPU h' : `${Number(hours.toPrecision(2))} GPU h`);

/** The recipe that the text says, or the first thing that is wrong with it and where. */
function readRecipe(text: string): { recipe: z.input<typeof recipeSchema> } | { fault: string } {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) return { fault: error.message.split('\n')[0] ?? error.message };
  const value: unknown = document.toJS();
  const parsed = recipeSchema.safeParse(value);
  if (parsed.success) return { recipe: parsed.data };
  return {
    fault: parsed.error.issues
      .slice(0, 3)
      .map((issue) => `${z.core.toDotPath(issue.path) || 'recipe'}: ${issue.message}`)
      .join('; '),
  };
}
