import type { FinishRequest } from '@cairn/contract';
import { withImageSocket } from '../images/image-socket.ts';
import type { AttemptContext } from './attempt-context.ts';

/**
 * Does the work of the attempt, whatever its kind. The code of a kind is loaded only here: no attempt waits for DuckDB,
 * sharp or ONNX Runtime without using it.
 */
export async function runAttempt(context: AttemptContext): Promise<FinishRequest> {
  const { spec } = context;
  switch (spec.kind) {
    case 'prepare': {
      const { runPrepare } = await import('../steps/run-prepare.ts');
      return runPrepare({ ...context, spec });
    }
    case 'train': {
      const { runTrain } = await import('../train/run-train.ts');
      return withImageSocket({ ...context, spec }, runTrain);
    }
    case 'export': {
      const { runExport } = await import('../train/run-export.ts');
      return withImageSocket({ ...context, spec }, runExport);
    }
    case 'extract': {
      const { runExtract } = await import('../extract/run-extract.ts');
      return runExtract({ ...context, spec });
    }
    case 'scan': {
      const { runScan } = await import('../steps/run-scan.ts');
      return runScan({ ...context, spec });
    }
    case 'search': {
      const { runSearch } = await import('../steps/run-search.ts');
      return runSearch({ ...context, spec });
    }
    case 'tag': {
      const { runTag } = await import('../steps/run-tag.ts');
      return runTag({ ...context, spec });
    }
    case 'vote': {
      const { runVote } = await import('../steps/run-vote.ts');
      return runVote({ ...context, spec });
    }
    case 'rerank': {
      const { runRerank } = await import('../steps/run-rerank.ts');
      return withImageSocket({ ...context, spec }, runRerank);
    }
    case 'evaluate': {
      const { runEvaluate } = await import('../steps/run-evaluate.ts');
      return runEvaluate({ ...context, spec });
    }
    case 'register': {
      const { runRegister } = await import('../steps/run-register.ts');
      return runRegister({ ...context, spec });
    }
    case 'finalize': {
      const { runFinalize } = await import('../steps/run-finalize.ts');
      return runFinalize({ ...context, spec });
    }
  }
}
