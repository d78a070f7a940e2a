import { type ArtifactKind, checkpointDetails, evaluationDetails } from '@cairn/contract';

/**
 * The scores of a step, 0 to 1: those reported while it ran, and those in the details of its artifact, so that a reused step shows the
 * scores of the reused result.
 */
export function scoresOf(
  reported: Record<string, number>,
  artifact: { kind: ArtifactKind; details: Record<string, unknown> } | null,
): Record<string, number> {
  return { ...reported, ...(artifact === null ? {} : present(scoresInDetails(artifact.kind, artifact.details))) };
}

function scoresInDetails(kind: ArtifactKind, details: Record<string, unknown>): Record<string, number | null | undefined> {
  if (kind === 'checkpoint') {
    const parsed = checkpointDetails.safeParse(details);
    return parsed.success ? { 'mapAt100.start': parsed.data.mapAt100Start, 'mapAt100.end': parsed.data.mapAt100End } : {};
  }
  if (kind !== 'evaluation') return {};
  const parsed = evaluationDetails.safeParse(details);
  if (!parsed.success) return {};
  const { kaggle, reference, intervals } = parsed.data.mapAt100;
  return {
    mapAt100: kaggle?.all,
    'mapAt100.low': intervals?.kaggle.all?.low,
    'mapAt100.high': intervals?.kaggle.all?.high,
    'mapAt100.public': kaggle?.public,
    'mapAt100.private': kaggle?.private,
    'mapAt100.reference': reference,
  };
}

function present(scores: Record<string, number | null | undefined>): Record<string, number> {
  return Object.fromEntries(Object.entries(scores).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
}
