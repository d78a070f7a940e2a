import './app/mantine-styles.ts';
import './app/page.css';
import { createClient } from '@cairn/client';
import { isCairnError } from '@cairn/contract';
import { localStorageColorSchemeManager, MantineProvider } from '@mantine/core';
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { z } from 'zod';
import { createLive } from './app/live.ts';
import { createPictureTurns } from './app/picture-turns.ts';
import { createRefresh } from './app/refresh.ts';
import { createDashboardRouter } from './app/router.tsx';
import { ServicesContext } from './app/services.ts';
import { cssVariables, theme } from './app/theme.ts';

// Zod compiles schemas with eval where it may; the content security policy forbids it and reports each try.
z.config({ jitless: true });

const root = document.getElementById('root');
if (root === null) throw new Error('index.html has no element with id "root"');

/** The session ended, whichever call noticed it: to the sign-in page, and from there back to the same address. */
const onError = (error: unknown): void => {
  if (!isCairnError(error, 'unauthenticated') || router.latestLocation.pathname === '/sign-in') return;
  void router.navigate({ to: '/sign-in', search: { to: router.latestLocation.href } });
};
const queries = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  // The client repeats what may be repeated; the event stream says when an answer is out of date.
  defaultOptions: { queries: { retry: false, staleTime: 10_000 }, mutations: { retry: false } },
});
const client = createClient({ url: window.location.origin });
const live = createLive(client, createRefresh(queries));
const services = { client, queries, live, pictures: createPictureTurns() };
const router = createDashboardRouter(services);
const colorScheme = localStorageColorSchemeManager({ key: 'cairn-color-scheme' });

createRoot(root).render(
  <StrictMode>
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto" colorSchemeManager={colorScheme}>
      <QueryClientProvider client={queries}>
        <ServicesContext value={services}>
          <RouterProvider router={router} />
        </ServicesContext>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
