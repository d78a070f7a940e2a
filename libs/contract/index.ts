export * from './errors.ts';
export * from './internal.ts';
export * from './names.ts';
export * from './recipe.ts';
export * from './rest.ts';
export * from './settings.ts';
export * from './states.ts';
export * from './trainer.ts';
