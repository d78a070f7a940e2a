export * from './admit.ts';
export * from './advance.ts';
export * from './expand-recipe.ts';
export * from './failure-table.ts';
export * from './memo.ts';
export * from './retry-policy.ts';
export * from './transitions.ts';
