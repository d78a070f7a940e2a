export { boundedBody } from './bounded-body.ts';
export { type CairnClient, type ClientOptions, createClient } from './client.ts';
export type { ConnectionChange, EventStreamOptions, StreamMessage } from './event-stream.ts';
export { type FollowLogsOptions, type FollowStepLogsOptions, followLogs, followStepLogs, type StepLogPiece } from './follow-logs.ts';
export * from './internal-client.ts';
export { errorOfProblem, messageOf, problemOfError, type RequestOptions, remedyOf } from './request.ts';
export { wait } from './wait.ts';
