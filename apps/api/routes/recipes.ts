import { recipeList, recipeView } from '@cairn/contract';
import { findRecipe } from '@cairn/engine';
import { type App, nameParams, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

export function recipeRoutes(app: App, { recipes }: ApiDeps): void {
  const tags = ['recipes'];
  const config = { role: 'viewer' } as const;

  app.get(
    '/v1/recipes',
    {
      config,
      schema: {
        operationId: 'listRecipes',
        tags,
        summary: 'List the built-in recipes',
        response: { 200: recipeList, ...problems },
      },
    },
    async () => ({
      items: [...recipes.values()].map(({ recipe }) => ({
        name: recipe.name,
        description: recipe.description,
        stages: Object.keys(recipe.stages),
        models: Object.keys(recipe.models),
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
    async (request) => findRecipe(recipes, request.params.name),
  );
}
