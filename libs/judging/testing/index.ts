export { storeEvaluation } from './store-evaluation.ts';
