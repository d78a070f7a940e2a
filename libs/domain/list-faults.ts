import { type FailureView, type KindAndSettings, type ListsDetails, needsReferences, ownValue } from '@cairn/contract';

type Lists = ListsDetails['lists'];

/**
 * Why a step must fail with the lists that it reads; null where they do not say. What an attempt of it would find, days of training later,
 * is known when the lists are made.
 *
 * @param start the list of the stage from which a stage continues, if it is one of the same lists
 */
export function faultOfLists(step: KindAndSettings, lists: Lists, start: { stage: string; list: string } | null): FailureView | null {
  switch (step.kind) {
    case 'train': {
      const { list, sampler, maxBadImageShare, batch, ranks, effectiveBatch } = step.settings;
      const fault = withoutLabels(lists, list, 'the stage has nothing to train on') ?? tooFewClasses(lists, list, start);
      if (fault !== null || sampler !== 'softmax') return fault;
      // An epoch tries all images with a label, but for those that do not fill a step.
      const untried = (ownValue(lists, list)?.unlabelled ?? 0) + (effectiveBatch ?? batch * ranks);
      return tooManyMissing(lists, list, maxBadImageShare, untried);
    }
    case 'extract':
      return tooManyMissing(lists, step.settings.list, step.settings.maxBadImageShare);
    case 'tag':
    case 'vote':
      return withoutLabels(lists, step.settings.references, 'none of its images can be a reference');
    case 'rerank':
      return needsReferences(step.settings.rerank)
        ? withoutLabels(lists, step.settings.references, 'none of its images can be a reference')
        : null;
    case 'prepare':
    case 'export':
    case 'scan':
    case 'search':
    case 'evaluate':
    case 'register':
      return null;
  }
}

function withoutLabels(lists: Lists, list: string, consequence: string): FailureView | null {
  if (ownValue(lists, list)?.labels !== 0) return null;
  return { cause: 'data', code: 'empty_list', message: `No row of the list ${list} has a label, so ${consequence}` };
}

/** The ids of a smaller list are the first ids of a larger one, so a classifier may only grow. */
function tooFewClasses(lists: Lists, list: string, start: { stage: string; list: string } | null): FailureView | null {
  const [own, before] = [ownValue(lists, list)?.classes, start === null ? undefined : ownValue(lists, start.list)?.classes];
  if (start === null || own == null || before == null || own >= before) return null;
  const message = `The list ${list} has ${own} classes, but the stage continues from ${start.stage}, which has ${before} (${start.list}): train on the list with fewer classes first`;
  return { cause: 'user', code: 'model_mismatch', message };
}

/** @param untried images that may not be read at all */
function tooManyMissing(lists: Lists, list: string, allowed: number, untried = 0): FailureView | null {
  const { rows = 0, distinct = 0, missingImages, missingExamples = [] } = ownValue(lists, list) ?? {};
  // Rows are counted, and an image may be in several.
  const missing = (missingImages ?? 0) - (rows - distinct);
  if (missing - untried <= allowed * distinct) return null;
  const named = missingExamples.length === 0 ? '' : `, such as ${missingExamples.join(', ')}`;
  const message = `${missing} of ${distinct} images of the list ${list} have no file, more than the allowed share of ${allowed}${named}`;
  return { cause: 'data', code: 'too_many_bad_images', message };
}
