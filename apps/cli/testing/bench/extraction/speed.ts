export type SpeedOptions = { only: string[]; images: number; flat: number; size: number; backbone: string; rounds: number };
export async function measureSpeed(_: SpeedOptions): Promise<void> {}
