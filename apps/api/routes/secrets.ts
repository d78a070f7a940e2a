import { callerActions, secretKeyList } from '@cairn/contract';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

export function secretRoutes(app: App, { engine }: ApiDeps): void {
  const tags = ['secrets'];
  const config = { role: callerActions['secret.manage'] } as const;

  app.get(
    '/v1/secrets',
    {
      config,
      schema: {
        operationId: 'listSecretKeys',
        tags,
        summary: 'List the keys that seal stored secrets, and how many each seals',
        response: { 200: secretKeyList, ...problems },
      },
    },
    (request) => engine.listSecretKeys(callerOf(request).projectId),
  );

  app.post(
    '/v1/secrets/reseal',
    {
      config,
      schema: {
        operationId: 'resealSecrets',
        tags,
        summary: 'Seal every stored secret with the newest key',
        description: 'After this has succeeded, older keys can be removed from CAIRN_SECRETS_KEYS.',
        response: { 200: secretKeyList, ...problems },
      },
    },
    async (request) => {
      const caller = callerOf(request);
      await engine.resealSecrets(caller);
      return engine.listSecretKeys(caller.projectId);
    },
  );
}
