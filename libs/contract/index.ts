export * from './errors.ts';
export * from './names.ts';
export * from './recipe.ts';
export * from './settings.ts';
export * from './states.ts';
export * from './trainer.ts';
