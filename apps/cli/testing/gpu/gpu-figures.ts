import { figureName, trainingCost } from '@cairn/domain';
import { type CheckReport, type TrainFigure, trainFigure } from './check-report.ts';

/** What libs/domain/gpu-figures.json holds, which plans reckon with. */
export type FiguresFile = {
  source: string | null;
  networks: Record<string, Record<string, { flops: number; kept: number }>>;
  trainings: (Pick<TrainFigure, 'backbone' | 'imageSize' | 'batch' | 'precision' | 'channelsLast' | 'classes' | 'peakBytes'> & {
    computeImagesPerSecond: number;
  })[];
};

/** The length of features in the check's stages: the schema's default. */
const embeddingDim = 512;

/** The trainings of a report; none where the phase did not get there. */
export function trainingsOf(report: CheckReport): TrainFigure[] {
  return trainFigure.array().parse(report.phases.find(({ name }) => name === 'train')?.figures.trainings ?? []);
}

/**
 * The constants of the estimates as a report measured them: what a network sustained while it had its images, and how much it kept for the
 * backward pass beside the count. Compiled networks have none.
 */
export function figuresOf(report: CheckReport, source: string): FiguresFile {
  const file: FiguresFile = { source, networks: {}, trainings: [] };
  for (const training of trainingsOf(report)) {
    const { backbone, imageSize, batch, precision, classes, peakBytes, channelsLast, compile } = training;
    const cost = trainingCost({ imageSize, precision }, { backbone, embeddingDim }, classes);
    if (cost === null || compile) continue;
    const computeImagesPerSecond = training.imagesPerSecond / (1 - Math.min(training.dataWaitShare, 0.99));
    const fixed = cost.weights * cost.bytesPerWeight + batch * cost.logitBytes;
    const kept = Math.max(0, peakBytes - fixed) / (batch * cost.kept * cost.width);
    const measured = { flops: Math.round(computeImagesPerSecond * cost.flops), kept: Number(kept.toPrecision(4)) };
    file.networks[backbone] = { ...file.networks[backbone], [figureName(precision, channelsLast)]: measured };
    file.trainings.push({ backbone, imageSize, batch, precision, channelsLast, classes, peakBytes, computeImagesPerSecond });
  }
  return file;
}
