import { addressQuery, type CallerAction } from '@cairn/contract';
import { createRootRouteWithContext, createRoute, createRouter, Link, lazyRouteComponent, Outlet } from '@tanstack/react-router';
import { z } from 'zod';
import { auditSearch } from '../pages/admin/audit-search.ts';
import { hookDeliveriesSearch, outgoingSearch } from '../pages/automation/automation-search.ts';
import { compareSearch } from '../pages/compare/compare-search.ts';
import { evaluationSearch } from '../pages/evaluation/evaluation-search.ts';
import { attentionQuery, endedRunsQuery, liveRunsQuery } from '../pages/home/home-queries.ts';
import { ledgerSearch } from '../pages/ledger/ledger-search.ts';
import { runSearch } from '../pages/run/run-search.ts';
import { filterOf, runsQuery } from '../pages/runs/runs-query.ts';
import { runsSearch } from '../pages/runs/runs-search.ts';
import { submitSearch } from '../pages/submit/submit-search.ts';
import { pageSearch } from '../parts/page-search.ts';
import { ProblemNotice } from '../parts/problem.tsx';
import { useTitle } from '../parts/title.ts';
import { useFollow } from './follow.ts';
import { Layout } from './layout.tsx';
import {
  auditQuery,
  budgetsQuery,
  codeHostsQuery,
  comparisonQuery,
  datasetQuery,
  datasetsQuery,
  evaluationLineageQuery,
  fleetQuery,
  fleetWorkQuery,
  ledgerQuery,
  meQuery,
  modelsQuery,
  newestModelsQuery,
  queryScoresQuery,
  recipeQuery,
  recipesQuery,
  reportsQuery,
  retentionQuery,
  runQuery,
  schedulesQuery,
  scoreDistributionQuery,
  secretKeysQuery,
  tokensQuery,
  triggerDeliveriesQuery,
  triggerQuery,
  triggersQuery,
  webhookDeliveriesQuery,
  webhookQuery,
  webhooksQuery,
} from './queries.ts';
import { stringifySearch } from './search.ts';
import type { Services } from './services.ts';

/** Asks for what not every role may read, once it is known who is signed in. */
async function askIfAllowed({ client, queries }: Services, action: CallerAction, ask: () => void): Promise<void> {
  const me = await queries.ensureQueryData(meQuery(client)).catch(() => undefined);
  if (me?.actions.includes(action)) ask();
}

const root = createRootRouteWithContext<Services>()({ component: Outlet });

const signIn = createRoute({
  getParentRoute: () => root,
  path: 'sign-in',
  // Only an address of this dashboard: a link must not lead elsewhere after the sign-in.
  validateSearch: z.object({
    to: z
      .string()
      .regex(/^\/(?![/\\])/)
      .optional()
      .catch(undefined),
  }),
  component: lazyRouteComponent(() => import('../pages/sign-in/sign-in-page.tsx'), 'SignInPage'),
});

/** All pages but the sign-in: with the header, and the event stream. */
const signedIn = createRoute({ getParentRoute: () => root, id: 'signed-in', component: Layout });

const home = createRoute({
  getParentRoute: () => signedIn,
  path: '/',
  loader: ({ context: { client, queries } }) => {
    void queries.prefetchQuery(attentionQuery(client));
    void queries.prefetchQuery(liveRunsQuery(client));
    void queries.prefetchQuery(endedRunsQuery(client));
    void queries.prefetchQuery(fleetQuery(client));
  },
  component: lazyRouteComponent(() => import('../pages/home/home-page.tsx'), 'HomePage'),
});
const runs = createRoute({
  getParentRoute: () => signedIn,
  path: 'runs',
  validateSearch: runsSearch,
  loaderDeps: ({ search }) => filterOf(search),
  // Starts with the code of the page, not after it; the page shows whether it arrives.
  loader: ({ context, deps }) => void context.queries.prefetchQuery(runsQuery(context.client, deps)),
  component: lazyRouteComponent(() => import('../pages/runs/runs-page.tsx'), 'RunsPage'),
});
const run = createRoute({
  getParentRoute: () => signedIn,
  path: 'runs/$runId',
  validateSearch: runSearch,
  // A pointer that passes over a table of runs asks for none of them, and neither does a step to another tab.
  loader: ({ cause, context: { client, queries }, params }) =>
    cause === 'enter' ? void queries.prefetchQuery(runQuery(client, params.runId)) : undefined,
  component: lazyRouteComponent(() => import('../pages/run/run-page.tsx'), 'RunPage'),
});
const compare = createRoute({
  getParentRoute: () => signedIn,
  path: 'compare',
  validateSearch: compareSearch,
  loaderDeps: ({ search: { runs: ids = [] } }) => ({ ids }),
  loader: ({ cause, context: { client, queries }, deps: { ids } }) => {
    if (cause !== 'stay' && ids.length > 1) void queries.prefetchQuery(comparisonQuery(client, ids));
  },
  component: lazyRouteComponent(() => import('../pages/compare/compare-page.tsx'), 'ComparePage'),
});
const submit = createRoute({
  getParentRoute: () => signedIn,
  path: 'submit',
  validateSearch: submitSearch,
  loaderDeps: ({ search: { from, recipe } }) => ({ from, recipe }),
  loader: ({ cause, context, deps: { from, recipe } }) => {
    // While a recipe is edited, the address changes with every word.
    if (cause === 'stay') return;
    const { client, queries } = context;
    void askIfAllowed(context, 'run.submit', async () => {
      if (from !== undefined) return queries.prefetchQuery(runQuery(client, from));
      const recipes = queries.ensureQueryData(recipesQuery(client)).catch(() => null);
      const name = recipe ?? (await recipes)?.items[0]?.name;
      if (name !== undefined) await queries.prefetchQuery(recipeQuery(client, name));
    });
  },
  component: lazyRouteComponent(() => import('../pages/submit/submit-page.tsx'), 'SubmitPage'),
});
const models = createRoute({
  getParentRoute: () => signedIn,
  path: 'models',
  validateSearch: pageSearch,
  loaderDeps: ({ search: { cursor } }) => ({ cursor }),
  loader: ({ context: { client, queries }, deps }) => void queries.prefetchQuery(modelsQuery(client, null, deps.cursor)),
  component: lazyRouteComponent(() => import('../pages/models/models-page.tsx'), 'ModelsPage'),
});
const model = createRoute({
  getParentRoute: () => signedIn,
  path: 'models/$name',
  /** The version whose lineage is shown. */
  validateSearch: pageSearch.extend({ version: z.coerce.number().int().min(1).optional().catch(undefined) }),
  loaderDeps: ({ search: { cursor } }) => ({ cursor }),
  loader: ({ context: { client, queries }, deps, params }) => void queries.prefetchQuery(modelsQuery(client, params.name, deps.cursor)),
  component: lazyRouteComponent(() => import('../pages/models/models-page.tsx'), 'ModelPage'),
});
const evaluation = createRoute({
  getParentRoute: () => signedIn,
  path: 'evaluation',
  validateSearch: evaluationSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ cause, context: { client, queries }, deps }) => {
    const { of } = deps;
    if (of === undefined || cause === 'stay') return;
    void queries.prefetchQuery(evaluationLineageQuery(client, of));
    // The scores of the queries are a file: a pointer that passes over a table of models has none of them read.
    if (cause === 'preload') return;
    void queries.prefetchQuery(scoreDistributionQuery(client, of, deps));
    void queries.prefetchQuery(queryScoresQuery(client, of, deps));
  },
  component: lazyRouteComponent(() => import('../pages/evaluation/evaluation-page.tsx'), 'EvaluationPage'),
});
const tryPicture = createRoute({
  getParentRoute: () => signedIn,
  path: 'try',
  validateSearch: z.object({ model: z.string().max(130).optional().catch(undefined) }),
  loader: ({ context }) =>
    void askIfAllowed(context, 'picture.search', () => context.queries.prefetchQuery(newestModelsQuery(context.client))),
  component: lazyRouteComponent(() => import('../pages/try/try-page.tsx'), 'TryPage'),
});

const datasets = createRoute({
  getParentRoute: () => signedIn,
  path: 'datasets',
  validateSearch: pageSearch,
  loaderDeps: ({ search: { cursor } }) => ({ cursor }),
  loader: ({ context: { client, queries }, deps }) => void queries.prefetchQuery(datasetsQuery(client, deps.cursor)),
  component: lazyRouteComponent(() => import('../pages/datasets/datasets-page.tsx'), 'DatasetsPage'),
});
const dataset = createRoute({
  getParentRoute: () => signedIn,
  path: 'datasets/$name',
  /** The list whose contents are shown. */
  validateSearch: z.object({ list: z.string().max(63).optional().catch(undefined) }),
  loader: ({ context: { client, queries }, params }) => void queries.prefetchQuery(datasetQuery(client, params.name)),
  component: lazyRouteComponent(() => import('../pages/datasets/dataset-page.tsx'), 'DatasetPage'),
});

const fleet = createRoute({
  getParentRoute: () => signedIn,
  path: 'fleet',
  loader: ({ context: { client, queries } }) => {
    void queries.prefetchQuery(fleetQuery(client));
    void queries.prefetchQuery(fleetWorkQuery(client));
  },
  component: lazyRouteComponent(() => import('../pages/fleet/fleet-page.tsx'), 'FleetPage'),
});
const tokens = createRoute({
  getParentRoute: () => signedIn,
  path: 'tokens',
  /** The searched text. */
  validateSearch: z.object({ q: z.string().max(100).optional().catch(undefined) }),
  loader: ({ cause, context }) => {
    if (cause !== 'stay') void askIfAllowed(context, 'token.manage', () => context.queries.prefetchQuery(tokensQuery(context.client)));
  },
  component: lazyRouteComponent(() => import('../pages/admin/tokens-page.tsx'), 'TokensPage'),
});
const audit = createRoute({
  getParentRoute: () => signedIn,
  path: 'audit',
  validateSearch: auditSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ context, deps }) =>
    void askIfAllowed(context, 'audit.read', () => context.queries.prefetchQuery(auditQuery(context.client, deps))),
  component: lazyRouteComponent(() => import('../pages/admin/audit-page.tsx'), 'AuditPage'),
});

const ledger = createRoute({
  getParentRoute: () => signedIn,
  path: 'ledger',
  validateSearch: ledgerSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ context: { client, queries }, deps }) => {
    void queries.prefetchQuery(ledgerQuery(client, deps));
    void queries.prefetchQuery(budgetsQuery(client));
  },
  component: lazyRouteComponent(() => import('../pages/ledger/ledger-page.tsx'), 'LedgerPage'),
});

const schedules = createRoute({
  getParentRoute: () => signedIn,
  path: 'schedules',
  validateSearch: pageSearch,
  loaderDeps: ({ search: { cursor } }) => ({ cursor }),
  loader: ({ context: { client, queries }, deps }) => void queries.prefetchQuery(schedulesQuery(client, deps.cursor)),
  component: lazyRouteComponent(() => import('../pages/automation/schedules-page.tsx'), 'SchedulesPage'),
});
const triggers = createRoute({
  getParentRoute: () => signedIn,
  path: 'triggers',
  validateSearch: pageSearch,
  loaderDeps: ({ search: { cursor } }) => ({ cursor }),
  loader: ({ context: { client, queries }, deps }) => void queries.prefetchQuery(triggersQuery(client, deps.cursor)),
  component: lazyRouteComponent(() => import('../pages/automation/triggers-page.tsx'), 'TriggersPage'),
});
const trigger = createRoute({
  getParentRoute: () => signedIn,
  path: 'triggers/$name',
  validateSearch: hookDeliveriesSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ context: { client, queries }, deps, params }) => {
    void queries.prefetchQuery(triggerQuery(client, params.name));
    void queries.prefetchQuery(triggerDeliveriesQuery(client, params.name, deps));
  },
  component: lazyRouteComponent(() => import('../pages/automation/trigger-page.tsx'), 'TriggerPage'),
});
const webhooks = createRoute({
  getParentRoute: () => signedIn,
  path: 'webhooks',
  loader: ({ context }) =>
    void askIfAllowed(context, 'delivery.manage', () => context.queries.prefetchQuery(webhooksQuery(context.client))),
  component: lazyRouteComponent(() => import('../pages/automation/webhooks-page.tsx'), 'WebhooksPage'),
});
const webhook = createRoute({
  getParentRoute: () => signedIn,
  path: 'webhooks/$name',
  validateSearch: outgoingSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ context, deps, params: { name } }) =>
    void askIfAllowed(context, 'delivery.manage', () => {
      void context.queries.prefetchQuery(webhookQuery(context.client, name));
      void context.queries.prefetchQuery(webhookDeliveriesQuery(context.client, name, deps));
    }),
  component: lazyRouteComponent(() => import('../pages/automation/webhook-page.tsx'), 'WebhookPage'),
});
const codeHosts = createRoute({
  getParentRoute: () => signedIn,
  path: 'code-hosts',
  loader: ({ context }) =>
    void askIfAllowed(context, 'delivery.manage', () => context.queries.prefetchQuery(codeHostsQuery(context.client))),
  component: lazyRouteComponent(() => import('../pages/automation/webhooks-page.tsx'), 'CodeHostsPage'),
});
const codeHost = createRoute({
  getParentRoute: () => signedIn,
  path: 'code-hosts/$name',
  validateSearch: outgoingSearch,
  loaderDeps: ({ search }) => search,
  loader: ({ context, deps, params: { name } }) =>
    void askIfAllowed(context, 'delivery.manage', () => context.queries.prefetchQuery(reportsQuery(context.client, name, deps))),
  component: lazyRouteComponent(() => import('../pages/automation/webhook-page.tsx'), 'CodeHostPage'),
});
const retention = createRoute({
  getParentRoute: () => signedIn,
  path: 'retention',
  loader: ({ context: { client, queries } }) => void queries.prefetchQuery(retentionQuery(client)),
  component: lazyRouteComponent(() => import('../pages/storage/retention-page.tsx'), 'RetentionPage'),
});
const secrets = createRoute({
  getParentRoute: () => signedIn,
  path: 'secrets',
  loader: ({ context }) =>
    void askIfAllowed(context, 'secret.manage', () => context.queries.prefetchQuery(secretKeysQuery(context.client))),
  component: lazyRouteComponent(() => import('../pages/storage/secrets-page.tsx'), 'SecretsPage'),
});

/** Every other address. */
const unknown = createRoute({ getParentRoute: () => signedIn, path: '$', component: NotFound });

const routeTree = root.addChildren([
  signIn,
  signedIn.addChildren([
    home,
    runs,
    run,
    compare,
    submit,
    models,
    model,
    evaluation,
    tryPicture,
    datasets,
    dataset,
    fleet,
    tokens,
    audit,
    ledger,
    schedules,
    triggers,
    trigger,
    webhooks,
    webhook,
    codeHosts,
    codeHost,
    retention,
    secrets,
    unknown,
  ]),
]);

export const createDashboardRouter = (context: Services) =>
  createRouter({
    routeTree,
    context,
    parseSearch: addressQuery,
    stringifySearch,
    // The code of a page is fetched when the pointer comes near its link.
    defaultPreload: 'intent',
    scrollRestoration: true,
    defaultNotFoundComponent: NotFound,
    defaultErrorComponent: ({ error, reset }) => <ProblemNotice error={error} onRetry={reset} />,
  });

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createDashboardRouter>;
  }
}

function NotFound() {
  useTitle('Not found');
  useFollow('runs');
  return (
    <>
      <h1>This page does not exist</h1>
      <p>
        Check the address, or go to the <Link to="/runs">runs</Link>.
      </p>
    </>
  );
}
