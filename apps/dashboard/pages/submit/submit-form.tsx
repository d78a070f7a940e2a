import { isCairnError, type Recipe, recipe as recipeSchema, type SubmitRequestInput, settingPathText } from '@cairn/contract';
import { Button, NativeSelect, Textarea, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { type ReactNode, useCallback, useEffect, useMemo, useState } from 'react';
import { z } from 'zod';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyButton, CopyCall, quoted } from '../../parts/copy-call.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { PlanPanel } from './plan-panel.tsx';
import {
  assignmentsOf,
  faultsOf,
  isRecord,
  overridesOf,
  readYaml,
  type SettingFault,
  settingsOf,
  valueAt,
  valueText,
  withoutSetting,
  withSetting,
} from './recipe-text.ts';
import { type SettingRow, settingRows } from './setting-rows.ts';
import { SettingsEditor } from './settings-editor.tsx';
import { startSettings } from './stage-start.ts';
import classes from './submit.module.css';
import { maxAssignments, type SubmitSearch } from './submit-search.ts';
import { useSuggestions } from './suggestions.ts';

const typingPauseMs = 400;

/** What a submission begins with. */
type Base = {
  /** As a submission names it: a recipe of the service by its name, or a whole one; null where it cannot be read. */
  recipe: string | Recipe | null;
  yaml: string;
  /** With all defaults; null where it cannot be read. */
  value: Recipe | null;
  /** The run that it is of. */
  run: { id: string; name: string; dataset: string; priority: number; until: readonly string[] | null } | null;
};

type Props = { base: Base; choice: ReactNode; description: string };

/** The recipe to change, as a table of settings and as text, and beside it what a submission of it would run and reuse. */
export function SubmitForm({ base, choice, description }: Props) {
  const { client } = useServices();
  const search = useSearch({ from: '/signed-in/submit' });
  const navigate = useNavigate();
  const goTo = useNavigate({ from: '/submit' });
  const change = useCallback(
    (part: Partial<SubmitSearch>): void => void goTo({ search: (old) => ({ ...old, ...part }), replace: true, resetScroll: false }),
    [goTo],
  );
  const [yaml, setYaml] = useState(() =>
    firstSettings(base, search).reduce((text, { path, value }) => withSetting(text, path, value), base.yaml),
  );
  const [name, setName] = useState('');
  const [text] = useDebouncedValue(yaml, typingPauseMs);
  const edited = useMemo(() => readEdited(base, text), [base, text]);
  const now = useMemo(() => readEdited(base, yaml), [base, yaml]);
  const assignments = 'set' in edited && edited.set !== null ? assignmentsOf(edited.set) : null;
  const isInAddress = assignments !== null && assignments.length <= maxAssignments;

  // The address follows what is typed. It is read once: who changes it by hand loads the page again.
  const addressed = isInAddress && assignments.length > 0 ? assignments.join('\n') : undefined;
  useEffect(() => change({ set: addressed?.split('\n'), trainOn: undefined }), [change, addressed]);

  const dataset = search.dataset ?? base.run?.dataset;
  const until = search.until ?? base.run?.until?.join(',') ?? '';
  const priority = search.priority ?? base.run?.priority ?? 0;
  const noReuse = search.noReuse ?? [];
  const recipe = 'recipe' in edited ? edited.recipe : null;
  const request: SubmitRequestInput | null =
    recipe === null
      ? null
      : {
          recipe,
          ...('set' in edited && edited.set !== null && Object.keys(edited.set).length > 0 ? { set: edited.set } : {}),
          ...(dataset === undefined ? {} : { dataset }),
          ...(until === '' ? {} : { until: stepsOf(until) }),
          ...(priority === 0 ? {} : { priority }),
          ...(noReuse.length === 0 ? {} : { noReuse: [...noReuse] }),
        };
  const plan = useQuery({
    queryKey: ['plan', request],
    queryFn: ({ signal }) => client.planRun(request ?? { recipe: '' }, { signal }),
    enabled: request !== null,
    placeholderData: keepPreviousData,
    // Another run may have made a result meanwhile.
    staleTime: 0,
  });
  const submit = useMutation({
    mutationFn: (body: SubmitRequestInput) => client.submitRun(body),
    onSuccess: (view) => navigate({ to: '/runs/$runId', params: { runId: view.id } }),
  });
  const isCurrent = text === yaml && !plan.isPlaceholderData && !plan.isFetching;
  const faults: SettingFault[] = 'faults' in edited ? edited.faults : faultsIn(plan.error);
  const yamlFault = 'fault' in now ? now.fault : null;

  const onChange = useCallback(
    (path: readonly string[], value: unknown) => setYaml((old) => ('fault' in readYaml(old) ? old : withSetting(old, path, value))),
    [],
  );
  const onReset = useCallback(
    ({ path, base: before }: SettingRow) => {
      const read = readYaml(base.yaml);
      const isWritten = 'value' in read && valueAt(read.value, path) !== undefined;
      setYaml((old) => (isWritten ? withSetting(old, path, before) : withoutSetting(old, path)));
    },
    [base.yaml],
  );
  const rows = useMemo(() => ('shown' in now ? settingRows(now.shown, base.value ?? now.shown) : []), [now, base.value]);
  const suggestionsFor = useSuggestions();
  const kept = plan.data !== undefined && isCurrent && 'shown' in now ? changedByService(plan.data.recipe, now.shown) : [];

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (request !== null && isCurrent && plan.error === null) submit.mutate({ ...request, ...(name === '' ? {} : { name }) });
      }}
    >
      <div className={classes.heading}>
        <h1>Submit a run</h1>
        {choice}
        <CopySubmission request={request} name={name} yaml={text} />
      </div>
      {description !== '' && <p className={classes.description}>{description}</p>}
      <div className={classes.page}>
        <div className={classes.settings}>
          <SettingsEditor rows={rows} faults={faults} suggestionsFor={suggestionsFor} onChange={onChange} onReset={onReset} />
          {yamlFault !== null && <p className={classes.empty}>The settings are shown when the recipe is YAML again.</p>}
        </div>
        <section className={classes.yaml} aria-labelledby="yaml-title">
          <div className={classes.filter}>
            <h2 id="yaml-title">Recipe</h2>
            <CopyButton text={yaml} />
            <Button variant="default" size="compact-xs" disabled={yaml === base.yaml} onClick={() => setYaml(base.yaml)}>
              Undo all changes
            </Button>
          </div>
          <Textarea
            aria-label="Recipe (YAML)"
            value={yaml}
            onChange={(event) => setYaml(event.currentTarget.value)}
            error={yamlFault}
            autosize
            minRows={12}
            maxRows={32}
            spellCheck={false}
            classNames={{ input: classes.text ?? '' }}
          />
          {!isInAddress && 'recipe' in edited && (
            <p className={classes.dim}>
              {assignments === null
                ? 'Stages, steps or parts were added or removed: it is submitted as a whole recipe, which this page’s address does not hold.'
                : 'More settings are changed than this page’s address holds.'}
            </p>
          )}
        </section>
        <section className={classes.plan} aria-labelledby="plan-title" aria-busy={!isCurrent}>
          <div className={classes.filter}>
            <h2 id="plan-title">What this submission runs</h2>
            <Button type="submit" loading={submit.isPending} disabled={request === null || !isCurrent || plan.error !== null}>
              Submit
            </Button>
          </div>
          {submit.error !== null && <ProblemNotice error={submit.error} />}
          {faults.length > 0 && <Faults faults={faults} />}
          {plan.error !== null && faults.length === 0 && <ProblemNotice error={plan.error} onRetry={() => void plan.refetch()} />}
          <div className={classes.fields}>
            <Datasets value={dataset} own={base.value?.dataset} onChange={(next) => change({ dataset: next })} />
            <TextInput
              label="Name of the new run"
              placeholder="made from the recipe's"
              value={name}
              maxLength={63}
              onChange={(event) => setName(event.currentTarget.value)}
            />
            <TextInput
              label="Only these steps"
              placeholder="all, or export, evaluate"
              value={until}
              maxLength={2_000}
              onChange={({ currentTarget: { value } }) => change({ until: value === '' && base.run === null ? undefined : value })}
            />
            <TextInput
              label="Priority, -100 to 100"
              type="number"
              min={-100}
              max={100}
              value={priority}
              onChange={({ currentTarget: { value } }) => change({ priority: Number(value) || (base.run === null ? undefined : 0) })}
            />
          </div>
          {kept.length > 0 && (
            <p className={classes.dim}>
              So that an optimizer step keeps its images, the service also sets{' '}
              {kept.map((one, index) => (
                <span key={one}>
                  {index > 0 && ', '}
                  <code>{one}</code>
                </span>
              ))}
              .
            </p>
          )}
          {plan.data !== undefined && plan.error === null && request !== null && (
            <PlanPanel
              plan={plan.data}
              noReuse={noReuse}
              onNoReuse={(names) => change({ noReuse: names.length === 0 ? undefined : names })}
            />
          )}
          {plan.data === undefined && plan.error === null && request !== null && <p role="status">Planning …</p>}
        </section>
      </div>
    </form>
  );
}

/** What the address changes: settings, or that a stage of the run trains on from what it made. */
function firstSettings({ run, value }: Base, { set, trainOn }: SubmitSearch) {
  if (set !== undefined || trainOn === undefined || run === null || value === null) return settingsOf(set ?? []);
  return startSettings(value, trainOn, { run: run.id, step: trainOn });
}

function Faults({ faults }: { faults: readonly SettingFault[] }) {
  return (
    <div className={classes.faults} role="alert">
      <strong>{faults.length === 1 ? 'One setting is not valid:' : `${faults.length} settings are not valid:`}</strong>
      <ul>
        {faults.map(({ path, message }) => (
          <li key={`${path} ${message}`}>
            {path !== '' && <code>{path}</code>} {message}
          </li>
        ))}
      </ul>
    </div>
  );
}

/**
 * What the text says: as a recipe and overrides of it (`set` is null where overrides cannot say it), or what is wrong. `shown`: the
 * settings of the table. Values that the schema refuses are sent too where overrides can say them: the service says more about them.
 */
type Edited =
  | { fault: string }
  | { faults: SettingFault[]; shown: unknown }
  | { recipe: SubmitRequestInput['recipe']; set: Record<string, unknown> | null; shown: unknown };

function readEdited(base: Base, text: string): Edited {
  const read = readYaml(text);
  if ('fault' in read) return read;
  const parsed = recipeSchema.safeParse(read.value);
  if (parsed.success) {
    const set = base.value === null || base.recipe === null ? null : overridesOf(base.value, parsed.data);
    return { recipe: set === null ? parsed.data : (base.recipe ?? parsed.data), set, shown: parsed.data };
  }
  const before = readYaml(base.yaml);
  const set = base.recipe === null || 'fault' in before ? null : overridesOf(before.value, read.value);
  const shown = withDefaults(base.value, read.value);
  return set === null || base.recipe === null ? { faults: faultsOf(read.value), shown } : { recipe: base.recipe, set, shown };
}

/** The defaults of what cannot be parsed as a whole, from what could be. */
function withDefaults(base: unknown, value: unknown): unknown {
  if (!isRecord(base) || !isRecord(value)) return value;
  return { ...base, ...Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withDefaults(base[key], part)])) };
}

const settingFaults = z.object({ errors: z.array(z.object({ path: z.string(), message: z.string() })) });
const unknownSetting = z.object({ setting: z.string() });

/** What the service found wrong with settings, in its words. */
function faultsIn(error: unknown): SettingFault[] {
  if (!isCairnError(error)) return [];
  const faults = settingFaults.safeParse(error.details);
  if (faults.success && error.code === 'invalid_setting') return faults.data.errors;
  const unknown = unknownSetting.safeParse(error.details);
  return unknown.success ? [{ path: unknown.data.setting, message: error.message }] : [];
}

/** Settings that the service sets on account of others, such as the effective batch. */
function changedByService(planned: Recipe, shown: unknown): string[] {
  return settingRows(planned, shown)
    .filter(({ path, isChanged }) => isChanged && path.at(-1) === 'effectiveBatch')
    .map(({ path, value }) => `${settingPathText(path)}=${valueText(value)}`);
}

const stepsOf = (until: string): string[] =>
  until
    .split(',')
    .map((step) => step.trim())
    .filter((step) => step !== '');

/** The registered datasets, each in every version. */
function Datasets({
  value,
  own,
  onChange,
}: {
  value: string | undefined;
  own: string | undefined;
  onChange: (name: string | undefined) => void;
}) {
  const { client } = useServices();
  const datasets = useQuery({
    queryKey: [...keys.datasets, 'all'],
    queryFn: ({ signal }) => client.listDatasets({ limit: 200 }, { signal }),
  });
  const names = (datasets.data?.items ?? []).map(({ name, version }) => `${name}@${version}`);
  return (
    <NativeSelect
      label="Dataset"
      value={value ?? ''}
      onChange={({ currentTarget }) => onChange(currentTarget.value === '' ? undefined : currentTarget.value)}
      data={[
        ...(own === undefined && value !== undefined
          ? []
          : [{ value: '', label: own === undefined ? 'none' : `${own}, the newest version` }]),
        ...new Set([...names, ...(value === undefined ? [] : [value])]),
      ]}
    />
  );
}

type CallsProps = { request: SubmitRequestInput | null; name: string; yaml: string };

/** The command and the call that submit the same. */
function CopySubmission({ request, name, yaml }: CallsProps) {
  if (request === null) return null;
  const { recipe, set = {}, dataset, until, priority, noReuse } = request;
  const isNamed = typeof recipe === 'string';
  const options = [
    isNamed ? `--recipe ${quoted(recipe)}` : '-f -',
    ...(isNamed ? assignmentsOf(set).map((assignment) => `--set ${quoted(assignment)}`) : []),
    ...(dataset === undefined ? [] : [`--dataset ${quoted(dataset)}`]),
    ...(until === undefined ? [] : [`--until ${quoted(until.join(','))}`]),
    ...(priority === undefined ? [] : [`--priority=${priority}`]),
    ...(Array.isArray(noReuse) ? [`--no-reuse=${quoted(noReuse.join(','))}`] : []),
    ...(name === '' ? [] : [`--name ${quoted(name)}`]),
  ];
  // The text has the changes: a whole recipe is given as it is written.
  const input = isNamed ? '' : ` <<'END_OF_RECIPE'\n${yaml}${yaml.endsWith('\n') ? '' : '\n'}END_OF_RECIPE`;
  return (
    <CopyCall
      cli={`cairn submit ${options.join(' ')}${input}`}
      call={{ method: 'POST', path: '/v1/runs', body: { ...request, ...(name === '' ? {} : { name }) } }}
    />
  );
}
