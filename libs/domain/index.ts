export * from './admit.ts';
export * from './advance.ts';
export * from './estimate.ts';
export * from './expand-recipe.ts';
export * from './failure-table.ts';
export { nameOfInput, type StepInputs, type StepNeed, type StepPlan, type StepWant } from './graph-steps.ts';
export * from './memo.ts';
export * from './step-kinds.ts';
