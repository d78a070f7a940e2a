export { scoredEvaluation, storeEvaluation } from './store-evaluation.ts';
