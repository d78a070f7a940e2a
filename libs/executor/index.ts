export * from './executor.ts';
export { type ProcessExecutorOptions, processExecutor } from './process/process-executor.ts';
