export { baselineOf, incomparableBaseline, type Judged, judgeEvaluation } from './judge-evaluation.ts';
export { queryScoreReader, type ReadQueryScores } from './query-scores.ts';
