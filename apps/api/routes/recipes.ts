import { CairnError, recipeList, recipeView } from '@cairn/contract';
import { nearestName } from '@cairn/runtime';
import type { ApiDeps } from '../build-api.ts';
import { problems } from '../http/answers.ts';
import type { App } from '../http/app.ts';
import { nameParams } from '../http/path-params.ts';

export function recipeRoutes(app: App, { recipes }: ApiDeps): void {
  const tags = ['recipes'];
  const config = { role: 'viewer' } as const;

  app.get(
    '/v1/recipes',
    {
      config,
      schema: { operationId: 'listRecipes', tags, summary: 'List the built-in recipes', response: { 200: recipeList, ...problems } },
    },
    async () => ({
      items: [...recipes.values()].map(({ recipe }) => ({
        name: recipe.name,
        description: recipe.description,
        stages: Object.keys(recipe.stages),
      })),
    }),
  );

  app.get(
    '/v1/recipes/:name',
    {
      config,
      schema: {
        operationId: 'getRecipe',
        tags,
        summary: 'Show a recipe with all its settings, and as YAML to start from',
        params: nameParams,
        response: { 200: recipeView, ...problems },
      },
    },
    async (request) => {
      const found = recipes.get(request.params.name);
      if (found !== undefined) return found;
      const nearest = nearestName(request.params.name, [...recipes.keys()]);
      const hint = nearest === null ? `there are ${[...recipes.keys()].join(', ')}` : `did you mean "${nearest}"?`;
      throw new CairnError('unknown_recipe', `There is no recipe "${request.params.name}"; ${hint}`, {
        details: nearest === null ? {} : { nearest },
      });
    },
  );
}
