export { type CairnClient, type ClientOptions, createClient } from './client.ts';
export type { ConnectionChange, EventStreamOptions, StreamMessage } from './event-stream.ts';
export { type FollowLogsOptions, followLogs } from './follow-logs.ts';
export { type FollowStepLogsOptions, followStepLogs, type StepLogPiece } from './follow-step-logs.ts';
export * from './internal-client.ts';
export { errorOfProblem, messageOf, problemOfError, remedyOf } from './problems.ts';
export type { RequestOptions } from './request.ts';
export { wait } from './wait.ts';
