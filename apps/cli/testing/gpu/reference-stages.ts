/** Six backbones as the reference trains them in its first stage: the side of its images and the batch of one GPU. */
export const referenceStages = [
  { backbone: 'resnet50', imageSize: 256, batch: 128 },
  { backbone: 'se_resnet101_ibn_a', imageSize: 384, batch: 96 },
  { backbone: 'resnext101_ibn_a', imageSize: 384, batch: 40 },
  { backbone: 'resnest101', imageSize: 384, batch: 36 },
  { backbone: 'resnest269', imageSize: 448, batch: 28 },
  // No pipeline of the reference has it; as its sibling with squeeze and excitation.
  { backbone: 'resnet101_ibn_a', imageSize: 384, batch: 96 },
] as const;

/** Landmarks of the list clean. */
export const referenceClasses = 81_313;
