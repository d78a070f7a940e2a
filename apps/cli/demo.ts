import { enableCompileCache } from 'node:module';
import process from 'node:process';

// Without types to strip and code to compile again the demo starts in half the time.
enableCompileCache();
const { demoMain } = await import('./demo/run-demo.ts');

process.exitCode = await demoMain(process, process.env);
