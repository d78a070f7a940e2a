import type { CairnClient } from '@cairn/client';
import type { QueryClient } from '@tanstack/react-query';
import { createContext, use } from 'react';
import type { Live } from './live.ts';
import type { PictureTurns } from './picture-turns.ts';

/** What main.tsx makes once and every page uses. */
export type Services = { client: CairnClient; queries: QueryClient; live: Live; pictures: PictureTurns };

export const ServicesContext = createContext<Services | null>(null);

/** @throws outside of main.tsx's provider */
export function useServices(): Services {
  const services = use(ServicesContext);
  if (services === null) throw new Error('useServices is called outside of ServicesContext');
  return services;
}
